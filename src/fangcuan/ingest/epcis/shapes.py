"""Small checks that the structure rules are made of. A check takes a JSON value and raises `Violation` or returns None."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from fangcuan.ingest.epcis import times

Check = Callable[[Any], None]

#: Scheme and something after it. `_:document1` (a JSON-LD blank node) names documents in published examples.
_URI = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*|_):[^\s\x00-\x1f\x7f\"<>\\^`{|}]+")
_WEB_VOCABULARY = re.compile(r"https?://(?:www\.)?gs1\.org/voc/")
_WORD = re.compile(r"[^\s\x00-\x1f]+")
_UOM = re.compile(r"[A-Z0-9]{2,3}")
_HEX = re.compile(r"[A-Fa-f0-9]+")
_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)*")
#: Nesting allowed in extension fields; published documents need about ten.
MAX_DEPTH = 64


class Violation(Exception):
    """A value that the EPCIS schema does not allow; `path` grows from the inside out while the exception travels."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path: list[str] = []

    def within(self, step: str) -> Violation:
        self.path.insert(0, step)
        return self

    @property
    def position(self) -> str:
        return "".join(self.path).lstrip(".")


def shown(value: Any) -> str:
    """A value as it may stand in a message: short, and never the whole of somebody's document."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def string(value: Any) -> None:
    if not isinstance(value, str):
        raise Violation(f"{shown(value)} is not text")


def uri(value: Any) -> None:
    if not isinstance(value, str) or _URI.fullmatch(value) is None:
        raise Violation(f"{shown(value)} is not a URI")


def time(value: Any) -> None:
    string(value)
    try:
        times.parse(value)
    except ValueError as error:
        raise Violation(str(error)) from error


def offset(value: Any) -> None:
    if not isinstance(value, str) or times.OFFSET.fullmatch(value) is None:
        raise Violation(f"{shown(value)} is not a zone offset ±hh:mm")


def number(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise Violation(f"{shown(value)} is not a number")


def boolean(value: Any) -> None:
    if not isinstance(value, bool):
        raise Violation(f"{shown(value)} is neither true nor false")


def matching(pattern: re.Pattern[str], name: str) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise Violation(f"{shown(value)} is not {name}")

    return check


uom = matching(_UOM, "a UN/CEFACT unit code")
hex_binary = matching(_HEX, "hexadecimal")
version = matching(_VERSION, "a version number")


def one_of(*words: str) -> Check:
    def check(value: Any) -> None:
        if value not in words or not isinstance(value, str):
            raise Violation(f"{shown(value)} is not one of {', '.join(words)}")

    return check


def _word_or_uri(value: str) -> None:
    if ":" in value:
        uri(value)
    elif _WORD.fullmatch(value) is None:
        raise Violation(f"{shown(value)} is neither a vocabulary word nor a URI")


def vocabulary_value(value: Any) -> None:
    """A bare word, a CURIE or a URI, but not the URN spelling: EPCIS 2.0 JSON keeps that for XML.

    Whether a bare word is a member of its vocabulary is a matter of the event, not of the document.
    """
    string(value)
    if value.startswith(("urn:epcglobal:cbv", "https://ns.gs1.org/cbv/", "http://ns.gs1.org/cbv/")):
        raise Violation(f"{shown(value)}: JSON writes standard vocabulary as a bare word")
    _word_or_uri(value)


def web_vocabulary_value(value: Any) -> None:
    """A measurement or alert type: a bare word or somebody's URI, but not the spelt-out GS1 web vocabulary."""
    string(value)
    if _WEB_VOCABULARY.match(value):
        raise Violation(f"{shown(value)}: JSON writes the GS1 web vocabulary as a bare word")
    _word_or_uri(value)


def array(item: Check, *, least: int = 0, unique: bool = False) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, list):
            raise Violation(f"{shown(value)} is not a list")
        if len(value) < least:
            raise Violation(f"a list of {len(value)} is shorter than {least}")
        for place, member in enumerate(value):
            try:
                item(member)
            except Violation as violation:
                raise violation.within(f"[{place}]") from None
        if unique and len(set(value)) != len(value):
            raise Violation("a value stands twice in a list of distinct values")

    return check


def record(
    fields: Mapping[str, Check],
    *,
    required: tuple[str, ...] = (),
    open_names: bool | None = True,
    also: tuple[str, ...] = (),
) -> Check:
    """An object with known `fields`. Extension names (a CURIE, a URI, an @keyword) are allowed where `open_names` is True,
    everything where it is None, and nothing else where it is False; `also` are further names let through unread."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise Violation(f"{shown(value)} is not an object")
        for name in required:
            if name not in value:
                raise Violation(f"{name} is missing")
        for name, member in value.items():
            known = fields.get(name)
            try:
                if known is not None:
                    known(member)
                elif open_names is None or name in also or (open_names and (":" in name or name.startswith("@"))):
                    extension(member)
                else:
                    raise Violation(f"field {shown(name)} has no place here")
            except Violation as violation:
                raise violation.within(f".{name}") from None

    return check


def extension(value: Any, depth: int = 0) -> None:
    """Content of an extension field: anything, nested to a bounded depth."""
    if depth > MAX_DEPTH:
        raise Violation(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for member in value.values():
            extension(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            extension(member, depth + 1)
