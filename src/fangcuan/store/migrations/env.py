"""Alembic's entry: runs the revisions on the connection that `fangcuan.store.migrations` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlalchemy import BigInteger

from fangcuan.store.base import CanonicalJson, DecimalText, UtcDateTime
from fangcuan.store.tables import METADATA


def render_item(kind: str, item: Any, _autogenerate: Any) -> str | Literal[False]:
    """Revisions are written with plain SQLAlchemy types: they must not change when our own types do."""
    if kind == "type":
        if isinstance(item, UtcDateTime):
            return "sa.DateTime(timezone=True).with_variant(sa.String(27), 'sqlite')"
        if isinstance(item, DecimalText):
            return "sa.String()"
        if isinstance(item, CanonicalJson):
            return "sa.Text()"
        if isinstance(item, BigInteger):
            return "sa.BigInteger().with_variant(sa.Integer(), 'sqlite')"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    compare_type=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
