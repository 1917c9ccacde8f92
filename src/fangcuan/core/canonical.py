"""Canonical bytes: one way to write a value down, so that the same facts always give the same digest."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import rfc8785

#: Floating results are rounded to this many significant digits before they are stored or hashed.
SIGNIFICANT_DIGITS = 9


def utc_text(moment: dt.datetime) -> str:
    """Fixed-width UTC text, microseconds included: `2026-03-14T02:05:00.000000Z`."""
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone cannot be written down: {moment!r}")
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def decimal_text(value: Decimal | int) -> str:
    """A decimal without exponent or trailing zeros: 12.50 and 12.5 are the same money."""
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError(f"not a finite number: {value!r}")
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def quantise(value: float) -> float | None:
    """Round a floating result to SIGNIFICANT_DIGITS; not-a-number becomes None."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise ValueError("an infinite score cannot be stored")
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def plain(value: Any) -> Any:
    """A value as RFC 8785 JSON can carry it: decimals and large integers as text, times as fixed-width UTC text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return quantise(value)
    if isinstance(value, dt.datetime):
        return utc_text(value)
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    raise TypeError(f"no canonical form for {type(value).__name__}: {value!r}")


def canonical_json(value: Any) -> bytes:
    """RFC 8785 (JSON Canonicalization Scheme) bytes of `value` after `plain`."""
    return rfc8785.dumps(plain(value))


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """sha256 (64 hex digits) over the canonical JSON of `value`."""
    return sha256_hex(canonical_json(value))
