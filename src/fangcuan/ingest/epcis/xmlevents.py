"""Content models of events in EPCIS 1.2 and 2.0 XML (EPCIS 1.2 section 9.5, EPCIS 2.0 section 9.5): which element holds what.

A model is a sequence of elements without a namespace; `any_other` allows elements of foreign namespaces after them.
"""

from __future__ import annotations

from collections.abc import Callable

from fangcuan.ingest.epcis.xmlmodel import (
    ANYTHING,
    ELEMENTS,
    TEXT,
    URI,
    Model,
    Part,
    action,
    any_text,
    any_uri,
    boolean,
    date_time,
    decimal,
    double,
    hex_binary,
    integer,
    stamp,
)

#: Elements and attributes of other namespaces, one at least.
OPEN = Model(any_other=True, any_attribute=True, at_least_one=True)


def _parts(*names: str | Part) -> tuple[Part, ...]:
    """Parts from short text: `name` is optional, `name!` required; the models are those of `_NAMED`."""
    found = []
    for name in names:
        if isinstance(name, Part):
            found.append(name)
        else:
            bare = name.rstrip("!")
            found.append(Part(bare, _NAMED.get(bare, TEXT), least=1 if name.endswith("!") else 0))
    return tuple(found)


_EPCS = Model(parts=(Part("epc", TEXT, most=None),))
_QUANTITIES = Model(
    parts=(
        Part(
            "quantityElement",
            Model(
                parts=(
                    Part("epcClass", URI, least=1),
                    Part("quantity", Model(text=decimal, nillable=True)),
                    Part("uom", TEXT, after="quantity"),
                )
            ),
            most=None,
        ),
    )
)
_PLACE = Model(parts=(Part("id", URI, least=1), Part("extension", ELEMENTS)), any_other=True)


def _typed(name: str, required: tuple[str, ...] = ()) -> Model:
    item = Model(text=any_uri, attributes={"type": any_uri}, required=required)
    return Model(parts=(Part(name, item, least=1, most=None),))


_DEVICE = {
    "time": stamp,
    **dict.fromkeys(("deviceID", "deviceMetadata", "rawData", "bizRules", "dataProcessingMethod"), any_uri),
}
_METADATA = Model(
    text=any_text,
    attributes={**_DEVICE, "startTime": stamp, "endTime": stamp},
    any_attribute=True,
)
_REPORT = Model(
    text=any_text,
    attributes={
        **_DEVICE,
        **dict.fromkeys(("type", "component", "uriValue", "chemicalSubstance", "microorganism", "exception"), any_uri),
        "coordinateReferenceSystem": any_uri,
        "booleanValue": boolean,
        "hexBinaryValue": hex_binary,
        **dict.fromkeys(("value", "minValue", "maxValue", "sDev", "meanValue", "percRank", "percValue"), double),
    },
    any_attribute=True,
)
_SENSORS = Model(
    parts=(
        Part(
            "sensorElement",
            Model(
                parts=(
                    Part("sensorMetadata", _METADATA),
                    Part("sensorReport", _REPORT, least=1, most=None),
                    Part("extension", ELEMENTS),
                ),
                any_other=True,
            ),
            least=1,
            most=None,
        ),
        Part("extension", ELEMENTS),
    )
)
_CORRECTIONS = Model(parts=(Part("correctiveEventID", URI, most=None),))


def _declaration(time: Callable[[str], None], unordered: bool) -> Model:
    most = None if unordered else 1
    return Model(
        parts=(
            Part("declarationTime", Model(text=time), least=0 if unordered else 1, most=most),
            Part("reason", URI, most=most),
            Part("correctiveEventIDs", _CORRECTIONS, most=most),
            Part("extension", ANYTHING, most=most),
        ),
        any_other=True,
        any_attribute=True,
        unordered=unordered,
    )


_NAMED: dict[str, Model] = {
    "epcList": _EPCS,
    "childEPCs": _EPCS,
    "inputEPCList": _EPCS,
    "outputEPCList": _EPCS,
    "quantityList": _QUANTITIES,
    "childQuantityList": _QUANTITIES,
    "inputQuantityList": _QUANTITIES,
    "outputQuantityList": _QUANTITIES,
    "readPoint": _PLACE,
    "bizLocation": _PLACE,
    "bizTransactionList": _typed("bizTransaction"),
    "sourceList": _typed("source", ("type",)),
    "destinationList": _typed("destination", ("type",)),
    "sensorElementList": _SENSORS,
    "persistentDisposition": Model(parts=(Part("unset", URI, most=None), Part("set", URI, most=None))),
    "action": Model(text=action),
    **dict.fromkeys(
        ("parentID", "bizStep", "disposition", "transformationID", "eventID", "epcClass", "certificationInfo"), URI
    ),
    "ilmd": Model(parts=(Part("extension", ELEMENTS),), any_other=True, any_attribute=True),
}
_WHERE = ("bizStep", "disposition", "readPoint", "bizLocation")
_TAIL = ("sourceList", "destinationList", "sensorElementList", "persistentDisposition")


def _event(head: tuple[Part, ...], names: tuple[str | Part, ...]) -> Model:
    return Model(parts=head + _parts(*names), any_other=True, any_attribute=True)


def _head(time: Callable[[str], None], *names: str | Part) -> tuple[Part, ...]:
    stamp = Model(text=time)
    return (
        Part("eventTime", stamp, least=1),
        Part("recordTime", stamp),
        *_parts("eventTimeZoneOffset!", *names),
    )


_HEAD_2 = _head(
    stamp,
    "eventID",
    Part("errorDeclaration", _declaration(stamp, True)),
    "certificationInfo",
    Part("baseExtension", OPEN),
)
_MORE = Part("extension", OPEN)
_EVENTS_2: dict[str, Model] = {
    "ObjectEvent": _event(
        _HEAD_2, ("epcList", "action!", *_WHERE, "bizTransactionList", "quantityList", *_TAIL, "ilmd", _MORE)
    ),
    "AggregationEvent": _event(
        _HEAD_2,
        ("parentID", "childEPCs", "action!", *_WHERE, "bizTransactionList", "childQuantityList", *_TAIL, _MORE),
    ),
    "TransactionEvent": _event(
        _HEAD_2, ("bizTransactionList!", "parentID", "epcList", "action!", *_WHERE, "quantityList", *_TAIL, _MORE)
    ),
    "TransformationEvent": _event(
        _HEAD_2,
        (
            *("inputEPCList", "inputQuantityList", "outputEPCList", "outputQuantityList", "transformationID"),
            *(*_WHERE, "bizTransactionList", *_TAIL, "ilmd", _MORE),
        ),
    ),
    "AssociationEvent": _event(
        _HEAD_2,
        ("parentID!", "childEPCs", "childQuantityList", "action!", *_WHERE, "bizTransactionList", *_TAIL, _MORE),
    ),
}


def _extension(*names: str) -> Part:
    inner = Part("extension", ELEMENTS)
    return Part("extension", Model(parts=(*_parts(*names), inner), any_attribute=True))


_HEAD_1 = _head(
    date_time,
    Part(
        "baseExtension",
        Model(
            parts=(
                Part("eventID", URI),
                Part("errorDeclaration", _declaration(date_time, False)),
                Part("extension", ELEMENTS),
            ),
            any_attribute=True,
        ),
    ),
)
_PARTIES = ("sourceList", "destinationList")
_EVENTS_1: dict[str, Model] = {
    "ObjectEvent": _event(
        _HEAD_1,
        ("epcList!", "action!", *_WHERE, "bizTransactionList", _extension("quantityList", *_PARTIES, "ilmd")),
    ),
    "AggregationEvent": _event(
        _HEAD_1,
        (
            "parentID",
            "childEPCs!",
            "action!",
            *_WHERE,
            "bizTransactionList",
            _extension("childQuantityList", *_PARTIES),
        ),
    ),
    "QuantityEvent": _event(
        _HEAD_1,
        (
            *("epcClass!", Part("quantity", Model(text=integer), least=1), *_WHERE, "bizTransactionList"),
            Part("extension", ELEMENTS),
        ),
    ),
    "TransactionEvent": _event(
        _HEAD_1,
        ("bizTransactionList!", "parentID", "epcList!", "action!", *_WHERE, _extension("quantityList", *_PARTIES)),
    ),
    "TransformationEvent": _event(
        _HEAD_1,
        (
            *("inputEPCList", "inputQuantityList", "outputEPCList", "outputQuantityList", "transformationID"),
            *(*_WHERE, "bizTransactionList", *_PARTIES, "ilmd", Part("extension", ELEMENTS)),
        ),
    ),
}

#: Events by EPCIS major version. In 1.2 an association stands in an extension whose content the schema leaves open.
EVENTS: dict[int, dict[str, Model]] = {1: _EVENTS_1, 2: _EVENTS_2}
