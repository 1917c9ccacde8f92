"""Hand-made findings and nights for the tests of casework. Run as a program it files one night, to be killed or raced."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from fangcuan.cases.evidence.store import EvidenceStore
from fangcuan.cases.filing.grouping import GroupingPolicy, UnitFiling
from fangcuan.cases.filing.nights import FilingSummary, file_findings
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.accounts import add_first_admin, add_user, list_users
from fangcuan.cases.people.grants import grant_role
from fangcuan.cases.policies.rows import proposable
from fangcuan.core.canonical import sha256_hex
from fangcuan.core.finding import EvidenceRef, Finding
from fangcuan.core.masters import MASTERS
from fangcuan.store.database import open_engine

FIRST = dt.date(2026, 3, 14)
UNIT = "diversion.outside_territory"
SETTINGS = {
    UNIT: UnitFiling(max_cases=1_000, owner="user:owner"),
    "price.below_floor": UnitFiling(max_cases=1_000, owner="user:price"),
    "diversion.other": UnitFiling(max_cases=1_000, owner="user:other"),
}


def month_start(month: int, year: int = 2026) -> dt.datetime:
    return dt.datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=dt.UTC)


def make_finding(subject: str = "P1", month: int = 3, **changes: Any) -> Finding:
    """A diversion finding about one partner over one calendar month; any field may be changed."""
    unit_id = changes.get("unit_id", UNIT)
    values: dict[str, Any] = {
        "unit_id": unit_id,
        "unit_digest": sha256_hex(unit_id.encode()),
        "role": "case",
        "family": "diversion",
        "subject_kind": "partner",
        "subject_id": subject,
        "window_start": month_start(month),
        "window_end": month_start(month + 1),
        "score": 3.25,
        "explanation_code": "diversion.outside_territory",
        "explanation_params": {"partner": subject, "region": "CN-31", "units": 12},
        "sku": "SKU-1",
        "product_line": "A",
        "region_code": "CN-31",
        "severity": "medium",
        "quantity": Decimal("12.50"),
        "money": Decimal("1234567890123.4500"),
        "currency": "CNY",
        "evidence": (EvidenceRef("trace_events", f"e-{subject}-{month}|epc|item", "a" * 64),),
        "grouping": {"product_line": "A"},
        "coverage_id": "c1",
    }
    return Finding(**{**values, **changes})


def snapshot(finding: Finding) -> Mapping[str, Any]:
    return {
        "rows": [{"relation": ref.relation, "key": ref.key, "row": {"epc": "urn:epc:1"}} for ref in finding.evidence],
        "masters": {"territories": [{"grant_id": "G1", "region_code": "CN-44"}]},
        "unit": {"id": finding.unit_id, "digest": finding.unit_digest, "text": "select 1"},
        "coverage": {"looked": True},
    }


def file_night(
    engine: Engine, folder: Path, findings: Sequence[Finding], night: dt.date = FIRST, **changes: Any
) -> FilingSummary:
    arguments: dict[str, Any] = {
        "run_id": f"run-{night}",
        "night": night,
        "findings": findings,
        "evidence": snapshot,
        "unit_settings": SETTINGS,
        "policy": GroupingPolicy(),
    }
    return file_findings(engine, EvidenceStore(folder), **{**arguments, **changes})


def employ(engine: Engine, *actors: Actor) -> None:
    """An account for each actor, with the roles he narrows himself to, granted for everything."""
    known = {f"user:{user['user']}" for user in list_users(engine)}
    add_first_admin(engine, "boss", name="Boss")
    boss = Actor("user:boss")
    if "user:keeper" not in known:
        add_user(engine, boss, "keeper", name="Answers for services")
    for actor in actors:
        if actor.name in known:
            continue
        prefix, _, user_id = actor.name.partition(":")
        service = prefix == "service"
        same_person_as = "keeper" if service else None
        kind = "service" if service else "person"
        add_user(engine, boss, user_id, name=user_id, kind=kind, same_person_as=same_person_as)
        for role in sorted(actor.roles or ()):
            grant_role(engine, boss, user_id, role)


def price_policy(**changes: Any) -> dict[str, Any]:
    """A row of a price policy as somebody proposes it."""
    row: dict[str, Any] = dict.fromkeys(proposable(MASTERS["price_policies"]).column_names)
    row |= {"policy_id": "P1", "scope": "all", "mode": "band", "floor": "100", "currency": "CNY", "tax_included": True}
    row |= {"tolerance_pct": "0", "jurisdiction": "CN", "legal_basis": "contract", "valid_from": FIRST, **changes}
    return {**row, **{name: Decimal(row[name]) for name in ("floor", "tolerance_pct")}}


def busy_night(month: int = 3) -> list[Finding]:
    """180 findings about 60 partners: several per case, three families of roles, one unit over its limit."""
    findings = []
    for number in range(60):
        subject = f"P{number:03d}"
        findings.append(make_finding(subject, month))
        findings.append(make_finding(subject, month, sku="SKU-2", severity="high"))
        findings.append(make_finding(subject, month, sku="SKU-3", role="watch"))
    findings += [make_finding(f"Q{number:03d}", month, unit_id="diversion.other") for number in range(20)]
    return findings


BUSY_SETTINGS = {**SETTINGS, "diversion.other": UnitFiling(max_cases=10, owner="user:other")}


def main(url: str, folder: str, night: str) -> None:
    """File the busy night; prints the summary as JSON."""
    day = dt.date.fromisoformat(night)
    engine = open_engine(url)
    support = [make_finding("P001", day.month, unit_id="diversion.model", role="watch", lot="L1")]
    summary = file_night(engine, Path(folder), busy_night(day.month), day, unit_settings=BUSY_SETTINGS, support=support)
    print(json.dumps({name: value for name, value in asdict(summary).items() if name != "night"}))


if __name__ == "__main__":
    main(*sys.argv[1:])
