"""Under which law something happens: from the codes of regions, by a table that the package ships."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources

#: GB/T 2260, the codes of regions in China.
_CHINESE = re.compile(r"\d{6}")
#: ISO 3166-1, and 3166-2 with whatever a brand writes below it.
_ISO = re.compile(r"([A-Z]{2})(-[A-Z0-9]+)*")


@cache
def table() -> Mapping[str, str]:
    """Code → jurisdiction, where it is not the country: members of the EU, parts of a country with a law of their own."""
    source = resources.files("fangcuan.cases.policies") / "shipped" / "jurisdictions.csv"
    lines = source.read_text(encoding="utf-8").splitlines()
    return {row["code"]: row["jurisdiction"] for row in csv.DictReader(lines)}


def of_code(code: str) -> str | None:
    """The jurisdiction of a region or country code, or of one that names a jurisdiction itself (`EU`); None for other codes."""
    known = table()
    if _CHINESE.fullmatch(code):
        return known.get(code[:2], "CN")
    if not _ISO.fullmatch(code):
        return None
    parts = code.split("-")
    return known.get("-".join(parts[:2])) or known.get(parts[0]) or parts[0]


def of_chain(codes: Iterable[str]) -> str | None:
    """The jurisdiction of a region that is followed by all above it: of the nearest code that tells one."""
    return next((found for code in codes if (found := of_code(code)) is not None), None)
