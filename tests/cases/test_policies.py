"""Policies: in force on a day as known at a moment; proposed by one person and approved by another, every version kept."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import partial
from importlib import resources
from typing import Any

import duckdb
import pytest
from casework_samples import FIRST, employ, price_policy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError
from tampering import tamper

from fangcuan.cases import workflow
from fangcuan.cases.history.verification import verify
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import grants
from fangcuan.cases.people.access import Actor
from fangcuan.cases.policies import versions as policies
from fangcuan.cases.policies.rows import PolicyInvalid
from fangcuan.cases.policies.versions import in_force
from fangcuan.cases.refusals import Conflict, GuardFailed, NotAuthorised, list_refusals
from fangcuan.core.canonical import utc_text
from fangcuan.core.masters import MASTERS
from fangcuan.store.database import read, write
from fangcuan.store.masters import MASTER_TABLES
from fangcuan.store.policies import policy_proposal
from fangcuan.warehouse.canonical import master_view

BOSS = Actor("user:boss")
LING, WANG = Actor("user:ling", frozenset({"analyst"})), Actor("user:wang", frozenset({"supervisor"}))
ZHAO, QIAN = Actor("user:zhao", frozenset({"legal"})), Actor("user:qian", frozenset({"legal"}))
BOTH = Actor("user:both", frozenset({"analyst", "supervisor", "legal"}))
DAY = dt.timedelta(days=1)


@pytest.fixture
def staffed(engine: Engine) -> Engine:
    employ(engine, LING, WANG, ZHAO, QIAN, BOTH)
    return engine


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def floors(engine: Engine, day: dt.date = FIRST, known_at: dt.datetime | None = None) -> dict[str, Decimal]:
    with read(engine) as connection:
        return {row["policy_id"]: row["floor"] for row in in_force(connection, "price_policies", day, known_at)}


def agree(
    engine: Engine, *rows: dict[str, Any], kind: str = "price_policies", by: Actor = LING, to: Actor = WANG
) -> int:
    number = policies.propose(engine, by, kind, rows)
    policies.approve(engine, to, number)
    return number


# -- what was in force ---------------------------------------------------------------------------------------------------------


def test_yesterday_is_judged_by_yesterday_as_known_yesterday(staffed: Engine) -> None:
    before = now()
    agree(staffed, price_policy())
    between = now()
    agree(staffed, price_policy(floor="90"))
    assert floors(staffed) == {"P1": Decimal(90)}
    assert floors(staffed, known_at=between) == {"P1": Decimal(100)}
    assert floors(staffed, known_at=before) == {}
    assert floors(staffed, FIRST - DAY) == {}
    # A policy ends by a version that says when; the days before are as they were.
    agree(staffed, price_policy(floor="90", valid_to=FIRST + 2 * DAY))
    assert floors(staffed, FIRST + DAY) == {"P1": Decimal(90)}
    assert floors(staffed, FIRST + 2 * DAY) == {}
    with read(staffed) as connection:
        table = MASTER_TABLES["price_policies"]
        assert len(connection.execute(select(table)).all()) == 3, "every version is kept"
    assert verify(staffed).exit_code == 0


MOMENTS = st.integers(0, 4).map(lambda hour: dt.datetime(2026, 3, 1, hour, tzinfo=dt.UTC))
DATES = st.integers(0, 4).map(lambda day: dt.date(2026, 3, 1) + day * DAY)
VERSIONS = st.tuples(
    st.sampled_from("ABC"), st.none() | DATES, st.none() | DATES, st.none() | MOMENTS, st.integers(0, 9**6)
)


@pytest.mark.parametrize("table", ["price_policies"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(VERSIONS, max_size=12), day=DATES, known_at=MOMENTS)
def test_pages_and_detectors_see_the_same(
    engine: Engine, table: str, history: list[tuple[Any, ...]], day: dt.date, known_at: dt.datetime
) -> None:
    rows = {}
    for number, (name, start, end, recorded_at, salt) in enumerate(history):
        digest = f"{salt:06d}{number:058d}"
        rows[digest] = price_policy(policy_id=name, valid_from=start, valid_to=end, floor=str(number)) | {
            "approved_by": "x",
            "approved_at": None,
            "recorded_at": recorded_at,
            "row_digest": digest,
            "business_key": f"{name}|{start or ''}",
            "source_id": "s",
            "receipt_id": "r",
        }
    connection = engine.connect()
    try:
        if rows:
            connection.execute(MASTER_TABLES[table].insert(), list(rows.values()))
        mine = {row["row_digest"] for row in in_force(connection, table, day, known_at)}
    finally:
        connection.rollback()
        connection.close()
    duck = duckdb.connect()
    names = [*MASTERS[table].column_names, "business_key", "row_digest"]
    types = {"valid_from": "date", "valid_to": "date", "recorded_at": "timestamptz"}
    columns = [f"{name} {types.get(name, 'varchar')}" for name in names]
    duck.execute(f"create table recorded_{table} ({', '.join(columns)})")
    for row in rows.values():
        values = [row[name] if name in types or row[name] is None else str(row[name]) for name in names]
        duck.execute(f"insert into recorded_{table} values ({', '.join('?' * len(names))})", values)
    view = master_view(MASTERS[table], utc_text(known_at))
    # The floor tells the versions apart; the view hides their digests.
    seen = duck.execute(
        f"select floor from ({view}) where valid_from <= ? and (valid_to is null or valid_to > ?)", [day, day]
    ).fetchall()
    assert sorted(str(rows[digest]["floor"]) for digest in mine) == sorted(floor for (floor,) in seen)


# -- two people ----------------------------------------------------------------------------------------------------------------


def refused(engine: Engine, actor: Actor, number: int) -> str:
    before = verify(engine, projected=False).events
    with pytest.raises(NotAuthorised) as caught:
        policies.approve(engine, actor, number)
    assert floors(engine) == {}
    assert verify(engine, projected=False).events == before
    assert list_refusals(engine, 1)[0]["actor"] == actor.name
    return str(caught.value)


def test_nobody_approves_his_own_policy_by_any_path(staffed: Engine) -> None:
    people.add_user(staffed, BOSS, "second", name="Second", same_person_as="ling")
    grants.grant_role(staffed, BOSS, "second", "supervisor")
    mine = policies.propose(staffed, BOTH, "price_policies", [price_policy()])
    lings = policies.propose(staffed, LING, "price_policies", [price_policy(floor="90")])
    at_wangs = policies.propose(
        staffed, Actor(LING.name, terminal=WANG.name), "price_policies", [price_policy(floor="80")]
    )
    for number, actor in (
        (mine, BOTH),
        (lings, Actor("user:second")),
        (lings, Actor(WANG.name, terminal=LING.name)),
        (at_wangs, WANG),
    ):
        assert "somebody else" in refused(staffed, actor, number)
        with pytest.raises(NotAuthorised):
            policies.reject(staffed, actor, number, reason="no")
    people.link_users(staffed, BOSS, "wang", same_person_as="ling")
    assert "somebody else" in refused(staffed, WANG, lings)
    assert policies.approve(staffed, BOTH, lings) == [f"P1|{FIRST}"]


def test_roles_are_those_of_the_kind(staffed: Engine) -> None:
    for actor in (WANG, ZHAO, BOSS):
        with pytest.raises(NotAuthorised, match="analyst or rule_author"):
            policies.propose(staffed, actor, "price_policies", [price_policy()])
    number = policies.propose(staffed, LING, "price_policies", [price_policy()])
    for actor in (LING, ZHAO, BOSS):
        assert "supervisor" in refused(staffed, actor, number)
    with pytest.raises(GuardFailed, match="no kind of policy"):
        policies.propose(staffed, LING, "partners", [{}])
    with pytest.raises(GuardFailed, match="no kind of policy"):
        policies.propose(staffed, LING, "units", [{}])


def test_every_role_with_every_kind_of_policy(staffed: Engine) -> None:
    rules = workflow.default()
    assert set(rules.policies) == {*policies.kinds(), "units"}
    assert set(policies.kinds()) <= set(MASTERS)
    actors = {}
    for name, role in rules.roles.items():
        user_id = f"only-{name.replace('_', '-')}"
        keeper = "keeper" if role.holder == "service" else None
        people.add_user(staffed, BOSS, user_id, name=name, kind=role.holder, same_person_as=keeper)
        grants.grant_role(staffed, BOSS, user_id, name, partner="P1" if role.scope == "partner" else None)
        actors[name] = Actor(f"{'service' if keeper else 'user'}:{user_id}")
    tried = 0
    for number, kind in enumerate(policies.kinds(), 1):
        row = {"proposal": number, "kind": kind, "content_digest": "c" * 64, "content": [], "base": {}}
        row |= {"proposed_by": "user:x", "proposed_persons": ["x"], "proposed_at": now()}
        with write(staffed) as connection:
            connection.execute(policy_proposal.insert().values(**row))
        for name, actor in actors.items():
            allowed = rules.policy(kind)
            # An empty list is refused only after the role was asked for.
            expected = policies.NothingNew if name in allowed.propose else NotAuthorised
            with pytest.raises(expected):
                policies.propose(staffed, actor, kind, [])
            if name not in allowed.approve:
                for decide in (policies.approve, partial(policies.reject, reason="no")):
                    with pytest.raises(NotAuthorised):
                        decide(staffed, actor, number)
            tried += 1
        policies.reject(staffed, actors[allowed.approve[0]], number, reason="no")
    assert tried == len(policies.kinds()) * len(rules.roles) > 70


def test_a_role_that_is_none_is_named_with_its_line() -> None:
    text = (resources.files("fangcuan.cases") / "workflow.yml").read_text(encoding="utf-8")
    line = 1 + text[: text.index("  promotions:")].count("\n")
    wrong = text.replace("  promotions:        {propose: [analyst", "  promotions:        {propose: [anybody")
    with pytest.raises(workflow.WorkflowError, match=rf"workflow.yml:{line}: unknown role 'anybody'"):
        workflow.parse(wrong, "workflow.yml")


def test_a_role_for_a_region_reaches_policies_of_that_region_only(staffed: Engine) -> None:
    with write(staffed) as connection:
        for code, parent in (("41", None), ("4101", "41"), ("32", None)):
            row = {"region_code": code, "parent_code": parent, "level": "x", "row_digest": code.ljust(64, "0")}
            row |= {"business_key": code, "source_id": "s", "receipt_id": "r"}
            connection.execute(MASTER_TABLES["regions"].insert().values(row))
    for name, role in (("north", "analyst"), ("northern", "supervisor")):
        people.add_user(staffed, BOSS, name, name=name)
        grants.grant_role(staffed, BOSS, name, role, region="41")
    north, northern = Actor("user:north"), Actor("user:northern")
    within = policies.propose(staffed, north, "price_policies", [price_policy(region_code="4101")])
    for outside in ("32", None):
        rows = [price_policy(region_code="4101", floor="70"), price_policy(policy_id="P2", region_code=outside)]
        with pytest.raises(NotAuthorised, match="region"):
            policies.propose(staffed, north, "price_policies", rows)
    everywhere = policies.propose(staffed, LING, "price_policies", [price_policy(policy_id="P3")])
    with pytest.raises(NotAuthorised, match="region"):
        policies.approve(staffed, northern, everywhere)
    policies.approve(staffed, northern, within)
    assert floors(staffed) == {"P1": Decimal(100)}


def test_the_database_refuses_a_decision_of_the_proposer(staffed: Engine) -> None:
    policies.propose(staffed, LING, "price_policies", [price_policy()])
    complete = "decided_at = proposed_at, decided_persons = '[\"wang\"]'"
    for statement in (
        f"update policy_proposal set decision = 'approve', decided_by = proposed_by, {complete}",
        f"update policy_proposal set decision = 'reject', decided_by = proposed_by, {complete}",
        "update policy_proposal set decision = 'approve', decided_by = 'user:wang', decided_at = proposed_at, "
        "decided_persons = proposed_persons",
        f"update policy_proposal set decision = 'withdraw', decided_by = 'user:wang', {complete}",
        f"update policy_proposal set decision = 'nod', decided_by = 'user:wang', {complete}",
        "update policy_proposal set decision = 'approve'",
        "update policy_proposal set decided_by = 'user:wang'",
    ):
        with pytest.raises(IntegrityError), write(staffed) as connection:
            connection.execute(text(statement))
    assert verify(staffed).exit_code == 0
    # One that the constraints cannot tell from a decision is told by the events.
    with write(staffed) as connection:
        connection.execute(
            text(f"update policy_proposal set decision = 'approve', decided_by = 'user:wang', {complete}")
        )
    assert verify(staffed).exit_code == 4


# -- deciding once, on what was looked at --------------------------------------------------------------------------------------


def test_a_proposal_is_decided_once(staffed: Engine) -> None:
    number = policies.propose(staffed, LING, "price_policies", [price_policy()])
    with pytest.raises(NotAuthorised, match="others reject it"):
        policies.withdraw(staffed, BOTH, number)
    policies.withdraw(staffed, LING, number, reason="a slip")
    with pytest.raises(Conflict, match="decided it"):
        policies.approve(staffed, WANG, number)
    other = policies.propose(staffed, LING, "price_policies", [price_policy()])
    with pytest.raises(GuardFailed, match="reason"):
        policies.reject(staffed, WANG, other, reason=" ")
    policies.reject(staffed, WANG, other, reason="too low")
    with pytest.raises(Conflict):
        policies.withdraw(staffed, LING, other)
    assert [one["decision"] for one in policies.list_proposals(staffed)] == ["reject", "withdraw"]
    assert policies.list_proposals(staffed, undecided=True) == []
    assert floors(staffed) == {}
    assert verify(staffed).exit_code == 0


def test_what_was_proposed_against_another_version_is_not_approved(staffed: Engine) -> None:
    agree(staffed, price_policy())
    first = policies.propose(staffed, LING, "price_policies", [price_policy(floor="90")])
    second = policies.propose(staffed, LING, "price_policies", [price_policy(floor="80")])
    policies.approve(staffed, WANG, second)
    with pytest.raises(Conflict, match="another version since"):
        policies.approve(staffed, WANG, first)
    assert floors(staffed) == {"P1": Decimal(80)}


def test_the_same_is_not_proposed_twice_nor_what_is_known(staffed: Engine) -> None:
    number = policies.propose(staffed, LING, "price_policies", [price_policy()])
    with pytest.raises(Conflict, match=f"proposal {number} says the same"):
        policies.propose(staffed, LING, "price_policies", [price_policy(floor="100.0000")])
    policies.approve(staffed, WANG, number)
    with pytest.raises(GuardFailed, match="known already"):
        policies.propose(staffed, LING, "price_policies", [price_policy()])
    mixed = policies.propose(staffed, LING, "price_policies", [price_policy(), price_policy(policy_id="P2")])
    assert [one["key"] for one in policies.show_proposal(staffed, mixed)["changes"]] == [f"P2|{FIRST}"]


def test_a_clock_set_back_makes_no_version_that_never_holds(staffed: Engine) -> None:
    policies.approve(
        staffed, WANG, policies.propose(staffed, LING, "price_policies", [price_policy()]), now=now() + DAY
    )
    number = policies.propose(staffed, LING, "price_policies", [price_policy(floor="90")])
    with pytest.raises(Conflict, match="clock"):
        policies.approve(staffed, WANG, number)
    policies.approve(staffed, WANG, number, now=now() + 2 * DAY)
    assert floors(staffed) == {}
    assert floors(staffed, known_at=now() + DAY) == {"P1": Decimal(100)}
    assert floors(staffed, known_at=now() + 2 * DAY) == {"P1": Decimal(90)}


def test_what_is_shown_is_what_it_replaces(staffed: Engine) -> None:
    agree(staffed, price_policy())
    rows = [price_policy(floor="90"), price_policy(valid_from=FIRST + DAY, floor="70"), price_policy(policy_id="P9")]
    number = policies.propose(staffed, LING, "price_policies", rows)
    expected = {
        f"P1|{FIRST}": ("amends", {"floor": ["100", "90"]}),
        f"P1|{FIRST + DAY}": ("follows", {"floor": ["100", "70"], "valid_from": [str(FIRST), str(FIRST + DAY)]}),
        f"P9|{FIRST}": ("added", {}),
    }
    for _ in range(2):
        shown = policies.show_proposal(staffed, number)["changes"]
        assert {one["key"]: (one["change"], one["changes"]) for one in shown} == expected
        if policies.list_proposals(staffed, undecided=True):
            policies.approve(staffed, WANG, number)


def test_every_problem_of_every_row_is_told_and_nothing_is_stored(staffed: Engine) -> None:
    rows = [
        price_policy(mode="sideways", currency=None),
        price_policy(ceiling=Decimal(99)),
        price_policy(policy_id="P2", valid_to=FIRST - DAY),
        price_policy(policy_id="P3"),
        price_policy(policy_id="P3", floor="1"),
        price_policy(policy_id="P4", floor="-1"),
    ]
    with pytest.raises(PolicyInvalid) as caught:
        policies.propose(staffed, LING, "price_policies", rows)
    assert [(one.position, one.column) for one in caught.value.problems] == [
        ("row 1", "mode"),
        ("row 1", "currency"),
        ("row 2", "ceiling"),
        ("row 3", "valid_to"),
        ("row 5", ""),
        ("row 6", "floor"),
    ]
    assert policies.list_proposals(staffed) == []
    with pytest.raises(GuardFailed, match="at most 5000"):
        policies.propose(staffed, LING, "price_policies", [price_policy()] * 5001)


def test_penalty_ladders_and_rebate_plans_hang_together(staffed: Engine) -> None:
    ladder: dict[str, Any] = dict.fromkeys(policies_columns("penalty_ladders"))
    ladder |= {"ladder_id": "L", "offence": "diversion", "occurrence": 1, "look_back_days": 365, "clause_code": "7.2"}
    ladder |= {"jurisdiction": "CN", "legal_basis": "Civil Code art. 585"}
    wrong = [
        {**ladder, "step": "fine_fixed"},
        {**ladder, "step": "fine_fixed", "amount": Decimal(5000), "min_quantity": Decimal(1)},
        {**ladder, "step": "deposit_cut_pct", "amount": Decimal(101)},
        {**ladder, "step": "drown"},
    ]
    with pytest.raises(PolicyInvalid) as caught:
        policies.propose(staffed, ZHAO, "penalty_ladders", wrong)
    found = [(one.position, one.column) for one in caught.value.problems]
    assert found == [
        ("row 1", "amount"),
        ("row 1", "currency"),
        ("row 2", "currency"),
        ("row 3", "amount"),
        ("row 4", "step"),
    ]
    right = [
        {**ladder, "step": "warning"},
        {**ladder, "step": "fine_per_unit", "amount": Decimal("50.0000"), "currency": "CNY", "cap": Decimal(20000)},
    ]
    agree(staffed, *right, kind="penalty_ladders", by=ZHAO, to=QIAN)
    with read(staffed) as connection:
        rows = in_force(connection, "penalty_ladders", FIRST)
    assert [(row["step"], row["amount"], row["approved_by"]) for row in rows] == [
        ("fine_per_unit", Decimal(50), QIAN.name),
        ("warning", None, QIAN.name),
    ]
    plan: dict[str, Any] = dict.fromkeys(policies_columns("rebate_plans"))
    plan |= {"plan_id": "R", "period": "quarter", "period_start": FIRST, "period_end": FIRST + 90 * DAY}
    for thresholds, rates in (("[1, 2]", "[0.1]"), ("{}", "[1]"), ("[]", "[]")):
        with pytest.raises(PolicyInvalid):
            policies.propose(staffed, LING, "rebate_plans", [{**plan, "thresholds": thresholds, "rates": rates}])
    agree(staffed, {**plan, "thresholds": "[100, 200]", "rates": "[0.01, 0.02]"}, kind="rebate_plans")
    assert verify(staffed).exit_code == 0


def policies_columns(kind: str) -> tuple[str, ...]:
    return tuple(
        name for name in MASTERS[kind].column_names if name not in {"approved_by", "approved_at", "recorded_at"}
    )


# -- the history ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("update master_price_policies set floor = '1'", "row_differs"),
        ("update master_price_policies set source_id = 'erp'", "row_differs"),
        ("update master_price_policies set receipt_id = 'x'", "row_differs"),
        ("update master_price_policies set valid_to = '2026-12-31'", "row_differs"),
        ("delete from master_price_policies", "row_missing"),
        ("update policy_proposal set content = replace(content, '100', '1')", "row_differs"),
        ("delete from policy_proposal", "row_missing"),
    ],
)
def test_a_policy_that_was_tampered_with_is_named(staffed: Engine, statement: str, kind: str) -> None:
    agree(staffed, price_policy())
    assert verify(staffed).exit_code == 0
    tamper(staffed, statement)
    found = verify(staffed)
    assert (found.exit_code, found.problems[0].kind) == (4, kind)


@pytest.mark.parametrize("kind", ["price_policies", "legal_gate"])
def test_a_policy_that_nobody_approved_is_named(staffed: Engine, kind: str) -> None:
    row: dict[str, Any] = {"legal_basis": "none", "approved_by": "user:wang", "jurisdiction": "CN"}
    row |= {"row_digest": "f" * 64, "business_key": "k", "source_id": "casebook", "receipt_id": "proposal:1"}
    more = {"price_policies": {"policy_id": "P", "mode": "band", "floor": Decimal(1), "currency": "CNY"}}
    more["legal_gate"] = {"family": "price", "action": "notify", "allowed": True}
    if kind == "legal_gate":
        # No source may load this table, so no other name explains a row of it.
        row |= {"source_id": "erp", "receipt_id": "r"}
    with write(staffed) as connection:
        connection.execute(MASTER_TABLES[kind].insert().values(**row, **more[kind]))
    found = verify(staffed)
    assert (found.exit_code, found.problems[0].kind) == (4, "row_invented")


def test_a_row_of_a_source_is_none_of_the_casebooks(staffed: Engine) -> None:
    row = price_policy() | {"approved_by": "erp", "row_digest": "e" * 64, "business_key": f"P1|{FIRST}"}
    with write(staffed) as connection:
        connection.execute(MASTER_TABLES["price_policies"].insert().values(**row, source_id="erp", receipt_id="r"))
    assert verify(staffed).exit_code == 0
    number = policies.propose(staffed, LING, "price_policies", [price_policy(floor="90")])
    (change,) = policies.show_proposal(staffed, number)["changes"]
    assert (change["change"], change["loaded_by"]) == ("amends", "erp")
    policies.approve(staffed, WANG, number)
    assert floors(staffed) == {"P1": Decimal(90)}
    assert verify(staffed).exit_code == 0
