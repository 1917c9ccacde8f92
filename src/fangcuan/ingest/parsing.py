"""Text to contract types, as DuckDB SQL: strict, exact and the same on every machine.

Nothing is guessed: a value that is not written as expected is a problem of its row, never a null and never a rounded number.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from fangcuan.core.contract import DUCKDB_TYPES, Column, Kind

#: What each kind should have looked like, for problems.
EXPECTED: dict[Kind, str] = {
    "text": "text without control characters",
    "integer": "a whole number in plain digits",
    "decimal": "a number in plain digits, at most 14 before and 4 after the point",
    "rate": "a number in plain digits, at most 10 before and 8 after the point",
    "double": "a number",
    "boolean": "true, false, yes, no, 1, 0, 是 or 否",
    "timestamp": "ISO 8601 time with zone",
    "date": "ISO 8601 date",
    "json": "JSON",
}

#: Digits after the point of each kind that is exact.
_PLACES: dict[Kind, int] = {
    kind: int(found.group(1))
    for kind, name in DUCKDB_TYPES.items()
    if (found := re.search(r"decimal\(\d+,(\d+)\)", name))
}

_TRUE = "'true', '1', 'yes', '是'"
_FALSE = "'false', '0', 'no', '否'"

#: Years 1900 to 9999: a date outside them is a slip of the pen.
_DATE = r"(19|[2-9]\d)\d{2}-\d{2}-\d{2}"
_CLOCK = r"\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?"
_ZONE = r"(Z|z|[+-](0\d|1[0-4])(:?[0-5]\d)?)"
_ZONED = f"{_DATE}[T ]{_CLOCK} ?{_ZONE}"
_LOCAL = f"{_DATE}[T ]{_CLOCK}"


@dataclass(frozen=True)
class Parsed:
    """SQL of a value; for times also of the offset the source wrote (`+08:00`) and of the local time where it wrote none,
    which `localise` turns into a moment."""

    value: str
    offset: str | None = None
    local: str | None = None


def parse(column: Column, source: str, source_type: str) -> Parsed:
    """SQL that turns `source` (SQL of DuckDB type `source_type`) into the type of `column`, null where it cannot."""
    kind, target = column.kind, DUCKDB_TYPES[column.kind]
    base = source_type.split("(", 1)[0].upper()
    if kind == "timestamp":
        return _timestamp(source, base)
    if base == "VARCHAR":
        return Parsed(_from_text(kind, source, target))
    if kind in ("text", "json"):
        return Parsed(f"cast({source} as varchar)")
    if kind in _PLACES and base == "DECIMAL":
        # Casting to fewer decimals rounds; a number that does not come back unchanged is a problem.
        return Parsed(f"case when try_cast({source} as {target}) = {source} then try_cast({source} as {target}) end")
    if kind in ("integer", "boolean") and base in ("FLOAT", "DOUBLE", "DECIMAL"):
        return Parsed(
            f"case when try_cast({source} as bigint) = {source} then try_cast(try_cast({source} as bigint) as {target}) end"
        )
    if kind == "double":
        return Parsed(f"case when isfinite(try_cast({source} as double)) then try_cast({source} as double) end")
    if kind == "date" and base.startswith("TIMESTAMP"):
        return Parsed(f"case when date_trunc('day', {source}) = {source} then try_cast({source} as date) end")
    return Parsed(f"try_cast({source} as {target})")


def _from_text(kind: Kind, source: str, target: str) -> str:
    if kind == "text":
        return f"case when not contains({source}, chr(0)) then {source} end"
    if kind == "json":
        return f"case when json_valid({source}) then {source} end"
    if kind == "integer":
        return f"case when regexp_full_match({source}, '[+-]?[0-9]+') then try_cast({source} as {target}) end"
    if kind in _PLACES:
        plain = rf"[+-]?([0-9]+(\.[0-9]{{0,{_PLACES[kind]}}}0*)?|\.[0-9]{{1,{_PLACES[kind]}}}0*)"
        return f"case when regexp_full_match({source}, '{plain}') then try_cast({source} as {target}) end"
    if kind == "double":
        number = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
        finite = f"isfinite(try_cast({source} as double))"
        return f"case when regexp_full_match({source}, '{number}') and {finite} then try_cast({source} as double) end"
    if kind == "boolean":
        return f"case when lower({source}) in ({_TRUE}) then true when lower({source}) in ({_FALSE}) then false end"
    midnight = r"([T ]00:00(:00(\.0+)?)?)?"
    return (
        f"case when regexp_full_match({source}, '{_DATE}{midnight}') "
        f"then try_cast(substring({source}, 1, 10) as date) end"
    )


def _timestamp(source: str, base: str) -> Parsed:
    if base == "TIMESTAMP WITH TIME ZONE":
        return Parsed(source, f"case when {source} is not null then '+00:00' end")
    nothing = Parsed("null::timestamptz", "null::varchar")
    if base.startswith("TIMESTAMP"):
        return replace(nothing, local=f"cast({source} as timestamp)")
    if base != "VARCHAR":
        return nothing
    text = f"upper(replace({source}, ',', '.'))"
    tail = f"regexp_extract({source}, '{_ZONE}$', 1)"
    # +0800 and +08 are written +08:00.
    shown = (
        f"case when {tail} in ('Z', 'z') then '+00:00' "
        f"else substring({tail}, 1, 3) || ':' || coalesce(nullif(replace(substring({tail}, 4), ':', ''), ''), '00') end"
    )
    is_zoned = f"regexp_full_match({source}, '{_ZONED}')"
    return Parsed(
        f"case when {is_zoned} then try_cast({text} as timestamptz) end",
        f"case when {is_zoned} then {shown} end",
        f"case when regexp_full_match({source}, '{_LOCAL}') then try_cast({text} as timestamp) end",
    )


def localise(local: pa.ChunkedArray, zone: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Moments (UTC microseconds) and zone offsets of local times in an IANA zone.

    A local time that clocks skip has no moment and stays null; one that comes twice means the earlier moment. Times before
    1900 are null.
    """
    early, modern = dt.datetime(1900, 1, 1), dt.datetime(1980, 1, 1)
    local = pc.if_else(pc.less(local, pa.scalar(early, local.type)), pa.scalar(None, local.type), local)
    lowest = pc.min(local).as_py()
    # Since 1980 every zone changes its offset at a quarter of an hour.
    unit = (15, "minute") if lowest is None or lowest >= modern else (1, "second")
    steps = pc.floor_temporal(local, *unit).combine_chunks().dictionary_encode()
    info = zoneinfo.ZoneInfo(zone)
    offsets = [_offset_of(step, info) for step in steps.dictionary.to_pylist()]
    shifts = pa.array([None if offset is None else offset * 1_000_000 for offset in offsets], pa.int64())
    texts = pa.array([None if offset is None else _offset_text(offset) for offset in offsets], pa.string())
    moments = pc.subtract(pc.cast(local, pa.int64()).combine_chunks(), shifts.take(steps.indices))
    return (
        pa.chunked_array([pc.cast(moments, pa.timestamp("us", "UTC"))]),
        pa.chunked_array([texts.take(steps.indices)]),
    )


def _offset_of(local: dt.datetime | None, zone: zoneinfo.ZoneInfo) -> int | None:
    """Seconds east of UTC at a local time, the first of two; None where the time does not exist."""
    if local is None:
        return None
    aware = local.replace(tzinfo=zone, fold=0)
    try:
        back = aware.astimezone(dt.UTC).astimezone(zone)
    except OverflowError:
        return None
    shift = aware.utcoffset()
    return int(shift.total_seconds()) if shift is not None and back.replace(tzinfo=None) == local else None


def _offset_text(seconds: int) -> str:
    hours, minutes = divmod(abs(seconds) // 60, 60)
    return f"{'-' if seconds < 0 else '+'}{hours:02d}:{minutes:02d}"
