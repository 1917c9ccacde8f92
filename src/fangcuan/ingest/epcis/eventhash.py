"""The event hash of GS1 CBV 2.0, section 8.9: an identity that depends on what an event says, not on how it is written.

The pre-hash string joins the properties of the event in a fixed order, lists sorted, values in canonical form
(`eventType=ObjectEventeventTime=2020-03-04T10:00:30.000Z…`); the hash is `ni:///sha-256;HEX?ver=CBV2.0` of its UTF-8
bytes. `recordTime`, `eventID`, `errorDeclaration` and `rdfs:comment` are no part of it, so an event and the declaration
that withdraws it share one hash, and so do the JSON and the XML form of an event.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from fangcuan.ingest.epcis import times, vocabulary
from fangcuan.ingest.epcis.identifiers import digital_link

Event = Mapping[str, Any]
#: Turns a property name as written (`example:myField`) into `{namespace}local`.
Resolve = Callable[[str], str]

_COMMENT = "{http://www.w3.org/2000/01/rdf-schema#}comment"
_IGNORED = frozenset(("type", "@context", "recordTime", "eventID", "errorDeclaration"))
_ORDER = (
    "eventTime",
    "eventTimeZoneOffset",
    "certificationInfo",
    "parentID",
    "epcList",
    "childEPCs",
    "quantityList",
    "childQuantityList",
    "inputEPCList",
    "inputQuantityList",
    "outputEPCList",
    "outputQuantityList",
    "action",
    "transformationID",
    "bizStep",
    "disposition",
    "persistentDisposition",
    "readPoint",
    "bizLocation",
    "sensorElementList",
    "ilmd",
    "bizTransactionList",
    "destinationList",
    "sourceList",
)
_METADATA = (
    "time",
    "startTime",
    "endTime",
    "deviceID",
    "deviceMetadata",
    "rawData",
    "dataProcessingMethod",
    "bizRules",
)
_REPORT = (
    "type",
    "exception",
    "deviceID",
    "deviceMetadata",
    "rawData",
    "dataProcessingMethod",
    "time",
    "microorganism",
    "chemicalSubstance",
    "value",
    "component",
    "stringValue",
    "booleanValue",
    "hexBinaryValue",
    "uriValue",
    "minValue",
    "maxValue",
    "meanValue",
    "sDev",
    "percRank",
    "percValue",
    "uom",
    "coordinateReferenceSystem",
)
_TIMES = frozenset(("eventTime", "time", "startTime", "endTime"))
_NUMBERS = frozenset(("quantity", "value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue"))
_NUMERIC = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,63})(?:\.[0-9]{0,63})?")
_WEB_VOCABULARY = "https://gs1.org/voc/"


def event_hash(event: Event, resolve: Resolve = str, ignored: frozenset[str] = frozenset()) -> str:
    """`ni:///sha-256;HEX?ver=CBV2.0` of a checked event in JSON form (see `document`).

    `ignored` are resolved names of extension fields that the document declares to be no part of its events.
    """
    digest = hashlib.sha256(prehash(event, resolve, ignored).encode()).hexdigest()
    return f"ni:///sha-256;{digest}?ver=CBV2.0"


def prehash(event: Event, resolve: Resolve = str, ignored: frozenset[str] = frozenset()) -> str:
    """The string that is hashed."""
    return _Writer(resolve, ignored).event(event)


def number(value: Any) -> str:
    """A number without exponent or trailing zeros: `26.0` → `26`. Text that is no plain number stays as it is.

    Numbers pass through an IEEE double, as in the known answers: beyond 17 digits the double's own digits count. XML has
    no types, so text that looks like a number is one; text with leading zeros (a code, a lot) is not.
    """
    text = str(value)
    if not isinstance(value, (int, Decimal)) and _NUMERIC.fullmatch(text) is None:
        return text
    double = float(text)
    if not math.isfinite(double):
        return text
    if double.is_integer():
        return str(int(double))
    return format(Decimal(repr(double)), "f")


class _Writer:
    """One pre-hash string; `leftovers` collects standard-looking properties that stand where they have no place."""

    def __init__(self, resolve: Resolve, ignored: frozenset[str]) -> None:
        self.resolve = resolve
        self.ignored = ignored | {_COMMENT}
        self.leftovers: list[str] = []

    def event(self, event: Event) -> str:
        parts = [f"eventType={event.get('type', '')}"]
        for name in _ORDER:
            value = event.get(name)
            if value is not None:
                parts.append(self.field(name, value))
        extensions = self.extensions(event, (*_ORDER, *_IGNORED), "")
        return "".join(parts) + "".join(sorted([*extensions, *self.leftovers]))

    def field(self, name: str, value: Any) -> str:
        if name in ("epcList", "childEPCs", "inputEPCList", "outputEPCList"):
            return name + "".join(sorted(f"epc={digital_link(epc)}" for epc in value)) if value else ""
        if name.endswith("uantityList"):
            return name + "".join(sorted(self.quantity(element) for element in value)) if value else ""
        if name in ("bizTransactionList", "sourceList", "destinationList"):
            return name + "".join(sorted(self.typed(name, element) for element in value)) if value else ""
        if name == "certificationInfo":
            return "".join(sorted(f"{name}={digital_link(uri)}" for uri in _listed(value)))
        if name == "persistentDisposition":
            return name + "".join(
                "".join(sorted(f"{key}={vocabulary.web_uri('disposition', word)}" for word in _listed(value[key])))
                for key in ("set", "unset")
                if key in value
            )
        if name in ("readPoint", "bizLocation"):
            extensions = self.extensions(value, ("id",), name)
            return f"{name}id={digital_link(value['id'])}" + "".join(sorted(extensions))
        if name == "sensorElementList":
            return name + "".join(sorted(self.sensor(element) for element in value)) if value else ""
        if name == "ilmd":
            return name + "".join(sorted(self.extensions(value, (), name)))
        return f"{name}={self.scalar(name, value)}"

    def scalar(self, name: str, value: Any) -> str:
        if name in _TIMES:
            try:
                return times.canonical(value)
            except ValueError:
                return str(value)
        if name in _NUMBERS:
            return number(value)
        if name in ("bizStep", "disposition", "component"):
            return vocabulary.web_uri(name, value)  # type: ignore[arg-type]
        return number(value) if name == "stringValue" else _text(value)

    def quantity(self, element: Mapping[str, Any]) -> str:
        parts = [f"quantityElementepcClass={digital_link(element['epcClass'])}"]
        if element.get("quantity") is not None:
            parts.append(f"quantity={number(element['quantity'])}")
        if element.get("uom") is not None:
            parts.append(f"uom={element['uom']}")
        return "".join(parts)

    def typed(self, name: str, element: Mapping[str, Any]) -> str:
        key = name.removesuffix("List")
        family: vocabulary.Family = "bizTransactionType" if key == "bizTransaction" else "sourceDestType"
        kind = f"type={vocabulary.web_uri(family, element['type'])}" if element.get("type") is not None else ""
        return f"{kind}{key}={digital_link(element[key])}"

    def sensor(self, element: Mapping[str, Any]) -> str:
        parts = ["sensorElement"]
        metadata = element.get("sensorMetadata")
        if metadata is not None:
            parts.append(
                "sensorMetadata" + self.flat(metadata, _METADATA, "sensorElementListsensorElementsensorMetadata")
            )
        place = "sensorElementListsensorElementsensorReport"
        parts += sorted(
            "sensorReport" + self.flat(report, _REPORT, place) for report in element.get("sensorReport", ())
        )
        parts += sorted(self.extensions(element, ("sensorMetadata", "sensorReport"), "sensorElementListsensorElement"))
        return "".join(parts)

    def flat(self, fields: Mapping[str, Any], order: tuple[str, ...], place: str) -> str:
        parts = []
        for name in order:
            value = fields.get(name)
            if value is None:
                continue
            if name in ("type", "exception"):
                text = _measurement(value)
            else:
                text = self.scalar(name, value)
            parts.append(f"{name}={text}")
        return "".join(parts) + "".join(sorted(self.extensions(fields, order, place)))

    def extensions(self, fields: Mapping[str, Any], known: tuple[str, ...], place: str) -> list[str]:
        """One string per extension property; standard-looking names that do not belong here become leftovers."""
        found: list[str] = []
        for key, value in fields.items():
            if key in known:
                continue
            name = self.resolve(key)
            if name in self.ignored:
                continue
            if place and name == key and ":" not in key and not key.startswith("{") and place != "ilmd":
                self.leftovers.extend(f"{place}{text}" for text in self.nested(key, value))
            else:
                found.extend(self.nested(name, value))
        return found

    def nested(self, name: str, value: Any) -> Iterator[str]:
        """An extension value: a list repeats the name, an object is the name followed by its sorted content."""
        if isinstance(value, list):
            for member in value:
                yield from self.nested(name, member)
        elif isinstance(value, dict):
            inner: list[str] = []
            head = ""
            for key, member in value.items():
                if key == "#text":
                    head = f"={_extension_text(member)}"
                    continue
                resolved = self.resolve(key)
                if resolved not in self.ignored:
                    inner.extend(self.nested(resolved, member))
            yield name + head + "".join(sorted(inner))
        else:
            yield f"{name}={_extension_text(value)}"

    def extension_text(self, value: Any) -> str:
        return (
            number(value) if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) else _text(value)
        )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    return digital_link(value) if isinstance(value, str) else str(value)


def _extension_text(value: Any) -> str:
    return _text(value) if isinstance(value, bool) or value is None else _text(number(value))


def _measurement(value: str) -> str:
    if ":" not in value:
        return _WEB_VOCABULARY + value
    return _WEB_VOCABULARY + value[4:] if value.startswith("gs1:") else value


__all__ = ["Event", "Resolve", "event_hash", "number", "prehash"]
