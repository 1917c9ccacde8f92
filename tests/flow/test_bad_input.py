"""What happens to bad input, row by row of the table in docs/sources.md, from the file to the receipt and the night."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from fangcuan.flow.approve import approve_shipped
from fangcuan.flow.installation import Installation, initialise
from fangcuan.flow.nightly import judge_night
from fangcuan.flow.pulling import pull_all
from fangcuan.flow.quarantine import export_quarantine, list_quarantine, replay_quarantine
from fangcuan.store.catalogue import LakeFileRow, Pull, Receipt
from fangcuan.store.database import read


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    return initialise(tmp_path / "home", memory_limit="1GB")


@pytest.fixture
def world(tmp_path: Path, flow_tools: dict[str, Any]) -> Path:
    return flow_tools["build_world"](tmp_path / "world", cartons=2, units=2)


def _feed(world: Path, night: dt.date) -> Path:
    return world / "feeds" / "trace_events" / f"{night}.csv"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _pull(home: Installation, world: Path, night: dt.date) -> dict[str, dict[str, Any]]:
    return {result["source_id"]: result for result in pull_all(home, night, world=world)}


def _receipts(home: Installation, relation: str = "trace_events") -> list[dict[str, Any]]:
    with read(home.engine) as connection:
        statement = select(Receipt.__table__).where(Receipt.relation == relation).order_by(Receipt.recorded_at)
        return [dict(row) for row in connection.execute(statement).mappings()]


def _lake_rows(home: Installation, relation: str = "trace_events") -> int:
    with read(home.engine) as connection:
        return sum(connection.execute(select(LakeFileRow.rows).where(LakeFileRow.relation == relation)).scalars())


def _truncated_gzip(path: Path) -> None:
    whole = gzip.compress(path.read_bytes())
    path.with_suffix(".csv.gz").write_bytes(whole[: len(whole) // 2])
    path.unlink()


def _wrong_encoding(path: Path) -> None:
    path.write_bytes(
        path.read_text(encoding="utf-8").replace("scan", "扫码").encode("gb18030") + "\n窜货".encode("gb18030")
    )


def _truncated_parquet(path: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.csv.read_csv(path), path.with_suffix(".parquet"))
    data = path.with_suffix(".parquet").read_bytes()
    path.with_suffix(".parquet").write_bytes(data[:-40])
    path.unlink()


def _no_epc_column(path: Path) -> None:
    rows = _rows(path)
    for row in rows:
        row.pop("epc")
    _write(path, rows)


@pytest.mark.parametrize("spoil", [_truncated_gzip, _wrong_encoding, _truncated_parquet, _no_epc_column])
def test_an_unreadable_file_is_refused_whole_and_the_night_goes_on(
    home: Installation, world: Path, flow_tools: dict[str, Any], spoil: Any
) -> None:
    night = flow_tools["nights"][0]
    spoil(_feed(world, night))
    result = _pull(home, world, night)["world_trace_events"]
    assert result["state"] == "refused"
    (receipt,) = _receipts(home)
    assert (receipt["state"], receipt["rows_loaded"], _lake_rows(home)) == ("refused", 0, 0)
    assert str(night) in receipt["message"], "the receipt does not name the file"
    if spoil is _no_epc_column:
        assert "epc" in receipt["message"], "the receipt does not name the column"
    judged = judge_night(home, night, pull=False)
    assert judged["state"] == "judged"
    assert "world_trace_events" in judged["not_looked"]
    assert "diversion.repeated_destination" in judged["blind_units"], "a unit that saw nothing said it was clean"


def test_a_source_that_cannot_be_asked_is_coverage_and_the_night_goes_on(
    tmp_path: Path, small_world: Path, flow_tools: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traces of the small world from one source, sales from another whose folder is away until the last night."""
    nights, away = flow_tools["nights"], tmp_path / "away"
    for source, relation, folder in (
        ("of_traces", "trace_events", small_world / "feeds" / "trace_events"),
        ("of_sales", "sales", away),
    ):
        path = tmp_path / "overlay" / "pipelines" / source / "source.yml"
        path.parent.mkdir(parents=True)
        spec = {
            "id": source,
            "title": {"en": source, "zh": source},
            "owner": "tests",
            "connector": {"kind": "files", "path": f"{folder}/{{night:%Y-%m-%d}}.csv"},
            "feeds": [{"relation": relation, "identity": True}],
        }
        path.write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("FANGCUAN_CONTENT", str(tmp_path / "overlay"))
    home = initialise(tmp_path / "home", sources=["of_traces", "of_sales"], memory_limit="1GB")
    approve_shipped(home)
    masters = tmp_path / "masters"
    shutil.copytree(small_world / "master", masters / "master")
    _pull(home, masters, nights[0])

    results = [judge_night(home, night) for night in nights[:-1]]
    assert [result["state"] for result in results] == ["judged"] * 3
    assert [result["not_looked"] for result in results] == [["of_sales"]] * 3
    for result in results:
        assert "loading.period_end_orders" in result["blind_units"], "a unit that saw nothing said it was clean"
        assert "diversion.repeated_destination" not in result["blind_units"]
    assert sum(result["cases_opened"] for result in results) == 1
    with read(home.engine) as connection:
        states = connection.execute(select(Pull.source_id, Pull.state, Pull.message).where(Pull.night == nights[1]))
        pulls = {row.source_id: row for row in states}
    assert {source: row.state for source, row in pulls.items()} == {"of_traces": "landed", "of_sales": "unavailable"}
    assert str(away) in pulls["of_sales"].message, "nobody is told what could not be reached"

    away.mkdir()
    (away / f"{nights[-1]}.csv").write_text(
        f"partner_id,sku,region_code,day,flow,quantity\nD1,S1,320100,{nights[-1]},sell_in,1\n", encoding="utf-8"
    )
    back = judge_night(home, nights[-1])
    assert back["not_looked"] == []
    assert "loading.period_end_orders" not in back["blind_units"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("epc", ""),
        ("event_time", "32 March"),
        ("sku", "NO-SUCH-SKU"),
        ("region_code", "999999"),
        ("latitude", "123.4"),
        ("event_time", "2030-01-01T00:00:00+08:00"),
        ("event_type", "teleportation"),
    ],
)
def test_a_bad_row_is_quarantined_and_the_rest_loads(
    home: Installation, world: Path, flow_tools: dict[str, Any], column: str, value: str
) -> None:
    night = flow_tools["nights"][0]
    rows = [{"latitude": "", **row} for row in _rows(_feed(world, night))]
    rows[3][column] = value
    _write(_feed(world, night), rows)
    result = _pull(home, world, night)["world_trace_events"]
    assert (result["rows_quarantined"], result["rows_loaded"]) == (1, len(rows) - 1)
    (batch,) = list_quarantine(home)
    (example,) = batch["examples"]
    assert any(item["column"] == column for item in example["reasons"]), example
    assert example["raw"][column] in (value, None)
    assert example["position"]


def test_quarantined_rows_can_be_corrected_and_replayed(
    home: Installation, world: Path, flow_tools: dict[str, Any], tmp_path: Path
) -> None:
    night = flow_tools["nights"][0]
    rows = _rows(_feed(world, night))
    rows[3]["sku"] = "NO-SUCH-SKU"
    _write(_feed(world, night), rows)
    _pull(home, world, night)
    (batch,) = list_quarantine(home)
    sheet = tmp_path / "correct.csv"
    assert export_quarantine(home, batch["receipt_id"], sheet) == 1
    again = replay_quarantine(home, batch["receipt_id"], night=night)
    assert (again.rows_loaded, again.rows_quarantined) == (0, 1), "nothing was corrected yet"
    sheet.write_text(sheet.read_text(encoding="utf-8").replace("NO-SUCH-SKU", "S1"), encoding="utf-8")
    (left,) = list_quarantine(home)
    done = replay_quarantine(home, left["receipt_id"], sheet, night=night)
    assert (done.rows_loaded, done.rows_quarantined) == (1, 0)
    assert list_quarantine(home) == []
    assert _lake_rows(home) == len(rows)


def test_the_same_batch_again_adds_nothing_and_is_counted(
    home: Installation, world: Path, flow_tools: dict[str, Any]
) -> None:
    night, next_night = flow_tools["nights"][:2]
    _feed(world, next_night).write_bytes(_feed(world, night).read_bytes())
    _pull(home, world, night)
    before = _lake_rows(home)
    result = _pull(home, world, next_night)["world_trace_events"]
    assert (result["rows_loaded"], result["rows_duplicate"]) == (0, before)
    assert _lake_rows(home) == before
    assert [receipt["state"] for receipt in _receipts(home)] == ["loaded", "duplicate"]


def test_the_same_events_in_another_file_and_order_are_duplicates(
    home: Installation, world: Path, flow_tools: dict[str, Any]
) -> None:
    night, next_night = flow_tools["nights"][:2]
    rows = _rows(_feed(world, night))
    _write(_feed(world, next_night), list(reversed(rows)))
    _pull(home, world, night)
    result = _pull(home, world, next_night)["world_trace_events"]
    assert (result["rows_loaded"], result["rows_duplicate"]) == (0, len(rows))


def test_a_withdrawn_event_takes_its_fact_with_it(home: Installation, world: Path, flow_tools: dict[str, Any]) -> None:
    first, second = flow_tools["nights"][:2]
    judge_night(home, first, world=world)
    scan = next(row for row in _rows(_feed(world, first)) if row["observer"])
    _write(_feed(world, second), [{**scan, "corrects_event_id": scan["event_id"]}])
    result = judge_night(home, second, world=world)
    assert result["state"] == "judged"
    from fangcuan.detect.relations import Night, night_parameters
    from fangcuan.detect.sources import CatalogueRows
    from fangcuan.flow.night import live_units
    from fangcuan.warehouse.engine import DuckEngine

    units = live_units()
    facts = {key: unit.rule for key, unit in units.items() if unit.rule.role == "fact"}
    with DuckEngine(home.settings) as engine:
        source = CatalogueRows(home.settings, home.engine, second, {key: unit.digest for key, unit in units.items()})
        night = Night(engine, source, facts, night_parameters(second, first, home.settings))
        night.open("fact_diversion_out_of_territory")
        left = engine.scalar(
            f"select count(*) from fact_diversion_out_of_territory where event_id = '{scan['event_id']}'"
        )
        kept = engine.scalar("select count(*) from fact_diversion_out_of_territory")
    assert (left, kept > 0) == (0, True)


def test_a_batch_with_too_much_quarantined_is_held(home: Installation, world: Path, flow_tools: dict[str, Any]) -> None:
    night = flow_tools["nights"][0]
    rows = _rows(_feed(world, night))
    for row in rows:
        row["sku"] = "NO-SUCH-SKU"
    _write(_feed(world, night), rows)
    result = _pull(home, world, night)["world_trace_events"]
    assert result["state"] == "held"
    assert _lake_rows(home) == 0
    judged = judge_night(home, night, pull=False)
    assert "world_trace_events" in judged["not_looked"]
    assert "diversion.repeated_destination" in judged["blind_units"], "a unit that saw nothing said it was clean"
