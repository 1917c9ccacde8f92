"""Nights over rows given in a test, and over public data mapped by a query: everything but the lake is the real path."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from fangcuan.core.contract import DUCKDB_TYPES
from fangcuan.core.feeds import FEEDS
from fangcuan.core.finding import Finding
from fangcuan.core.masters import MASTERS
from fangcuan.detect.given import GivenRows
from fangcuan.detect.relations import Night, night_parameters
from fangcuan.detect.run import run_fact, run_unit
from fangcuan.detect.units import Unit, load_units
from fangcuan.settings import Settings
from fangcuan.warehouse.engine import DuckEngine, quote
from fangcuan.warehouse.lake import row_key_sql

FACTS = ("price.net_price", "price.error_reading")

Given = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def units() -> dict[str, Unit]:
    return load_units()


class Nights:
    """Judges one night after another; each sees what had arrived and was known by then, facts of earlier nights stay."""

    def __init__(self, units: Mapping[str, Unit], settings: Settings, folder: Path, given: Given):
        self._units, self._settings, self._folder, self._given = units, settings, folder, given
        self._facts: dict[str, list[tuple[dt.date, Path]]] = {}
        self._since: dt.date | None = None

    def judge(self, night: str, unit_id: str = "price.below_floor") -> list[Finding]:
        day = dt.date.fromisoformat(night)
        rules = {key: unit.rule for key, unit in self._units.items() if unit.rule.role == "fact"}
        arrived = {
            name: [row for row in rows if name not in FEEDS or row["arrived_on"] <= night]
            for name, rows in self._given.items()
        }
        with DuckEngine(self._settings) as engine:
            source = GivenRows(arrived, day, self._folder)
            source.facts = self._facts
            opened = Night(engine, source, rules, night_parameters(day, self._since, self._settings))
            for fact in FACTS:
                path = self._folder / f"{fact}-{night}.parquet"
                run_fact(opened, self._units[fact], path)
                self._facts.setdefault(fact, []).append((day, path))
            findings = run_unit(opened, self._units[unit_id], "test", self._settings).findings
        self._since = day
        return findings


@pytest.fixture
def nights(units: dict[str, Unit], tmp_path: Path) -> Callable[[Given], Nights]:
    made = iter(range(100))

    def make(given: Given) -> Nights:
        folder = tmp_path / str(next(made))
        folder.mkdir()
        return Nights(units, Settings(home=folder), folder, given)

    return make


class Mapped:
    """Relation source over queries: {relation: ({column: expression}, query)}; everything arrived on one night."""

    def __init__(self, tables: Mapping[str, tuple[Mapping[str, str], str]]):
        self._tables = tables
        self.facts: dict[str, list[tuple[dt.date, Path]]] = {}

    def open_raw(self, engine: DuckEngine, name: str) -> None:
        relation = FEEDS.get(name) or MASTERS[name]
        expressions, query = self._tables.get(name, ({}, "select 1 where false"))
        typed = ", ".join(
            f"cast({expressions.get(c.name, 'null')} as {DUCKDB_TYPES[c.kind]}) as {quote(c.name)}"
            for c in relation.columns
        )
        if name in FEEDS:
            engine.table(
                f"lake_{name}",
                f"select *, {row_key_sql(relation)} as row_key, cast({relation.time} as date) as event_date, "
                f"date '2026-12-31' as arrived_on from (select {typed} from ({query}))",
            )
            return
        extra = "" if "recorded_at" in relation else ", cast(null as timestamptz) as recorded_at"
        key = ", ".join(f"coalesce(cast({quote(k)} as varchar), '')" for k in relation.key if k != "recorded_at")
        engine.table(
            f"recorded_{name}",
            f"select *, concat_ws('|', {key}) as business_key, '' as row_digest from (select {typed}{extra} from ({query}))",
        )

    def open_fact(self, engine: DuckEngine, rule: Any) -> None:
        ((night, path),) = self.facts[rule.id]
        engine.view(f"rows_{rule.relation}", f"select *, date '{night}' as fact_night from read_parquet('{path}')")


class Judged:
    """One night over mapped data: `facts` gives the file of each fact, `findings` those of the unit."""

    def __init__(self, facts: dict[str, Path], findings: list[Finding]):
        self.facts, self.findings = facts, findings


@pytest.fixture
def judge_mapped(units: dict[str, Unit], tmp_path: Path) -> Callable[..., Judged]:
    def judge(tables: Mapping[str, Any], timezone: str, unit_id: str | None) -> Judged:
        night = dt.date(2026, 12, 31)
        settings = Settings(home=tmp_path, timezone=timezone)
        rules = {key: unit.rule for key, unit in units.items() if unit.rule.role == "fact"}
        source = Mapped(tables)
        with DuckEngine(settings) as engine:
            opened = Night(engine, source, rules, night_parameters(night, None, settings))
            for fact in FACTS:
                path = tmp_path / f"{fact}.parquet"
                run_fact(opened, units[fact], path)
                source.facts[fact] = [(night, path)]
            findings = run_unit(opened, units[unit_id], "real", settings).findings if unit_id else []
        return Judged({fact: found[0][1] for fact, found in source.facts.items()}, findings)

    return judge


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    def folder(name: str) -> Path:
        base = os.environ.get("FANGCUAN_REAL_DATA")
        path = Path(base) / name if base else None
        if path is None or not path.is_dir():
            pytest.skip(f"public data set {name} is absent: set FANGCUAN_REAL_DATA to the folder that holds it")
        return path

    return folder
