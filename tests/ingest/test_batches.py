"""Whole documents through `pull_source`: what a batch repeats, what a register brings with it, what an extract makes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from fangcuan.core.canonical import digest, sha256_hex
from fangcuan.flow.installation import Installation, initialise
from fangcuan.flow.pulling import pull_source
from fangcuan.flow.quarantine import list_quarantine, replay_quarantine
from fangcuan.ingest.source import SourceSpec, load_source
from fangcuan.store.catalogue import LakeFileRow, Receipt
from fangcuan.store.database import read
from fangcuan.store.jsontext import canonical_text
from fangcuan.store.masters import MASTER_TABLES

NIGHT = dt.date(2026, 3, 20)
SALES = """
feeds:
  - relation: price_observations
    map: {observation_id: id, observed_at: seen, channel: "'online'", surface: "'list'", currency: "'CNY'", price: price}
"""


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    return initialise(tmp_path / "home", timezone="UTC")


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., SourceSpec]:
    def make(feeds: str, extract: str | None = None, name: str = "rows") -> SourceSpec:
        folder = tmp_path / "demo"
        folder.mkdir(exist_ok=True)
        head = "id: demo\ntitle: {en: Demo, zh: 演示}\nowner: o\n"
        connector = f"connector: {{kind: files, path: '{name}*.csv', arrival: night}}\n"
        (folder / "source.yml").write_text(head + connector + feeds)
        if extract:
            (folder / "extract.py").write_text(extract)
        return load_source(folder)

    return make


def lake_digests(place: Installation) -> list[tuple[Any, ...]]:
    columns = (LakeFileRow.relation, LakeFileRow.event_date, LakeFileRow.sha256, LakeFileRow.rows)
    with read(place.engine) as connection:
        return sorted(tuple(row) for row in connection.execute(select(*columns)))


def masters(place: Installation, name: str, column: str) -> list[str]:
    with read(place.engine) as connection:
        return sorted(connection.execute(select(MASTER_TABLES[name].c[column])).scalars())


def test_of_rows_that_repeat_a_key_the_same_one_survives_in_any_order(tmp_path, source):
    lines = [f"{n},2026-03-1{n % 3}T10:00:00Z,{n}" for n in range(6)]
    lines += ["1,2026-03-11T10:00:00Z,70", "1,2026-03-11T10:00:00Z,50", "4,2026-03-11T10:00:00Z,4"]
    found = []
    for turn, ordered in enumerate((lines, lines[::-1], lines[4:] + lines[:4])):
        here = initialise(tmp_path / f"home{turn}", timezone="UTC")
        spec = source(SALES)
        (spec.folder / "rows.csv").write_text("id,seen,price\n" + "\n".join(ordered) + "\n")
        result = pull_source(here, spec, NIGHT)
        assert (result["rows_read"], result["rows_loaded"], result["rows_duplicate"]) == (9, 6, 3)
        found.append(lake_digests(here))
    assert found[0] == found[1] == found[2]


def test_rows_already_in_the_lake_are_duplicates_beside_new_ones(place, source):
    spec = source(SALES)
    (spec.folder / "rows1.csv").write_text("id,seen,price\n1,2026-03-11T10:00:00Z,5\n2,2026-03-11T11:00:00Z,6\n")
    assert pull_source(place, spec, NIGHT)["rows_loaded"] == 2
    (spec.folder / "rows2.csv").write_text(
        "id,seen,price\n2,2026-03-11T11:00:00Z,6\n3,2026-03-11T12:00:00Z,7\n3,2026-03-11T12:00:00Z,7\n"
    )
    result = pull_source(place, spec, NIGHT)
    assert (result["rows_loaded"], result["rows_duplicate"]) == (1, 2)
    assert sum(row[3] for row in lake_digests(place)) == 3


def test_another_load_that_commits_in_between_is_seen_before_rows_are_counted_as_new(place, source, monkeypatch):
    """Two documents that share a row, loaded at once: the second has written its files when the first commits."""
    spec = source(SALES)
    (spec.folder / "rows1.csv").write_text("id,seen,price\n1,2026-03-11T10:00:00Z,5\n2,2026-03-11T11:00:00Z,6\n")
    other = source(SALES, name="others")
    (other.folder / "others1.csv").write_text("id,seen,price\n2,2026-03-11T11:00:00Z,6\n3,2026-03-11T12:00:00Z,7\n")
    between = []

    def hit(name: str) -> None:
        if name == "load.after_files" and not between:
            between.append(name)
            between.append(pull_source(place, other, NIGHT))

    monkeypatch.setattr("fangcuan.ingest.load.hit", hit)
    result = pull_source(place, spec, NIGHT)
    assert between[1]["rows_loaded"] == 2
    assert (result["rows_loaded"], result["rows_duplicate"]) == (1, 1)
    assert sum(row[3] for row in lake_digests(place)) == 3


REGISTER = """
feeds:
  - relation: partners
    map: {partner_id: shop, name: shop, kind: "'retailer'", region_code: city}
  - relation: regions
    map: {region_code: city, level: "'city'"}
    ignore: [shop]
"""


def test_a_register_brings_regions_and_the_partners_in_them_whenever_it_grows(place, source):
    spec = source(REGISTER)
    (spec.folder / "rows1.csv").write_text("shop,city\na,Kiel\nb,Kiel\n")
    first = pull_source(place, spec, NIGHT)
    assert (first["rows_loaded"], first["rows_duplicate"], first["rows_quarantined"]) == (3, 1, 0)
    # The second document names a city nobody knew before: known by the time its shops are checked.
    (spec.folder / "rows2.csv").write_text("shop,city\nc,Jena\n")
    second = pull_source(place, spec, NIGHT)
    assert (second["rows_loaded"], second["rows_quarantined"]) == (2, 0)
    assert masters(place, "regions", "region_code") == ["Jena", "Kiel"]
    assert masters(place, "partners", "partner_id") == ["a", "b", "c"]
    with read(place.engine) as connection:
        relations = connection.execute(select(Receipt.relation).order_by(Receipt.relation)).scalars().all()
    assert relations == ["partners", "partners", "regions", "regions"]


def test_the_digest_of_a_master_row_is_the_canonical_one():
    row = {
        "a": None,
        "b": 1.5,
        "c": "x",
        "d": dt.date(2026, 1, 1),
        "e": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "f": True,
    }
    assert sha256_hex(canonical_text(row)) == digest(row), "what `content_digest` of a row of master data is made of"


TWICE = "from fangcuan.authoring import repeated\n\ndef extract(chunk):\n    return repeated(chunk, 2)\n"
EVENTS = """
feeds:
  - relation: price_observations
    map:
      observation_id: id || '-' || part
      observed_at: seen
      channel: "'online'"
      surface: "'list'"
      currency: "'CNY'"
      price: price
"""


def test_rows_of_an_extract_that_are_played_back_are_not_extracted_again(tmp_path, place, source, monkeypatch):
    spec = source(EVENTS, TWICE)
    (spec.folder / "rows.csv").write_text("id,seen,price\n1,2026-03-11T10:00:00Z,5\n2,2026-03-11T10:00:00Z,-1\n")
    result = pull_source(place, spec, NIGHT)
    assert (result["rows_loaded"], result["rows_quarantined"]) == (2, 2)
    (batch,) = list_quarantine(place)
    assert [row["position"] for row in batch["examples"]] == ["row 3", "row 3"]
    corrected = tmp_path / "corrected.csv"
    corrected.write_text("id,seen,price,part\n2,2026-03-11T10:00:00Z,9,1\n2,2026-03-11T10:00:00Z,9,2\n")
    monkeypatch.setattr("fangcuan.flow.quarantine.sources", lambda _: {"demo": spec})
    receipt = replay_quarantine(place, batch["receipt_id"], corrected, NIGHT)
    assert (receipt.rows_loaded, receipt.rows_quarantined) == (2, 0)
    assert sum(row[3] for row in lake_digests(place)) == 4
