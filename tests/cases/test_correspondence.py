"""Letters to a partner and his answers: under the legal gate, with a clock, and never more than adding to the case."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import employ, file_night, make_finding
from orders import ALL, OTHER, bring, give
from sqlalchemy import Engine
from test_authorisation import record

from fangcuan.cases import workflow
from fangcuan.cases.executor import Conflict, GuardFailed, NotAuthorised, NotOffered, UnknownUser, answer_by_link
from fangcuan.cases.history.verification import verify
from fangcuan.cases.letters import rendering as letters
from fangcuan.cases.letters.correspondence import MOST_ANSWERS, REASONS, link_hash, mark_overdue, notices_of
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import grants
from fangcuan.cases.people.access import Actor
from fangcuan.cases.policies import versions as policies
from fangcuan.cases.views import list_cases
from fangcuan.core.canonical import sha256_hex
from fangcuan.core.finding import FAMILIES
from fangcuan.core.masters import PENALTY_STEPS
from fangcuan.flow.policies import shipped_rows
from fangcuan.store.database import read

CASE = "FC-2026-000001"
BOSS = Actor("user:boss")
LINK, SECRET = "0123456789abcdef", "a-secret-of-the-link"
TEXT = {"reason": "approved_transfer", "text": "Permit 17 of March, copy attached."}


@pytest.fixture
def casebook(engine: Engine, folder: Path, open_gate: None) -> Engine:
    """A diversion case about dealer P1 in China, and one about another dealer."""
    record(engine, "regions", region_code="CN", parent_code=None, level="country")
    record(engine, "regions", region_code="CN-31", parent_code="CN", level="province")
    file_night(engine, folder, [make_finding("P1"), make_finding("P2")])
    orders.staff(engine)
    return engine


@pytest.fixture
def open_gate(engine: Engine) -> None:
    """The legal gate as it ships."""
    policies.approve_shipped(engine, "legal_gate", shipped_rows("legal_gate"))


def soon(days: int = 14) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(days=days)).isoformat()


def ask(engine: Engine, number: str = CASE, actor: Actor = ALL, **changes: Any) -> None:
    given = {"language": "zh", "sha256": sha256_hex(b"letter"), "due_at": soon()}
    given |= {"link_id": LINK, "link_hash": link_hash(SECRET)}
    give(engine, "request_answer", number, actor, **{**given, **changes})


def reply(
    engine: Engine, key: str = "k", link: str = f"{LINK}_{SECRET}", now: dt.datetime | None = None, **more: Any
) -> Any:
    return answer_by_link(engine, link, {**TEXT, **more}, key, now=now)


def notices(engine: Engine, number: str = CASE) -> list[dict[str, Any]]:
    with read(engine) as connection:
        return notices_of(connection, number)


def test_a_partner_answers_by_his_link_and_decides_nothing(casebook: Engine) -> None:
    ask(casebook)
    (case, other) = sorted(list_cases(casebook), key=lambda one: str(one["number"]))
    files = [{"name": "permit.pdf", "sha256": sha256_hex(b"permit")}]
    done = reply(casebook, files=files)
    assert done == reply(casebook, files=files).__class__(done.case, done.status, done.version, done.seq)
    assert reply(casebook, files=files).replayed
    (notice,) = notices(casebook)
    assert notice["gate_row"] == "CN|diversion|request_explanation"
    assert [(one["reason"], one["files"], one["answered_by"]) for one in notice["answers"]] == [
        ("approved_transfer", files, f"link:{LINK}")
    ]
    assert "link_hash" not in notice
    assert sorted(list_cases(casebook), key=lambda one: str(one["number"])) == [case, other], "he changes nothing"
    assert verify(casebook).exit_code == 0


@pytest.mark.parametrize("link", ["", "x", f"{LINK}_wrong", f"{LINK}", f"ffffffffffffffff_{SECRET}", f"%_{SECRET}"])
def test_a_link_that_is_none_says_nothing_about_why(casebook: Engine, link: str) -> None:
    ask(casebook)
    with pytest.raises(UnknownUser, match=r"^this link is not valid, or not any more$"):
        reply(casebook, link=link)
    assert notices(casebook)[0]["answers"] == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"reason": "bored"}, "reason 'bored'; expected one of approved_transfer"),
        ({"text": " "}, "a text is needed"),
        ({"text": "x" * 10_001}, "at most 10000"),
        ({"files": "permit.pdf"}, "files are a list of at most 10"),
        ({"files": [{"name": "x", "sha256": "a" * 64}] * 11}, "files are a list of at most 10"),
        ({"files": [{"name": "x", "sha256": "../../etc/passwd"}]}, "needs a name"),
        ({"status": "dismissed"}, "unknown parameter status"),
    ],
)
def test_what_no_answer_may_hold(casebook: Engine, more: dict[str, Any], message: str) -> None:
    ask(casebook)
    with pytest.raises(GuardFailed, match=message):
        reply(casebook, **more)
    assert notices(casebook)[0]["answers"] == []


def test_the_clock_runs_is_extended_and_ends(casebook: Engine) -> None:
    ask(casebook)
    now = dt.datetime.now(dt.UTC)
    assert mark_overdue(casebook, now) == []
    late = now + dt.timedelta(days=15)
    assert mark_overdue(casebook, late) == [CASE]
    assert mark_overdue(casebook, late) == [], "said once"
    with pytest.raises(GuardFailed, match="a later day is needed"):
        give(casebook, "extend", CASE, ALL, due_at=soon(3), note="asks for time")
    give(casebook, "extend", CASE, ALL, due_at=soon(30), note="asks for time")
    assert notices(casebook)[0]["extensions"] == 1
    assert mark_overdue(casebook, late) == []
    reply(casebook, now=now + dt.timedelta(days=45))
    with pytest.raises(UnknownUser):
        reply(casebook, key="later", now=now + dt.timedelta(days=61))
    assert mark_overdue(casebook, now + dt.timedelta(days=80)) == [], "he has answered"
    assert verify(casebook).exit_code == 0


def test_an_answer_makes_a_proposal_stale_and_wakes_who_sleeps_for_it(casebook: Engine) -> None:
    ask(casebook)
    give(casebook, "triage", CASE, ALL)
    give(casebook, "snooze", CASE, ALL, until=soon(), condition="answer", note="he was asked")
    reply(casebook)
    assert next(one for one in list_cases(casebook) if one["number"] == CASE)["snooze"] is None
    give(casebook, "propose", CASE, ALL, kind="dismiss", reason="authorised", note="permit")
    reply(casebook, key="again", text="One more thing.")
    with pytest.raises(Conflict, match="something was attached or answered"):
        give(casebook, "approve", CASE, OTHER)


def test_a_leaked_link_fills_nothing(casebook: Engine) -> None:
    ask(casebook)
    for number in range(MOST_ANSWERS):
        reply(casebook, key=f"k{number}")
    with pytest.raises(GuardFailed, match=f"has {MOST_ANSWERS} answers"):
        reply(casebook, key="one more")


def test_a_partner_with_an_account_answers_his_own_case_only(casebook: Engine) -> None:
    for number, link in ((CASE, LINK), ("FC-2026-000002", "f" * 16)):
        ask(casebook, number, link_id=link, link_hash=link_hash(link))
    people.add_user(casebook, BOSS, "dealer", name="Dealer")
    grants.grant_role(casebook, BOSS, "dealer", "partner", partner="P1")
    dealer = Actor("user:dealer")
    give(casebook, "answer", CASE, dealer, **TEXT)
    with pytest.raises(NotAuthorised, match="partner only for partner P1"):
        give(casebook, "answer", "FC-2026-000002", dealer, **TEXT)
    for command, given in (
        ("triage", {}),
        ("dismiss", {"reason": "low_impact"}),
        ("comment", {"text": "x"}),
        ("request_answer", {}),
        ("extend", {"note": "x", "due_at": soon(20)}),
    ):
        with pytest.raises(NotAuthorised):
            give(casebook, command, CASE, dealer, **given)


def test_the_legal_gate_decides_whether_anything_goes_out(engine: Engine, folder: Path, open_gate: None) -> None:
    record(engine, "regions", region_code="CN", parent_code=None, level="country")
    record(engine, "regions", region_code="CN-31", parent_code="CN", level="province")
    file_night(engine, folder, [make_finding("P1", unit_id="price.below_floor", family="price")])
    orders.staff(engine)
    with pytest.raises(GuardFailed, match=r"blocked by row CN\|price\|request_explanation|no row of the legal gate"):
        ask(engine)
    assert notices(engine) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"language": "fr"}, "a notice has a language"),
        ({"sha256": "x"}, "a notice has a language"),
        ({"due_at": None}, "due_at None; expected a day"),
        ({"due_at": soon(-1)}, "expected a day after today"),
        ({"due_at": soon(91)}, "at most 90 ahead"),
        ({"link_hash": None}, "a link has an id"),
        ({"colour": "red"}, "unknown parameter colour"),
    ],
)
def test_what_no_request_may_be(casebook: Engine, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GuardFailed, match=message):
        ask(casebook, **changes)


def test_only_a_decided_case_gets_its_letter(casebook: Engine) -> None:
    given = {"language": "en", "sha256": sha256_hex(b"decided")}
    with pytest.raises(NotOffered):
        give(casebook, "send_letter", CASE, ALL, **given)
    with pytest.raises(GuardFailed, match="has no request to the partner"):
        give(casebook, "extend", CASE, ALL, due_at=soon(), note="x")
    bring(casebook, CASE, "confirmed")
    give(casebook, "send_letter", CASE, ALL, **given)
    with pytest.raises(NotOffered):
        ask(casebook)
    assert [one["kind"] for one in notices(casebook)] == ["letter"]


def test_only_to_a_partner_something_is_sent(engine: Engine, folder: Path, open_gate: None) -> None:
    file_night(engine, folder, [make_finding("S1", subject_kind="seller")])
    employ(engine, ALL)
    with pytest.raises(GuardFailed, match="is about a seller; only to a partner"):
        ask(engine)


def test_every_word_a_letter_can_need_is_there_in_both_languages() -> None:
    known = letters.words()
    rules = workflow.default()
    # Reasons about a penalty are none about its case.
    steps = (*rules.transitions, *(each for each in rules.proposals if each.penalty is None))
    stated = {word for step in steps for word in (*step.outcomes, *step.reasons)}
    assert set(known["outcomes"]) >= stated
    assert set(known["reasons"]) == set(REASONS)
    assert set(known["families"]) == set(FAMILIES)
    assert set(known["appeals"]) == {reason for each in rules.sanctions for reason in each.reasons}
    assert set(known["steps"]) == set(PENALTY_STEPS)
    for section in ("outcomes", "reasons", "families", "appeals", "steps", "penalty", "rounding"):
        for words in known[section].values():
            assert set(words) == {"zh", "en"}
            assert all(words.values())


def test_every_role_with_every_letter(casebook: Engine) -> None:
    rules = workflow.default()
    people.add_user(casebook, BOSS, "keeper-two", name="Keeper")
    for role, one in rules.roles.items():
        keeper = "keeper-two" if one.holder == "service" else None
        people.add_user(
            casebook, BOSS, f"r-{role.replace('_', '-')}", name=role, kind=one.holder, same_person_as=keeper
        )
        grants.grant_role(
            casebook, BOSS, f"r-{role.replace('_', '-')}", role, partner="P1" if one.scope == "partner" else None
        )
    ask(casebook)
    tried = 0
    for letter in rules.letters:
        number = CASE
        if letter.while_ == "decided":
            bring(casebook, "FC-2026-000002", "dismissed")
            number = "FC-2026-000002"
        for role, one in rules.roles.items():
            actor = Actor(f"{'service' if one.holder == 'service' else 'user'}:r-{role.replace('_', '-')}")
            tried += 1
            given: dict[str, Any] = {
                "request": {"language": "zh", "sha256": "a" * 64, "due_at": soon(), "link_hash": f"{tried:064x}"}
                | {"link_id": f"{tried:016x}"},
                "letter": {"language": "zh", "sha256": "a" * 64},
                "extend": {"due_at": soon(20 + tried), "note": "x", "notice": 1},
                "answer": dict(TEXT),
            }[letter.does]
            if role in letter.roles:
                give(casebook, letter.command, number, actor, **given)
            else:
                with pytest.raises(NotAuthorised, match=" or ".join(letter.roles)):
                    give(casebook, letter.command, number, actor, **given)
    assert tried == len(rules.letters) * len(rules.roles)
    assert verify(casebook).exit_code == 0
