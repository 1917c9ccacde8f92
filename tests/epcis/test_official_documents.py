"""Every official document loads and says what it says; five are refused. The committed answers are in answers.json.

The rows are compared with a walk over the documents that shares no code with the parser.
"""

from __future__ import annotations

import collections
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from fangcuan.ingest.base import POSITION, PROBLEMS, Refused
from fangcuan.ingest.epcis import reader

pytestmark = pytest.mark.real_data

ANSWERS = json.loads((Path(__file__).parent / "answers.json").read_text(encoding="utf-8"))
TYPES = ("ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent", "AssociationEvent")
EPC_FIELDS = ("epcList", "childEPCs", "inputEPCList", "outputEPCList")
CLASS_FIELDS = ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList")

Walked = dict[str, Any]


def walk(path: Path) -> list[Walked]:
    """Events as a plain reader sees them: type, id, time, offset, parent, EPCs, whether withdrawn."""
    return _walk_xml(path) if path.suffix == ".xml" else _walk_json(path)


def _walk_json(path: Path) -> list[Walked]:
    document = json.loads(path.read_text(encoding="utf-8"))
    body = document["epcisBody"]
    events = body["eventList"] if "eventList" in body else body["queryResults"]["resultsBody"]["eventList"]
    found = []
    for event in events:
        epcs = [epc for name in EPC_FIELDS for epc in event.get(name, [])]
        epcs += [element["epcClass"] for name in CLASS_FIELDS for element in event.get(name, [])]
        found.append(
            {
                "type": event["type"],
                "id": event.get("eventID"),
                "time": event["eventTime"],
                "offset": event["eventTimeZoneOffset"],
                "parent": event.get("parentID"),
                "epcs": set(epcs),
                "withdrawn": "errorDeclaration" in event,
            }
        )
    return found


def _walk_xml(path: Path) -> list[Walked]:
    found = []
    for event in etree.parse(str(path)).getroot().iter(*TYPES):
        epcs = {node.text.strip() for name in EPC_FIELDS for node in event.iterfind(f".//{name}/epc")}
        epcs |= {
            node.text.strip() for name in CLASS_FIELDS for node in event.iterfind(f".//{name}/quantityElement/epcClass")
        }
        found.append(
            {
                "type": event.tag,
                "id": next((node.text.strip() for node in event.iter("eventID")), None),
                "time": event.findtext("eventTime").strip(),
                "offset": event.findtext("eventTimeZoneOffset").strip(),
                "parent": event.findtext("parentID"),
                "epcs": epcs,
                "withdrawn": event.find(".//errorDeclaration") is not None,
            }
        )
    return found


def rows_of(path: Path) -> list[dict[str, Any]]:
    chunks = [chunk for chunk in reader.read(path, 7) if chunk.relation == "trace_events"]
    assert all(chunk.table.num_rows <= 7 for chunk in chunks)
    return [row for chunk in chunks for row in chunk.table.to_pylist()]


def answer(path: Path) -> dict[str, Any]:
    """What answers.json holds of one document."""
    try:
        rows = rows_of(path)
    except Refused as refused:
        return {"verdict": "refused", "reason": refused.reason, "position": refused.position}
    types = collections.Counter(event["type"] for event in reader.parse(path.read_bytes()).events)
    text = json.dumps(rows, sort_keys=True, ensure_ascii=False)
    return {
        "verdict": "loaded",
        "events": dict(sorted(types.items())),
        "rows": len(rows),
        "quarantined": sum(1 for row in rows if row[PROBLEMS]),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def test_every_official_document_gives_the_committed_answer(official):
    assert sorted(official) == sorted(ANSWERS["documents"])
    wrong = {name: found for name, path in official.items() if (found := answer(path)) != ANSWERS["documents"][name]}
    assert not wrong


def test_89_json_and_all_xml_documents_load_and_exactly_five_are_refused(official):
    verdicts = {name: answer(path) for name, path in official.items()}
    loaded = [name for name, found in verdicts.items() if found["verdict"] == "loaded"]
    assert sum(name.endswith(".jsonld") for name in loaded) == 89
    assert sum(name.endswith(".xml") for name in loaded) == 42
    refused = {name: found["position"] for name, found in verdicts.items() if found["verdict"] == "refused"}
    assert refused == {
        "JSON-simple-context/Example-TransactionEvents-2020_07_03y.jsonld": "eventList[1].sourceList",
        "JSON-simple-context/WithSensorData/SensorDataExample12.jsonld": None,
        "JSON-simple-context/WithSensorData/SensorDataExample17.jsonld": "schemaVersion",
        "JSON-simple-context/WithFullCombinationOfFields/object_event_all_possible_fields.jsonld": "eventList[0]",
        "XML/WithEventHashID/event_with_identical_hash_id_7.json": "eventList[0].bizStep",
    }


def test_totals_by_type_are_the_committed_ones(official):
    events = {"json": collections.Counter(), "xml": collections.Counter()}
    holders = {"json": collections.Counter(), "xml": collections.Counter()}
    for name, path in official.items():
        if ANSWERS["documents"][name]["verdict"] == "loaded":
            kind = "xml" if path.suffix == ".xml" else "json"
            types = collections.Counter(event["type"] for event in (walk(path)))
            events[kind].update(types)
            holders[kind].update(types.keys())
    assert {kind: dict(sorted(found.items())) for kind, found in events.items()} == ANSWERS["events"]
    assert {kind: dict(sorted(found.items())) for kind, found in holders.items()} == ANSWERS["documents_holding"]


def test_every_epc_parent_time_and_withdrawal_is_readable_from_the_rows(official):
    events = things = parents = withdrawals = 0
    unread = 0
    for name, path in official.items():
        if ANSWERS["documents"][name]["verdict"] != "loaded":
            continue
        by_event = collections.defaultdict(list)
        for row in rows_of(path):
            by_event[row[POSITION]].append(row)
        walked = walk(path) if "CaptureJob" not in name else []
        for place, event in enumerate(walked):
            where = f"{name} event {place}"
            rows = by_event.pop(f"eventList[{place}]", [])
            if not event["epcs"] and not event["parent"]:
                assert rows == [], where
                unread += 1
                continue
            events += 1
            read = {row["epc"] for row in rows if row["item_role"] != "parent"}
            assert read == event["epcs"], where
            assert {row["epc"] for row in rows if row["item_role"] == "parent"} == {event["parent"]} - {None}, where
            if event["parent"]:
                assert {row["parent_epc"] for row in rows if row["item_role"] != "parent"} <= {event["parent"]}, where
                parents += 1
            assert {row["event_time"] for row in rows} == {event["time"]}, where
            assert {row["event_time_offset"] for row in rows} == {event["offset"]}, where
            identities = {row["event_id"] for row in rows}
            assert len(identities) == 1, where
            assert event["id"] in (None, *identities), where
            if event["id"] is None:
                assert next(iter(identities)).startswith("ni:///sha-256;"), where
            withdrawn = {row["corrects_event_id"] == row["event_id"] for row in rows}
            assert withdrawn == {event["withdrawn"]}, where
            withdrawals += event["withdrawn"]
            assert not any(row[PROBLEMS] for row in rows), where
            keys = [(row["event_id"], row["epc"], row["item_role"]) for row in rows]
            assert len(keys) == len(set(keys)), where
            things += len(rows)
        assert not by_event, name
    assert {
        "events": events,
        "rows": things,
        "with_parent": parents,
        "withdrawals": withdrawals,
        "without_things": unread,
    } == ANSWERS["readable"]


def test_a_correction_names_the_event_it_replaces(gs1):
    rows = rows_of(gs1 / "JSON" / "WithErrorDeclaration" / "ErrorDeclarationAndCorrectiveEvent.jsonld")
    wrong, right = "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8", "urn:uuid:404d95fc-9457-4a51-bd6a-0bba133845a8"
    assert {(row["event_id"], row["corrects_event_id"]) for row in rows} == {(wrong, wrong), (right, wrong)}


def test_932_linked_events_load_as_one_batch(epcis_data):
    path = epcis_data / "linked-events" / "events-932.json"
    walked = _walk_json(path)
    rows = rows_of(path)
    assert len(walked) == 932
    assert len({row[POSITION] for row in rows}) == sum(bool(event["epcs"] or event["parent"]) for event in walked)
    assert len(rows) == ANSWERS["linked_events"]["rows"]
    assert (
        dict(sorted(collections.Counter(event["type"] for event in walked).items()))
        == ANSWERS["linked_events"]["events"]
    )
    assert not any(row[PROBLEMS] for row in rows)
    assert {row["epc"] for row in rows} == {epc for event in walked for epc in (*event["epcs"], event["parent"]) if epc}
    assert len({row["event_id"] for row in rows}) == ANSWERS["linked_events"]["distinct_events"]
