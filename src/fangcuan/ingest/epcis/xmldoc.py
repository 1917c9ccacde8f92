"""EPCIS 1.2 and 2.0 XML: bytes to a checked `Document` whose events have the EPCIS 2.0 JSON form."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from lxml import etree

from fangcuan.ingest.base import Refused
from fangcuan.ingest.epcis import times
from fangcuan.ingest.epcis.document import Document, VocabularyElement
from fangcuan.ingest.epcis.shapes import MAX_DEPTH, Violation
from fangcuan.ingest.epcis.xmlgrammar import DOCUMENTS
from fangcuan.ingest.epcis.xmlmodel import XSI, check, children

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Character sets of documents in use; Python has other codecs, some of which are no character sets and slow.
_CHARACTER_SETS = re.compile(
    r"utf-?8|utf-?16(?:-?[lb]e)?|us-ascii|ascii|iso-?8859-\d{1,2}|windows-125\d|gb2312|gbk|gb18030|big5|shift_jis|euc-(?:jp|kr)"
)
_DECLARATION = re.compile(r"\s*<\?xml\b[^>]*?\?>")
_DECLARED = re.compile(rb"<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._\-]+)[\"']")
#: What may stand before the root element: white space, comments, processing instructions, one bare document type.
_PROLOG = re.compile(r"(?:\s+|<!--.*?-->|<\?.*?\?>)*", re.DOTALL)
_BARE_DOCTYPE = re.compile(r"<!DOCTYPE\s+[^\s<>\[\"']+\s*>")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def decode(content: bytes) -> str:
    """The text of an XML document by its byte order mark or declaration, UTF-8 otherwise. Raises Refused(`wrong_encoding`)."""
    encoding = "utf-8"
    for mark, name in _BOMS:
        if content.startswith(mark):
            encoding, content = name, content[len(mark) :]
            break
    else:
        declared = _DECLARED.match(content[:512].lstrip())
        if declared is not None:
            encoding = declared.group(1).decode("ascii").lower()
    try:
        if _CHARACTER_SETS.fullmatch(encoding) is None:
            raise LookupError(encoding)
        return content.decode(encoding)
    except LookupError as error:
        raise Refused("wrong_encoding", f"unknown encoding {encoding!r}") from error
    except UnicodeError as error:
        raise Refused("wrong_encoding", f"not {encoding}: {error}") from error


def parse(content: bytes) -> etree._Element:
    """The root element. No entities, no document type with content, no network. Raises Refused."""
    text = decode(content)
    text = text[match.end() :] if (match := _DECLARATION.match(text)) else text
    place = _PROLOG.match(text).end()  # type: ignore[union-attr]
    if text.startswith("<!DOCTYPE", place):
        bare = _BARE_DOCTYPE.match(text, place)
        if bare is None:
            raise Refused("doctype", "a document type with declarations or an address: entities are not resolved here")
        text = text[bare.end() :]
    if "<!DOCTYPE" in text[: _PROLOG.match(text).end() + 16]:  # type: ignore[union-attr]
        raise Refused("doctype", "more than one document type")
    if (control := _CONTROLS.search(text)) is not None:
        raise Refused("unreadable", f"character U+{ord(control.group()):04X} is not allowed in XML")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, encoding="utf-8"
    )
    try:
        root = etree.fromstring(text.encode("utf-8"), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError, ValueError) as error:
        position = getattr(error, "position", (0, 0))
        where = f"line {position[0]} column {position[1]}" if position[0] else None
        message = str(error)
        if re.search(r"Premature end|EndTag|Extra content|document is empty|Couldn't find end", message) and (
            not text.rstrip().endswith(">") or "Premature end" in message
        ):
            raise Refused("truncated", f"the document ends before it is complete: {message}", position=where) from error
        raise Refused("unreadable", f"not XML: {message}", position=where) from error
    if any(isinstance(node, etree._Entity) for node in root.iter(etree.Entity)):
        raise Refused("doctype", "entity references are not resolved here")
    return root


def read(content: bytes, validate: bool = True) -> Document:
    """A checked document. Raises Refused (`wrong_encoding`, `unreadable`, `truncated`, `doctype`, `schema`).

    With `validate` false the content models are not applied, for documents whose origin has been checked elsewhere.
    """
    root = parse(content)
    found = DOCUMENTS.get(str(root.tag))
    if found is None:
        raise Refused("schema", f"root element {root.tag!r} is no EPCIS document", position="document")
    if validate:
        try:
            check(root, found[1])
        except Violation as violation:
            where = violation.position
            raise Refused(
                "schema", f"{where or 'document'}: {violation.message}", position=where or None
            ) from violation
    events, problems = [], {}
    for place, element in enumerate(_event_elements(root)):
        event = _Converter().event(element)
        events.append(event)
        if wrong := list(_wrong(event)):
            problems[place] = wrong
    return Document(
        kind=etree.QName(root).localname,
        events=events,
        positions=[f"eventList[{place}]" for place in range(len(events))],
        vocabularies=list(_vocabulary_elements(root)),
        problems=problems,
        ignored=frozenset(
            str(field.tag)
            for holder in root.iter()
            if isinstance(holder.tag, str) and holder.tag.endswith("}ignoreFields")
            for field in children(holder)
        ),
    )


def _event_elements(root: etree._Element) -> Iterator[etree._Element]:
    """Events in document order; those of EPCIS 1.2 that came late stand inside extensions."""
    for holder in root.iter("EventList"):
        for element in children(holder):
            while element.tag == "extension":
                inner = list(children(element))
                if len(inner) != 1:
                    break
                element = inner[0]
            if element.tag == "extension":
                yield from children(element)
            else:
                yield element


def _wrong(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What the XML schema lets pass and a row cannot use."""
    for field, column in (("eventTime", "event_time"), ("recordTime", "record_time")):
        value = event.get(field)
        if not isinstance(value, str):
            if field == "eventTime":
                yield {"reason": "missing", "column": column, "value": None, "expected": "a time with a zone"}
        elif not times.is_time(value):
            yield {"reason": "unparseable", "column": column, "value": value, "expected": "a time with a zone"}
    offset = event.get("eventTimeZoneOffset")
    if not isinstance(offset, str) or times.OFFSET.fullmatch(offset) is None:
        yield {"reason": "unparseable", "column": "event_time_offset", "value": offset, "expected": "±hh:mm"}


def _text(element: etree._Element) -> str:
    return "".join(element.itertext(with_tail=False)).strip()


def _decimal(text: str) -> Decimal | str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    return value if value.is_finite() else text


class _Converter:
    """One event element to the JSON form."""

    def event(self, element: etree._Element) -> dict[str, Any]:
        kind = str(element.tag)
        event: dict[str, Any] = {"type": kind}
        self.fill(event, element)
        if kind == "QuantityEvent":
            # Removed in 2.0, whose own reading of it is an observation of a class of things.
            event["type"], event["action"] = "ObjectEvent", "OBSERVE"
            event["quantityList"] = [{"epcClass": event.pop("epcClass", ""), "quantity": event.pop("quantity", None)}]
        return event

    def fill(self, event: dict[str, Any], element: etree._Element) -> None:
        for child in children(element):
            tag = str(child.tag)
            if tag in ("extension", "baseExtension"):
                self.fill(event, child)
            elif tag.startswith("{"):
                _add(event, tag, self.nested(child))
            elif (read := self.readers.get(tag)) is not None:
                event[tag] = read(self, child)
            else:
                event[tag] = _text(child)

    def texts(self, element: etree._Element) -> list[str]:
        return [_text(child) for child in children(element)]

    def quantities(self, element: etree._Element) -> list[dict[str, Any]]:
        return [self.quantity(child) for child in children(element)]

    def quantity(self, element: etree._Element) -> dict[str, Any]:
        found: dict[str, Any] = {"epcClass": ""}
        for child in children(element):
            if child.tag == "quantity":
                if child.get(f"{XSI}nil") not in ("true", "1") and _text(child):
                    found["quantity"] = _decimal(_text(child))
            else:
                found[str(child.tag)] = _text(child)
        return found

    def typed(self, element: etree._Element) -> list[dict[str, str]]:
        return [
            {**({"type": kind} if (kind := child.get("type")) is not None else {}), str(child.tag): _text(child)}
            for child in children(element)
        ]

    def place(self, element: etree._Element) -> dict[str, Any]:
        found: dict[str, Any] = {"id": ""}
        self.fill(found, element)
        return found

    def persistent(self, element: etree._Element) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for child in children(element):
            found.setdefault(str(child.tag), []).append(_text(child))
        return found

    def declaration(self, element: etree._Element) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.fill(found, element)
        return found

    def ilmd(self, element: etree._Element) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.fill(found, element)
        return found

    def sensors(self, element: etree._Element) -> list[dict[str, Any]]:
        found = []
        for child in children(element):
            sensor: dict[str, Any] = {"sensorReport": []}
            for part in children(child):
                if part.tag == "sensorReport":
                    sensor["sensorReport"].append(self.attributes(part))
                elif part.tag == "sensorMetadata":
                    sensor["sensorMetadata"] = self.attributes(part)
                else:
                    _add(sensor, str(part.tag), self.nested(part))
            found.append(sensor)
        return found

    def attributes(self, element: etree._Element) -> dict[str, Any]:
        found: dict[str, Any] = {str(name): str(value).strip() for name, value in element.attrib.items()}
        if found.get("booleanValue") in ("1", "0"):
            found["booleanValue"] = found["booleanValue"] == "1"
        return found

    def nested(self, element: etree._Element, depth: int = 0) -> Any:
        """An extension element: text, or an object of its attributes and children with its own text as `#text`."""
        if depth > MAX_DEPTH:
            raise Refused("too_deep", f"nested deeper than {MAX_DEPTH} levels")
        found: dict[str, Any] = {}
        for name, value in element.attrib.items():
            if not str(name).startswith(XSI):
                _add(found, str(name), str(value))
        for child in children(element):
            _add(found, str(child.tag), self.nested(child, depth + 1))
        text = (element.text or "").strip()
        if not found:
            return text
        if text:
            found["#text"] = text
        return found

    readers: ClassVar[dict[str, Callable[[_Converter, etree._Element], Any]]] = {
        **dict.fromkeys(("epcList", "childEPCs", "inputEPCList", "outputEPCList", "correctiveEventIDs"), texts),
        **dict.fromkeys(("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList"), quantities),
        **dict.fromkeys(("bizTransactionList", "sourceList", "destinationList"), typed),
        **dict.fromkeys(("readPoint", "bizLocation"), place),
        "persistentDisposition": persistent,
        "errorDeclaration": declaration,
        "ilmd": ilmd,
        "sensorElementList": sensors,
    }


def _add(found: dict[str, Any], name: str, value: Any) -> None:
    """Repeated elements become a list, as they are in JSON."""
    if name not in found:
        found[name] = value
    elif isinstance(found[name], list):
        found[name].append(value)
    else:
        found[name] = [found[name], value]


def _vocabulary_elements(root: etree._Element) -> Iterator[VocabularyElement]:
    for outer, vocabulary in enumerate(root.iter("Vocabulary")):
        for inner, element in enumerate(vocabulary.iter("VocabularyElement")):
            attributes: dict[str, str] = {}
            for attribute in element.iterchildren("attribute"):
                if next(children(attribute), None) is None and _text(attribute):
                    attributes.setdefault(str(attribute.get("id")), _text(attribute))
            yield VocabularyElement(
                kind=str(vocabulary.get("type")),
                id=str(element.get("id")),
                attributes=attributes,
                children=tuple(_text(child) for child in element.iterfind("children/id")),
                position=f"vocabularyList[{outer}].vocabularyElementList[{inner}]",
            )


__all__ = ["decode", "parse", "read"]
