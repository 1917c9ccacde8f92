"""Notifications: who is reached how, the outbox, and the log of attempts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def big_integer() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "notification_choice",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("channels", sa.Text(), nullable=False),
        sa.Column("chosen_by", sa.Text(), nullable=False),
        sa.Column("chosen_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("language in ('zh', 'en')", name=op.f("ck_notification_choice_language")),
        sa.ForeignKeyConstraint(["user_id"], ["account.user_id"], name=op.f("fk_notification_choice_user_id_account")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_notification_choice")),
    )
    op.create_table(
        "outbox",
        sa.Column("entry", big_integer(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("seq", big_integer(), nullable=True),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("written_at", utc_datetime(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("attempts_left", sa.Integer(), nullable=False),
        sa.Column("due_at", utc_datetime(), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("ended_at", utc_datetime(), nullable=True),
        sa.CheckConstraint("state in ('queued', 'claimed', 'sent', 'given_up')", name=op.f("ck_outbox_state")),
        sa.CheckConstraint("attempts >= 0 and attempts_left >= 0", name=op.f("ck_outbox_attempts")),
        sa.CheckConstraint("(state = 'claimed') = (claimed_by is not null)", name=op.f("ck_outbox_claim_has_a_sender")),
        sa.CheckConstraint(
            "(state in ('sent', 'given_up')) = (ended_at is not null)", name=op.f("ck_outbox_end_has_a_time")
        ),
        sa.ForeignKeyConstraint(["seq"], ["event.seq"], name=op.f("fk_outbox_seq_event")),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_outbox_number_case_file")),
        sa.ForeignKeyConstraint(["user_id"], ["account.user_id"], name=op.f("fk_outbox_user_id_account")),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_outbox")),
        sa.UniqueConstraint("occasion", name=op.f("uq_outbox_occasion")),
    )
    op.create_index("ix_outbox_state", "outbox", ["state", "channel", "due_at"])
    op.create_table(
        "outbox_attempt",
        sa.Column("entry", big_integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", utc_datetime(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.CheckConstraint("result in ('sent', 'failed')", name=op.f("ck_outbox_attempt_result")),
        sa.ForeignKeyConstraint(["entry"], ["outbox.entry"], name=op.f("fk_outbox_attempt_entry_outbox")),
        sa.PrimaryKeyConstraint("entry", "attempt", name=op.f("pk_outbox_attempt")),
    )
    for statement in _guards():
        op.execute(statement)


def downgrade() -> None:
    # The triggers go with their table.
    for table in ("outbox_attempt", "outbox", "notification_choice"):
        op.drop_table(table)


def _guards() -> list[str]:
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        return [
            f"create trigger outbox_attempt_no_change before update or delete on outbox_attempt for each row {refuse}",
            f"create trigger outbox_attempt_no_truncate before truncate on outbox_attempt {refuse}",
            "alter table outbox_attempt enable always trigger outbox_attempt_no_change",
            "alter table outbox_attempt enable always trigger outbox_attempt_no_truncate",
        ]
    abort = "select raise(abort, 'outbox_attempt is append-only');"
    there = "exists (select 1 from outbox_attempt where entry = new.entry and attempt = new.attempt)"
    return [
        f"create trigger outbox_attempt_no_update before update on outbox_attempt begin {abort} end",
        f"create trigger outbox_attempt_no_delete before delete on outbox_attempt begin {abort} end",
        f"create trigger outbox_attempt_no_replace before insert on outbox_attempt when {there} begin {abort} end",
    ]
