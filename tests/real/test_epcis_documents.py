"""GS1's official documents, read back from the lake and compared with a walk that shares no code with the parser."""

from __future__ import annotations

import collections
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

pytestmark = pytest.mark.real_data

PARSER_ANSWERS = json.loads((Path(__file__).parent.parent / "epcis" / "answers.json").read_text(encoding="utf-8"))[
    "documents"
]
TYPES = ("ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent", "AssociationEvent")
LISTS = ("epcList", "childEPCs", "inputEPCList", "outputEPCList")
CLASSES = ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList")


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(dt.UTC)


def walk(path: Path) -> list[dict[str, Any]]:
    """Events as a plain reader sees them."""
    if path.suffix == ".xml":
        return [_xml_event(event) for event in etree.parse(str(path)).getroot().iter(*TYPES)]
    body = json.loads(path.read_text(encoding="utf-8"))["epcisBody"]
    events = body["eventList"] if "eventList" in body else body["queryResults"]["resultsBody"]["eventList"]
    return [_json_event(event) for event in events]


def _json_event(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": event["type"].removesuffix("Event").lower(),
        "id": event.get("eventID"),
        "time": moment(event["eventTime"]),
        "offset": event["eventTimeZoneOffset"],
        "parent": event.get("parentID"),
        "epcs": {epc for name in LISTS for epc in event.get(name, [])}
        | {element["epcClass"] for name in CLASSES for element in event.get(name, [])},
        "withdrawn": "errorDeclaration" in event,
    }


def _xml_event(event: Any) -> dict[str, Any]:
    return {
        "type": event.tag.removesuffix("Event").lower(),
        "id": next((node.text.strip() for node in event.iter("eventID")), None),
        "time": moment(event.findtext("eventTime").strip()),
        "offset": event.findtext("eventTimeZoneOffset").strip(),
        "parent": event.findtext("parentID"),
        "epcs": {node.text.strip() for name in LISTS for node in event.iterfind(f".//{name}/epc")}
        | {node.text.strip() for name in CLASSES for node in event.iterfind(f".//{name}/quantityElement/epcClass")},
        "withdrawn": event.find(".//errorDeclaration") is not None,
    }


@pytest.fixture(scope="module")
def epcis(ran):
    return ran("epcis_documents")


@pytest.fixture(scope="module")
def lake(epcis):
    """Raw lake rows by the document they came from first; withdrawn events are among them."""
    epcis.night.open("trace_events")
    return epcis.ask("select * from lake_trace_events where source_id = 'epcis_documents'")


@pytest.fixture(scope="module")
def walked(epcis):
    """Every official document that must load, and what it says."""
    root = Path(os.environ["FANGCUAN_REAL_DATA"]) / "epcis" / "gs1"
    loaded = [name for name, answer in PARSER_ANSWERS.items() if answer["verdict"] == "loaded"]
    return {name: walk(root / name) if "CaptureJob" not in name else [] for name in loaded}


def test_every_document_has_a_receipt_with_the_known_verdict(epcis, answers):
    receipts = epcis.book(
        "select document_sha256, state, reason, rows_quarantined from receipt where source_id = 'epcis_documents'"
    )
    found = collections.Counter((row["state"], row["reason"]) for row in receipts)
    assert {f"{state} {reason or ''}".strip(): n for (state, reason), n in found.items()} == answers["epcis_documents"][
        "receipts"
    ]
    assert sum(row["rows_quarantined"] for row in receipts) == 0


def test_the_five_documents_that_break_the_schema_are_refused_with_the_place(epcis, answers):
    refused = epcis.book(
        "select document_name, reason, message from receipt where source_id = 'epcis_documents' and state = 'refused'"
    )
    places = answers["epcis_documents"]["refused"]
    assert {row["document_name"]: row["reason"] for row in refused} == dict.fromkeys(places, "schema")
    for row in refused:
        place = places[row["document_name"]]
        assert row["document_name"] in row["message"]
        assert place is None or f"({place})" in row["message"]


def test_events_by_type_as_the_documents_say(walked, lake, answers):
    told = {(event["type"], event["id"]) for events in walked.values() for event in events if event["id"]}
    held = {(row["event_type"], row["event_id"]) for row in lake}
    assert {item for item in told if item in held} == {
        (event["type"], event["id"])
        for events in walked.values()
        for event in events
        if event["id"] and (event["epcs"] or event["parent"])
    }
    by_type = collections.Counter(kind for kind, _ in held)
    assert dict(sorted(by_type.items())) == answers["epcis_documents"]["distinct_events"]
    assert len(lake) == answers["epcis_documents"]["lake_rows"]


def test_every_epc_parent_time_and_withdrawal_is_readable_from_the_lake(walked, lake, answers):
    by_epc = collections.defaultdict(list)
    for row in lake:
        by_epc[row["epc"]].append(row)
    counts: collections.Counter[str] = collections.Counter()
    for name, document in walked.items():
        for place, event in enumerate(document):
            where = f"{name} event {place}"
            wanted = [(epc, ("item", "child", "input", "output")) for epc in event["epcs"]]
            wanted += [(event["parent"], ("parent",))] if event["parent"] else []
            for epc, roles in wanted:
                rows = [
                    row
                    for row in by_epc[epc]
                    if row["item_role"] in roles
                    and row["event_type"] == event["type"]
                    and row["event_time"] == event["time"]
                    and row["event_time_offset"] == event["offset"]
                    and event["id"] in (None, row["event_id"])
                    and (row["corrects_event_id"] == row["event_id"]) == event["withdrawn"]
                    and (event["parent"] in (None, row["parent_epc"]) or roles == ("parent",))
                ]
                assert rows, f"{where}: {epc} is not in the lake"
            counts["things"] += len(wanted)
            counts["events"] += bool(wanted)
            counts["with_parent"] += event["parent"] is not None
            counts["withdrawals"] += event["withdrawn"]
    assert dict(counts) == answers["epcis_documents"]["readable"]


def test_withdrawn_events_are_told_but_no_longer_hold(epcis, lake):
    withdrawn = {row["event_id"] for row in lake if row["corrects_event_id"] == row["event_id"]}
    assert withdrawn
    standing = epcis.ask("select distinct event_id from trace_events", "trace_events")
    assert not withdrawn & {row["event_id"] for row in standing}


def test_the_linked_events_load_as_one_batch_and_every_serial_has_a_chain(epcis, answers):
    (receipt,) = epcis.book(
        "select rows_read, rows_loaded, rows_quarantined from receipt where source_id = 'epcis_documents_linked'"
    )
    assert receipt == answers["epcis_documents"]["linked"]["receipt"]
    found = epcis.one(
        """
        select count(distinct event_id) as events, count(distinct epc) as serials,
            count(distinct epc) filter (where biz_step = 'commissioning') as commissioned
        from trace_events where source_id = 'epcis_documents_linked'
        """,
        "trace_events",
    )
    assert found == answers["epcis_documents"]["linked"]["lake"]
