"""Text to contract types, as DuckDB SQL: strict, exact and the same on every machine.

Nothing is guessed: a value that is not written as expected is a problem of its row, never a null and never a rounded number.
"""

from __future__ import annotations

from dataclasses import dataclass

from fangcuan.core.contract import DUCKDB_TYPES, Column, Kind

#: What each kind should have looked like, for problems.
EXPECTED: dict[Kind, str] = {
    "text": "text without control characters",
    "integer": "a whole number in plain digits",
    "decimal": "a number in plain digits, at most 14 before and 4 after the point",
    "double": "a number",
    "boolean": "true, false, yes, no, 1, 0, 是 or 否",
    "timestamp": "ISO 8601 time with zone",
    "date": "ISO 8601 date",
    "json": "JSON",
}

_TRUE = "'true', '1', 'yes', '是'"
_FALSE = "'false', '0', 'no', '否'"

_DATE = r"\d{4}-\d{2}-\d{2}"
_CLOCK = r"\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?"
_ZONE = r"(Z|z|[+-]\d{2}(:?\d{2})?)"
_ZONED = f"^{_DATE}[T ]{_CLOCK} ?{_ZONE}$"
_LOCAL = f"^{_DATE}[T ]{_CLOCK}$"


@dataclass(frozen=True)
class Parsed:
    """SQL of a value and, for times, of its zone offset (`+08:00`)."""

    value: str
    offset: str | None = None


def parse(column: Column, source: str, source_type: str, zone: str | None) -> Parsed:
    """SQL that turns `source` (SQL of DuckDB type `source_type`) into the type of `column`, null where it cannot.

    `zone` is the IANA zone of times written without one; None makes such times problems.
    """
    kind, target = column.kind, DUCKDB_TYPES[column.kind]
    base = source_type.split("(", 1)[0].upper()
    if kind == "timestamp":
        return _timestamp(source, base, zone)
    if base == "VARCHAR":
        return Parsed(_from_text(kind, source, target))
    if kind in ("text", "json"):
        return Parsed(f"cast({source} as varchar)")
    if kind == "decimal" and base == "DECIMAL":
        # Casting to fewer decimals rounds; a number that does not come back unchanged is a problem.
        return Parsed(f"case when try_cast({source} as {target}) = {source} then try_cast({source} as {target}) end")
    if kind in ("integer", "boolean") and base in ("FLOAT", "DOUBLE", "DECIMAL"):
        return Parsed(f"case when try_cast({source} as bigint) = {source} then try_cast(try_cast({source} as bigint) as {target}) end")
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
    if kind == "decimal":
        plain = r"[+-]?([0-9]+(\.[0-9]{0,4}0*)?|\.[0-9]{1,4}0*)"
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


def _timestamp(source: str, base: str, zone: str | None) -> Parsed:
    if base == "TIMESTAMP WITH TIME ZONE":
        return Parsed(source, f"case when {source} is not null then '+00:00' end")
    if base.startswith("TIMESTAMP"):
        local = f"cast({source} as timestamp)"
        value = _at_zone(local, zone) if zone else "null::timestamptz"
        return Parsed(value, _offset(value, zone) if zone else "null::varchar")
    if base != "VARCHAR":
        return Parsed("null::timestamptz", "null::varchar")
    text = f"replace({source}, ',', '.')"
    zoned = f"try_cast({text} as timestamptz)"
    tail = f"regexp_extract({source}, '{_ZONE}$', 1)"
    # +0800 and +08 are written +08:00.
    shown = (
        f"case when {tail} in ('Z', 'z') then '+00:00' "
        f"else substring({tail}, 1, 3) || ':' || coalesce(nullif(replace(substring({tail}, 4), ':', ''), ''), '00') end"
    )
    if zone is None:
        is_zoned = f"regexp_full_match({source}, '{_ZONED[1:-1]}')"
        return Parsed(f"case when {is_zoned} then {zoned} end", f"case when {is_zoned} then {shown} end")
    local = f"try_cast({text} as timestamp)"
    is_local = f"regexp_full_match({source}, '{_LOCAL[1:-1]}')"
    is_zoned = f"regexp_full_match({source}, '{_ZONED[1:-1]}')"
    at_zone = _at_zone(local, zone)
    return Parsed(
        f"case when {is_zoned} then {zoned} when {is_local} then {at_zone} end",
        f"case when {is_zoned} then {shown} when {is_local} then {_offset(at_zone, zone)} end",
    )


def _at_zone(local: str, zone: str) -> str:
    """The moment of a local time: null where clocks skip it, the earlier moment where it comes twice.

    DuckDB moves a skipped time and takes the later of two, so both are told apart by going back to local time.
    """
    moment = f"timezone('{zone}', {local})"
    candidates = [f"{moment} - interval {minutes} minute" for minutes in (120, 60, 30)]
    earlier = " ".join(f"when timezone('{zone}', {moment_}) = {local} then {moment_}" for moment_ in candidates)
    return f"case {earlier} when timezone('{zone}', {moment}) = {local} then {moment} end"


def _offset(moment: str, zone: str) -> str:
    minutes = f"date_diff('minute', timezone('UTC', {moment}), timezone('{zone}', {moment}))"
    sign = f"case when {minutes} < 0 then '-' else '+' end"
    return (
        f"{sign} || lpad(cast(abs({minutes}) // 60 as varchar), 2, '0') || ':' "
        f"|| lpad(cast(abs({minutes}) % 60 as varchar), 2, '0')"
    )
