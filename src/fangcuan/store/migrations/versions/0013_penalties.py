"""Penalties and appeals against them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "penalty",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("penalty", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("proposal", sa.Integer(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("offence", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("computation", sa.Text(), nullable=False),
        sa.Column("computation_digest", sa.String(64), nullable=False),
        sa.Column("evidence_root", sa.String(64), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("claimed", sa.String(), nullable=False),
        sa.Column("due", sa.String(), nullable=False),
        sa.Column("settled", sa.String(), nullable=True),
        sa.Column("agreed_at", utc_datetime(), nullable=False),
        sa.Column("issued_at", utc_datetime(), nullable=True),
        sa.Column("notice", sa.Integer(), nullable=True),
        sa.Column("appeal_until", utc_datetime(), nullable=True),
        sa.Column("ended_at", utc_datetime(), nullable=True),
        sa.CheckConstraint("(issued_at is null) = (notice is null)", name=op.f("ck_penalty_issued_with_notice")),
        sa.CheckConstraint("(issued_at is null) = (appeal_until is null)", name=op.f("ck_penalty_issued_with_appeal")),
        sa.CheckConstraint("settled is null or issued_at is not null", name=op.f("ck_penalty_settled_after_issue")),
        sa.ForeignKeyConstraint(
            ["number", "proposal"],
            ["decision.number", "decision.proposal"],
            name=op.f("fk_penalty_number_proposal_decision"),
        ),
        sa.ForeignKeyConstraint(
            ["number", "notice"],
            ["partner_notice.number", "partner_notice.notice"],
            name=op.f("fk_penalty_number_notice_partner_notice"),
        ),
        sa.PrimaryKeyConstraint("number", "penalty", name=op.f("pk_penalty")),
    )
    op.create_index("ix_penalty_partner", "penalty", ["partner_id", "offence"])
    op.create_table(
        "appeal",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("penalty", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("appeal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("appealed_by", sa.Text(), nullable=False),
        sa.Column("appealed_at", utc_datetime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["number", "penalty"], ["penalty.number", "penalty.penalty"], name=op.f("fk_appeal_number_penalty_penalty")
        ),
        sa.PrimaryKeyConstraint("number", "penalty", "appeal", name=op.f("pk_appeal")),
    )
    for statement in _guards():
        op.execute(statement)


def downgrade() -> None:
    # The triggers go with their table.
    op.drop_table("appeal")
    op.drop_table("penalty")


def _guards() -> list[str]:
    name = "appeal"
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        return [
            f"create trigger {name}_no_change before update or delete on {name} for each row {refuse}",
            f"create trigger {name}_no_truncate before truncate on {name} {refuse}",
            f"alter table {name} enable always trigger {name}_no_change",
            f"alter table {name} enable always trigger {name}_no_truncate",
        ]
    abort = f"select raise(abort, '{name} is append-only');"
    same = "number = new.number and penalty = new.penalty and appeal = new.appeal"
    there = f"exists (select 1 from {name} where {same})"
    return [
        f"create trigger {name}_no_update before update on {name} begin {abort} end",
        f"create trigger {name}_no_delete before delete on {name} begin {abort} end",
        f"create trigger {name}_no_replace before insert on {name} when {there} begin {abort} end",
    ]
