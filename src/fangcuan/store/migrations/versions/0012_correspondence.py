"""Notices to partners and their answers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "partner_notice",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("notice", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("partner_id", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("gate_row", sa.Text(), nullable=False),
        sa.Column("evidence_root", sa.String(64), nullable=False),
        sa.Column("link_id", sa.Text(), nullable=True),
        sa.Column("link_hash", sa.String(64), nullable=True),
        sa.Column("due_at", utc_datetime(), nullable=True),
        sa.Column("expires_at", utc_datetime(), nullable=True),
        sa.Column("extensions", sa.Integer(), nullable=False),
        sa.Column("overdue_at", utc_datetime(), nullable=True),
        sa.Column("issued_by", sa.Text(), nullable=False),
        sa.Column("issued_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("(link_id is null) = (link_hash is null)", name=op.f("ck_partner_notice_link_complete")),
        sa.CheckConstraint("expires_at is null or expires_at >= due_at", name=op.f("ck_partner_notice_open_until_due")),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_partner_notice_number_case_file")),
        sa.PrimaryKeyConstraint("number", "notice", name=op.f("pk_partner_notice")),
        sa.UniqueConstraint("link_id", name=op.f("uq_partner_notice_link_id")),
        sa.UniqueConstraint("link_hash", name=op.f("uq_partner_notice_link_hash")),
    )
    op.create_table(
        "partner_answer",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("answer", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("notice", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.Column("answered_by", sa.Text(), nullable=False),
        sa.Column("answered_at", utc_datetime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["number", "notice"],
            ["partner_notice.number", "partner_notice.notice"],
            name=op.f("fk_partner_answer_number_notice_partner_notice"),
        ),
        sa.PrimaryKeyConstraint("number", "answer", name=op.f("pk_partner_answer")),
    )
    for statement in _guards():
        op.execute(statement)


def downgrade() -> None:
    # The triggers go with their table.
    op.drop_table("partner_answer")
    op.drop_table("partner_notice")


def _guards() -> list[str]:
    name = "partner_answer"
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        return [
            f"create trigger {name}_no_change before update or delete on {name} for each row {refuse}",
            f"create trigger {name}_no_truncate before truncate on {name} {refuse}",
            f"alter table {name} enable always trigger {name}_no_change",
            f"alter table {name} enable always trigger {name}_no_truncate",
        ]
    abort = f"select raise(abort, '{name} is append-only');"
    there = f"exists (select 1 from {name} where number = new.number and answer = new.answer)"
    return [
        f"create trigger {name}_no_update before update on {name} begin {abort} end",
        f"create trigger {name}_no_delete before delete on {name} begin {abort} end",
        f"create trigger {name}_no_replace before insert on {name} when {there} begin {abort} end",
    ]
