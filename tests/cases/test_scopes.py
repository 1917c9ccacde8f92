"""What the database is asked about where a role reaches agrees with what is asked of each case, and costs no query per case."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from casework_samples import employ, file_night, make_finding
from sqlalchemy import Engine, event, insert, select

from fangcuan.cases.executor import claim_next
from fangcuan.cases.people import grants
from fangcuan.cases.people.access import Actor, covers
from fangcuan.cases.people.areas import area_of
from fangcuan.cases.people.scopes import within
from fangcuan.store.casework import case_file
from fangcuan.store.database import read, write
from fangcuan.store.masters import MASTER_TABLES

#: Code → code above it, oldest row first: C1 moved from A to B; X and Y are above each other; Z hangs on what nobody knows.
REGIONS = [("A", None), ("B", None), ("A1", "A"), ("B1", "B"), ("C1", "A"), ("C1", "B"), ("X", "Y"), ("Y", "X")]
REGIONS += [("Z", "nowhere"), ("A11", "A1")]
#: Partner → where he sits, oldest row first: P5 moved away from A1; P6 was somewhere and is nowhere now; P7 is not known.
PARTNERS = [("P0", "A"), ("P1", "A1"), ("P2", "A11"), ("P3", "B1"), ("P4", "C1"), ("P5", "A1"), ("P5", "B1")]
PARTNERS += [("P6", "A1"), ("P6", None), ("P8", "X"), ("P9", "Z")]
PRODUCTS = [("S1", "F", "L1"), ("S2", "F", "L1"), ("S3", "G", "L2"), ("S4", None, "L3"), ("S5", "F", "L2")]


def _master(engine: Engine, name: str, rows: list[dict[str, Any]]) -> None:
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    table = MASTER_TABLES[name]
    told = {"source_id": "x", "receipt_id": "x", "business_key": "x"}
    full = [
        {
            **dict.fromkeys(table.c.keys()),
            **told,
            "row_digest": f"{name}{at}",
            **row,
            "recorded_at": start + dt.timedelta(at),
        }
        for at, row in enumerate(rows)
    ]
    with write(engine) as connection:
        connection.execute(insert(table), full)


@pytest.fixture
def world(engine: Engine, folder: Path) -> Engine:
    """120 cases about ten partners and a seller, of all regions and products, some with findings of several."""
    _master(engine, "regions", [{"region_code": c, "parent_code": p, "level": "province"} for c, p in REGIONS])
    _master(engine, "partners", [{"partner_id": p, "name": p, "kind": "dealer", "region_code": r} for p, r in PARTNERS])
    products = [{"sku": s, "name": s, "brand": b, "product_line": n, "units_per_case": 6} for s, b, n in PRODUCTS]
    _master(engine, "products", products)
    draw = random.Random(7)
    findings = []
    for at in range(120):
        kind = draw.choice(["partner", "partner", "seller"])
        subject = f"P{draw.randrange(10)}" if kind == "partner" else f"shop{draw.randrange(3)}"
        by = draw.choice(["sku", "product_line", "other"])
        for _ in range(draw.choice([1, 1, 2])):
            sku, _, line = draw.choice(PRODUCTS)
            about: dict[str, Any] = {
                "region_code": draw.choice(["A1", "B1", "C1", "X", "Z", "unheard of", None]),
                "sku": draw.choice([sku, sku, "S-unknown", None]),
                "product_line": draw.choice([line, None]),
            }
            grouping = {"other": at} if by == "other" else {by: about[by], "other": at}
            findings.append(make_finding(subject, subject_kind=kind, lot=f"{at}-{_}", grouping=grouping, **about))
    file_night(engine, folder, findings)
    return engine


def test_what_is_reached_is_found_and_little_else(world: Engine) -> None:
    everything, asked_for, found_for = 0, 0, 0
    with read(world) as connection:
        cases = connection.execute(select(case_file)).all()
        areas = {case.number: area_of(connection, case) for case in cases}
        regions = [None, "A", "A1", "A11", "B", "B1", "C1", "X", "Y", "Z", "unheard of", "elsewhere"]
        scopes = [(region, brand, None) for region, brand in itertools.product(regions, [None, "F", "G", "H"])]
        scopes += [(None, None, "P1"), (None, None, "P7")]
        for region, brand, partner in scopes:
            grant: Any = SimpleNamespace(region_code=region, brand=brand, partner_id=partner)
            query = select(case_file.c.number).where(within(connection, [grant]))
            found = set(connection.execute(query).scalars())
            reached = {number for number, area in areas.items() if covers(grant, area)}
            assert reached <= found, (region, brand, partner)
            everything += len(cases)
            asked_for += len(found)
            found_for += len(reached)
        assert found_for > 200
        assert asked_for < 2 * found_for < everything, (found_for, asked_for, everything)
        assert connection.execute(select(case_file.c.number).where(within(connection, []))).first() is None


def test_partner_seats_decide_exactly(world: Engine) -> None:
    """Where it is known where a partner sits, the database says no more and no less than the code."""
    with read(world) as connection:
        seated = [p for p, r in dict(PARTNERS).items() if r]
        cases = connection.execute(select(case_file).where(case_file.c.subject_id.in_(seated))).all()
        assert len(cases) > 40
        for region in ("A", "A1", "B", "C1", "X", "Y", "Z"):
            grant: Any = SimpleNamespace(region_code=region, brand=None, partner_id=None)
            query = select(case_file.c.number).where(within(connection, [grant]), case_file.c.subject_id.in_(seated))
            reached = {case.number for case in cases if covers(grant, area_of(connection, case))}
            assert set(connection.execute(query).scalars()) == reached, region


def test_claiming_asks_no_more_where_there_are_more_cases(engine: Engine, folder: Path) -> None:
    _master(engine, "regions", [{"region_code": c, "level": "province"} for c in ("A", "B")])
    seats = [("P0", "A")] + [(f"Q{n}", "B") for n in range(60)]
    _master(engine, "partners", [{"partner_id": p, "name": p, "kind": "dealer", "region_code": r} for p, r in seats])
    mine, actor = make_finding("P0", severity="low"), Actor("user:ling")
    elsewhere = [make_finding(f"Q{n}", severity="high") for n in range(60)]
    file_night(engine, folder, [mine, *elsewhere])
    employ(engine, actor)
    grants.grant_role(engine, Actor("user:boss"), "ling", "analyst", region="A")
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    result = claim_next(engine, actor, "k")
    assert result is not None
    with read(engine) as connection:
        subject = connection.execute(select(case_file.c.subject_id).where(case_file.c.number == result.case)).scalar()
    assert subject == "P0"
    assert len(asked) < 40, f"{len(asked)} statements for one claim among 61 cases"
    assert claim_next(engine, actor, "l") is None
