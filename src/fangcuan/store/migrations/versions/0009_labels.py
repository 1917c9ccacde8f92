"""Labels of findings, suppressions and what they hid."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_KEYS = {"label": ("number", "case_version", "finding_id"), "suppression_hit": ("night", "reported_id")}


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    _label()
    _suppression()
    op.create_table(
        "suppression_hit",
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("reported_id", sa.String(64), nullable=False),
        sa.Column("suppression_id", sa.Integer(), nullable=False),
        sa.Column("sampled", sa.Boolean(create_constraint=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["suppression_id"],
            ["suppression.suppression_id"],
            name=op.f("fk_suppression_hit_suppression_id_suppression"),
        ),
        sa.PrimaryKeyConstraint("night", "reported_id", name=op.f("pk_suppression_hit")),
    )
    op.create_index(op.f("ix_suppression_hit_suppression_id"), "suppression_hit", ["suppression_id"], unique=False)
    for table in _KEYS:
        for statement in _guards(table):
            op.execute(statement)


def downgrade() -> None:
    # The triggers go with their table.
    op.drop_table("suppression_hit")
    op.drop_table("suppression")
    op.drop_table("label")


def _label() -> None:
    op.create_table(
        "label",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("case_version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("finding_id", sa.String(64), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("outcome_class", sa.Text(), nullable=True),
        sa.Column("route", sa.Text(), nullable=True),
        sa.Column("unit_id", sa.Text(), nullable=False),
        sa.Column("unit_digest", sa.String(64), nullable=False),
        sa.Column("evidence_root", sa.String(64), nullable=False),
        sa.Column("support", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("label in ('right', 'wrong', 'unclear')", name=op.f("ck_label_label")),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_label_number_case_file")),
        sa.ForeignKeyConstraint(["finding_id"], ["finding.finding_id"], name=op.f("fk_label_finding_id_finding")),
        sa.PrimaryKeyConstraint("number", "case_version", "finding_id", name=op.f("pk_label")),
    )
    op.create_index(op.f("ix_label_finding_id"), "label", ["finding_id"], unique=False)


def _suppression() -> None:
    op.create_table(
        "suppression",
        sa.Column("suppression_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("matcher", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=False),
        sa.Column("sampled_share", sa.String(), nullable=False),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("proposed_person", sa.Text(), nullable=False),
        sa.Column("proposed_persons", sa.Text(), nullable=False),
        sa.Column("proposed_at", utc_datetime(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approved_person", sa.Text(), nullable=True),
        sa.Column("approved_at", utc_datetime(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_at", utc_datetime(), nullable=True),
        sa.CheckConstraint("ends_on > starts_on", name=op.f("ck_suppression_expires")),
        sa.CheckConstraint("approved_by is null or approved_by <> proposed_by", name=op.f("ck_suppression_four_eyes")),
        sa.CheckConstraint(
            "approved_person is null or approved_person <> proposed_person", name=op.f("ck_suppression_two_persons")
        ),
        sa.CheckConstraint(
            "(approved_by is null) = (approved_at is null) and (approved_by is null) = (approved_person is null)",
            name=op.f("ck_suppression_approval_complete"),
        ),
        sa.CheckConstraint("(ended_by is null) = (ended_at is null)", name=op.f("ck_suppression_end_complete")),
        sa.PrimaryKeyConstraint("suppression_id", name=op.f("pk_suppression")),
    )


def _guards(name: str) -> list[str]:
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        return [
            f"create trigger {name}_no_change before update or delete on {name} for each row {refuse}",
            f"create trigger {name}_no_truncate before truncate on {name} {refuse}",
            f"alter table {name} enable always trigger {name}_no_change",
            f"alter table {name} enable always trigger {name}_no_truncate",
        ]
    abort = f"select raise(abort, '{name} is append-only');"
    same = " and ".join(f"{key} = new.{key}" for key in _KEYS[name])
    there = f"exists (select 1 from {name} where {same})"
    return [
        f"create trigger {name}_no_update before update on {name} begin {abort} end",
        f"create trigger {name}_no_delete before delete on {name} begin {abort} end",
        f"create trigger {name}_no_replace before insert on {name} when {there} begin {abort} end",
    ]
