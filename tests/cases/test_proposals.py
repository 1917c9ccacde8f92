"""Proposals: what they demand, what makes them stale, what a verdict does, and that nobody decides on his own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import FIRST, employ, file_night, make_finding
from orders import ALL, OTHER, bring, case, give, meet, shown
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError
from test_authorisation import record

from fangcuan.cases import workflow
from fangcuan.cases.executor import Conflict, GuardFailed, NotAuthorised, NotOffered
from fangcuan.cases.history.verification import verify
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import grants, tokens
from fangcuan.cases.people.access import Actor
from fangcuan.cases.refusals import list_refusals
from fangcuan.cases.views import list_cases
from fangcuan.store.database import read, write
from fangcuan.store.decisions import decision

RULES = workflow.default()
CASE = "FC-2026-000001"
BOSS = Actor("user:boss")
LATER = dt.date(2026, 4, 2)


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    orders.three_cases(engine, folder)
    return engine


def propose(engine: Engine, kind: str, actor: Actor = ALL, /, **changes: Any) -> None:
    given = meet(engine, RULES.proposal(kind), CASE, into="FC-2026-000002")
    give(engine, "propose", CASE, actor, **{**given, **changes})


def test_confirmed_by_a_second_person(casebook: Engine, folder: Path) -> None:
    propose(casebook, "confirm")
    assert case(casebook)["status"] == "pending_approval"
    give(casebook, "approve", CASE, OTHER, note="clear enough")
    found = shown(casebook, folder)
    assert (found["status"], found["outcome"], found["outcome_class"]) == ("confirmed", "wrong_region", "malicious")
    assert found["decision"]["evidence_root"] == found["evidence_root"]
    (made,) = found["proposals"]
    assert (made["kind"], made["verdict"], made["proposed_by"], made["decided_by"], made["stale"]) == (
        "confirm",
        "approved",
        ALL.name,
        OTHER.name,
        False,
    )
    give(casebook, "close", CASE, OTHER, outcome="settled")
    with pytest.raises(GuardFailed, match="can be appealed against until"):
        give(casebook, "seal", CASE, OTHER)
    give(casebook, "seal", CASE, OTHER, now=dt.datetime.now(dt.UTC) + orders.MUCH_LATER)
    # What comes after that opens a new case, which names the one before.
    file_night(casebook, folder, [make_finding("P1", month=4)], LATER)
    (following,) = (each for each in list_cases(casebook) if each["epoch"] == 2)
    assert shown(casebook, folder, following["number"])["predecessor"] == CASE
    assert verify(casebook).exit_code == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcome": "guilty"}, "outcome 'guilty'; expected one of wrong_region"),
        ({"class": None}, "class None; expected one of malicious, natural, benign"),
        ({"note": " "}, "a note is needed"),
        ({"checklist": ["permits"]}, "not yet looked at .*: returns_and_transfers"),
        ({"checklist": ["permits", "moon"]}, "it has: permits"),
        ({"checklist": "permits"}, "it has: permits"),
        ({"colour": "red"}, "unknown parameter colour"),
        ({"into": "FC-2026-000002"}, "unknown parameter into"),
        ({"kind": "fly"}, None),
    ],
)
def test_what_a_confirmation_demands(casebook: Engine, changes: dict[str, Any], message: str | None) -> None:
    if message is None:
        with pytest.raises(NotOffered, match="propose fly: not possible"):
            propose(casebook, "confirm", **changes)
    else:
        with pytest.raises(GuardFailed, match=message):
            propose(casebook, "confirm", **changes)
    assert case(casebook)["status"] == "triaging"
    with read(casebook) as connection:
        assert connection.execute(select(decision)).all() == []


def test_a_scan_alone_is_no_proof(casebook: Engine) -> None:
    given = {"kind": "confirm", "outcome": "wrong_region", "class": "malicious", "note": "x"}
    given["checklist"] = list(RULES.checklists["diversion"])  # type: ignore[assignment]
    give(casebook, "attach", CASE, ALL, kind="capture", name="page.warc", sha256="a" * 64)
    with pytest.raises(GuardFailed, match="findings alone are no proof; attach a business document"):
        give(casebook, "propose", CASE, ALL, **given)
    give(casebook, "attach", CASE, ALL, kind="delivery_note", name="note.pdf", sha256="b" * 64)
    assert give(casebook, "propose", CASE, ALL, **given).status == "pending_approval"


@pytest.mark.parametrize(
    ("units", "corroborations", "message"),
    [
        ("13", None, "policy of region CN-31 asks for 13 units, .* has 12.5"),
        (None, 2, "policy of region CN-31 asks for 2 corroborations, .* has 1"),
        ("12.5", 1, None),
    ],
)
def test_the_evidence_policy_of_the_region_decides_what_is_enough(
    casebook: Engine, units: str | None, corroborations: int | None, message: str | None
) -> None:
    days = {"valid_from": dt.date(2026, 1, 1), "valid_to": None}
    values = {"region_code": "CN-31", "family": "diversion", **days}
    record(
        casebook,
        "evidence_policies",
        **values,
        min_units=int(Decimal(units).to_integral_value(rounding="ROUND_FLOOR")) if units else None,
        min_corroborations=corroborations,
    )
    if message is None:
        propose(casebook, "confirm")
    else:
        with pytest.raises(GuardFailed, match=message):
            propose(casebook, "confirm")


def test_the_policy_of_a_region_above_holds_until_it_ends(casebook: Engine) -> None:
    record(casebook, "regions", region_code="CN-31", parent_code="CN", level="x")
    common = {"family": "diversion", "min_units": 99}
    ended = {"valid_from": dt.date(2020, 1, 1), "valid_to": dt.date(2021, 1, 1)}
    record(casebook, "evidence_policies", region_code="CN-31", **ended, **common)
    propose(casebook, "confirm")
    give(casebook, "withdraw", CASE, ALL)
    holds = {"valid_from": dt.date(2020, 1, 1), "valid_to": None}
    record(casebook, "evidence_policies", region_code="CN", **holds, **common)
    with pytest.raises(GuardFailed, match="policy of region CN asks for 99 units"):
        propose(casebook, "confirm")


def test_direct_dismissal_is_for_small_things_and_not_for_every_tenth(engine: Engine, folder: Path) -> None:
    findings = [make_finding(f"P{number:03d}") for number in range(200)]
    file_night(engine, folder, [*findings, make_finding("Q", severity="high")])
    orders.staff(engine)
    free = set(orders.undrawn(engine))
    drawn = [each["number"] for each in list_cases(engine) if each["number"] not in free]
    assert 8 <= len(drawn) <= 36, "about a tenth of 200"
    high = next(each["number"] for each in list_cases(engine) if each["severity"] == "high")
    for number in (drawn[0], drawn[0]):
        with pytest.raises(GuardFailed, match="among the 10% that a second person looks at"):
            give(engine, "dismiss", number, ALL, reason="low_impact")
    with pytest.raises(GuardFailed, match="is high; directly only low, medium"):
        give(engine, "dismiss", high, ALL, reason="low_impact")
    assert give(engine, "dismiss", min(free - {high}), ALL, reason="low_impact").status == "dismissed"
    with pytest.raises(GuardFailed, match="expected one of low_impact"):
        give(engine, "dismiss", max(free - {high}), ALL, reason="authorised")


def test_evidence_that_comes_meanwhile_makes_a_proposal_stale(casebook: Engine, folder: Path) -> None:
    propose(casebook, "confirm")
    file_night(casebook, folder, [make_finding("P1", sku="SKU-7")], FIRST + dt.timedelta(days=1))
    file_night(casebook, folder, [make_finding("P1", sku="SKU-8")], FIRST + dt.timedelta(days=2))
    found = shown(casebook, folder)
    assert (found["status"], found["proposals"][0]["stale"]) == ("pending_approval", True)
    stale = [each for each in found["timeline"] if each["kind"] == "case.proposal_stale"]
    assert [each["data"]["proposal"] for each in stale] == [1], "said once"
    with pytest.raises(Conflict, match=r"proposal 1 about FC-2026-000001 is stale: .* findings were added"):
        give(casebook, "approve", CASE, OTHER)
    give(casebook, "return", CASE, OTHER, note="look at the new boxes")
    assert case(casebook)["status"] == "triaging"
    propose(casebook, "confirm")
    assert give(casebook, "approve", CASE, OTHER, proposal=2).status == "confirmed"
    assert verify(casebook).exit_code == 0


def test_what_was_attached_meanwhile_makes_a_proposal_stale(casebook: Engine) -> None:
    propose(casebook, "dismiss")
    give(casebook, "attach", CASE, ALL, kind="correspondence", name="letter", sha256="c" * 64)
    with pytest.raises(Conflict, match="something was attached"):
        give(casebook, "approve", CASE, OTHER)
    give(casebook, "comment", CASE, ALL, text="a comment is none")
    give(casebook, "withdraw", CASE, ALL)
    propose(casebook, "dismiss")
    assert give(casebook, "approve", CASE, OTHER).status == "dismissed"


def test_one_proposal_at_a_time(casebook: Engine) -> None:
    propose(casebook, "dismiss")
    with pytest.raises(NotOffered, match=r"possible: .*approve.*withdraw"):
        propose(casebook, "confirm")
    with pytest.raises(Conflict, match="the open proposal is 1, not 7"):
        give(casebook, "approve", CASE, OTHER, proposal=7)
    with pytest.raises(NotAuthorised, match=r"proposal 1 is of user:all; reject or return it"):
        give(casebook, "withdraw", CASE, OTHER)
    with pytest.raises(GuardFailed, match="a note is needed"):
        give(casebook, "reject", CASE, OTHER)
    give(casebook, "reject", CASE, OTHER, note="no")
    with pytest.raises(NotOffered):
        give(casebook, "approve", CASE, OTHER)


def test_a_reopening_waits_for_nobody_but_its_verdict(casebook: Engine, folder: Path) -> None:
    bring(casebook, "FC-2026-000002", "confirmed")
    give(casebook, "propose", "FC-2026-000002", ALL, kind="reopen", note="new papers")
    assert case(casebook, "FC-2026-000002")["status"] == "confirmed"
    give(casebook, "close", "FC-2026-000002", OTHER, outcome="settled")
    with pytest.raises(Conflict, match="its status changed"):
        give(casebook, "approve", "FC-2026-000002", OTHER)
    give(casebook, "reject", "FC-2026-000002", OTHER, note="closed meanwhile")
    give(casebook, "propose", "FC-2026-000002", ALL, kind="reopen", note="new papers")
    give(casebook, "approve", "FC-2026-000002", OTHER)
    found = case(casebook, "FC-2026-000002")
    assert (found["status"], found["outcome"], found["outcome_class"]) == ("triaging", None, None)


def test_a_merged_case_sends_its_findings_where_it_went(casebook: Engine, folder: Path) -> None:
    for into, message in (
        ("FC-2026-000003", "is a case of price, FC-2026-000001 of diversion; link the two"),
        (CASE, "expected the number of another case"),
        ("FC-2026-000009", "expected the number of another case"),
    ):
        with pytest.raises(GuardFailed, match=message):
            propose(casebook, "merge", into=into)
    propose(casebook, "merge")
    give(casebook, "approve", CASE, OTHER)
    assert case(casebook)["merged_into"] == "FC-2026-000002"
    summary = file_night(casebook, folder, [make_finding("P1", month=4)], LATER)
    assert (summary.cases_attached, summary.cases_opened) == (1, 0)
    assert (case(casebook)["findings"], case(casebook, "FC-2026-000002")["findings"]) == (1, 2)
    # Decided, the case it went to is woken by what belongs to either.
    bring_on = "FC-2026-000002"
    give(casebook, "triage", bring_on, ALL)
    give(casebook, "propose", bring_on, ALL, kind="dismiss", reason="authorised", note="permit")
    give(casebook, "approve", bring_on, OTHER)
    both = [make_finding("P1", month=5), make_finding("P1", month=5, grouping={"product_line": "B"}, sku="B-1")]
    assert file_night(casebook, folder, both, dt.date(2026, 5, 2)).cases_regressed == 1
    assert (case(casebook, bring_on)["regressed"], case(casebook)["findings"]) == (True, 1)
    assert verify(casebook).exit_code == 0


def test_a_case_is_not_merged_into_one_decided_meanwhile(casebook: Engine) -> None:
    propose(casebook, "merge")
    bring(casebook, "FC-2026-000002", "dismissed")
    with pytest.raises(Conflict, match="FC-2026-000002 is no longer open"):
        give(casebook, "approve", CASE, OTHER)


def test_merged_into_one_that_was_itself_merged_and_then_began_anew(engine: Engine, folder: Path) -> None:
    lines = [make_finding("P1", grouping={"product_line": name}, product_line=name) for name in "ABC"]
    file_night(engine, folder, lines)
    orders.staff(engine)
    first, second, third = sorted(each["number"] for each in list_cases(engine))
    for number, into in ((first, second), (second, third)):
        bring(engine, number, "merged", into=into)
    bring(engine, third, "sealed")
    later = [make_finding("P1", 4, grouping={"product_line": name}, product_line=name) for name in "CA"]
    file_night(engine, folder, later[:1], LATER)
    summary = file_night(engine, folder, later[1:], LATER + dt.timedelta(days=1))
    assert (summary.cases_opened, summary.cases_attached) == (0, 1), "to the new case of the third's key"
    assert case(engine, "FC-2026-000004")["findings"] == 2
    assert verify(engine).exit_code == 0


# ------------------------------------------------------------------------------------------------ nobody decides on his own


def _same_account(engine: Engine) -> Actor:
    return ALL


def _second_account(engine: Engine) -> Actor:
    employ(engine, Actor("user:all-two", frozenset({"supervisor"})))
    people.link_users(engine, BOSS, "all-two", same_person_as="all")
    return Actor("user:all-two")


def _his_token(engine: Engine) -> Actor:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    return tokens.token_actor(engine, tokens.issue_token(engine, ALL, "all", label="x", expires_at=soon))


def _his_service(engine: Engine) -> Actor:
    people.add_user(engine, BOSS, "robot", name="Robot", kind="service", same_person_as="all")
    grants.grant_role(engine, BOSS, "robot", "service")
    return Actor("service:robot")


def _at_his_terminal(engine: Engine) -> Actor:
    return Actor(OTHER.name, terminal=ALL.name)


def _token_got_at_his_terminal(engine: Engine) -> Actor:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    issuer = Actor(OTHER.name, terminal=ALL.name)
    return tokens.token_actor(engine, tokens.issue_token(engine, issuer, "other-one", label="x", expires_at=soon))


PATHS: list[Callable[[Engine], Actor]] = [
    _same_account,
    _second_account,
    _his_token,
    _his_service,
    _at_his_terminal,
    _token_got_at_his_terminal,
]


@pytest.mark.parametrize("kind", [each.kind for each in RULES.proposals])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__.strip("_"))
def test_nobody_decides_on_his_own_proposal(casebook: Engine, kind: str, path: Callable[[Engine], Actor]) -> None:
    proposal = RULES.proposal(kind)
    if proposal.from_[0] != "triaging":
        bring_from = "FC-2026-000002"
        bring(casebook, bring_from, proposal.from_[0])
    else:
        bring_from = CASE
    given = meet(casebook, proposal, bring_from, into="FC-2026-000002")
    give(casebook, "propose", bring_from, ALL, **given)
    actor = path(casebook)
    for verdict in RULES.verdicts:
        if verdict.own:
            continue
        with pytest.raises(NotAuthorised):
            give(casebook, verdict.command, bring_from, actor, note="mine")
    assert len(list_refusals(casebook)) == 3
    with read(casebook) as connection:
        assert connection.execute(select(decision.c.verdict).where(decision.c.verdict.is_(None))).all() != []
    assert verify(casebook).exit_code == 0


@pytest.mark.parametrize(
    "values",
    [
        "verdict = 'approved', decided_by = proposed_by, decided_person = 'somebody', decided_at = proposed_at",
        "verdict = 'approved', decided_by = 'user:other-one', decided_person = proposed_person, decided_at = proposed_at",
        "verdict = 'withdrawn', decided_by = 'user:other-one', decided_person = 'other-one', decided_at = proposed_at",
        "verdict = 'approved', decided_by = 'user:other-one', decided_at = proposed_at",
        "verdict = 'approved'",
        "verdict = 'fine', decided_by = 'user:other-one', decided_person = 'other-one', decided_at = proposed_at",
    ],
)
def test_the_database_refuses_it_as_well(casebook: Engine, values: str) -> None:
    propose(casebook, "dismiss")
    with pytest.raises(IntegrityError), write(casebook) as connection:
        connection.execute(text(f"update decision set {values}"))


def test_the_database_has_room_for_one_open_proposal(casebook: Engine) -> None:
    propose(casebook, "dismiss")
    with read(casebook) as connection:
        row = dict(connection.execute(select(decision)).mappings().one())
    with pytest.raises(IntegrityError), write(casebook) as connection:
        connection.execute(decision.insert().values({**row, "proposal": 2}))
