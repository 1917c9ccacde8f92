"""GS1 identification keys: EPC URNs (GS1 EPC Tag Data Standard 2.0) and GS1 Digital Link URIs (GS1 Digital Link 1.2).

The same thing is written `urn:epc:id:sgtin:4012345.012345.12` or `https://id.gs1.org/01/04012345123456/21/12`; the event
hash and the product number need one form of it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote

STEM = "https://id.gs1.org/"

#: Short names of primary keys that Digital Link URIs may use instead of the application identifier.
_NAMES = {
    "gtin": "01",
    "itip": "8006",
    "cpid": "8010",
    "gln": "414",
    "party": "417",
    "gsrn": "8018",
    "gsrnp": "8017",
    "ginc": "401",
    "gsin": "402",
    "grai": "8003",
    "giai": "8004",
    "gdti": "253",
    "gcn": "255",
    "sscc": "00",
    "gmn": "8013",
}
_TEXT = r"[^/?#]{1,90}"
#: Primary keys and the shape of their values.
_KEYS = {
    "00": re.compile(r"\d{18}"),
    "01": re.compile(r"\d{8}|\d{12,14}"),
    "253": re.compile(rf"\d{{13}}(?:{_TEXT})?"),
    "255": re.compile(r"\d{13,25}"),
    "401": re.compile(rf"{_TEXT}"),
    "402": re.compile(r"\d{17}"),
    "414": re.compile(r"\d{13}"),
    "417": re.compile(r"\d{13}"),
    "8003": re.compile(rf"\d{{14}}(?:{_TEXT})?"),
    "8004": re.compile(rf"\d{{4}}{_TEXT}"),
    "8006": re.compile(r"\d{18}"),
    "8010": re.compile(rf"\d{{4}}{_TEXT}"),
    "8013": re.compile(rf"\d{{4}}{_TEXT}"),
    "8017": re.compile(r"\d{18}"),
    "8018": re.compile(r"\d{18}"),
}
#: The qualifiers kept per key, finest first: the first present names the thing, coarser ones say nothing more.
_QUALIFIERS = {
    "01": ("21", "235", "10"),
    "8006": ("21", "10"),
    "8010": ("8011",),
    "414": ("254",),
    "8017": ("8019",),
    "8018": ("8019",),
}
_QUALIFIER_NAMES = {"ser": "21", "lot": "10", "cpv": "22", "glnx": "254", "cpsn": "8011", "srin": "8019"}


def check_digit(digits: str) -> str:
    """The GS1 modulo-10 check digit of `digits` (GS1 General Specifications 7.9.1)."""
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def _escaped(text: str) -> str:
    # Canonical Digital Link keeps letters, digits and - . _ ~ '; every other character is percent-encoded.
    return quote(unquote(text), safe="'")


def _key(company: str, reference: str, length: int, lead: str = "") -> str | None:
    """`lead` + company prefix + reference + check digit, or None where they are not `length` digits together."""
    digits = lead + company + reference
    return digits + check_digit(digits) if len(digits) == length and digits.isdecimal() and digits.isascii() else None


def _gtin(company: str, reference: str) -> str | None:
    return _key(company, reference[1:], 13, reference[:1]) if reference else None


def _plain(ai: str, value: str | None, *qualifiers: tuple[str, str]) -> str | None:
    if value is None:
        return None
    tail = "".join(f"/{name}/{_escaped(text)}" for name, text in qualifiers if text != "")
    return f"{STEM}{ai}/{value}{tail}"


def _serial(value: str | None, serial: str) -> str | None:
    return None if value is None else value + _escaped(serial)


def _instance(scheme: str, parts: list[str]) -> str | None:  # one branch per scheme of the Tag Data Standard
    match scheme, parts:
        case "sgtin", [company, reference, serial]:
            return _plain("01", _gtin(company, reference), ("21", serial))
        case "upui", [company, reference, serial]:
            return _plain("01", _gtin(company, reference), ("235", serial))
        case "sscc", [company, reference] if reference:
            return _plain("00", _key(company, reference[1:], 17, reference[:1]))
        case "sgln", [company, reference, extension]:
            return _plain("414", _key(company, reference, 12), ("254", "" if extension == "0" else extension))
        case "pgln", [company, reference]:
            return _plain("417", _key(company, reference, 12))
        case "grai", [company, reference, serial]:
            return _plain("8003", _serial(_key(company, reference, 13, "0"), serial))
        case "giai", [company, reference] if reference:
            return _plain("8004", _serial(company, reference))
        case "gsrn", [company, reference]:
            return _plain("8018", _key(company, reference, 17))
        case "gsrnp", [company, reference]:
            return _plain("8017", _key(company, reference, 17))
        case "gdti", [company, reference, serial]:
            return _plain("253", _serial(_key(company, reference, 12), serial))
        case "sgcn", [company, reference, serial]:
            return _plain("255", _serial(_key(company, reference, 12), serial))
        case "cpi", [company, reference, serial]:
            return _plain("8010", _serial(company, reference), ("8011", serial))
        case "ginc", [company, reference] if reference:
            return _plain("401", _serial(company, reference))
        case "gsin", [company, reference]:
            return _plain("402", _key(company, reference, 16))
        case "itip", [company, reference, piece, total, serial]:
            gtin = _gtin(company, reference)
            return _plain("8006", gtin and gtin + piece + total, ("21", serial))
    return None


def _split(body: str) -> list[str]:
    # A serial may hold dots, so only the first ones separate.
    scheme, _, rest = body.partition(":")
    places = {"sscc": 1, "pgln": 1, "giai": 1, "gsrn": 1, "gsrnp": 1, "ginc": 1, "gsin": 1, "itip": 4}.get(scheme, 2)
    return rest.split(".", places)


@lru_cache(maxsize=65536)
def digital_link(uri: str) -> str:
    """The canonical GS1 Digital Link URI of an EPC URN, EPC class, EPC pattern or Digital Link URI on any domain.

    A URI that carries no GS1 key (or whose parts do not fit the key) is returned unchanged.
    """
    if uri.startswith("urn:epc:id:"):
        body = uri[11:]
        return _instance(body.partition(":")[0], _split(body)) or uri
    if uri.startswith("urn:epc:class:lgtin:"):
        parts = uri[20:].split(".", 2)
        return (_plain("01", _gtin(*parts[:2]), ("10", parts[2])) if len(parts) == 3 else None) or uri
    if uri.startswith("urn:epc:idpat:") and uri.endswith(".*"):
        body = uri[14:-2]
        # Without its serial the pattern names the class: the last part is empty.
        return _instance(body.partition(":")[0], _split(body + ".")) or uri
    if uri.startswith(("https://", "http://")):
        return _canonical_link(uri) or uri
    return uri


def _canonical_link(uri: str) -> str | None:
    path = re.split(r"[?#]", uri, maxsplit=1)[0]
    segments = path.split("/")[3:]
    for place, segment in enumerate(segments[:-1]):
        ai = _NAMES.get(segment, segment)
        shape = _KEYS.get(ai)
        if shape is None or shape.fullmatch(unquote(segments[place + 1])) is None:
            continue
        rest = segments[place + 2 :]
        if len(rest) % 2:
            return None
        value = unquote(segments[place + 1])
        value = value.zfill(14) if ai == "01" else _escaped(value)
        given = {_QUALIFIER_NAMES.get(name, name): text for name, text in zip(rest[::2], rest[1::2], strict=True)}
        for qualifier in _QUALIFIERS.get(ai, ()):
            if given.get(qualifier):
                return f"{STEM}{ai}/{value}/{qualifier}/{_escaped(given[qualifier])}"
        return f"{STEM}{ai}/{value}"
    return None


_GTIN = re.compile(r"https://id\.gs1\.org/01/(\d{14})(?:/(10|21|235)/([^/]+))?")


@lru_cache(maxsize=65536)
def gtin_and_lot(uri: str) -> tuple[str | None, str | None]:
    """(GTIN-14, lot) that an EPC or EPC class carries; None where it carries none. The lot is unescaped."""
    match = _GTIN.fullmatch(digital_link(uri))
    if match is None:
        return None, None
    return match.group(1), unquote(match.group(3)) if match.group(2) == "10" else None
