"""Content models of XML elements (named parts, attributes, texts) and the check of an element against one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lxml import etree

from fangcuan.ingest.epcis import times
from fangcuan.ingest.epcis.shapes import MAX_DEPTH, Violation, shown

XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
#: Namespaces of EPCIS itself: their elements are no extensions.
EPCIS = ("urn:epcglobal:epcis:xsd:1", "urn:epcglobal:epcis:xsd:2")


@dataclass(frozen=True)
class Part:
    """One element of a sequence: how often it may stand, and the model of its content."""

    name: str
    model: Model
    least: int = 0
    most: int | None = 1
    #: Name of a part without which this one may not stand.
    after: str | None = None


@dataclass(frozen=True)
class Model:
    """Content of an element: text (`text` checks it) or a sequence of parts; attributes with their checks."""

    parts: tuple[Part, ...] = ()
    text: Callable[[str], None] | None = None
    any_other: bool = False
    anything: bool = False
    element_only: bool = False
    at_least_one: bool = False
    choice: bool = False
    unordered: bool = False
    nillable: bool = False
    attributes: dict[str, Callable[[str], None]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    any_attribute: bool = False


def any_text(value: str) -> None:
    pass


def pattern_check(pattern: str, name: str) -> Callable[[str], None]:
    compiled = re.compile(pattern)

    def check(value: str) -> None:
        if compiled.fullmatch(value.strip()) is None:
            raise Violation(f"{shown(value)} is not {name}")

    return check


def words(*words: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if value not in words:
            raise Violation(f"{shown(value)} is not one of {', '.join(words)}")

    return check


_STAMP_SHAPE = re.compile(
    r"[0-9]{4}-(?:1[0-2]|0[1-9])-(?:3[01]|0[1-9]|[12][0-9])T(?:2[0-3]|[01][0-9]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
)
_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]+)?)(Z|[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00))?"
)


def _calendar(value: str) -> None:
    try:
        times.parse(value)
    except ValueError as error:
        raise Violation(f"{shown(value)} is not a date and time") from error


def stamp(value: str) -> None:
    """A time of EPCIS 2.0: with a zone."""
    if _STAMP_SHAPE.fullmatch(value.strip()) is None:
        raise Violation(f"{shown(value)} is not a date and time with a zone")
    _calendar(value.strip())


def date_time(value: str) -> None:
    """A time of EPCIS 1.2: XML Schema allows it to have no zone; the event is quarantined then, not the document."""
    match = _DATE_TIME.fullmatch(value.strip())
    if match is None:
        raise Violation(f"{shown(value)} is not a date and time")
    # 24:00:00 is midnight at the end of the day.
    _calendar(re.sub(r"T24:00:00(?:\.0+)?$", "T23:59:59", match.group(1)) + (match.group(2) or "Z"))


decimal = pattern_check(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)", "a decimal number")
double = pattern_check(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?INF|NaN", "a number")
integer = pattern_check(r"[+-]?[0-9]+", "an integer")
boolean = pattern_check(r"true|false|0|1", "true or false")
hex_binary = pattern_check(r"(?:[0-9a-fA-F]{2})*", "hexadecimal")
action = words("ADD", "OBSERVE", "DELETE")

#: A reference with a colon needs a scheme before it (RFC 3986, section 4.2); XML Schema asks little more of anyURI.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_COLON_FIRST = re.compile(r"[^/?#]*?:")


def any_uri(value: str) -> None:
    value = value.strip()
    if _COLON_FIRST.match(value) and not _SCHEME.match(value):
        raise Violation(f"{shown(value)} is not a URI")


#: Types that an extension element may give itself with xsi:type.
_OWN_TYPES: dict[str, Callable[[str], None]] = {
    "string": any_text,
    "boolean": boolean,
    "integer": integer,
    "int": integer,
    "long": integer,
    "decimal": decimal,
    "double": double,
    "float": double,
    "dateTime": date_time,
    "anyURI": any_uri,
}

TEXT = Model(text=any_text)
URI = Model(text=any_uri)
ANYTHING = Model(anything=True, any_attribute=True)
#: An extension whose elements the schema leaves open, but which holds no text of its own.
ELEMENTS = Model(anything=True, element_only=True, any_attribute=True)


def children(element: etree._Element) -> Iterator[etree._Element]:
    """Child elements, without comments and processing instructions."""
    return (child for child in element if isinstance(child.tag, str))


def check(element: etree._Element, model: Model, depth: int = 0) -> None:
    """Raise `Violation` unless the content of `element` fits the model."""
    if depth > MAX_DEPTH:
        raise Violation(f"nested deeper than {MAX_DEPTH} levels")
    _check_attributes(element, model)
    if model.anything:
        if (own := _own_type(element)) is not None:
            _check_attributes(element, TEXT)
            _check_text(element, own)
            return
        if model.element_only:
            _check_no_text(element)
            if next(children(element), None) is None:
                raise Violation("the extension is empty")
        for child in children(element):
            check(child, ANYTHING, depth + 1)
        return
    if model.text is not None:
        _check_text(element, model)
        return
    _check_no_text(element)
    _check_sequence(element, model, depth)


def _own_type(element: etree._Element) -> Model | None:
    """The model of an element that names a simple type of XML Schema as its own."""
    prefix, colon, name = str(element.get(f"{XSI}type", "")).rpartition(":")
    if not colon or element.nsmap.get(prefix) != "http://www.w3.org/2001/XMLSchema" or name not in _OWN_TYPES:
        return None
    return Model(text=_OWN_TYPES[name])


def _check_no_text(element: etree._Element) -> None:
    if (element.text or "").strip() or any((child.tail or "").strip() for child in element):
        raise Violation("text has no place here")


def _check_attributes(element: etree._Element, model: Model) -> None:
    for name in model.required:
        if name not in element.attrib:
            raise Violation(f"attribute {name} is missing")
    for raw, value in element.attrib.items():
        name = str(raw)
        if name in model.attributes:
            try:
                model.attributes[name](str(value))
            except Violation as violation:
                raise violation.within(f".@{name}") from None
        elif not model.any_attribute and not name.startswith(XSI):
            raise Violation(f"attribute {shown(name)} has no place here")


def _check_text(element: etree._Element, model: Model) -> None:
    if next(children(element), None) is not None:
        raise Violation("an element stands where text is expected")
    text = "".join(element.itertext())
    if model.nillable and element.get(f"{XSI}nil") in ("true", "1"):
        if text:
            raise Violation("an element that is nil is not empty")
        return
    assert model.text is not None
    model.text(text)


def _check_sequence(element: etree._Element, model: Model, depth: int) -> None:
    counts = [0] * len(model.parts)
    names = {part.name: place for place, part in enumerate(model.parts)}
    reached = 0
    foreign = 0
    for child in children(element):
        tag = str(child.tag)
        place = names.get(tag)
        if place is None and tag.startswith("{"):
            if not model.any_other or tag[1:].partition("}")[0] in EPCIS:
                raise Violation(f"element {shown(tag)} has no place here")
            foreign += 1
            check(child, ANYTHING, depth + 1)
            continue
        if place is None or (not model.unordered and (place < reached or foreign)):
            raise Violation(f"element {shown(tag)} has no place here")
        reached = place
        counts[place] += 1
        part = model.parts[place]
        if part.most is not None and counts[place] > part.most:
            raise Violation(f"element {tag} stands more than once")
        try:
            check(child, part.model, depth + 1)
        except Violation as violation:
            repeated = f"[{counts[place] - 1}]" if part.most is None else ""
            raise violation.within(f".{tag}{repeated}") from None
    for part, count in zip(model.parts, counts, strict=True):
        if count < part.least:
            raise Violation(f"element {part.name} is missing")
        if count and part.after is not None and not counts[names[part.after]]:
            raise Violation(f"element {part.name} needs {part.after} before it")
    if model.choice and sum(counts) + foreign != 1:
        raise Violation("exactly one element is expected")
    if model.at_least_one and not foreign:
        raise Violation("the extension is empty")
