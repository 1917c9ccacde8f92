"""The standard vocabularies of the Core Business Vocabulary (GS1 CBV 2.0, sections 7 and 8) and their many spellings.

One concept is written `shipping` (JSON), `urn:epcglobal:cbv:bizstep:shipping` (XML), `cbv:BizStep-shipping` (CURIE) or
`https://ref.gs1.org/cbv/BizStep-shipping` (web vocabulary). Everything downstream sees the bare word.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

Family = Literal["bizStep", "disposition", "bizTransactionType", "sourceDestType", "errorReason", "component"]

#: Members of each standard vocabulary, bare words.
WORDS: dict[Family, frozenset[str]] = {
    "bizStep": frozenset(
        [
            "accepting",
            "arriving",
            "assembling",
            "collecting",
            "commissioning",
            "consigning",
            "creating_class_instance",
            "cycle_counting",
            "decommissioning",
            "departing",
            "destroying",
            "disassembling",
            "dispensing",
            "encoding",
            "entering_exiting",
            "holding",
            "inspecting",
            "installing",
            "killing",
            "loading",
            "other",
            "packing",
            "picking",
            "receiving",
            "removing",
            "repackaging",
            "repairing",
            "replacing",
            "reserving",
            "retail_selling",
            "sampling",
            "sensor_reporting",
            "shipping",
            "staging_outbound",
            "stock_taking",
            "stocking",
            "storing",
            "transporting",
            "unloading",
            "unpacking",
            "void_shipping",
        ]
    ),
    "disposition": frozenset(
        [
            "active",
            "available",
            "completeness_inferred",
            "completeness_verified",
            "conformant",
            "container_closed",
            "container_open",
            "damaged",
            "destroyed",
            "dispensed",
            "disposed",
            "encoded",
            "expired",
            "in_progress",
            "in_transit",
            "inactive",
            "mismatch_class",
            "mismatch_instance",
            "mismatch_quantity",
            "needs_replacement",
            "no_pedigree_match",
            "non_conformant",
            "non_sellable_other",
            "partially_dispensed",
            "recalled",
            "reserved",
            "retail_sold",
            "returned",
            "sellable_accessible",
            "sellable_not_accessible",
            "stolen",
            "unavailable",
            "unknown",
        ]
    ),
    "bizTransactionType": frozenset(
        [
            "bol",
            "cert",
            "desadv",
            "inv",
            "pedigree",
            "po",
            "poc",
            "prodorder",
            "recadv",
            "rma",
            "testprd",
            "testres",
            "upevt",
        ]
    ),
    "sourceDestType": frozenset(("owning_party", "possessing_party", "location")),
    "errorReason": frozenset(("did_not_occur", "incorrect_data")),
    "component": frozenset(
        [
            "altitude",
            "axial_distance",
            "azimuth",
            "easting",
            "elevation_angle",
            "height",
            "latitude",
            "longitude",
            "northing",
            "polar_angle",
            "spherical_radius",
            "x",
            "y",
            "z",
        ]
    ),
}

#: How each family is spelt inside a URN and inside the web vocabulary.
_URN: dict[Family, str] = {
    "bizStep": "bizstep",
    "disposition": "disp",
    "bizTransactionType": "btt",
    "sourceDestType": "sdt",
    "errorReason": "er",
    "component": "comp",
}
_WEB: dict[Family, str] = {
    "bizStep": "BizStep-",
    "disposition": "Disp-",
    "bizTransactionType": "BTT-",
    "sourceDestType": "SDT-",
    "errorReason": "ER-",
    "component": "Comp-",
}
_STANDARD_STEMS = (
    "urn:epcglobal:cbv:",
    "cbv:",
    "https://ref.gs1.org/cbv/",
    "http://ref.gs1.org/cbv/",
    "https://ns.gs1.org/cbv/",
    "http://ns.gs1.org/cbv/",
)
WEB_STEM = "https://ref.gs1.org/cbv/"


@lru_cache(maxsize=4096)
def normalise(family: Family, value: str) -> tuple[str, bool]:
    """The bare word for a standard value, and whether the value is acceptable.

    A URI of somebody else's vocabulary is returned as it is and is acceptable. A value that claims to be standard (a
    bare word, or a URI of the CBV itself) and is not a member of CBV 2.0 is returned unchanged with False.
    """
    members = WORDS[family]
    if ":" not in value:
        return value, value in members
    lowered = value.lower()
    for stem in _STANDARD_STEMS:
        if lowered.startswith(stem):
            rest = value[len(stem) :]
            marker = f"{_URN[family]}:" if stem.startswith("urn:") else _WEB[family]
            word = rest[len(marker) :]
            # Published documents write both BizStep- and Bizstep-, so the marker is compared without case.
            if rest[: len(marker)].lower() == marker.lower() and word in members:
                return word, True
            return value, False
    return value, True


def web_uri(family: Family, value: str) -> str:
    """The web vocabulary URI of a value (`https://ref.gs1.org/cbv/BizStep-shipping`); other vocabularies unchanged."""
    word, known = normalise(family, value)
    if ":" in word or not known:
        return word
    return f"{WEB_STEM}{_WEB[family]}{word}"
