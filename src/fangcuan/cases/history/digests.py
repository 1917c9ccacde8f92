"""Digests of what the casebook says, to compare two runs: a night killed and filed again with an undisturbed one."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Engine, Float, Table, select

from fangcuan.core.canonical import decimal_text, utc_text
from fangcuan.store.base import CanonicalJson, DecimalText, UtcDateTime
from fangcuan.store.casework import (
    case_file,
    case_finding_move,
    case_link,
    case_machine,
    filed_finding,
    filing_night,
    filing_unit_night,
    finding,
    finding_fingerprint,
    finding_occurrence,
)
from fangcuan.store.database import read
from fangcuan.store.jsontext import canonical_text

_GROUPS: dict[str, tuple[Table, ...]] = {
    "findings": (finding, finding_fingerprint, finding_occurrence),
    "cases": (case_file, case_machine, filed_finding, case_finding_move, case_link),
    "counters": (filing_night, filing_unit_night),
}
#: Say which run did it and when, not what was found.
_LEFT_OUT = {"run_id", "moved_at"}
_ROWS = 5_000
#: Columns of a finding that follow from when it was reported, or are told apart: everything else is contract.
_OTHERWISE = {"finding_id", "state", "first_seen", "last_seen"}
#: Columns of a finding that hold what the latest night reported, in the order in which `row_digest` takes them.
CONTRACT_COLUMNS = tuple(sorted(column.name for column in finding.c if column.name not in _OTHERWISE))
#: Columns of an occurrence that earlier casebooks did not have: a night from then is digested without them.
_LATER = ("row_sha256", "state")


def digests(engine: Engine) -> dict[str, str]:
    """sha256 (hex) over the sorted contents of `findings`, `cases` and `counters`; no wall-clock time and no run id in it.

    Independent of the database and of the order in which rows were written.
    """
    with read(engine) as connection:
        return {name: _digest(connection, tables) for name, tables in _GROUPS.items()}


def _digest(connection: Connection, tables: tuple[Table, ...]) -> str:
    total = hashlib.sha256()
    for table in tables:
        columns = [column for column in table.c if column.name not in _LEFT_OUT]
        result = connection.execution_options(yield_per=_ROWS).execute(select(*columns))
        rows = sorted(hashlib.sha256(canonical_text(dict(row))).digest() for row in result.mappings())
        total.update(f"{table.name} {len(rows)}\n".encode())
        total.update(b"".join(rows))
    return total.hexdigest()


def night_digest(connection: Connection, night: dt.date) -> dict[str, Any]:
    """`rows` and `digest` (sha256, hex) of all occurrences of a night, whatever order and however many filings brought them."""
    query = select(finding_occurrence).where(finding_occurrence.c.night == night)
    result = connection.execute(query, execution_options={"yield_per": _ROWS})
    rows = sorted(hashlib.sha256(canonical_text(_as_then(dict(row)))).digest() for row in result.mappings())
    return {"rows": len(rows), "digest": hashlib.sha256(b"".join(rows)).hexdigest()}


def row_digest(stored: Iterable[Any]) -> str:
    """sha256 (hex) over the CONTRACT_COLUMNS of a finding in the spelling of the database: JSON, decimals and times as text.

    By name and without those that are NULL, so that a column which comes later changes no digest of before.
    """
    pairs = [pair for pair in zip(CONTRACT_COLUMNS, stored, strict=True) if pair[1] is not None]
    text = json.dumps(pairs, ensure_ascii=False, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def spelled(values: Mapping[str, Any]) -> list[Any]:
    """CONTRACT_COLUMNS of a finding that is about to be stored, as the database will give them back."""
    return [None if values[name] is None else spell(values[name]) for name, spell in _SPELLING]


def _json(value: Any) -> str:
    if not value:
        return "{}" if isinstance(value, Mapping) else "[]"
    return canonical_text(value).decode()


def _speller(kind: Any) -> Callable[[Any], Any]:
    if isinstance(kind, CanonicalJson):
        return _json
    if isinstance(kind, DecimalText):
        return decimal_text
    if isinstance(kind, UtcDateTime):
        # The findings of a night share few windows.
        return lru_cache(1024)(utc_text)
    return float if isinstance(kind, Float) else str


_SPELLING = tuple((name, _speller(finding.c[name].type)) for name in CONTRACT_COLUMNS)


def _as_then(row: dict[str, Any]) -> dict[str, Any]:
    for name in _LATER:
        if row[name] is None:
            del row[name]
    return row
