"""Runs of the public sets, over the samples of their sources in place of the data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fangcuan.flow import real
from fangcuan.flow.configured import source_folders


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder made of every source's sample; what two sources of one set share is the same file in both."""
    folder = tmp_path / "data"
    folder.mkdir()
    for item in real.SETS.values():
        for source in item.sources:
            sample = source_folders()[source] / "sample"
            shutil.copytree(sample, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("expected.json"))
    return folder


def test_every_public_source_belongs_to_one_set():
    named = [source for item in real.SETS.values() for source in item.sources]
    assert len(named) == len(set(named))
    assert {key for key in source_folders() if not key.startswith("sample_")} == set(named)


def without_slips(data: Path) -> None:
    """The last row of every file of events is wrong on purpose; one in four is more than its source lets pass."""
    for path in data.rglob("*.parquet"):
        table = pq.read_table(path)
        if path.name != "stations.parquet":
            pq.write_table(table.slice(0, table.num_rows - 1), path)


def test_a_file_of_which_too_much_is_wrong_is_held_and_the_night_says_so(tmp_path, data):
    told = list(real.run_set(tmp_path / "homes", "fuel_it", data=data))
    (held,) = [item for item in told if item["kind"] == "pull" and item["state"] == "held"]
    assert (held["source_id"], held["rows_loaded"]) == ("fuel_it", 0)
    assert "1 of 4 rows quarantined" in held["message"]
    assert told[-2]["not_looked"] == ["fuel_it"]
    assert "price.below_floor" in told[-2]["blind_units"]


@pytest.mark.parametrize(
    ("set_id", "rows", "cases"),
    [("bikeshare14", 10, 0), ("mandi_msp", 11, 2), ("iowa_liquor", 12, 0), ("fuel_it", 10, 0), ("regions_cn", 17, 0)],
)
def test_a_set_is_pulled_judged_and_summed_up(tmp_path, data, set_id, rows, cases):
    without_slips(data)
    before = os.environ.get(real.VARIABLE)
    told = list(real.run_set(tmp_path / "homes", set_id, data=data))
    assert os.environ.get(real.VARIABLE) == before
    assert [item["kind"] for item in told] == ["set", *["pull"] * len(real.SETS[set_id].sources), "night", "done"]
    assert {item["set"] for item in told} == {set_id}
    assert {item["state"] for item in told if item["kind"] == "pull"} == {"landed"}
    night, done = told[-2:]
    assert (night["state"], night["failed_units"], night["not_looked"]) == ("judged", [], [])
    assert (done["rows_loaded"], done["cases_opened"]) == (rows, cases)
    settings = real.installed(tmp_path / "homes", set_id).settings
    assert (settings.timezone, settings.currency) == (real.SETS[set_id].timezone, real.SETS[set_id].currency)

    again = list(real.run_set(tmp_path / "homes", set_id, data=data))
    assert (again[-1]["rows_loaded"], again[-1]["cases_opened"], again[-2]["again"]) == (0, 0, True)


def test_documents_that_are_refused_are_told_and_the_night_goes_on(tmp_path, data):
    told = list(real.run_all(tmp_path / "homes", ["epcis_documents"], data=data))
    pulls = {item["source_id"]: item for item in told if item["kind"] == "pull"}
    assert pulls["epcis_documents"]["state"] == "refused"
    assert "refused.json" in pulls["epcis_documents"]["message"]
    assert (pulls["epcis_documents"]["rows_loaded"], pulls["epcis_documents"]["rows_quarantined"]) == (4, 1)
    assert pulls["epcis_documents_linked"]["rows_loaded"] == 2
    assert told[-2]["not_looked"] == ["epcis_documents"]


def test_without_data_it_says_how_to_get_there(tmp_path, monkeypatch):
    monkeypatch.delenv(real.VARIABLE, raising=False)
    with pytest.raises(real.DataMissing, match="set FANGCUAN_REAL_DATA"):
        real.available()
    monkeypatch.setenv(real.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(real.DataMissing, match="is no folder"):
        real.available()
    (tmp_path / "geo_cn").mkdir()
    assert real.available(tmp_path) == ["regions_cn"]
    with pytest.raises(real.DataMissing, match="mandi_msp needs it"):
        list(real.run_set(tmp_path / "homes", "mandi_msp", data=tmp_path))
