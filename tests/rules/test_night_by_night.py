"""Custody judged night by night, with late and withdrawn events, ends where a single judgement of everything ends."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fangcuan.detect.given import GivenRows
from fangcuan.detect.relations import Night, night_parameters
from fangcuan.detect.run import run_fact
from fangcuan.detect.units import Unit
from fangcuan.settings import Settings
from fangcuan.warehouse.engine import DuckEngine

ID = "diversion.custody_break"
FIRST = dt.date(2026, 3, 1)
NIGHTS = 12
PARTNERS = ("BRAND", "D1", "D2", "R1")
MASTERS: dict[str, list[dict[str, Any]]] = {
    "partners": [{"partner_id": name, "name": name, "kind": "dealer"} for name in PARTNERS],
    "products": [{"sku": "S1", "name": "Baijiu", "product_line": "baijiu"}],
    "transfer_permits": [
        {
            "permit_id": "P1",
            "from_partner_id": "D1",
            "to_partner_id": "D2",
            "scope": "all",
            "approved_by": "ops",
            "recorded_at": "2026-03-08T10:00:00+08:00",
        }
    ],
}


def _story(seed: int) -> list[dict[str, Any]]:
    """Cartons of two units wander at random among four partners; a third of what happens is reported late."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []

    def tell(day: float, **row: Any) -> None:
        moment = dt.datetime.combine(FIRST, dt.time(8)) + dt.timedelta(days=day)
        late = rng.choice([0, 0, 0, 0, 1, 2, 4])
        arrives = min(moment.date() + dt.timedelta(days=late), FIRST + dt.timedelta(days=NIGHTS - 1))
        row["event_time"] = f"{moment:%Y-%m-%dT%H:%M:%S}+08:00"
        rows.append({"event_id": f"e{len(rows):03d}", "event_type": "object", "arrived_on": str(arrives), **row})

    for number in range(8):
        carton, children = f"c{number}", (f"u{number}a", f"u{number}b")
        packing = {"event_type": "aggregation", "action": "ADD", "biz_step": "packing", "parent_epc": carton}
        for unit in children:
            tell(0.1, epc=unit, **packing)
        tell(0.2, epc=carton, action="ADD", biz_step="commissioning", partner_id="BRAND", sku="S1")
        day = 0.5
        while day < NIGHTS - 2:
            epc = rng.choice([carton, carton, *children])
            partner, other = rng.choice(PARTNERS), rng.choice(PARTNERS)
            if rng.random() < 0.1:
                again = {**packing, "parent_epc": f"c{rng.randrange(8)}", "action": rng.choice(["ADD", "DELETE"])}
                tell(day, epc=rng.choice(children), **again)
            elif rng.random() < 0.5:
                sent = {"source_partner_id": partner, "destination_partner_id": other}
                tell(day, epc=epc, action="OBSERVE", biz_step="shipping", **sent)
            else:
                tell(day, epc=epc, action="OBSERVE", biz_step="receiving", partner_id=partner)
            day += rng.choice([0.1, 0.4, 1.3])
    for victim in rng.sample([row for row in rows if "biz_step" in row], 4):
        said = dt.date.fromisoformat(victim["arrived_on"]) + dt.timedelta(days=rng.choice([0, 2]))
        said = min(said, FIRST + dt.timedelta(days=NIGHTS - 1))
        rows.append(
            {
                "event_id": f"w-{victim['event_id']}",
                "event_time": f"{said}T09:00:00+08:00",
                "event_type": "object",
                "epc": victim["epc"],
                "corrects_event_id": victim["event_id"],
                "arrived_on": str(said),
            }
        )
    return rows


def _judge(
    unit: Unit, rows: list[dict[str, Any]], nights: list[dt.date], settings: Settings, folder: Path
) -> set[tuple[str, ...]]:
    """Breaks that stand after the last of `nights`, each of which sees what had arrived by then."""
    folder.mkdir()
    written: list[tuple[dt.date, Path]] = []
    since: dt.date | None = None
    for night in nights:
        known = [row for row in rows if row["arrived_on"] <= str(night)]
        with DuckEngine(settings) as engine:
            source = GivenRows({**MASTERS, "trace_events": known}, night, folder)
            path = folder / f"{night}.parquet"
            opened = Night(engine, source, {ID: unit.rule}, night_parameters(night, since, settings))
            run_fact(opened, unit, path)
            written.append((night, path))
            source.facts[unit.id] = written
            if night == nights[-1]:
                opened.open(unit.rule.relation)
                standing = engine.rows(
                    "select break_kind, row_key, partner_id, other_partner_id "
                    f"from {unit.rule.relation} where status = 'broken'"
                )
        since = night
    return {tuple(str(value) for value in row.values()) for row in standing}


@pytest.mark.parametrize("seed", [0, 2, 4, 10, 12, 14])
def test_incremental_custody_equals_a_single_judgement(
    seed: int, units: Mapping[str, Unit], settings: Settings, tmp_path: Path
) -> None:
    rows = _story(seed)
    nights = [FIRST + dt.timedelta(days=day) for day in range(NIGHTS)]
    at_once = _judge(units[ID], rows, nights[-1:], settings, tmp_path / "once")
    nightly = _judge(units[ID], rows, nights, settings, tmp_path / "nightly")
    assert len(at_once) > 10, "the story has too few breaks to prove anything"
    assert nightly == at_once
