"""Real serials with a known answer: 326,339 trips of 687 numbered bicycles over five cities in 2014 (bikeshare14, CC0).

As custody, a trip ships the bicycle from the city of its start to the city of its end. A bicycle that starts where it was
not brought to was moved silently; between two cities that happened 658 times.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from fangcuan.content.shared_sql import custody_steps
from fangcuan.content.units import Rule
from fangcuan.core.contract import DUCKDB_TYPES
from fangcuan.core.feeds import TRACE_EVENTS
from fangcuan.core.masters import MASTERS
from fangcuan.detect.relations import Night, night_parameters
from fangcuan.detect.run import run_fact
from fangcuan.detect.sql import Query
from fangcuan.detect.units import Unit
from fangcuan.settings import Settings
from fangcuan.warehouse.custody import CUSTODY
from fangcuan.warehouse.engine import DuckEngine, quote
from fangcuan.warehouse.lake import row_key_sql

pytestmark = [pytest.mark.real_data, pytest.mark.slow, pytest.mark.timeout(1800)]

ID = "diversion.custody_break"
EVENTS = {
    "event_id": "'t' || trip_id || kind",
    "item_role": "'item'",
    "event_time": "case kind when 's' then start_date else end_date end",
    "event_type": "'object'",
    "action": "'OBSERVE'",
    "biz_step": "case kind when 's' then 'shipping' else 'receiving' end",
    "epc": "'bike' || bike_id",
    "quantity": "1",
    "partner_id": "case kind when 's' then a.{place} else b.{place} end",
    "source_partner_id": "a.{place}",
    "destination_partner_id": "b.{place}",
}


class Trips:
    """Relation source over the trips; `place` is the column of the stations that stands for a partner."""

    def __init__(self, folder: Path, place: str):
        self._folder = folder
        self._place = place

    def open_raw(self, engine: DuckEngine, name: str) -> None:
        if name == "trace_events":
            engine.table("lake_trace_events", self._events())
        elif name in MASTERS:
            columns = {c.name: DUCKDB_TYPES[c.kind] for c in MASTERS[name].columns}
            columns |= {"recorded_at": "timestamptz", "business_key": "varchar", "row_digest": "varchar"}
            empty = ", ".join(f"cast(null as {kind}) as {quote(column)}" for column, kind in columns.items())
            engine.view(f"recorded_{name}", f"select {empty} where false")
        else:
            engine.view("batch_rows", "select * from lake_trace_events")
            columns = ", ".join(quote(column) for column in CUSTODY[name][0])
            engine.table(f"steps_{name}", f"select {columns} from ({Query(custody_steps()[name]).bind({})})")

    def open_fact(self, engine: DuckEngine, rule: Rule) -> None:
        raise AssertionError("custody_break reads no fact")

    def _events(self) -> str:
        casts = ", ".join(
            f"cast({EVENTS.get(c.name, 'null').format(place=self._place)} as {DUCKDB_TYPES[c.kind]}) as {quote(c.name)}"
            for c in TRACE_EVENTS.columns
        )
        stations = f"(select distinct on (station_id) * from '{self._folder / 'stations.csv'}')"
        return (
            f"select *, {row_key_sql(TRACE_EVENTS)} as row_key, cast(event_time as date) as event_date, "
            f"date '2015-01-01' as arrived_on from (select {casts} from '{self._folder / 'trips_2014.parquet'}' "
            f"join {stations} a on a.station_id = start_terminal join {stations} b on b.station_id = end_terminal "
            "cross join (values ('s'), ('e')) kinds(kind))"
        )


@pytest.fixture(scope="module")
def bicycles() -> Path:
    folder = Path(os.environ.get("FANGCUAN_REAL_DATA", "")) / "bikeshare14"
    if not (folder / "trips_2014.parquet").is_file():
        pytest.skip("set FANGCUAN_REAL_DATA to a folder that holds bikeshare14/trips_2014.parquet and stations.csv")
    return folder


@pytest.mark.parametrize(("place", "relocations"), [("landmark", 658), ("station_id", 63_816)])
def test_silent_relocations_are_found_exactly(
    place: str, relocations: int, bicycles: Path, units: Mapping[str, Unit], tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path, timezone="America/Los_Angeles")
    night = dt.date(2015, 1, 1)
    with DuckEngine(settings) as engine:
        opened = Night(engine, Trips(bicycles, place), {}, night_parameters(night, None, settings))
        opened.open("trace_events")
        assert engine.scalar("select count(*) from trace_events") == 652_678
        path = tmp_path / "breaks.parquet"
        run_fact(opened, units[ID], path)
        found = engine.rows(f"select break_kind, status, count(*) as n from read_parquet('{path}') group by all")
    assert {row["status"] for row in found} == {"broken"}
    assert {row["break_kind"]: row["n"] for row in found}["shipped_by_non_holder"] == relocations
