"""The bytes of `core.canonical.canonical_json`, made several times faster for what the casebook stores in bulk."""

from __future__ import annotations

import json
from typing import Any

from fangcuan.core.canonical import canonical_json, plain, quantise

_ENCODER = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False, allow_nan=False
)
_SAFE_INTEGER = 2**53


class _Unusual(Exception):
    """The value holds something that the standard library writes differently from RFC 8785."""


def canonical_text(value: Any) -> bytes:
    """Exactly `canonical_json(value)`. The C encoder does the work where it agrees with RFC 8785 byte for byte:

    keys in ASCII (RFC 8785 sorts by UTF-16 units), whole numbers, and floats that both write without an exponent.
    """
    try:
        return _ENCODER.encode(_ready(value)).encode("utf-8")
    except (_Unusual, UnicodeEncodeError):
        return canonical_json(value)


def _ready(value: Any) -> Any:
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is dict:
        return {_key(key): _ready(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_ready(item) for item in value]
    if kind is int:
        return value if -_SAFE_INTEGER < value < _SAFE_INTEGER else str(value)
    if kind is float:
        return _number(value)
    ready = plain(value)
    # A mapping or sequence of another type is plain by now; its floats and keys still have to be looked at.
    return _ready(ready) if type(ready) is not kind else ready


def _key(key: Any) -> str:
    text = key if type(key) is str else str(key)
    if not text.isascii():
        raise _Unusual
    return text


def _number(value: float) -> float | int | None:
    number = quantise(value)
    if number is None:
        return None
    if number.is_integer() and abs(number) < _SAFE_INTEGER:
        return int(number)
    if not 1e-4 <= abs(number) < 1e16:
        raise _Unusual
    return number
