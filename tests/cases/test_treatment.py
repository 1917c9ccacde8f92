"""Which cases the consistency audit compares, by what facts, and in which groups."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import employ, file_night, make_finding
from orders import ALL, OTHER, bring, give
from sqlalchemy import Engine, func, select

from fangcuan.cases.auditing.consistency import Treated, compare
from fangcuan.cases.auditing.treatment import Asked, treated
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people.access import Actor
from fangcuan.cases.views import list_cases
from fangcuan.store.database import read, write
from fangcuan.store.masters import MASTER_TABLES

LONG_AGO = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
BOSS = Actor("user:boss")


def record(engine: Engine, relation: str, **values: Any) -> None:
    """A row of master data, as a load writes it."""
    table = MASTER_TABLES[relation]
    key = f"{next(iter(values.values()))}|{values.get('valid_from') or ''}"
    fixed = {"business_key": key, "source_id": "t", "receipt_id": "t", "recorded_at": LONG_AGO}
    with write(engine) as connection:
        row_digest = str(connection.execute(select(func.count()).select_from(table)).scalar())
        connection.execute(table.insert().values({**fixed, "row_digest": f"{relation} {row_digest}", **values}))


def partner(engine: Engine, partner_id: str, tier: str | None, region: str | None, **dates: Any) -> None:
    values = {"partner_id": partner_id, "name": partner_id, "kind": "dealer", "status": "active"}
    record(engine, "partners", **values, tier=tier, region_code=region, **dates)


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    """Eight partners of two tiers in two provinces, P1 to P4 confirmed, P5 dismissed, P6 merged, P7 open, P8 unknown."""
    for code, parent, level in (("CN", None, "country"), ("41", "CN", "province"), ("411", "41", "prefecture")):
        record(engine, "regions", region_code=code, parent_code=parent, level=level)
    record(engine, "regions", region_code="42", parent_code="CN", level="province")
    for number in range(1, 8):
        partner(engine, f"P{number}", "1" if number % 2 else "2", "411" if number < 4 else "42")
    file_night(engine, folder, [make_finding(f"P{number}") for number in range(1, 9)])
    orders.staff(engine)
    for subject in ("P1", "P2", "P3", "P4"):
        bring(engine, number_of(engine, subject), "confirmed")
    for subject in ("P5", "P8"):
        bring(engine, number_of(engine, subject), "triaging")
        give(engine, "propose", number_of(engine, subject), ALL, kind="dismiss", reason="authorised", note="permit")
        give(engine, "approve", number_of(engine, subject), OTHER)
    bring(engine, number_of(engine, "P6"), "merged", into=number_of(engine, "P7"))
    return engine


def number_of(engine: Engine, subject: str) -> str:
    return next(str(one["number"]) for one in list_cases(engine) if one["subject"]["id"] == subject)


def asked(engine: Engine, **changes: Any) -> tuple[dict[str, Treated], dict[str, int]]:
    """Treated cases by their subject, and what was left out."""
    subjects = {one["number"]: one["subject"]["id"] for one in list_cases(engine)}
    with read(engine) as connection:
        found, left_out = treated(connection, Asked(**changes))
    return {subjects[one.number]: one for one in found}, left_out


def test_decided_cases_are_counted_by_what_the_nights_found(casebook: Engine) -> None:
    found, left_out = asked(casebook)
    assert sorted(found) == ["P1", "P2", "P3", "P4", "P5"], "open and merged cases are no decisions"
    assert left_out == {"partner not in the master data of that day": 1}
    assert {name: one.confirmed for name, one in found.items()} == {
        **dict.fromkeys(("P1", "P2", "P3", "P4"), True),
        "P5": False,
    }
    assert {one.stratum for one in found.values()} == {("diversion", "diversion.outside_territory", "medium", "10-99")}
    assert {name: one.group for name, one in found.items()} == {"P1": "1", "P2": "2", "P3": "1", "P4": "2", "P5": "1"}


def test_a_closed_case_stays_confirmed_and_one_decided_again_counts_as_it_is_now(casebook: Engine) -> None:
    give(casebook, "close", number_of(casebook, "P1"), OTHER, outcome="settled")
    give(casebook, "propose", number_of(casebook, "P2"), ALL, kind="reopen", note="x")
    give(casebook, "approve", number_of(casebook, "P2"), OTHER)
    found, _ = asked(casebook)
    assert found["P1"].confirmed
    assert "P2" not in found, "it is open again"
    give(casebook, "propose", number_of(casebook, "P2"), ALL, kind="dismiss", reason="wrong_place", note="x")
    give(casebook, "approve", number_of(casebook, "P2"), OTHER)
    assert not asked(casebook)[0]["P2"].confirmed


def test_regions_are_those_of_a_level(casebook: Engine) -> None:
    found, _ = asked(casebook, by="region", level="province")
    assert {name: one.group for name, one in found.items()} == {
        "P1": "41",
        "P2": "41",
        "P3": "41",
        "P4": "42",
        "P5": "42",
    }
    assert asked(casebook, by="region")[0]["P1"].group == "411"
    found, left_out = asked(casebook, by="region", level="prefecture")
    assert sorted(found) == ["P1", "P2", "P3"]
    assert left_out == {"no region of level prefecture known": 2, "partner not in the master data of that day": 1}


def test_a_tier_is_that_of_the_day_as_known_that_day(casebook: Engine) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    partner(casebook, "P1", "9", "42", recorded_at=later)
    assert asked(casebook)[0]["P1"].group == "1", "known only after the decision"
    known = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
    partner(casebook, "P1", "1", "411", valid_to=dt.date(2026, 3, 1), recorded_at=known)
    partner(casebook, "P1", "3", "411", valid_from=dt.date(2026, 3, 1), recorded_at=known)
    assert asked(casebook)[0]["P1"].group == "3", "promoted before the decision"


def test_a_handler_is_a_person_whatever_his_account(casebook: Engine) -> None:
    second = Actor("user:second", frozenset({"analyst"}))
    employ(casebook, second)
    number = number_of(casebook, "P7")
    give(casebook, "dismiss", number, second, reason="low_impact") if number in orders.undrawn(casebook) else None
    found, left_out = asked(casebook, by="handler")
    assert left_out == {}
    assert {one.group for name, one in found.items() if name != "P7"} == {"all"}, "who proposed, not who approved"
    if "P7" in found:
        assert found["P7"].group == "second", "nobody had to propose it"
    people.link_users(casebook, BOSS, "second", same_person_as="all")
    assert {one.group for one in asked(casebook, by="handler")[0].values()} == {"all"}


def test_days_are_of_the_decision_in_the_brands_zone(casebook: Engine) -> None:
    today = dt.datetime.now(dt.UTC).date()
    for zone in ("Pacific/Kiritimati", "Pacific/Niue"):
        day = dt.datetime.now(dt.UTC).astimezone(__import__("zoneinfo").ZoneInfo(zone)).date()
        assert len(asked(casebook, since=day, until=day, zone=zone)[0]) == 5
    assert asked(casebook, until=today - dt.timedelta(days=2)) == ({}, {})
    assert asked(casebook, since=today + dt.timedelta(days=2)) == ({}, {})
    assert asked(casebook, family="price") == ({}, {})


def test_other_facts_are_other_strata(engine: Engine, folder: Path) -> None:
    grouped = {"grouping": {"product_line": "B"}, "product_line": "B", "sku": "SKU-3"}
    findings = [
        make_finding("P1", score=2.0, quantity=Decimal(5)),
        make_finding("P1", score=9.0, quantity=Decimal(500), sku="SKU-2", severity="high"),
        make_finding("P1", score=3.0, quantity=None, **grouped),
    ]
    watched = make_finding("P1", unit_id="diversion.model", role="watch", lot="L1", score=99.0)
    partner(engine, "P1", "1", None)
    file_night(engine, folder, findings, support=[watched])
    orders.staff(engine)
    for one in list_cases(engine):
        bring(engine, one["number"], "confirmed")
    with read(engine) as connection:
        found, _ = treated(connection, Asked())
        hard, _ = treated(connection, Asked(of="sanction"))
    unit = "diversion.outside_territory"
    # The finding with the highest score leads, a model that only watches never does; the severest one counts.
    assert {one.stratum for one in found} == {
        ("diversion", unit, "high", "100-999"),
        ("diversion", unit, "medium", "unknown"),
    }
    assert {one.stratum[4:] for one in hard} == {("wrong_region", "malicious")}
    assert {one.sanction for one in hard} == {None}


def test_sanctions_are_the_latest_penalties_as_they_are_due(casebook: Engine) -> None:
    for subject, status in (("P1", "issued"), ("P2", "agreed"), ("P3", "waived")):
        orders.penalise(casebook, number_of(casebook, subject), status)
    found, _ = asked(casebook, of="sanction")
    assert {name: one.sanction for name, one in found.items()} == {"P1": 100, "P2": None, "P3": 0, "P4": None}
    assert {name: one.stratum[4:] for name, one in found.items()} == {
        "P1": ("wrong_region", "malicious", "CNY"),
        "P2": ("wrong_region", "malicious"),
        "P3": ("wrong_region", "malicious", "CNY"),
        "P4": ("wrong_region", "malicious"),
    }
    found, _ = asked(casebook, of="penalised")
    assert {name: one.confirmed for name, one in found.items()} == {"P1": True, "P2": False, "P3": False, "P4": False}
    assert len({one.stratum for one in found.values()}) == 1
    orders.give(casebook, "appeal", number_of(casebook, "P1"), ALL, reason="not_ours", text="we did not")
    reduced = {"kind": "reduce", "reason": "miscounted", "amount": "40", "note": "half were returned"}
    orders.give(casebook, "propose", number_of(casebook, "P1"), ALL, **reduced)
    orders.give(casebook, "approve", number_of(casebook, "P1"), orders.THIRD)
    assert asked(casebook, of="sanction")[0]["P1"].sanction == 40
    assert sorted(asked(casebook)[0]) == ["P1", "P2", "P3", "P4", "P5"], "a penalty changes nothing of the decision"


def test_what_cannot_be_compared_is_refused(engine: Engine) -> None:
    for wrong in ({"by": "colour"}, {"of": "mood"}):
        with read(engine) as connection, pytest.raises(ValueError, match="expected by tier, region, handler"):
            treated(connection, Asked(**wrong))


def test_a_planted_bias_is_found_in_a_casebook(engine: Engine, folder: Path) -> None:
    """Twelve dealers of each tier with equal facts: those of tier 1 are let off, those of tier 2 are not."""
    for number in range(24):
        partner(engine, f"P{number:02d}", "1" if number < 12 else "2", "42")
    file_night(engine, folder, [make_finding(f"P{number:02d}") for number in range(24)])
    orders.staff(engine)
    for one in list_cases(engine):
        if one["subject"]["id"] >= "P12":
            bring(engine, one["number"], "confirmed")
            continue
        bring(engine, one["number"], "triaging")
        give(engine, "propose", one["number"], ALL, kind="dismiss", reason="authorised", note="an old friend")
        give(engine, "approve", one["number"], OTHER)
    with read(engine) as connection:
        cases, left_out = treated(connection, Asked())
        handlers, _ = treated(connection, Asked(by="handler"))
    assert left_out == {}
    assert {one.group: (one.verdict, one.observed, one.expected) for one in compare(cases)} == {
        "1": ("differs", 0, 6.0),
        "2": ("differs", 12, 6.0),
    }
    assert [one.verdict for one in compare(handlers)] == ["too_few"], "one person did all of it: nobody to compare with"
