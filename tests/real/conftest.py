"""The public data sets, each pulled and judged once, and questions to their lakes.

A set is run below pytest's own folder, or below FANGCUAN_REAL_HOME, where what was run before is kept.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fangcuan.detect.relations import Night, night_parameters
from fangcuan.detect.sources import CatalogueRows
from fangcuan.flow import real
from fangcuan.flow.installation import Installation
from fangcuan.flow.night import live_units
from fangcuan.store.database import read
from fangcuan.warehouse.engine import DuckEngine

ANSWERS = json.loads((Path(__file__).parent / "answers.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Ran:
    """One set after its nights: its installation, and its relations as its last night saw them."""

    set_id: str
    installation: Installation

    @cached_property
    def night(self) -> Night:
        settings = self.installation.settings
        units = live_units()
        digests = {
            row["unit_id"]: row["unit_digest"] for row in self.book("select unit_id, unit_digest from unit_result")
        }
        facts = {key: unit.rule for key, unit in units.items() if unit.rule.role == "fact" and key in digests}
        day = real.SETS[self.set_id].nights[-1]
        rows = CatalogueRows(settings, self.installation.engine, day, digests, history_days=40_000)
        return Night(DuckEngine(settings), rows, facts, night_parameters(day, None, settings))

    def ask(self, sql: str, *relations: str) -> list[dict[str, Any]]:
        """Rows of `sql` over `relations` (feeds, master tables, custody, facts) of the lake and casebook."""
        for name in relations:
            self.night.open(name)
        # Through Arrow: fetching times with a zone row by row would need pytz.
        return self.night.engine.arrow(sql).to_pylist()

    def one(self, sql: str, *relations: str) -> dict[str, Any]:
        (row,) = self.ask(sql, *relations)
        return row

    def book(self, sql: str) -> list[dict[str, Any]]:
        """Rows of `sql` over the casebook's own tables."""
        with read(self.installation.engine) as connection:
            return [dict(row) for row in connection.execute(text(sql)).mappings()]


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Ran]]:
    """`ran("mandi_msp")`: the set, judged. Skips where its data is not there."""
    try:
        there = real.available()
    except real.DataMissing as missing:
        pytest.skip(str(missing))
    kept = os.environ.get("FANGCUAN_REAL_HOME")
    # Workers of one run share a folder; who comes second finds the set judged.
    home = Path(kept) if kept else tmp_path_factory.getbasetemp().parent / "real"
    home.mkdir(parents=True, exist_ok=True)
    known: dict[str, Ran] = {}

    def run(set_id: str) -> Ran:
        if set_id not in there:
            pytest.skip(f"{real.VARIABLE} holds no {real.SETS[set_id].folder}/, which {set_id} needs")
        if set_id not in known:
            with (home / f"{set_id}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for result in real.run_set(home, set_id):
                    if result["kind"] == "night":
                        assert result.get("failed_units", []) == []
            known[set_id] = Ran(set_id, real.installed(home, set_id))
        return known[set_id]

    yield run
    for item in known.values():
        if "night" in vars(item):
            item.night.engine.close()


@pytest.fixture(scope="session")
def answers() -> dict[str, Any]:
    """The committed answers."""
    return ANSWERS
