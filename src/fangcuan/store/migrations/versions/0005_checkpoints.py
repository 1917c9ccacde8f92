"""Signed checkpoints of the event chain, and guards on every table that only grows."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def big_integer() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


#: Table → its key. An INSERT that meets an existing key is refused on SQLite, where INSERT OR REPLACE walks past the
#: triggers on UPDATE and DELETE.
REFUSING = {
    "finding_fingerprint": ("fingerprint",),
    "case_finding": ("number", "finding_id"),
    "case_link": ("number", "other", "kind"),
    "command_log": ("key",),
    "checkpoint": ("size",),
    "checkpoint_anchor": ("size", "place"),
}
#: Loads use ON CONFLICT DO NOTHING here, so the guard skips the row instead of refusing the statement.
SKIPPING = {
    "receipt": ("receipt_id",),
    "master_calendar": ("row_digest",),
    "master_contracts": ("row_digest",),
    "master_evidence_policies": ("row_digest",),
    "master_freight": ("row_digest",),
    "master_fx_rates": ("row_digest",),
    "master_partner_aliases": ("row_digest",),
    "master_partners": ("row_digest",),
    "master_price_policies": ("row_digest",),
    "master_products": ("row_digest",),
    "master_promotions": ("row_digest",),
    "master_rebate_plans": ("row_digest",),
    "master_region_neighbours": ("row_digest",),
    "master_regions": ("row_digest",),
    "master_territories": ("row_digest",),
    "master_transfer_permits": ("row_digest",),
}


def upgrade() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("size", big_integer(), autoincrement=False, nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("made_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("size > 0", name=op.f("ck_checkpoint_of_something")),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_checkpoint")),
    )
    op.create_table(
        "checkpoint_anchor",
        sa.Column("size", big_integer(), autoincrement=False, nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("anchored_at", utc_datetime(), nullable=False),
        sa.ForeignKeyConstraint(["size"], ["checkpoint.size"], name=op.f("fk_checkpoint_anchor_size_checkpoint")),
        sa.PrimaryKeyConstraint("size", "place", name=op.f("pk_checkpoint_anchor")),
    )
    for table, key in {**REFUSING, **SKIPPING}.items():
        for statement in _guards(table, key):
            op.execute(statement)


def downgrade() -> None:
    for table in {**REFUSING, **SKIPPING}:
        for name in _names(table):
            on = f" on {table}" if op.get_bind().dialect.name == "postgresql" else ""
            op.execute(f"drop trigger {name}{on}")
    op.drop_table("checkpoint_anchor")
    op.drop_table("checkpoint")


def _names(table: str) -> list[str]:
    if op.get_bind().dialect.name == "postgresql":
        return [f"{table}_no_change", f"{table}_no_truncate"]
    return [f"{table}_no_update", f"{table}_no_delete", f"{table}_no_replace"]


def _guards(table: str, key: tuple[str, ...]) -> list[str]:
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        return [
            f"create trigger {table}_no_change before update or delete on {table} for each row {refuse}",
            f"create trigger {table}_no_truncate before truncate on {table} {refuse}",
            f"alter table {table} enable always trigger {table}_no_change",
            f"alter table {table} enable always trigger {table}_no_truncate",
        ]
    abort = f"select raise(abort, '{table} is append-only');"
    there = f"exists (select 1 from {table} where {' and '.join(f'{name} = new.{name}' for name in key)})"
    answer = abort if table in REFUSING else "select raise(ignore);"
    return [
        f"create trigger {table}_no_update before update on {table} begin {abort} end",
        f"create trigger {table}_no_delete before delete on {table} begin {abort} end",
        f"create trigger {table}_no_replace before insert on {table} when {there} begin {answer} end",
    ]
