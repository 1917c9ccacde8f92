"""Events of a document as rows of `trace_events`: one row per thing read.

All columns are text. Vocabulary is the bare word; times are as the source wrote them. `sku`, `source_partner_id` and
`destination_partner_id` hold identifiers of GS1 (GTIN-14, party URI), which the source's mapping turns into the brand's
own. An error declaration repeats the event it withdraws, so its rows carry `corrects_event_id` = `event_id`; the rows of
an event that the declaration names as the correction carry the withdrawn event's id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa

from fangcuan.core.feeds import TRACE_EVENTS
from fangcuan.ingest.base import POSITION, PROBLEMS
from fangcuan.ingest.epcis import vocabulary
from fangcuan.ingest.epcis.document import Document
from fangcuan.ingest.epcis.identifiers import gtin_and_lot

#: Columns that an EPCIS event can fill, in the order of the contract.
COLUMNS: tuple[str, ...] = tuple(
    name
    for name in TRACE_EVENTS.column_names
    if name not in {"partner_id", "region_code", "accuracy_m", "observer", "device_hash", "source_id"}
)
SCHEMA = pa.schema([pa.field(name, pa.string()) for name in (*COLUMNS, POSITION, PROBLEMS)])

_ROLE, _EPC, _PARENT, _QUANTITY, _UNIT, _SKU, _LOT = (
    COLUMNS.index(name) for name in ("item_role", "epc", "parent_epc", "quantity", "unit_of_measure", "sku", "lot")
)

#: What becomes of an event that names no thing, such as a sensor reading of a room.
WithoutThings = Literal["skip", "quarantine"]
Problem = dict[str, Any]
#: (epc, role, parent, quantity, unit); quantity is None where the source does not say.
_Thing = tuple[str | None, str, str | None, str | None, str | None]

_KINDS = {
    "ObjectEvent": "object",
    "AggregationEvent": "aggregation",
    "AssociationEvent": "association",
    "TransactionEvent": "transaction",
    "TransformationEvent": "transformation",
}
_GEO = re.compile(r"geo:([+-]?\d{1,2}(?:\.\d+)?),([+-]?\d{1,3}(?:\.\d+)?)(?:[,;].*)?")
#: Who owns goods is who the brand contracts with; possession may be a carrier's, a location is the weakest statement.
_PARTY_ORDER = {"owning_party": 0, "possessing_party": 1, "location": 2}


def tables(document: Document, chunk_rows: int, without_things: WithoutThings = "skip") -> Iterator[pa.Table]:
    """Rows of `document` in tables of at most `chunk_rows` rows (columns `SCHEMA`); no table where there are no rows."""
    held: list[tuple[str | None, ...]] = []
    for row in rows(document, without_things):
        held.append(row)
        if len(held) >= chunk_rows:
            yield _table(held)
            held = []
    if held:
        yield _table(held)


def _table(held: list[tuple[str | None, ...]]) -> pa.Table:
    columns = [pa.array(column, pa.string()) for column in zip(*held, strict=True)]
    return pa.table(columns, schema=SCHEMA)


def rows(document: Document, without_things: WithoutThings = "skip") -> Iterator[tuple[str | None, ...]]:
    """Rows in the order of the events, values in the order of `SCHEMA`."""
    identities = [event.get("eventID") or document.hash_of(place) for place, event in enumerate(document.events)]
    corrections = _corrections(document.events, identities)
    for place, event in enumerate(document.events):
        problems = list(document.problems.get(place, ()))
        identity = identities[place]
        withdrawn = identity if "errorDeclaration" in event else corrections.get(identity)
        yield from _event_rows(
            document, event, identity, withdrawn, document.positions[place], problems, without_things
        )


def _corrections(events: Iterable[dict[str, Any]], identities: list[str]) -> dict[str, str]:
    """By the id of a correcting event, the id of the event it replaces."""
    found: dict[str, str] = {}
    for event, identity in zip(events, identities, strict=True):
        for corrective in event.get("errorDeclaration", {}).get("correctiveEventIDs", ()):
            if corrective != identity:
                found.setdefault(corrective, identity)
    return found


def _event_rows(
    document: Document,
    event: dict[str, Any],
    identity: str,
    withdrawn: str | None,
    position: str,
    problems: list[Problem],
    without_things: WithoutThings,
) -> Iterator[tuple[str | None, ...]]:
    kind = _KINDS.get(event["type"])
    if kind is None:
        problems.append(_problem("unknown_event_type", "event_type", event["type"], ", ".join(_KINDS)))
    step = _word("bizStep", "biz_step", event.get("bizStep"), problems)
    disposition = _word("disposition", "disposition", event.get("disposition"), problems)
    _other_words(event, problems)
    latitude, longitude = _coordinates(event.get("readPoint"))
    transactions = _transactions(event.get("bizTransactionList"), problems)
    things = list(_things(event)) if kind is not None else []
    if any(not thing[0] for thing in things):
        problems.append(_problem("missing", "epc", None, "an identifier"))
    if not things:
        if kind is not None and without_things == "skip":
            return
        things = [(None, "item", None, None, None)]
        if kind is not None:
            problems.append(_problem("missing", "epc", None, "an event that names a thing"))
    lot_of_makings = _ilmd_lot(document, event)
    source = _party(event.get("sourceList"), "source", problems)
    destination = _party(event.get("destinationList"), "destination", problems)
    noted = json.dumps(problems, ensure_ascii=False) if problems else None
    shared: dict[str, Any] = {
        "event_id": identity,
        "event_time": event.get("eventTime"),
        "event_time_offset": event.get("eventTimeZoneOffset"),
        "record_time": event.get("recordTime"),
        "event_type": kind or event["type"],
        "action": event.get("action"),
        "biz_step": step,
        "disposition": disposition,
        "source_partner_id": source,
        "destination_partner_id": destination,
        "latitude": latitude,
        "longitude": longitude,
        "place_source": "gps" if latitude is not None else None,
        "read_point": _place(event.get("readPoint")),
        "biz_location": _place(event.get("bizLocation")),
        "business_transactions": transactions,
        "corrects_event_id": withdrawn,
        POSITION: position,
        PROBLEMS: noted,
    }
    row = [_stated(shared.get(name)) for name in SCHEMA.names]
    for (epc, role), (parent, quantity, unit, clash) in _merged(things).items():
        sku, lot = gtin_and_lot(epc) if epc else (None, None)
        if lot is None and (role == "output" or (role == "item" and event.get("action") == "ADD")):
            lot = lot_of_makings
        row[_ROLE], row[_EPC], row[_PARENT] = role, epc or None, parent
        row[_QUANTITY], row[_UNIT], row[_SKU], row[_LOT] = quantity, unit or None, sku, lot or None
        row[-1] = json.dumps([*problems, clash], ensure_ascii=False) if clash else noted
        yield tuple(row)


def _stated(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _things(event: dict[str, Any]) -> Iterator[_Thing]:
    match event["type"]:
        case "ObjectEvent":
            yield from _listed(event, "epcList", "quantityList", "item", None)
        case "AggregationEvent" | "AssociationEvent":
            parent = event.get("parentID") or None
            if parent:
                yield parent, "parent", None, "1", None
            yield from _listed(event, "childEPCs", "childQuantityList", "child", parent)
        case "TransactionEvent":
            parent = event.get("parentID") or None
            if parent:
                yield parent, "parent", None, "1", None
            yield from _listed(event, "epcList", "quantityList", "item", parent)
        case _:
            yield from _listed(event, "inputEPCList", "inputQuantityList", "input", None)
            yield from _listed(event, "outputEPCList", "outputQuantityList", "output", None)


def _listed(event: dict[str, Any], epcs: str, quantities: str, role: str, parent: str | None) -> Iterator[_Thing]:
    for epc in event.get(epcs) or ():
        yield epc, role, parent, "1", None
    for element in event.get(quantities) or ():
        quantity = element.get("quantity")
        yield element["epcClass"], role, parent, _plain(quantity), element.get("uom")


def _plain(quantity: Any) -> str | None:
    if quantity is None:
        return None
    return format(quantity, "f") if isinstance(quantity, Decimal) else str(quantity)


_Merged = tuple[str | None, str | None, str | None, Problem | None]


def _merged(things: list[_Thing]) -> dict[tuple[str | None, str], _Merged]:
    """One entry per key (epc, role). A class of things that is listed twice in one unit is added up; in two units it
    cannot be, and says so."""
    found: dict[tuple[str | None, str], _Merged] = {}
    for epc, role, parent, quantity, unit in things:
        before = found.get((epc, role))
        if before is None:
            found[epc, role] = (parent, quantity, unit, None)
        elif quantity is not None and not (before[1] == quantity == "1" and unit is None):
            same = before[2] == unit and before[1] is not None
            total = _sum(before[1], quantity) if same else before[1]
            clash = before[3] if same else _problem("duplicate", "epc", epc, "one quantity per thing and role")
            found[epc, role] = (parent, total, before[2], clash)
    return found


def _sum(first: str | None, second: str) -> str:
    try:
        return format(Decimal(first or "0") + Decimal(second), "f")
    except ArithmeticError:
        return first or second


def _problem(reason: str, column: str, value: Any, expected: str) -> Problem:
    return {"reason": reason, "column": column, "value": value, "expected": expected}


def _word(family: vocabulary.Family, column: str, value: Any, problems: list[Problem]) -> str | None:
    if not value:
        return None
    word, known = vocabulary.normalise(family, str(value))
    if not known:
        problems.append(
            _problem("unknown_vocabulary", column, word, f"CBV 2.0 {family}, or a URI of an own vocabulary")
        )
    return word


def _other_words(event: dict[str, Any], problems: list[Problem]) -> None:
    """Standard vocabulary that no column holds is checked all the same."""
    reason = event.get("errorDeclaration", {}).get("reason")
    _word("errorReason", "corrects_event_id", reason, problems)
    lasting = event.get("persistentDisposition")
    if isinstance(lasting, dict):
        for words in lasting.values():
            for word in words:
                _word("disposition", "disposition", word, problems)


def _transactions(given: Any, problems: list[Problem]) -> str | None:
    if not given:
        return None
    found = []
    for element in given:
        entry = {"bizTransaction": element["bizTransaction"]}
        if element.get("type"):
            entry["type"] = _word("bizTransactionType", "business_transactions", element["type"], problems)
        found.append(entry)
    return json.dumps(found, ensure_ascii=False, sort_keys=True)


def _party(given: Any, key: str, problems: list[Problem]) -> str | None:
    best: tuple[int, str] | None = None
    for element in given or ():
        kind = _word("sourceDestType", f"{key}_partner_id", element.get("type"), problems)
        rank = _PARTY_ORDER.get(kind or "", len(_PARTY_ORDER))
        if best is None or rank < best[0]:
            best = rank, element[key]
    return best[1] if best else None


def _place(given: Any) -> str | None:
    return given.get("id") if isinstance(given, dict) else None


def _coordinates(given: Any) -> tuple[str | None, str | None]:
    """Latitude and longitude of a read point written as a geo URI (RFC 5870)."""
    match = _GEO.fullmatch(_place(given) or "")
    if match is None or abs(float(match.group(1))) > 90 or abs(float(match.group(2))) > 180:
        return None, None
    return match.group(1), match.group(2)


def _ilmd_lot(document: Document, event: dict[str, Any]) -> str | None:
    for key, value in (event.get("ilmd") or {}).items():
        if key.endswith("lotNumber") and re.fullmatch(r"\{urn:epcglobal:cbv:mda:?\}lotNumber", document.resolve(key)):
            text = value.get("#text") if isinstance(value, dict) else value
            return text if isinstance(text, str) else None
    return None
