"""Structure of EPCIS 2.0 JSON documents (EPCIS 2.0, sections 7 and 10): types, required fields, fields of each event.

Every rule is written from the standard. Two fields are let through where the standard's own examples carry them although
its schema has no place for them: `persistentDisposition` on every event type and `type` on sensor elements.
"""

from __future__ import annotations

from typing import Any

from fangcuan.ingest.epcis.shapes import (
    Check,
    Violation,
    array,
    boolean,
    extension,
    hex_binary,
    number,
    offset,
    one_of,
    record,
    shown,
    string,
    time,
    uom,
    uri,
    version,
    vocabulary_value,
    web_vocabulary_value,
)

EVENT_TYPES = ("ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent", "AssociationEvent")

_URIS = array(uri)
_DISTINCT_URIS = array(uri, unique=True)
_QUANTITIES = array(record({"epcClass": uri, "quantity": number, "uom": uom}, required=("epcClass",), open_names=False))
_PLACE = record({"id": uri}, required=("id",), open_names=None)
_DISPOSITIONS = array(vocabulary_value, least=1, unique=True)


def _certification(value: Any) -> None:
    (_URIS if isinstance(value, list) else uri)(value)


def _context(value: Any) -> None:
    entries = value if isinstance(value, list) else [value]
    seen: list[Any] = []
    for entry in entries:
        if isinstance(entry, str):
            uri(entry)
        elif isinstance(entry, dict):
            extension(entry)
        else:
            raise Violation(f"{shown(entry)} is no JSON-LD context")
        if entry in seen:
            raise Violation("a context stands twice")
        seen.append(entry)


def _persistent(value: Any) -> None:
    record({"set": _DISPOSITIONS, "unset": _DISPOSITIONS}, open_names=False)(value)
    if not value:
        raise Violation("neither set nor unset is given")


def _parties(key: str) -> Check:
    fields = {"type": vocabulary_value, key: uri}
    return array(record(fields, required=("type", key), open_names=False))


_TRANSACTION_ITEM = record(
    {"type": vocabulary_value, "bizTransaction": uri}, required=("bizTransaction",), open_names=False
)
_DEVICE = {
    "time": time,
    "deviceID": uri,
    "deviceMetadata": uri,
    "rawData": uri,
    "dataProcessingMethod": uri,
    "bizRules": uri,
}
_REPORT: dict[str, Check] = {
    **_DEVICE,
    "type": web_vocabulary_value,
    "exception": web_vocabulary_value,
    "microorganism": uri,
    "chemicalSubstance": uri,
    "coordinateReferenceSystem": uri,
    "component": vocabulary_value,
    "stringValue": string,
    "booleanValue": boolean,
    "hexBinaryValue": hex_binary,
    "uriValue": uri,
    "uom": string,
    **dict.fromkeys(("value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue"), number),
}
_SENSOR_ELEMENT = record(
    {
        "sensorMetadata": record({**_DEVICE, "startTime": time, "endTime": time}),
        "sensorReport": array(record(_REPORT, required=("type",)), least=1),
    },
    required=("sensorReport",),
    also=("type",),
)
_COMMON: dict[str, Check] = {
    "@context": _context,
    "eventTime": time,
    "recordTime": time,
    "eventTimeZoneOffset": offset,
    "eventID": uri,
    "certificationInfo": _certification,
    "errorDeclaration": record(
        {"declarationTime": time, "reason": vocabulary_value, "correctiveEventIDs": _URIS},
        required=("declarationTime",),
    ),
}
_ALL_TYPES: dict[str, Check] = {
    **_COMMON,
    "type": one_of(*EVENT_TYPES),
    "bizStep": vocabulary_value,
    "disposition": vocabulary_value,
    "persistentDisposition": _persistent,
    "readPoint": _PLACE,
    "bizLocation": _PLACE,
    "bizTransactionList": array(_TRANSACTION_ITEM),
    "sourceList": _parties("source"),
    "destinationList": _parties("destination"),
    "sensorElementList": array(_SENSOR_ELEMENT),
}
_ACTION = {"action": one_of("OBSERVE", "ADD", "DELETE")}
_ILMD = {"ilmd": record({})}
_CHILDREN = {"parentID": uri, "childEPCs": _URIS, "childQuantityList": _QUANTITIES, **_ACTION}
_REQUIRED = ("type", "eventTime", "eventTimeZoneOffset")


def _event(fields: dict[str, Check], *required: str) -> Check:
    # `id` is the JSON-LD name of the event itself; examples of the standard use it beside eventID.
    return record({**_ALL_TYPES, **fields}, required=(*_REQUIRED, *required), also=("id",))


_EVENTS: dict[str, Check] = {
    "ObjectEvent": _event({"epcList": _DISTINCT_URIS, "quantityList": _QUANTITIES, **_ACTION, **_ILMD}, "action"),
    "AggregationEvent": _event(_CHILDREN, "action"),
    "AssociationEvent": _event(_CHILDREN, "action", "parentID"),
    "TransactionEvent": _event(
        {
            "bizTransactionList": array(_TRANSACTION_ITEM, least=1),
            "parentID": uri,
            "epcList": _URIS,
            "quantityList": _QUANTITIES,
            **_ACTION,
        },
        "action",
        "bizTransactionList",
    ),
    "TransformationEvent": _event(
        {
            "inputEPCList": _DISTINCT_URIS,
            "inputQuantityList": _QUANTITIES,
            "outputEPCList": _DISTINCT_URIS,
            "outputQuantityList": _QUANTITIES,
            "transformationID": uri,
            **_ILMD,
        }
    ),
}
_OWN_EVENT = record({**_COMMON, "type": uri}, required=_REQUIRED, open_names=None)


def _things(event: dict[str, Any]) -> None:
    """Which lists of things an event type may leave out (EPCIS 2.0, sections 7.4.2 to 7.4.6)."""
    kind, action = event["type"], event.get("action")
    if kind == "ObjectEvent":
        if "ilmd" in event and action != "ADD":
            raise Violation(f"ilmd belongs to the making of things (action ADD), not to action {action}")
        sensed = event.get("sensorElementList") and "readPoint" in event
        if "epcList" not in event and not event.get("quantityList") and not sensed:
            raise Violation("an object event needs epcList, quantityList, or sensor data with a readPoint")
    elif kind in ("AggregationEvent", "AssociationEvent"):
        if action != "DELETE" and not event.get("childEPCs") and not event.get("childQuantityList"):
            raise Violation("childEPCs and childQuantityList are both missing")
    elif kind == "TransactionEvent":
        if action != "DELETE" and "epcList" not in event and not event.get("quantityList"):
            raise Violation("epcList and quantityList are both missing")
    else:
        given = event.get("inputEPCList") or event.get("inputQuantityList")
        made = event.get("outputEPCList") or event.get("outputQuantityList")
        if not ((given or made) if "transformationID" in event else (given and made)):
            raise Violation("a transformation needs inputs and outputs, or a transformationID and one of them")


def check_event(event: Any) -> None:
    """Raise `Violation` unless `event` is an EPCIS 2.0 event in JSON form (an event of an own type is checked loosely)."""
    if not isinstance(event, dict):
        raise Violation(f"{shown(event)} is not an event")
    kind = event.get("type")
    if not isinstance(kind, str):
        raise Violation("type is missing" if kind is None else f"type {shown(kind)} is not text")
    check = _EVENTS.get(kind)
    if check is None:
        _OWN_EVENT(event)
    else:
        check(event)
        _things(event)


_ATTRIBUTE = record({"id": uri}, required=("id",), open_names=None)
_VOCABULARIES = array(
    record(
        {
            "type": uri,
            "vocabularyElementList": array(
                record(
                    {"id": uri, "attributes": array(_ATTRIBUTE), "children": _URIS},
                    required=("id",),
                    open_names=None,
                )
            ),
        },
        required=("type",),
        open_names=None,
    )
)


def _attribute_values(value: Any) -> None:
    _VOCABULARIES(value)
    for vocabulary in value:
        for element in vocabulary.get("vocabularyElementList", ()):
            for attribute in element.get("attributes", ()):
                if isinstance(attribute.get("attribute", ""), (bool, list, type(None))):
                    raise Violation("an attribute is a number, a text or an object")


_EVENT_LIST = array(check_event)
_HEADER = record({"epcisMasterData": record({"vocabularyList": _attribute_values}, open_names=None)})
_DOCUMENT: dict[str, Check] = {
    "@context": _context,
    "id": uri,
    "type": string,
    "schemaVersion": version,
    "creationDate": time,
}
_PLAIN_DOCUMENT = record(
    {
        **_DOCUMENT,
        "instanceIdentifier": string,
        "sender": string,
        "receiver": string,
        "epcisHeader": _HEADER,
        "epcisBody": record({"eventList": _EVENT_LIST}, required=("eventList",), open_names=None),
    },
    required=("@context", "type", "schemaVersion", "creationDate", "epcisBody"),
)
_RESULTS = record({"eventList": _EVENT_LIST, "vocabularyList": _attribute_values}, required=("eventList",))
_QUERY_DOCUMENT = record(
    {
        **_DOCUMENT,
        "epcisBody": record(
            {
                "queryResults": record(
                    {"queryName": string, "subscriptionID": string, "resultsBody": _RESULTS},
                    required=("queryName", "resultsBody"),
                )
            },
            required=("queryResults",),
        ),
    },
    required=("@context", "type", "epcisBody"),
)


def check_document(document: Any) -> None:
    """Raise `Violation` unless `document` is an EPCISDocument, an EPCISQueryDocument or a single event with a context."""
    if not isinstance(document, dict):
        raise Violation(f"{shown(document)} is not a document")
    kind = document.get("type")
    if kind == "EPCISDocument":
        _PLAIN_DOCUMENT(document)
    elif kind == "EPCISQueryDocument":
        _QUERY_DOCUMENT(document)
    else:
        check_event(document)
        if "@context" not in document:
            raise Violation("@context is missing")


__all__ = ["EVENT_TYPES", "check_document", "check_event"]
