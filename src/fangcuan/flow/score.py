"""What a world's truth says of the filed cases: schemes caught and missed, innocents accused. No night reads it."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fangcuan.cases.views import list_cases, show_case
from fangcuan.flow.explain import render
from fangcuan.flow.installation import Installation


@dataclass(frozen=True)
class Score:
    """Per family: schemes planted and caught (by id), cases filed and those that match a scheme, innocents accused.

    A case matches a scheme of its family when it names one of the scheme's people (or its serials) *and* rests on what the scheme
    did: its units, its listings, or its goods in its days. Everything else is an innocent accused.
    """

    schemes: Mapping[str, list[Mapping[str, str]]]
    caught: Mapping[str, frozenset[str]]
    cases: Mapping[str, int]
    true_cases: Mapping[str, int]
    accused: tuple[Mapping[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        families = sorted({*self.schemes, *self.cases})
        return {
            "families": {
                family: {
                    "planted": len(self.schemes.get(family, [])),
                    "caught": len(self.caught.get(family, ())),
                    "missed": sorted(
                        f"{scheme['scheme_id']} {scheme['kind']}"
                        for scheme in self.schemes.get(family, [])
                        if scheme["scheme_id"] not in self.caught.get(family, ())
                    ),
                    "cases": self.cases.get(family, 0),
                    "true_cases": self.true_cases.get(family, 0),
                    "precision": _share(self.true_cases.get(family, 0), self.cases.get(family, 0)),
                }
                for family in families
            },
            "innocents_accused": list(self.accused),
        }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 3) if whole else None


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def score(installation: Installation, world: Path) -> Score:
    """Compare the casebook with `world/truth`. Storm cases are not counted: they accuse nobody."""
    truth = world / "truth"
    schemes = _read(truth / "schemes.csv")
    units: dict[str, set[str]] = defaultdict(set)
    for row in _read(truth / "units.csv"):
        units[row["epc"]].add(row["scheme_id"])
    listings = {row["observation_id"]: row["scheme_id"] for row in _read(truth / "prices.csv") if row["scheme_id"]}
    known = {row["subject"]: row["kind"] for row in _read(truth / "innocents.csv")}
    by_family: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for scheme in schemes:
        by_family[scheme["family"]].append(scheme)
    caught: dict[str, set[str]] = defaultdict(set)
    cases: Counter[str] = Counter()
    true_cases: Counter[str] = Counter()
    accused = []
    for summary in list_cases(installation.engine):
        if summary["storm"]:
            continue
        case = show_case(installation.engine, installation.evidence, summary["number"], render)
        family = case["family"]
        cases[family] += 1
        found = _schemes_of(case, by_family[family], units, listings)
        caught[family] |= found
        if found:
            true_cases[family] += 1
        else:
            accused.append(
                {
                    "number": case["number"],
                    "family": family,
                    "subject": case["subject"]["id"],
                    "looks_like": known.get(case["subject"]["id"], ""),
                    "unit": case["findings_detail"][0]["unit_id"] if case["findings_detail"] else "",
                }
            )
    return Score(by_family, {f: frozenset(ids) for f, ids in caught.items()}, cases, true_cases, tuple(accused))


def _schemes_of(
    case: Mapping[str, Any],
    schemes: list[Mapping[str, str]],
    units: Mapping[str, set[str]],
    listings: Mapping[str, str],
) -> set[str]:
    rows = [
        item["row"]
        for finding in case["findings_detail"]
        for item in finding["evidence"].get("rows", ())
        if item["row"]
    ]
    touched = {scheme for row in rows for scheme in units.get(row.get("epc") or "", ())}
    touched |= {listings[row["observation_id"]] for row in rows if row.get("observation_id") in listings}
    found = set()
    for scheme in schemes:
        people = {scheme["partner_id"], scheme["subject"], *scheme["accomplices"].split()}
        if scheme["platform"]:
            people.add(f"{scheme['platform']}:{scheme['seller_ref']}")
        named = case["subject"]["id"] in people - {""}
        if case["family"] == "loading":
            goods = {scheme["product_line"], scheme["sku"]} & {case["product_line"], case["sku"]} - {"", None}
            days = (
                case["window"]["start"][:10] <= scheme["last_day"] and scheme["first_day"] <= case["window"]["end"][:10]
            )
            matched = named and bool(goods) and days
        elif case["family"] == "code_integrity":
            matched = scheme["scheme_id"] in touched
        else:
            matched = named and scheme["scheme_id"] in touched
        if matched:
            found.add(scheme["scheme_id"])
    return found
