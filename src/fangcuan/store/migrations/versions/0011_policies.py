"""Policies that are proposed and approved, the legal gate, penalty ladders; who was behind the approval of a unit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MASTERS = ("master_legal_gate", "master_penalty_ladders")


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def big_integer() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "policy_proposal",
        sa.Column("proposal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content_digest", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("proposed_persons", sa.Text(), nullable=False),
        sa.Column("proposed_at", utc_datetime(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_persons", sa.Text(), nullable=True),
        sa.Column("decided_at", utc_datetime(), nullable=True),
        sa.CheckConstraint("decision in ('approve', 'reject', 'withdraw')", name=op.f("ck_policy_proposal_decision")),
        sa.CheckConstraint(
            "(decision = 'withdraw') = (decided_by = proposed_by)", name=op.f("ck_policy_proposal_four_eyes")
        ),
        sa.CheckConstraint(
            "decision = 'withdraw' or decided_persons <> proposed_persons",
            name=op.f("ck_policy_proposal_other_persons"),
        ),
        sa.CheckConstraint(
            "(decision is null) = (decided_by is null) and (decision is null) = (decided_at is null) "
            "and (decision is null) = (decided_persons is null)",
            name=op.f("ck_policy_proposal_decision_complete"),
        ),
        sa.PrimaryKeyConstraint("proposal", name=op.f("pk_policy_proposal")),
    )
    op.create_index("ix_policy_proposal_kind", "policy_proposal", ["kind", "proposal"])
    op.create_table(
        "master_legal_gate",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("jurisdiction", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("allowed", sa.Boolean(), nullable=False),
        sa.Column("template", sa.Text(), nullable=True),
        sa.Column("legal_basis", sa.Text(), nullable=False),
        *_recorded(),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_legal_gate")),
    )
    op.create_table(
        "master_penalty_ladders",
        sa.Column("row_digest", sa.String(length=64), nullable=False),
        sa.Column("ladder_id", sa.Text(), nullable=False),
        sa.Column("offence", sa.Text(), nullable=False),
        sa.Column("class", sa.Text(), nullable=True),
        sa.Column("min_quantity", sa.String(), nullable=True),
        sa.Column("occurrence", big_integer(), nullable=False),
        sa.Column("look_back_days", big_integer(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("amount", sa.String(), nullable=True),
        sa.Column("cap", sa.String(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("days", big_integer(), nullable=True),
        sa.Column("rounding", sa.Text(), nullable=True),
        sa.Column("clause_code", sa.Text(), nullable=False),
        sa.Column("jurisdiction", sa.Text(), nullable=False),
        sa.Column("legal_basis", sa.Text(), nullable=False),
        *_recorded(),
        sa.PrimaryKeyConstraint("row_digest", name=op.f("pk_master_penalty_ladders")),
    )
    for table in MASTERS:
        op.create_index(f"ix_{table}_business_key", table, ["business_key", "recorded_at"])
        for statement in _guards(table):
            op.execute(statement)
    op.add_column("rule_version", sa.Column("proposed_persons", sa.Text(), nullable=True))
    op.add_column("rule_version", sa.Column("approved_persons", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("rule_version", "approved_persons")
    op.drop_column("rule_version", "proposed_persons")
    # The triggers go with their table.
    for table in (*reversed(MASTERS), "policy_proposal"):
        op.drop_table(table)


def _recorded() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("approved_at", utc_datetime(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=True),
        sa.Column("business_key", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
    )


def _guards(table: str) -> list[str]:
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        return [
            f"create trigger {table}_no_change before update or delete on {table} for each row {refuse}",
            f"create trigger {table}_no_truncate before truncate on {table} {refuse}",
            f"alter table {table} enable always trigger {table}_no_change",
            f"alter table {table} enable always trigger {table}_no_truncate",
        ]
    abort = f"select raise(abort, '{table} is append-only');"
    there = f"exists (select 1 from {table} where row_digest = new.row_digest)"
    return [
        f"create trigger {table}_no_update before update on {table} begin {abort} end",
        f"create trigger {table}_no_delete before delete on {table} begin {abort} end",
        f"create trigger {table}_no_replace before insert on {table} when {there} begin select raise(ignore); end",
    ]
