"""A world folder follows the contract, and the same spec gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import DECIDED, MASTERS
from fangcuan.simulate.spec import WorldSpec, preset
from fangcuan.simulate.worlds import World, simulate

Check = Callable[[Path], list[str]]


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_master_table_and_every_feed_is_there(tiny_folder: Path) -> None:
    masters = {path.stem for path in (tiny_folder / "master").iterdir()}
    assert masters == set(MASTERS) - DECIDED, "what is approved is not loaded"
    assert {path.name for path in (tiny_folder / "feeds").iterdir()} == set(FEEDS)
    suffixes = {path.suffix for path in (tiny_folder / "feeds").rglob("*") if path.is_file()}
    assert suffixes == {".parquet", ".csv", ".jsonl"}


def test_rows_follow_the_contract(tiny_folder: Path, broken_rules: Check) -> None:
    assert broken_rules(tiny_folder) == []


def test_the_check_itself_sees_a_broken_row(tmp_path: Path, broken_rules: Check) -> None:
    simulate(preset("tiny"), tmp_path / "world")
    path = tmp_path / "world" / "feeds" / "sales" / f"{preset('tiny').start}.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("sell_in", "sold_in"), encoding="utf-8")
    assert any("flow" in problem for problem in broken_rules(tmp_path / "world"))


def test_the_same_spec_gives_the_same_bytes(tiny_folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    simulate(preset("tiny"), again)
    simulate(preset("tiny"), again)
    assert digests(again) == digests(tiny_folder)


def test_another_seed_gives_another_world(tiny_folder: Path, tmp_path: Path) -> None:
    simulate(preset("tiny", seed=1), tmp_path / "other")
    assert digests(tmp_path / "other") != digests(tiny_folder)


def test_tiny_is_built_in_seconds(tmp_path: Path) -> None:
    begun = time.process_time()
    summary = simulate(preset("tiny"), tmp_path / "tiny")
    assert time.process_time() - begun < 6
    assert 3_000 < summary.feeds["trace_events"] < 9_000


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"thesis\.txt"):
        simulate(preset("tiny"), tmp_path)


def test_nothing_arrives_before_it_happens_nor_after_the_last_night(tiny_trace: pd.DataFrame) -> None:
    spec = preset("tiny")
    assert (tiny_trace["event_time"].str[:10] <= tiny_trace["arrived_on"]).all()
    assert tiny_trace["arrived_on"].min() == spec.start.isoformat()
    assert tiny_trace["arrived_on"].max() <= spec.end.isoformat()
    assert tiny_trace["event_time"].str.endswith("+08:00").all()


def test_scanned_units_were_made_and_packed_unless_never_issued(tiny_folder: Path, tiny_trace: pd.DataFrame) -> None:
    scanned = set(tiny_trace.loc[tiny_trace["observer"] == "consumer_scan", "epc"])
    made = set(tiny_trace.loc[tiny_trace["biz_step"] == "commissioning", "epc"])
    packed = set(tiny_trace.loc[tiny_trace["biz_step"] == "packing", "epc"])
    schemes = pd.read_csv(tiny_folder / "truth" / "schemes.csv", dtype=str)
    units = pd.read_csv(tiny_folder / "truth" / "units.csv", dtype=str).merge(schemes, on="scheme_id")
    forged = set(units.loc[units["kind"] == "never_issued", "epc"])
    assert forged
    assert scanned - made == forged & scanned
    assert scanned - packed == forged & scanned


def test_duplicates_late_rows_and_corrections_occur(sample: World) -> None:
    trace = sample.trace
    assert trace.duplicated(["event_id", "epc", "item_role"]).sum() > 50
    nightly = trace[trace["arrival"] > trace["arrival"].min()]
    assert 0.01 < nightly["late"].mean() < 0.05
    corrections = trace[trace["corrects_event_id"].notna()]
    assert len(corrections) > 10
    assert set(corrections["corrects_event_id"]) & set(trace["event_id"])


def test_world_json_says_what_it_is_and_not_what_is_hidden(tiny_folder: Path) -> None:
    world = json.loads((tiny_folder / "world.json").read_text(encoding="utf-8"))
    assert world["seed"] == preset("tiny").seed
    assert "schemes" not in world
    assert "diversion" in world["families"]


def test_a_spec_survives_json() -> None:
    spec = preset("sample", scan_coverage=0.02)
    assert WorldSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schemes": {"diversion.teleport": 1}}, "teleport"),
        ({"nights": 0}, "nights"),
        ({"scan_coverage": 1.5}, "scan_"),
    ],
)
def test_a_wrong_spec_says_what_is_wrong(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preset("tiny", **change)


def test_the_sample_has_the_promised_size(sample: World) -> None:
    assert 180_000 < len(sample.trace) < 230_000
    assert 6_000 < len(sample.prices.rows) < 11_000
    nights = np.unique(sample.prices.rows["arrival"])
    assert len(nights) == sample.spec.nights
