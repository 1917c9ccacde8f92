"""Audit reviews: beside a case, bound to what was looked at, never of one's own work; and what they say about all cases."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import employ, file_night, make_finding
from orders import ALL, AUDITOR, OTHER, bring, case, give, shown
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from fangcuan.cases.auditing.intervals import share_interval
from fangcuan.cases.auditing.reviews import REASONS, handled, list_reviews, progress
from fangcuan.cases.auditing.samples import SampleFilter, draw_sample
from fangcuan.cases.executor import Command, execute
from fangcuan.cases.export.redaction import Known, Redaction, profiles
from fangcuan.cases.history.verification import verify
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import grants, tokens
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.tokens import token_actor
from fangcuan.cases.refusals import CommandRefused, Conflict, GuardFailed, NotAuthorised, list_refusals
from fangcuan.store.audits import audit_review
from fangcuan.store.casework import case_file, event
from fangcuan.store.database import read, write

CASE = "FC-2026-000001"
BOSS = Actor("user:boss")
SECOND = Actor("user:zheng", frozenset({"auditor"}))
WRONG: dict[str, Any] = {"result": "disagrees", "reasons": ["wrong_outcome"], "note": "the permit covers it"}


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    file_night(engine, folder, [make_finding(f"P{number}") for number in range(6)])
    orders.staff(engine)
    employ(engine, AUDITOR, SECOND)
    return engine


def row(engine: Engine, number: str = CASE) -> dict[str, Any]:
    with read(engine) as connection:
        return dict(connection.execute(select(case_file).where(case_file.c.number == number)).mappings().one())


def sampled(engine: Engine, count: int = 99) -> list[str]:
    drawn = draw_sample(engine, AUDITOR, count=count, seed="s", filters=SampleFilter(decided=False))
    return list(drawn["numbers"])


def test_a_review_is_bound_to_what_was_looked_at_and_changes_nothing(casebook: Engine, folder: Path) -> None:
    bring(casebook, CASE, "confirmed")
    before = row(casebook)
    done = give(casebook, "review", CASE, AUDITOR, **WRONG)
    assert row(casebook) == before
    assert (done.version, done.status) == (before["version"], before["status"])
    (review,) = shown(casebook, folder)["audit_reviews"]
    assert review["case_version"] == before["version"]
    assert review["decision_evidence_root"] == before["decision_evidence_root"] is not None
    assert review["evidence_root"] == case(casebook)["evidence_root"]
    assert (review["result"], review["reasons"], review["note"]) == ("disagrees", ["wrong_outcome"], WRONG["note"])
    assert (review["reviewed_person"], review["independent"], review["sample"]) == ("qiu", True, None)
    assert review["decided_person"] == "other-one"
    assert shown(casebook, folder)["timeline"][-1]["kind"] == "case.review"
    give(casebook, "close", CASE, OTHER, outcome="settled")
    give(casebook, "review", CASE, AUDITOR, result="agrees")
    first, second = shown(casebook, folder)["audit_reviews"]
    assert first == review, "the earlier one stays as it was"
    assert (second["review"], second["case_version"]) == (2, before["version"] + 1)
    assert verify(casebook).exit_code == 0


def test_an_open_case_has_no_decision_to_be_bound_to(casebook: Engine) -> None:
    bring(casebook, CASE, "dismissed")
    give(casebook, "propose", CASE, ALL, kind="reopen", note="x")
    give(casebook, "approve", CASE, OTHER)
    assert row(casebook)["decision_evidence_root"] is not None
    give(casebook, "review", CASE, AUDITOR, result="agrees")
    (review,) = list_reviews(casebook)
    assert (review["decision_evidence_root"], review["decided_person"]) == (None, None)


def test_a_review_of_another_version_is_refused(casebook: Engine) -> None:
    bring(casebook, CASE, "triaging")
    stale = Command("review", CASE, AUDITOR, "k", 1, {"result": "agrees"})
    with pytest.raises(Conflict, match="is at version 2, not 1"):
        execute(casebook, stale)
    assert list_reviews(casebook) == []
    once = Command("review", CASE, AUDITOR, "k2", 2, {"result": "agrees"})
    assert not execute(casebook, once).replayed
    assert execute(casebook, once).replayed
    assert len(list_reviews(casebook)) == 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "result None; expected one of agrees, disagrees, cannot_tell"),
        ({"result": "yes"}, "result 'yes'"),
        ({**WRONG, "reasons": []}, "whoever says disagrees gives at least one reason of wrong_outcome"),
        ({**WRONG, "reasons": ["evidence_missing"]}, "reason evidence_missing; whoever says disagrees gives of"),
        ({**WRONG, "reasons": "wrong_outcome"}, "reason 'wrong_outcome'"),
        ({**WRONG, "note": "  "}, "a note is needed"),
        ({"result": "cannot_tell", "reasons": ["evidence_missing"]}, "a note is needed"),
        ({"result": "agrees", "reasons": ["wrong_outcome"]}, "whoever says agrees gives of by_other_reasons"),
        ({"result": "agrees", "colour": "red"}, "unknown parameter colour"),
        ({"result": "agrees", "sample": 7}, "sample 7: there is none"),
        ({"result": "agrees", "sample": "1"}, "sample '1'; expected its number"),
    ],
)
def test_what_is_no_review_is_refused(casebook: Engine, params: dict[str, Any], message: str) -> None:
    with pytest.raises(GuardFailed, match=message):
        give(casebook, "review", CASE, AUDITOR, **params)
    assert list_reviews(casebook) == []


def test_a_sample_is_reviewed_for_the_cases_it_drew(casebook: Engine) -> None:
    drawn = sampled(casebook, 2)
    other = next(f"FC-2026-00000{n}" for n in range(1, 7) if f"FC-2026-00000{n}" not in drawn)
    with pytest.raises(GuardFailed, match=f"sample 1 did not draw {other}"):
        give(casebook, "review", other, AUDITOR, result="agrees", sample=1)
    give(casebook, "review", other, AUDITOR, result="agrees")
    assert progress(casebook, 1)["reviewed"] == 0


def refused(engine: Engine, actor: Actor, number: str = CASE) -> str:
    """The review is refused, nothing is written, and the refusal is logged; what it said."""
    with pytest.raises(NotAuthorised) as caught:
        give(engine, "review", number, actor, result="agrees")
    assert list_reviews(engine) == []
    newest = list_refusals(engine, 1)[0]
    assert (newest["actor"], newest["command"], newest["target"]) == (actor.name, "review", number)
    return str(caught.value)


def test_only_auditors_review(casebook: Engine) -> None:
    for actor in (ALL, OTHER, BOSS):
        assert "is not auditor" in refused(casebook, actor)


def an_auditor_who_was(engine: Engine, person: str, **linked: Any) -> Actor:
    """An account with the role of an auditor; of whom else it is, the tests say."""
    people.add_user(engine, BOSS, "fresh", name="Fresh", **linked)
    grants.grant_role(engine, BOSS, "fresh", "auditor")
    return Actor("user:fresh")


#: What somebody may have done to a case; `ling` does it as an analyst.
WORK: dict[str, dict[str, Any]] = {
    "comment": {"text": "seen"},
    "claim": {},
    "triage": {},
    "escalate": {"note": "look"},
    "attach": {"kind": "other", "name": "x", "sha256": "a" * 64},
}


@pytest.mark.parametrize("command", sorted(WORK))
def test_nobody_reviews_what_he_worked_on_before_he_became_an_auditor(casebook: Engine, command: str) -> None:
    ling = Actor("user:ling", frozenset({"analyst"}))
    employ(casebook, ling)
    give(casebook, command, CASE, ling, **WORK[command])
    grants.revoke_role(casebook, BOSS, "ling", role="analyst")
    grants.grant_role(casebook, BOSS, "ling", "auditor")
    auditor = Actor("user:ling")
    assert "user:ling may be ling, who worked on FC-2026-000001; somebody else has to review it" in refused(
        casebook, auditor
    )
    give(casebook, "review", "FC-2026-000002", auditor, result="agrees")


def linked_before(engine: Engine) -> Actor:
    people.add_user(engine, BOSS, "fresh", name="Fresh", same_person_as="other-one")
    people.disable_user(engine, BOSS, "other-one")
    for role in ("analyst", "supervisor", "legal"):
        grants.revoke_role(engine, BOSS, "other-one", role=role)
    grants.grant_role(engine, BOSS, "fresh", "auditor")
    return Actor("user:fresh")


def at_his_terminal(engine: Engine) -> Actor:
    return Actor(AUDITOR.name, terminal=OTHER.name)


def by_a_token_of_his_terminal(engine: Engine) -> Actor:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    given = tokens.issue_token(engine, Actor(AUDITOR.name, terminal=OTHER.name), "qiu", label="x", expires_at=later)
    return token_actor(engine, given)


@pytest.mark.parametrize("way", [linked_before, at_his_terminal, by_a_token_of_his_terminal])
def test_nobody_reviews_his_own_work_by_another_name(casebook: Engine, way: Any) -> None:
    bring(casebook, CASE, "confirmed")
    assert "who worked on FC-2026-000001" in refused(casebook, way(casebook))


def test_who_held_a_case_or_stood_behind_a_command_has_worked_on_it(casebook: Engine) -> None:
    at_terminal = Actor(ALL.name, terminal=AUDITOR.name)
    give(casebook, "comment", CASE, at_terminal, text="seen")
    assert "who worked on" in refused(casebook, AUDITOR)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    given = tokens.issue_token(
        casebook, Actor(OTHER.name, terminal=SECOND.name), "other-one", label="x", expires_at=later
    )
    give(casebook, "comment", "FC-2026-000004", token_actor(casebook, given), text="seen")
    assert "who worked on" in refused(casebook, SECOND, "FC-2026-000004")
    chen = Actor("user:chen", frozenset({"analyst"}))
    employ(casebook, chen)
    give(casebook, "assign", "FC-2026-000002", ALL, to="user:chen")
    with read(casebook) as connection:
        assert handled(connection, "FC-2026-000002").persons == {"all", "chen"}
    give(casebook, "review", "FC-2026-000003", AUDITOR, result="agrees")
    with read(casebook) as connection:
        assert handled(connection, "FC-2026-000003").persons == frozenset(), "to review is no work on a case"
    give(casebook, "review", "FC-2026-000003", AUDITOR, result="agrees")


def test_the_database_refuses_a_review_of_ones_own_decision(casebook: Engine) -> None:
    bring(casebook, CASE, "dismissed")
    give(casebook, "review", CASE, AUDITOR, **WRONG)
    with read(casebook) as connection:
        good = dict(connection.execute(select(audit_review)).mappings().one())
    for changes in (
        {"reviewed_person": good["decided_person"]},
        {"result": "perhaps"},
        {"note": None},
        {"reasons": []},
        {"sample": 99},
    ):
        with pytest.raises(IntegrityError), write(casebook) as connection:
            connection.execute(audit_review.insert().values({**good, "review": 2, **changes}))


def test_the_progress_of_a_sample_and_what_it_says_about_all(casebook: Engine) -> None:
    drawn = sampled(casebook, 5)
    start = progress(casebook, 1)
    assert (start["population"], start["drawn"], start["left"], start["estimate"]) == (6, 5, 5, None)
    assert [one["number"] for one in start["items"]] == drawn
    for number in drawn[:3]:
        give(casebook, "review", number, AUDITOR, result="agrees", sample=1)
    give(casebook, "review", drawn[1], AUDITOR, sample=1, **WRONG)
    found = progress(casebook, 1)
    assert (found["reviewed"], found["agrees"], found["disagrees"], found["left"]) == (3, 2, 1, 2)
    low, high = share_interval(1, 3, 6)
    estimate = found["estimate"]
    assert (estimate["low"], estimate["high"]) == (pytest.approx(low), pytest.approx(high))
    assert (estimate["share"], estimate["in_the_order_drawn"]) == (pytest.approx(1 / 3), True)
    unclear = {"result": "cannot_tell", "reasons": ["evidence_missing"], "note": "the page is gone"}
    give(casebook, "review", drawn[4], AUDITOR, sample=1, **unclear)
    later = progress(casebook, 1)["estimate"]
    assert not later["in_the_order_drawn"], "somebody chose the fifth before the fourth"
    assert later["high_if_unclear_are_wrong"] == pytest.approx(share_interval(2, 4, 6)[1])
    give(casebook, "review", drawn[3], AUDITOR, sample=1, result="agrees")
    whole = progress(casebook, 1)
    assert (whole["left"], whole["cannot_tell"], whole["estimate"]["in_the_order_drawn"]) == (0, 1, True)


def test_two_auditors_may_differ_and_a_changed_case_is_marked(casebook: Engine) -> None:
    first, second = sampled(casebook, 2)
    give(casebook, "review", first, AUDITOR, sample=1, **WRONG)
    give(casebook, "review", first, SECOND, sample=1, result="agrees")
    give(casebook, "review", second, AUDITOR, sample=1, **WRONG)
    give(casebook, "review", second, AUDITOR, sample=1, result="agrees")
    one, two = progress(casebook, 1)["items"]
    assert (one["auditors_differ"], one["result"], one["reviewed_by"]) == (True, "agrees", SECOND.name)
    assert (two["auditors_differ"], two["changed_since"]) == (False, False), "who changed his mind differs from nobody"
    give(casebook, "triage", second, ALL)
    assert progress(casebook, 1)["items"][1]["changed_since"]


def test_a_review_by_somebody_who_turns_out_to_have_worked_on_it_counts_for_nothing(casebook: Engine) -> None:
    drawn = sampled(casebook, 2)
    give(casebook, "triage", drawn[0], ALL)
    for number in drawn:
        give(casebook, "review", number, AUDITOR, sample=1, result="agrees")
    assert progress(casebook, 1)["reviewed"] == 2
    for role in ("analyst", "supervisor", "legal"):
        grants.revoke_role(casebook, BOSS, "all", role=role)
    people.link_users(casebook, BOSS, "all", same_person_as="qiu")
    found = progress(casebook, 1)
    assert (found["reviewed"], found["items"][0]["result"], found["items"][0]["not_independent"]) == (1, None, 1)
    assert sorted(one["independent"] for one in list_reviews(casebook)) == [False, True]
    assert verify(casebook).exit_code == 0


def test_events_hold_reviews_whole(casebook: Engine) -> None:
    give(casebook, "review", CASE, AUDITOR, **WRONG)
    with read(casebook) as connection:
        body = json.loads(connection.execute(select(event.c.body).order_by(event.c.seq.desc()).limit(1)).scalar_one())
        stored = connection.execute(text("select * from audit_review")).mappings().one()
    assert set(body["data"]["audit_review"]) == set(stored)
    assert (body["case"], body["data"]["role"]) == (CASE, "auditor")


def test_a_dealer_is_shown_no_review_and_a_court_no_auditors_name(casebook: Engine, folder: Path) -> None:
    give(casebook, "review", CASE, AUDITOR, **WRONG)
    page = shown(casebook, folder)
    known = Known({AUDITOR.name: ("auditor", ("Qiu",))})
    told = {}
    for name in profiles():
        redaction = Redaction(name, page["subject"], known)
        redaction.learn([], json.dumps(page))
        told[name] = json.dumps(redaction.apply(page))
    assert {name for name, text_ in told.items() if WRONG["note"] in text_} == {"auditor", "court"}
    assert {name for name, text_ in told.items() if "disagrees" in text_} == {"auditor", "court"}
    assert {name for name, text_ in told.items() if '"qiu"' in text_ or AUDITOR.name in text_} == {"auditor"}


def test_reasons_are_said_once_per_result() -> None:
    assert set(REASONS) == {"agrees", "disagrees", "cannot_tell"}
    assert all(len(set(reasons)) == len(reasons) > 1 for reasons in REASONS.values())
    assert issubclass(GuardFailed, CommandRefused)
