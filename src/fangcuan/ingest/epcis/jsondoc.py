"""EPCIS 2.0 JSON and JSON-LD: bytes to a checked `Document`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NoReturn

from fangcuan.ingest.base import Refused
from fangcuan.ingest.epcis.document import Document, VocabularyElement
from fangcuan.ingest.epcis.shapes import Violation
from fangcuan.ingest.epcis.structure import check_document

_MAX_DIGITS = 64
#: Prefixes of the standard's own context.
_PREFIXES = {
    "epcis": "https://ref.gs1.org/epcis/",
    "cbv": "https://ref.gs1.org/cbv/",
    "gs1": "https://gs1.org/voc/",
    "vtype": "urn:epcglobal:epcis:vtype:",
    "cbvmda": "urn:epcglobal:cbv:mda:",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "dcterms": "http://purl.org/dc/terms/",
}


def load(content: bytes) -> Any:
    """JSON that says one thing only: UTF-8, no repeated key, no NaN, numbers as int or Decimal. Raises Refused."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            "wrong_encoding", f"not UTF-8: {error.reason} at byte {error.start}", position=f"byte {error.start}"
        ) from error
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_number,
            parse_int=_integer,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        if error.pos >= len(text.rstrip()) or "Unterminated" in error.msg:
            raise Refused(
                "truncated", f"the document ends before it is complete: {error.msg}", position=place
            ) from error
        raise Refused("unreadable", f"not JSON: {error.msg}", position=place) from error
    except RecursionError as error:
        raise Refused("too_deep", "the document is nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next((name for name in found if names.count(name) > 1 and name != "eventID"), None)
        # One of the standard's own examples gives an event two identities; like every JSON reader, the last one holds.
        if twice is None:
            return found
        raise Refused("duplicate_key", f"field {twice!r} stands twice in one object; which one holds is undefined")
    return found


def _number(text: str) -> Decimal:
    value = Decimal(text)
    if len(text) > _MAX_DIGITS or abs(value.adjusted()) > _MAX_DIGITS:
        raise Refused("unreadable", f"number {text[:40]}… is out of range")
    return value


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise Refused("unreadable", f"number {text[:40]}… is out of range")
    return int(text)


def _constant(text: str) -> NoReturn:
    raise Refused("unreadable", f"{text} is not a JSON number")


def read(content: bytes) -> Document:
    """A checked document. Raises Refused (`wrong_encoding`, `unreadable`, `truncated`, `duplicate_key`, `too_deep`, `schema`)."""
    document = load(content)
    if re.search(rb"\\u(?:[dD][89a-fA-F]|0000)", content):
        _storable(document)
    try:
        check_document(document)
    except Violation as violation:
        position = (
            violation.position.removeprefix("epcisBody.").removeprefix("queryResults.").removeprefix("resultsBody.")
        )
        raise Refused(
            "schema", f"{position or 'document'}: {violation.message}", position=position or None
        ) from violation
    except RecursionError as error:
        raise Refused("too_deep", "the document is nested too deeply") from error
    kind = document["type"]
    holders: tuple[dict[str, Any], ...]
    if kind == "EPCISDocument":
        events = document["epcisBody"]["eventList"]
        positions = [f"eventList[{place}]" for place in range(len(events))]
        vocabularies = document.get("epcisHeader", {}).get("epcisMasterData", {}).get("vocabularyList", [])
        holders = (document, document["epcisBody"])
    elif kind == "EPCISQueryDocument":
        results = document["epcisBody"]["queryResults"]
        events = results["resultsBody"]["eventList"]
        positions = [f"eventList[{place}]" for place in range(len(events))]
        vocabularies = results["resultsBody"].get("vocabularyList", [])
        holders = (document, document["epcisBody"], results)
    else:
        events, positions, vocabularies, holders = [document], ["event"], [], ()
    namespaces = _Namespaces(document.get("@context"), (event.get("@context") for event in events))
    return Document(
        kind="Event" if not holders else kind,
        events=events,
        positions=positions,
        vocabularies=list(_elements(vocabularies)),
        resolve=namespaces.resolve,
        ignored=frozenset(namespaces.resolve(name) for holder in holders for name in _ignore_fields(holder)),
    )


def _storable(value: Any) -> None:
    """Escapes can spell what no text column holds: half a surrogate pair, or the character zero."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str) and ("\x00" in item or any("\ud800" <= character <= "\udfff" for character in item)):
            raise Refused("wrong_encoding", "a text holds a lone surrogate or the character U+0000")


def _ignore_fields(holder: dict[str, Any]) -> Iterable[str]:
    for name, value in holder.items():
        if name.endswith(":ignoreFields"):
            members = value if isinstance(value, list) else [value]
            yield from (member for member in members if isinstance(member, str))


class _Namespaces:
    """Resolves the names of extension fields by the document's own JSON-LD context; nothing is fetched."""

    def __init__(self, context: Any, inner: Iterable[Any]) -> None:
        self.prefixes = dict(_PREFIXES)
        self.known: dict[str, str] = {}
        for entry in (context, *inner):
            for part in entry if isinstance(entry, list) else [entry]:
                if isinstance(part, dict):
                    self.prefixes.update((name, uri) for name, uri in part.items() if isinstance(uri, str))

    def resolve(self, name: str) -> str:
        """`example:myField` → `{https://ns.example.com/epcis/}myField`; a name without a prefix stays."""
        found = self.known.get(name)
        if found is None:
            found = self.known[name] = self._resolve(name)
        return found

    def _resolve(self, name: str) -> str:
        prefix, colon, local = name.partition(":")
        if not colon:
            return name
        if prefix in self.prefixes and not local.startswith("//"):
            return f"{{{self.prefixes[prefix]}}}{local}"
        cut = max(name.rfind("/"), name.rfind("#"), name.rfind(":") if prefix == "urn" else -1)
        return f"{{{name[: cut + 1]}}}{name[cut + 1 :]}" if cut > 0 else name


def _elements(vocabularies: list[dict[str, Any]]) -> Iterable[VocabularyElement]:
    for outer, vocabulary in enumerate(vocabularies):
        for inner, element in enumerate(vocabulary.get("vocabularyElementList", ())):
            attributes: dict[str, str] = {}
            for attribute in element.get("attributes", ()):
                value = attribute.get("attribute")
                if isinstance(value, (str, int, Decimal)):
                    attributes.setdefault(attribute["id"], str(value))
            yield VocabularyElement(
                kind=vocabulary["type"],
                id=element["id"],
                attributes=attributes,
                children=tuple(element.get("children", ())),
                position=f"vocabularyList[{outer}].vocabularyElementList[{inner}]",
            )
