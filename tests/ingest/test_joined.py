"""Rows with the columns of registers beside them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fangcuan.ingest import connectors
from fangcuan.ingest.base import Refused, SourceUnavailable
from fangcuan.ingest.connectors._joined import bundled

TRIPS = "trip,terminal\n1,2\n2,21\n3,99\n4,\n5,23\n"
STATIONS = (
    "id,city,lat\n2,San Jose,37.3\n21,Redwood City,37.4\n23,Redwood City,37.41\n23,Redwood City,37.42\n,nowhere,0\n"
)
JOIN = {"path": "stations.csv", "key": "terminal", "equals": "id", "columns": {"city": "city", "latitude": "lat"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trips.csv").write_text(TRIPS)
    (tmp_path / "stations.csv").write_text(STATIONS)
    return tmp_path


def options(**join: object) -> dict:
    return {"path": "trips.csv", "join": [{**JOIN, **join}]}


def test_a_row_gets_the_columns_of_its_register_and_nulls_where_there_is_none(folder, fetch, rows):
    (document,) = fetch("files", options())
    found = rows("files", document, options(), chunk_rows=2)
    assert [(row["trip"], row["city"]) for row in found] == [
        ("1", "San Jose"), ("2", "Redwood City"), ("3", None), ("4", None), ("5", "Redwood City")
    ]  # fmt: skip
    assert [row["_position"] for row in found] == [f"row {n}" for n in range(2, 7)]


def test_where_rows_of_a_register_disagree_nothing_is_guessed(folder, fetch, rows):
    (document,) = fetch("files", options())
    (moved,) = [row for row in rows("files", document, options()) if row["terminal"] == "23"]
    assert (moved["city"], moved["latitude"]) == ("Redwood City", None)


def test_numbers_and_texts_meet_and_keys_may_be_expressions(folder, fetch, rows):
    pq.write_table(pa.table({"terminal": pa.array([2, 21], pa.int32())}), folder / "trips.parquet")
    wanted = {**options(key="terminal + 0"), "path": "trips.parquet"}
    (document,) = fetch("files", wanted)
    assert [row["city"] for row in rows("files", document, wanted)] == ["San Jose", "Redwood City"]
    wanted = options(key="lpad(terminal, 3, '0')", equals="lpad(id, 3, '0')")
    (document,) = fetch("files", wanted)
    assert rows("files", document, wanted)[0]["city"] == "San Jose"


def test_the_document_holds_the_register_so_reading_it_later_gives_the_same(folder, fetch, rows):
    (document,) = fetch("files", options())
    before = rows("files", document, options())
    (folder / "stations.csv").unlink()
    assert rows("files", document, options()) == before


def test_a_changed_register_makes_another_document_and_an_unchanged_one_the_same(folder, fetch):
    (first,) = fetch("files", options())
    state = dict(first.watermark)
    assert fetch("files", options(), state=state) == []
    (again,) = fetch("files", options())
    assert again.sha256 == first.sha256
    (folder / "stations.csv").write_text(STATIONS.replace("San Jose", "Santa Clara"))
    (second,) = fetch("files", options(), state=state)
    assert second.sha256 != first.sha256


def test_a_register_that_is_missing_makes_the_source_unavailable(folder, fetch):
    (folder / "stations.csv").unlink()
    with pytest.raises(SourceUnavailable, match=r"stations\.csv"):
        fetch("files", options())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key": "nothing"}, "missing_column"),
        ({"equals": "nothing"}, "missing_column"),
        ({"columns": {"city": "nothing"}}, "missing_column"),
        ({"columns": {"Trip": "city"}}, "duplicate_column"),
        ({"key": "cast(terminal || 'x' as integer)"}, "mapping_failed"),
    ],
)
def test_what_does_not_fit_is_refused(folder, fetch, rows, change, reason):
    (document,) = fetch("files", options(**change))
    with pytest.raises(Refused) as caught:
        rows("files", document, options(**change))
    assert caught.value.reason == reason


@pytest.mark.parametrize("change", [{"key": "(select 1)"}, {"equals": "a, b"}, {"columns": {}}, {"unknown": 1}])
def test_options_that_make_no_sense_are_named(change):
    with pytest.raises(ValueError):
        connectors.get("files").Options.model_validate(options(**change))


def test_a_damaged_or_short_bundle_is_refused(folder, fetch, rows):
    (document,) = fetch("files", options())
    whole = document.path.read_bytes()
    document.path.write_bytes(whole[:-40])
    with pytest.raises(Refused) as caught:
        rows("files", document, options())
    assert caught.value.reason == "unreadable"
    document.path.write_bytes(b"".join(bundled([("trips.csv", [TRIPS.encode()])])))
    with pytest.raises(Refused) as caught:
        rows("files", document, options())
    assert caught.value.reason == "unreadable"


def test_a_file_beyond_the_limit_is_refused(folder, fetch, rows):
    wanted = {**options(), "max_bytes": 20}
    (document,) = fetch("files", wanted)
    with pytest.raises(Refused) as caught:
        rows("files", document, wanted)
    assert caught.value.reason == "too_large"
