"""The tiny world with its schemes and the same world without: who diverted has a case, nobody else, and only once."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest

from fangcuan.cases.views import CaseFilter, list_cases
from fangcuan.flow.approve import approve_shipped
from fangcuan.flow.installation import Installation, initialise
from fangcuan.flow.nightly import judge_nights
from fangcuan.simulate.spec import preset
from fangcuan.simulate.worlds import simulate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def _judged(root: Path, name: str) -> tuple[Installation, Path, list[dict[str, Any]]]:
    world = root / name
    simulate(preset(name), world)
    home = initialise(root / f"home-{name}", memory_limit="1GB")
    approve_shipped(home)
    return home, world, _judge(home, world)


def _judge(home: Installation, world: Path) -> list[dict[str, Any]]:
    told = json.loads((world / "world.json").read_text(encoding="utf-8"))
    first, last = (dt.date.fromisoformat(told[name]) for name in ("first_night", "last_night"))
    return list(judge_nights(home, first, last, world=world))


def test_diverters_are_found_once_and_without_them_nobody(tmp_path: Path, flow_tools: dict[str, Any]) -> None:
    home, world, results = _judged(tmp_path, "tiny")
    (schemes,) = (world / "truth").glob("schemes.*")
    planted = pyarrow.csv.read_csv(schemes).to_pylist()
    culprits = {scheme["partner_id"] for scheme in planted if scheme["family"] == "diversion"}
    found = {case["subject"]["id"] for case in list_cases(home.engine, CaseFilter(family="diversion"))}
    assert found
    assert found <= culprits
    assert all(result["not_looked"] == result["failed_units"] == [] for result in results)

    before = flow_tools["state"](home)
    again = _judge(home, world)
    assert all(result.get("again") for result in again)
    assert len(again) == len(results) == 10
    assert flow_tools["state"](home) == before

    honest, _, results = _judged(tmp_path, "tiny-clean")
    assert list_cases(honest.engine, CaseFilter(family="diversion")) == []
    assert sum(result["facts"] for result in results) > 0
    assert all(result["not_looked"] == result["failed_units"] == [] for result in results)
