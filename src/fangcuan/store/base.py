"""What every casebook table shares: naming of constraints, and column types that are exact on both databases."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Date, DateTime, Integer, MetaData, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator, TypeEngine

from fangcuan.core.canonical import decimal_text, utc_text
from fangcuan.store.jsontext import canonical_text

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

#: Length of `utc_text`: 2026-03-14T02:05:00.000000Z.
UTC_TEXT_LENGTH = 27


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A moment in UTC, to the microsecond: fixed-width text on SQLite (sorts as time does), timestamptz on PostgreSQL.

    Takes aware datetimes only (ValueError otherwise) and gives aware datetimes in UTC.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(UTC_TEXT_LENGTH))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        text = utc_text(value)
        return text if dialect.name == "sqlite" else value.astimezone(dt.UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if isinstance(value, str):
            return dt.datetime.fromisoformat(value)
        return value.astimezone(dt.UTC)


class DecimalText(TypeDecorator[Decimal]):
    """A decimal as canonical text (12.50 is stored as `12.5`): exact on both databases, equal when the text is equal.

    It does not order or add up in SQL; whoever needs that reads the values first.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Decimal | int | None, dialect: Dialect) -> str | None:
        return None if value is None else decimal_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


class CanonicalJson(TypeDecorator[Any]):
    """JSON kept as RFC 8785 text: a database's own JSON type rewrites numbers and drops duplicate keys."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else canonical_text(value).decode("utf-8")

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


#: A 64-bit integer that SQLite accepts as an auto-incrementing primary key.
BigInt = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """All casebook tables. `Base.metadata` is what the migrations must add up to."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads this attribute from the class
        dt.datetime: UtcDateTime,
        dt.date: Date,
        Decimal: DecimalText,
        str: Text,
    }
