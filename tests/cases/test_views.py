"""Read models: complete, stable, and honest about evidence that is gone."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from casework_samples import BUSY_SETTINGS, busy_night, employ, file_night, make_finding
from sqlalchemy import Engine, text

from fangcuan.cases.evidence.store import EvidenceStore
from fangcuan.cases.executor import Actor, Command, UnknownCase, execute
from fangcuan.cases.history.digests import digests
from fangcuan.cases.views import CaseFilter, list_cases, show_case
from fangcuan.store.database import write

CASE = "FC-2026-000001"
SUPERVISOR = Actor("user:s", frozenset({"supervisor"}))


def render(code: str, params: Mapping[str, Any], language: str) -> str:
    return f"{language}:{code}:{params['partner']}"


def show(engine: Engine, folder: Path, number: str = CASE, **options: Any) -> dict[str, Any]:
    return show_case(engine, EvidenceStore(folder), number, render, **options)


def test_a_case_shows_all_that_it_rests_on(engine: Engine, folder: Path) -> None:
    one = make_finding()
    file_night(engine, folder, [one], support=[make_finding(unit_id="diversion.model", role="watch", score=99.0)])
    shown = show(engine, folder)
    assert shown["subject"] == {"kind": "partner", "id": "P1"}
    assert shown["object"] == {
        "sku": "SKU-1",
        "product_line": "A",
        "region_code": "CN-31",
        "channel": None,
        "lot": None,
    }
    assert shown["window"] == {"start": "2026-03-01T00:00:00.000000Z", "end": "2026-04-01T00:00:00.000000Z"}
    assert shown["explanation"]["zh"] == "zh:diversion.outside_territory:P1"
    assert shown["explanation"]["en"] == "en:diversion.outside_territory:P1"
    first, second = shown["findings_detail"]
    assert (first["support"], second["support"]) == (False, True)
    assert (first["unit_digest"], first["evidence_root"]) == (one.unit_digest, one.evidence_root)
    assert first["evidence"]["rows"] == [
        {"relation": "trace_events", "key": "e-P1-3|epc|item", "row": {"epc": "urn:epc:1"}}
    ]
    assert first["evidence"]["unit"]["text"] == "select 1"
    assert first["evidence"]["masters"]["territories"][0]["grant_id"] == "G1"
    assert (first["coverage_id"], first["evidence"]["coverage"]) == ("c1", {"looked": True})
    assert (first["money"], first["quantity"]) == ("1234567890123.45", "12.5")
    assert [item["kind"] for item in shown["timeline"]] == ["case.opened", "case.findings"]
    json.dumps(shown)


def test_views_do_not_depend_on_when_they_are_read_or_filed(engine: Engine, folder: Path, tmp_path: Path) -> None:
    from fangcuan.store import migrations
    from fangcuan.store.database import open_engine

    other = open_engine(f"sqlite:///{tmp_path / 'other.db'}")
    migrations.upgrade(other)
    shown = []
    for database in (engine, other):
        file_night(database, folder, [make_finding()], now=dt.datetime.now(dt.UTC))
        employ(database, SUPERVISOR)
        execute(database, Command("dismiss", CASE, SUPERVISOR, "k", params={"reason": "low_impact"}))
        shown.append((show(database, folder), list_cases(database)))
    assert shown[0] == shown[1]
    assert show(engine, folder) == shown[0][0]
    times = [item["recorded_at"] for item in show(engine, folder, with_times=True)["timeline"]]
    assert times == sorted(times)


def test_lost_or_altered_evidence_is_said_and_not_hidden(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, [make_finding()])
    (digest,) = EvidenceStore(folder).digests()
    path = EvidenceStore(folder).path(digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"CN-31", b"CN-32"))
    assert "altered" in show(engine, folder)["findings_detail"][0]["evidence"]["problem"]
    path.unlink()
    assert "no evidence" in show(engine, folder)["findings_detail"][0]["evidence"]["problem"]


def test_an_unknown_case(engine: Engine, folder: Path) -> None:
    with pytest.raises(UnknownCase, match="FC-2026-000009"):
        show(engine, folder, "FC-2026-000009")


def test_lists_are_filtered_ordered_and_paged(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, busy_night(), unit_settings=BUSY_SETTINGS)
    file_night(engine, folder, [make_finding("Z", severity="low")], dt.date(2026, 3, 15), unit_settings=BUSY_SETTINGS)
    everything = list_cases(engine)
    assert len(everything) == 62
    assert everything[-1]["subject"]["id"] == "Z"
    assert list_cases(engine, CaseFilter(limit=5, offset=57)) == everything[57:62]
    assert list_cases(engine, CaseFilter(offset=60)) == everything[60:]
    assert len(list_cases(engine, CaseFilter(storm=True))) == 1
    assert len(list_cases(engine, CaseFilter(family="diversion", is_open=True, status="new"))) == 61
    assert len(list_cases(engine, CaseFilter(unit_id="diversion.other"))) == 1
    assert list_cases(engine, CaseFilter(subject_id="nobody")) == []


def test_digests_follow_every_change_that_matters(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, [make_finding()])
    first = digests(engine)
    assert set(first) == {"findings", "cases", "counters"}
    employ(engine, SUPERVISOR)
    execute(engine, Command("triage", CASE, SUPERVISOR, "k"))
    second = digests(engine)
    assert second["cases"] != first["cases"]
    assert (second["findings"], second["counters"]) == (first["findings"], first["counters"])
    with write(engine) as connection:
        connection.execute(text("update finding set score = score + 1"))
        connection.execute(text("update filing_night set cases_opened = 7"))
    third = digests(engine)
    assert third["findings"] != second["findings"]
    assert third["counters"] != second["counters"]
