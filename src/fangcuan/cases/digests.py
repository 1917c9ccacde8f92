"""Digests of what the casebook says, to compare two runs: a night killed and filed again with an undisturbed one."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

from sqlalchemy import Connection, Engine, Table, select

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
    rows = sorted(hashlib.sha256(canonical_text(dict(row))).digest() for row in result.mappings())
    return {"rows": len(rows), "digest": hashlib.sha256(b"".join(rows)).hexdigest()}
