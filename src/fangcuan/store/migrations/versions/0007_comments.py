"""Comments on cases: written once, amended by another row."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "case_comment",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("comment", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("amends", sa.Integer(), nullable=True),
        sa.Column("written_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("amends < comment", name=op.f("ck_case_comment_of_an_earlier_one")),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_case_comment_number_case_file")),
        sa.PrimaryKeyConstraint("number", "comment", name=op.f("pk_case_comment")),
        sa.UniqueConstraint("number", "amends", name=op.f("uq_case_comment_number_amends")),
    )
    for statement in _guards():
        op.execute(statement)


def downgrade() -> None:
    # The triggers go with their table.
    op.drop_table("case_comment")


def _guards() -> list[str]:
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        return [
            f"create trigger case_comment_no_change before update or delete on case_comment for each row {refuse}",
            f"create trigger case_comment_no_truncate before truncate on case_comment {refuse}",
            "alter table case_comment enable always trigger case_comment_no_change",
            "alter table case_comment enable always trigger case_comment_no_truncate",
        ]
    abort = "select raise(abort, 'case_comment is append-only');"
    there = "exists (select 1 from case_comment where number = new.number and comment = new.comment)"
    return [
        f"create trigger case_comment_no_update before update on case_comment begin {abort} end",
        f"create trigger case_comment_no_delete before delete on case_comment begin {abort} end",
        f"create trigger case_comment_no_replace before insert on case_comment when {there} begin {abort} end",
    ]
