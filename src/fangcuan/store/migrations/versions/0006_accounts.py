"""Accounts with roles and tokens, and the log of what was refused."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def big_integer() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("os_user", sa.Text(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("active", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("added_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("kind in ('person', 'service')", name=op.f("ck_account_kind")),
        sa.CheckConstraint("kind = 'person' or password_hash is null", name=op.f("ck_account_services_have_tokens")),
        sa.ForeignKeyConstraint(["person"], ["account.user_id"], name=op.f("fk_account_person_account")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_account")),
        sa.UniqueConstraint("os_user", name=op.f("uq_account_os_user")),
    )
    op.create_index("ix_account_person", "account", ["person"])
    op.create_table(
        "role_grant",
        sa.Column("grant_id", big_integer(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("region_code", sa.Text(), nullable=True),
        sa.Column("brand", sa.Text(), nullable=True),
        sa.Column("partner_id", sa.Text(), nullable=True),
        sa.Column("valid_from", utc_datetime(), nullable=False),
        sa.Column("valid_to", utc_datetime(), nullable=True),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column("granted_at", utc_datetime(), nullable=False),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.Column("revoked_at", utc_datetime(), nullable=True),
        sa.CheckConstraint("granted_by <> 'user:' || user_id", name=op.f("ck_role_grant_not_to_oneself")),
        sa.CheckConstraint("valid_to is null or valid_to > valid_from", name=op.f("ck_role_grant_some_time")),
        sa.CheckConstraint(
            "(revoked_by is null) = (revoked_at is null)", name=op.f("ck_role_grant_revocation_complete")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["account.user_id"], name=op.f("fk_role_grant_user_id_account")),
        sa.PrimaryKeyConstraint("grant_id", name=op.f("pk_role_grant")),
    )
    op.create_index("ix_role_grant_user_id", "role_grant", ["user_id"])
    op.create_table(
        "access_token",
        sa.Column("token_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=True),
        sa.Column("terminal", sa.Text(), nullable=True),
        sa.Column("expires_at", utc_datetime(), nullable=False),
        sa.Column("issued_by", sa.Text(), nullable=False),
        sa.Column("issued_at", utc_datetime(), nullable=False),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.Column("revoked_at", utc_datetime(), nullable=True),
        sa.CheckConstraint(
            "(revoked_by is null) = (revoked_at is null)", name=op.f("ck_access_token_revocation_complete")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["account.user_id"], name=op.f("fk_access_token_user_id_account")),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_access_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_access_token_token_hash")),
    )
    op.create_index("ix_access_token_user_id", "access_token", ["user_id"])
    op.create_table(
        "access_log",
        sa.Column("entry", big_integer(), nullable=False),
        sa.Column("at", utc_datetime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("entry", name=op.f("pk_access_log")),
    )
    for statement in _guards():
        op.execute(statement)


def downgrade() -> None:
    # The triggers go with their table.
    for table in ("access_log", "access_token", "role_grant", "account"):
        op.drop_table(table)


def _guards() -> list[str]:
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        return [
            f"create trigger access_log_no_change before update or delete on access_log for each row {refuse}",
            f"create trigger access_log_no_truncate before truncate on access_log {refuse}",
            "alter table access_log enable always trigger access_log_no_change",
            "alter table access_log enable always trigger access_log_no_truncate",
        ]
    abort = "select raise(abort, 'access_log is append-only');"
    there = "exists (select 1 from access_log where entry = new.entry)"
    return [
        f"create trigger access_log_no_update before update on access_log begin {abort} end",
        f"create trigger access_log_no_delete before delete on access_log begin {abort} end",
        f"create trigger access_log_no_replace before insert on access_log when {there} begin {abort} end",
    ]
