"""The connector: which documents are fetched, once, and what they are read into."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fangcuan.ingest.base import FetchContext, Refused, SourceUnavailable
from fangcuan.ingest.connectors.epcis import EpcisConnector, EpcisOptions

NIGHT = dt.date(2024, 3, 5)


def document(*serials: str) -> bytes:
    events = [
        {
            "type": "ObjectEvent",
            "eventTime": "2024-03-01T10:00:00Z",
            "eventTimeZoneOffset": "+00:00",
            "epcList": [f"urn:x:{serial}"],
            "action": "OBSERVE",
        }
        for serial in serials
    ]
    return json.dumps(
        {
            "@context": "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
            "type": "EPCISDocument",
            "schemaVersion": "2.0",
            "creationDate": "2024-03-01T10:00:00Z",
            "epcisBody": {"eventList": events},
        }
    ).encode()


def context(folder: Path, state: dict[str, Any] | None = None) -> FetchContext:
    staged = folder / "staged"
    staged.mkdir(exist_ok=True)

    def stage(pieces: Iterator[bytes]) -> tuple[Path, str, int]:
        content = b"".join(pieces)
        digest = hashlib.sha256(content).hexdigest()
        (staged / digest).write_bytes(content)
        return staged / digest, digest, len(content)

    return FetchContext("erp", NIGHT, folder, stage, state or {})


def epcs(documents, options) -> list[str]:
    connector = EpcisConnector()
    return [
        row["epc"]
        for found in documents
        for chunk in connector.read(found, options, 2)
        if chunk.relation == "trace_events"
        for row in chunk.table.to_pylist()
    ]


def test_documents_of_a_folder_are_fetched_once_plain_or_packed(tmp_path):
    inbox = tmp_path / "inbox"
    (inbox / "deep").mkdir(parents=True)
    (inbox / "a.jsonld").write_bytes(document("1", "2", "3"))
    (inbox / "deep" / "b.jsonld.gz").write_bytes(gzip.compress(document("4")))
    (inbox / "notes.txt").write_text("not a document")
    options = EpcisOptions(path="inbox", pattern="*.jsonld*", recursive=True)
    found = list(EpcisConnector().fetch(options, context(tmp_path)))
    assert epcs(found, options) == ["urn:x:1", "urn:x:2", "urn:x:3", "urn:x:4"]
    seen = {path: mark for one in found for path, mark in one.watermark["seen"].items()}
    assert list(EpcisConnector().fetch(options, context(tmp_path, {"seen": seen}))) == []
    flat = EpcisOptions(path="inbox", pattern="*.jsonld*")
    assert [one.name for one in EpcisConnector().fetch(flat, context(tmp_path))] == ["a.jsonld"]


def test_the_date_in_a_name_says_when_a_document_arrived(tmp_path):
    for day in (4, 5, 6):
        (tmp_path / f"2024-03-0{day}.json").write_bytes(document(str(day)))
    options = EpcisOptions(path="{night:%Y-%m-%d}.json")
    found = list(EpcisConnector().fetch(options, context(tmp_path)))
    assert [one.arrived_on.day for one in found] == [4, 5]


def test_a_document_without_events_gives_one_empty_chunk(tmp_path):
    (tmp_path / "e.json").write_bytes(document())
    options = EpcisOptions(path="e.json")
    (found,) = EpcisConnector().fetch(options, context(tmp_path))
    (chunk,) = EpcisConnector().read(found, options, 10)
    assert (chunk.relation, chunk.table.num_rows) == ("trace_events", 0)


def test_a_document_beyond_the_limit_is_refused(tmp_path):
    (tmp_path / "e.json").write_bytes(document(*map(str, range(100))))
    options = EpcisOptions(path="e.json", max_bytes=1000)
    (found,) = EpcisConnector().fetch(options, context(tmp_path))
    with pytest.raises(Refused) as refused:
        list(EpcisConnector().read(found, options, 10))
    assert refused.value.reason == "too_large"


def test_a_missing_folder_is_a_source_that_cannot_be_asked(tmp_path):
    with pytest.raises(SourceUnavailable):
        list(EpcisConnector().fetch(EpcisOptions(path="gone/*.json"), context(tmp_path)))


@pytest.mark.parametrize("wrong", [{}, {"path": ""}, {"path": "a", "recursive": True}, {"path": "a", "colour": 1}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        EpcisOptions(**wrong)
