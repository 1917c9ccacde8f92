"""Findings that left a case when it was split."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TABLE = "case_finding_move"


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("finding_id", sa.String(64), nullable=False),
        sa.Column("move", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("other", sa.Text(), nullable=False),
        sa.Column("proposal", sa.Integer(), nullable=True),
        sa.Column("moved_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("move > 0", name=op.f("ck_case_finding_move_counted")),
        sa.CheckConstraint("other <> number", name=op.f("ck_case_finding_move_elsewhere")),
        sa.ForeignKeyConstraint(
            ["number", "finding_id"],
            ["case_finding.number", "case_finding.finding_id"],
            name=op.f("fk_case_finding_move_number_finding_id_case_finding"),
        ),
        sa.ForeignKeyConstraint(["other"], ["case_file.number"], name=op.f("fk_case_finding_move_other_case_file")),
        sa.PrimaryKeyConstraint("number", "finding_id", "move", name=op.f("pk_case_finding_move")),
    )
    op.create_index(op.f("ix_case_finding_move_finding_id"), TABLE, ["finding_id"])
    for statement in _guards():
        op.execute(statement)


def downgrade() -> None:
    # The triggers go with their table.
    op.drop_table(TABLE)


def _guards() -> list[str]:
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        return [
            f"create trigger {TABLE}_no_change before update or delete on {TABLE} for each row {refuse}",
            f"create trigger {TABLE}_no_truncate before truncate on {TABLE} {refuse}",
            f"alter table {TABLE} enable always trigger {TABLE}_no_change",
            f"alter table {TABLE} enable always trigger {TABLE}_no_truncate",
        ]
    abort = f"select raise(abort, '{TABLE} is append-only');"
    same = " and ".join(f"{key} = new.{key}" for key in ("number", "finding_id", "move"))
    there = f"exists (select 1 from {TABLE} where {same})"
    return [
        f"create trigger {TABLE}_no_update before update on {TABLE} begin {abort} end",
        f"create trigger {TABLE}_no_delete before delete on {TABLE} begin {abort} end",
        f"create trigger {TABLE}_no_replace before insert on {TABLE} when {there} begin {abort} end",
    ]
