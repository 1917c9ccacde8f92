"""Export findings as one table: Parquet, JSON lines or CSV, by the suffix of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import select

from fangcuan.flow.installation import Installation
from fangcuan.store.casework import case_finding, finding
from fangcuan.store.database import read
from fangcuan.warehouse.engine import DuckEngine, literal

SUFFIXES = (".parquet", ".jsonl", ".csv")


class ExportError(Exception):
    """The export cannot be written; the message says what to give instead."""


def export_findings(installation: Installation, out: Path) -> int:
    """Write every stored finding to `out`, sorted by id; gives their number. Raises ExportError for another suffix."""
    if out.suffix not in SUFFIXES:
        raise ExportError(f"{out.name}: the suffix names no format; use {', '.join(SUFFIXES)}")
    filed = select(case_finding.c.finding_id, case_finding.c.number)
    with read(installation.engine) as connection:
        numbers = {row.finding_id: row.number for row in connection.execute(filed)}
        rows = [dict(row) for row in connection.execute(select(finding).order_by(finding.c.finding_id)).mappings()]
    records = [_record(row, numbers.get(row["finding_id"])) for row in rows]
    if out.suffix == ".jsonl":
        out.write_text(
            "".join(json.dumps(r, ensure_ascii=False, sort_keys=True) + "\n" for r in records), encoding="utf-8"
        )
        return len(records)
    names = list(records[0]) if records else ["finding_id"]
    table = pa.table({name: pa.array([_cell(record[name]) for record in records], pa.string()) for name in names})
    with DuckEngine(installation.settings) as engine:
        engine.register("findings", table)
        kind = "parquet" if out.suffix == ".parquet" else "csv, header"
        engine.execute(f"copy (select * from findings order by finding_id) to {literal(str(out))} (format {kind})")
    return len(records)


def _record(row: dict[str, Any], number: str | None) -> dict[str, Any]:
    record = {name: _plain(value) for name, value in row.items() if name != "record"}
    record["case_number"] = number
    record["filed"] = number is not None
    return record


def _plain(value: Any) -> Any:
    return (
        value.isoformat()
        if hasattr(value, "isoformat")
        else (str(value) if type(value).__name__ == "Decimal" else value)
    )


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
