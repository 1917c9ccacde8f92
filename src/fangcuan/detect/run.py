"""Run one unit on one night's relations. Facts give rows for later units; every other role gives findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from fangcuan.core.finding import Finding
from fangcuan.detect.findings import UnitError, attach_evidence, fetch_evidence, to_findings
from fangcuan.detect.relations import Night
from fangcuan.detect.units import Unit
from fangcuan.settings import Settings
from fangcuan.warehouse.engine import DuckEngine, QueryRefused, quote

#: A unit that needs longer than this is interrupted and reported, so that one query cannot hold a night.
UNIT_SECONDS = 1800.0


@dataclass(frozen=True)
class UnitFindings:
    """Findings of one unit, sorted by id, and the exact rows they rest on by (relation, key)."""

    findings: list[Finding]
    evidence: dict[tuple[str, str], dict[str, Any]]


@contextmanager
def time_limit(engine: DuckEngine, unit_id: str, seconds: float) -> Iterator[None]:
    """Interrupt the engine after `seconds`; raises QueryRefused naming the unit."""
    fired = False

    def interrupt() -> None:
        nonlocal fired
        fired = True
        engine.interrupt()

    timer = Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if fired:
            raise QueryRefused(f"{unit_id} ran longer than {seconds:g} s; narrow its window") from error
        raise
    finally:
        timer.cancel()


def run_fact(night: Night, unit: Unit, path: Path, seconds: float = UNIT_SECONDS) -> int:
    """Write the fact's rows of this night, sorted by its key, to `path`; gives their number."""
    sql = night.prepare(unit.query, unit.parameters)
    order = ", ".join(quote(column) for column in unit.rule.key)
    with time_limit(night.engine, unit.id, seconds):
        night.engine.write_parquet(f"select * from ({sql}) order by {order}", path)
        total, distinct = _counted(night.engine, path, f"hash({order})")
        if total != distinct:
            # Two keys may share a hash, rarely; the keys themselves decide.
            total, distinct = _counted(night.engine, path, f"({order})")
    if total != distinct:
        path.unlink()
        raise UnitError(f"{unit.id}: {total - distinct} rows repeat the key {order}; a fact gives one row per key")
    return total


def _counted(engine: DuckEngine, path: Path, key: str) -> tuple[int, int]:
    row = engine.rows(f"select count(*) as n, count(distinct {key}) as d from read_parquet('{path}')")[0]
    return int(row["n"]), int(row["d"])


def run_unit(
    night: Night, unit: Unit, coverage_id: str, settings: Settings, seconds: float = UNIT_SECONDS
) -> UnitFindings:
    """Findings of one unit with their evidence. Raises UnitError, SqlRefused or QueryRefused."""
    sql = night.prepare(unit.query, unit.parameters)
    with time_limit(night.engine, unit.id, seconds):
        table = night.engine.arrow(sql)
        pairs = to_findings(unit, table, coverage_id, settings)
        rows = fetch_evidence(night, (key for _, keys in pairs for key in keys))
    findings, _ = attach_evidence(pairs, rows)
    return UnitFindings(findings, rows)
