"""Master tables of the casebook, made from the contract: `master_<name>`, append-only, one row per recorded version."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Boolean, Column, Date, Float, Index, String, Table, Text
from sqlalchemy.types import TypeEngine

from fangcuan.core.canonical import decimal_text, sha256_hex
from fangcuan.core.contract import Kind, Relation
from fangcuan.core.masters import MASTERS
from fangcuan.store.base import Base, BigInt, DecimalText, UtcDateTime
from fangcuan.store.jsontext import canonical_text

#: `recorded_at` of master data that comes without one: known from the start.
BEGINNING = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_TYPES: dict[Kind, Any] = {
    "text": Text,
    "integer": BigInt,
    "decimal": DecimalText,
    "rate": DecimalText,
    "double": Float(53),
    "boolean": Boolean,
    "timestamp": UtcDateTime,
    "date": Date,
    "json": Text,
}


def _table(relation: Relation) -> Table:
    columns: list[Column[Any]] = []
    for column in relation.columns:
        kind: TypeEngine[Any] | type[TypeEngine[Any]] = _TYPES[column.kind]
        columns.append(Column(column.name, kind, nullable=column.name not in relation.required))
    if "recorded_at" not in relation:
        columns.append(Column("recorded_at", UtcDateTime, nullable=True))
    return Table(
        f"master_{relation.name}",
        Base.metadata,
        # The digest of the row's content, recorded_at included: the same row again is no new row.
        Column("row_digest", String(64), primary_key=True),
        *columns,
        Column("business_key", Text, nullable=False),
        Column("source_id", Text, nullable=False),
        Column("receipt_id", Text, nullable=False),
        Index(f"ix_master_{relation.name}_business_key", "business_key", "recorded_at"),
    )


MASTER_TABLES: dict[str, Table] = {name: _table(relation) for name, relation in MASTERS.items()}


def business_key_columns(relation: Relation) -> tuple[str, ...]:
    """What a later recorded row supersedes by: the key without the time it was recorded."""
    return tuple(name for name in relation.key if name != "recorded_at")


def business_key(relation: Relation, row: Mapping[str, Any]) -> str:
    """The business key of a row as its table has it: its parts joined by `|`."""
    return "|".join(_part(row[name]) for name in business_key_columns(relation))


def _part(value: Any) -> str:
    if value is None:
        return ""
    # 12 and 12.0000 are one key.
    return decimal_text(value) if isinstance(value, Decimal) else str(value)


def content_digest(relation: Relation, row: Mapping[str, Any]) -> str:
    """What a row says, whenever that was recorded."""
    return sha256_hex(canonical_text({name: row[name] for name in relation.column_names if name != "recorded_at"}))


def version_digest(content: str, recorded_at: dt.datetime | None) -> str:
    """`row_digest` of a row with this content that was recorded then."""
    return sha256_hex(canonical_text({"content": content, "recorded_at": recorded_at}))
