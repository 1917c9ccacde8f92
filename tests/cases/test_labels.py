"""What decisions teach: labels of findings, frozen sets; suppressions that expire, are sampled, and need two people."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import FIRST, file_night, make_finding
from orders import ALL, OTHER, bring, give
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from fangcuan.cases import workflow
from fangcuan.cases.filing.labels import frozen_labels, latest_labels
from fangcuan.cases.filing.suppressions import (
    approve_suppression,
    end_suppression,
    list_suppressions,
    propose_suppression,
)
from fangcuan.cases.history.verification import verify
from fangcuan.cases.refusals import GuardFailed, NotAuthorised
from fangcuan.cases.views import list_cases
from fangcuan.store.casework import finding
from fangcuan.store.database import read, write

CASE = "FC-2026-000001"
MATCH = {"family": "diversion", "subject_id": "P1"}


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    support = make_finding("P1", unit_id="diversion.model", role="watch", lot="L1")
    file_night(engine, folder, [make_finding("P1"), make_finding("P1", sku="SKU-2")], support=[support])
    orders.staff(engine)
    return engine


def labels(engine: Engine) -> list[tuple[Any, ...]]:
    with read(engine) as connection:
        rows = latest_labels(connection)
    return sorted((row["unit_id"], row["label"], row["outcome"], row["route"], row["support"]) for row in rows)


def test_a_decision_labels_every_finding_it_rests_on(casebook: Engine) -> None:
    bring(casebook, CASE, "confirmed")
    right = ("diversion.outside_territory", "right", "wrong_region", None, False)
    assert labels(casebook) == [("diversion.model", "right", "wrong_region", None, True), right, right]
    give(casebook, "close", CASE, OTHER, outcome="settled")
    assert labels(casebook)[-1] == right, "what follows from a decision teaches nothing new"
    give(casebook, "propose", CASE, ALL, kind="reopen", note="new papers")
    give(casebook, "approve", CASE, OTHER)
    give(casebook, "propose", CASE, ALL, kind="dismiss", reason="wrong_partner", note="two of one name")
    give(casebook, "approve", CASE, OTHER)
    wrong = ("diversion.outside_territory", "wrong", "wrong_partner", "entity_matching", False)
    assert labels(casebook)[-2:] == [wrong, wrong]
    assert verify(casebook).exit_code == 0


def test_a_frozen_set_stays_as_it_was(casebook: Engine) -> None:
    give(casebook, "dismiss", CASE, ALL, reason="low_impact")
    moment = dt.datetime.now(dt.UTC)
    rows, digest = frozen_labels(casebook, moment)
    assert {row["label"] for row in rows} == {"unclear"}
    give(casebook, "propose", CASE, ALL, kind="reopen", note="x")
    give(casebook, "approve", CASE, OTHER)
    bring_on = {"kind": "dismiss", "reason": "authorised", "note": "permit"}
    give(casebook, "propose", CASE, ALL, **bring_on)
    give(casebook, "approve", CASE, OTHER)
    assert frozen_labels(casebook, moment) == (rows, digest)
    assert frozen_labels(casebook, dt.datetime.now(dt.UTC))[1] != digest


def test_a_merged_case_teaches_nothing(casebook: Engine, folder: Path) -> None:
    file_night(casebook, folder, [make_finding("P2")], FIRST + dt.timedelta(days=1))
    bring(casebook, CASE, "merged", into="FC-2026-000002")
    assert labels(casebook) == []


def test_every_outcome_and_reason_says_something_or_is_known_to_say_nothing() -> None:
    rules = workflow.default()
    # Reasons about a penalty are none about its case.
    steps = (*rules.transitions, *(each for each in rules.proposals if each.penalty is None))
    stated = {word for step in steps for word in (*step.outcomes, *step.reasons)}
    after = {word for step in rules.transitions if rules.has(step.from_[0], "decided") for word in step.outcomes}
    unclear = {word for word in stated if rules.label_of(word).label == "unclear"}
    assert unclear == {"duplicate", "low_impact", "other"} | after


def suppress(engine: Engine, **changes: Any) -> int:
    given: dict[str, Any] = {
        "reason": "authorised",
        "note": "permit 17",
        "starts_on": FIRST,
        "ends_on": FIRST + dt.timedelta(days=60),
    }
    return propose_suppression(engine, ALL, changes.pop("matcher", MATCH), **{**given, **changes})


def test_what_is_suppressed_is_stored_and_opens_nothing_until_it_expires(engine: Engine, folder: Path) -> None:
    orders.staff(engine)
    number = suppress(engine)
    file_night(engine, folder, [make_finding("P1")], FIRST)
    assert len(list_cases(engine)) == 1, "proposed, it hides nothing"
    approve_suppression(engine, OTHER, number)
    night = FIRST + dt.timedelta(days=1)
    findings = [make_finding("P1", sku=f"SKU-{n}", grouping={"product_line": str(n)}) for n in range(10, 210)]
    summary = file_night(engine, folder, [*findings, make_finding("P2")], night)
    (shown,) = list_suppressions(engine)
    assert (shown["hidden"] + shown["sampled"], summary.findings_new) == (200, 201)
    assert 2 <= shown["sampled"] <= 22, "about one in twenty"
    assert summary.cases_opened == shown["sampled"] + 1
    with read(engine) as connection:
        noted = connection.execute(select(finding).where(finding.c.state == "noted")).all()
    assert len(noted) == shown["hidden"]
    assert file_night(engine, folder, [*findings, make_finding("P2")], night) == summary, "judged again, the same"
    later = FIRST + dt.timedelta(days=60)
    assert file_night(engine, folder, [findings[0], findings[1]], later).cases_opened >= 1, "it has expired"
    assert verify(engine).exit_code == 0


def test_an_ended_suppression_hides_nothing(engine: Engine, folder: Path) -> None:
    orders.staff(engine)
    number = suppress(engine, matcher={"family": "diversion", "region_code": "CN-31"})
    approve_suppression(engine, OTHER, number)
    end_suppression(engine, ALL, number)
    assert file_night(engine, folder, [make_finding("P1")]).cases_opened == 1
    with pytest.raises(GuardFailed, match="was ended before"):
        end_suppression(engine, ALL, number)
    with pytest.raises(GuardFailed, match="approved or ended before"):
        approve_suppression(engine, OTHER, number)
    assert verify(engine).exit_code == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matcher": {"family": "diversion"}}, "at least one thing more"),
        ({"matcher": {"subject_id": "P1", "sku": "S"}}, "name the family"),
        ({"matcher": {**MATCH, "score": "1"}}, "matcher: unknown score; known: family"),
        ({"note": " "}, "needs a reason and a note"),
        ({"ends_on": FIRST}, "ends after it starts"),
        ({"ends_on": FIRST + dt.timedelta(days=367)}, "at most 366 days"),
        ({"sampled_share": Decimal("0")}, r"expected 0\.02 to 0\.05"),
    ],
)
def test_nothing_is_hidden_for_ever_or_unsampled(engine: Engine, changes: dict[str, Any], message: str) -> None:
    orders.staff(engine)
    with pytest.raises(GuardFailed, match=message):
        suppress(engine, **changes)
    assert list_suppressions(engine) == []


def test_two_people_hide_something(engine: Engine) -> None:
    orders.staff(engine)
    number = suppress(engine)
    with pytest.raises(NotAuthorised, match="somebody else has to decide"):
        approve_suppression(engine, ALL, number)
    for values in (
        "approved_by = proposed_by, approved_person = 'x', approved_at = proposed_at",
        "approved_by = 'x', approved_person = proposed_person, approved_at = proposed_at",
        "approved_by = 'x'",
        "ends_on = starts_on",
    ):
        with pytest.raises(IntegrityError), write(engine) as connection:
            connection.execute(text(f"update suppression set {values}"))
