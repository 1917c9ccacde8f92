"""Proposals and their verdicts, attachments, legal holds; what lies over the status of a case."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_LAID_OVER = ("outcome_class", "merged_into", "attention", "snooze_condition")


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    for name in _LAID_OVER:
        op.add_column("case_file", sa.Column(name, sa.Text(), nullable=True))
    op.add_column("case_file", sa.Column("snoozed_until", utc_datetime(), nullable=True))
    op.add_column("case_file", sa.Column("snooze_evidence_root", sa.String(64), nullable=True))
    _decision()
    op.create_table(
        "case_attachment",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("attachment", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("document_id", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("attached_by", sa.Text(), nullable=False),
        sa.Column("attached_at", utc_datetime(), nullable=False),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_case_attachment_number_case_file")),
        sa.PrimaryKeyConstraint("number", "attachment", name=op.f("pk_case_attachment")),
        sa.UniqueConstraint("number", "kind", "sha256", name=op.f("uq_case_attachment_number_kind_sha256")),
    )
    op.create_table(
        "legal_hold",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("hold", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("placed_at", utc_datetime(), nullable=False),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.Column("lifted_at", utc_datetime(), nullable=True),
        sa.CheckConstraint("(lifted_by is null) = (lifted_at is null)", name=op.f("ck_legal_hold_complete")),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_legal_hold_number_case_file")),
        sa.PrimaryKeyConstraint("number", "hold", name=op.f("pk_legal_hold")),
    )
    for statement in _guards():
        op.execute(statement)


def downgrade() -> None:
    # The triggers go with their table.
    op.drop_table("legal_hold")
    op.drop_table("case_attachment")
    op.drop_table("decision")
    for name in ("snooze_evidence_root", "snoozed_until", *reversed(_LAID_OVER)):
        op.drop_column("case_file", name)


def _decision() -> None:
    op.create_table(
        "decision",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("proposal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_status", sa.Text(), nullable=False),
        sa.Column("case_version", sa.Integer(), nullable=False),
        sa.Column("evidence_root", sa.String(64), nullable=False),
        sa.Column("evidence_cutoff", utc_datetime(), nullable=False),
        sa.Column("attachments", sa.Integer(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("proposed_person", sa.Text(), nullable=False),
        sa.Column("proposed_persons", sa.Text(), nullable=False),
        sa.Column("proposed_at", utc_datetime(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_person", sa.Text(), nullable=True),
        sa.Column("decided_at", utc_datetime(), nullable=True),
        sa.Column("decision_note", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "verdict in ('approved', 'returned', 'rejected', 'withdrawn')", name=op.f("ck_decision_verdict")
        ),
        sa.CheckConstraint(
            "(verdict is null) = (decided_by is null) and (verdict is null) = (decided_at is null)"
            " and (verdict is null) = (decided_person is null)",
            name=op.f("ck_decision_complete"),
        ),
        sa.CheckConstraint(
            "verdict is null or (verdict = 'withdrawn') = (decided_person = proposed_person)",
            name=op.f("ck_decision_four_eyes"),
        ),
        sa.CheckConstraint(
            "verdict is null or verdict = 'withdrawn' or decided_by <> proposed_by",
            name=op.f("ck_decision_other_account"),
        ),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_decision_number_case_file")),
        sa.PrimaryKeyConstraint("number", "proposal", name=op.f("pk_decision")),
    )
    where = sa.text("verdict is null")
    op.create_index(
        "uq_decision_one_open", "decision", ["number"], unique=True, sqlite_where=where, postgresql_where=where
    )


def _guards() -> list[str]:
    name = "case_attachment"
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        return [
            f"create trigger {name}_no_change before update or delete on {name} for each row {refuse}",
            f"create trigger {name}_no_truncate before truncate on {name} {refuse}",
            f"alter table {name} enable always trigger {name}_no_change",
            f"alter table {name} enable always trigger {name}_no_truncate",
        ]
    abort = f"select raise(abort, '{name} is append-only');"
    there = f"exists (select 1 from {name} where number = new.number and attachment = new.attachment)"
    return [
        f"create trigger {name}_no_update before update on {name} begin {abort} end",
        f"create trigger {name}_no_delete before delete on {name} begin {abort} end",
        f"create trigger {name}_no_replace before insert on {name} when {there} begin {abort} end",
    ]
