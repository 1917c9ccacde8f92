"""What lies over a case and beside it: snooze, attention, legal hold; attachments and links."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import orders
import pytest
from casework_samples import FIRST, file_night, make_finding
from orders import ALL, OTHER, bring, case, give, shown
from sqlalchemy import Engine

from fangcuan.cases.executor import GuardFailed
from fangcuan.cases.views import list_cases
from fangcuan.core.canonical import sha256_hex

CASE = "FC-2026-000001"


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    orders.three_cases(engine, folder)
    return engine


def test_a_snoozed_case_is_passed_over_until_something_comes(casebook: Engine, folder: Path) -> None:
    from fangcuan.cases.executor import claim_next

    now = dt.datetime.now(dt.UTC)
    soon = now + dt.timedelta(days=3)
    for number in ("FC-2026-000002", "FC-2026-000003"):
        give(casebook, "claim", number, OTHER)
    for until, message in (
        ((now - dt.timedelta(days=1)).isoformat(), "expected a time after now"),
        ((now + dt.timedelta(days=99)).isoformat(), "at most 90 days ahead"),
        ("tomorrow", "expected a day such as"),
    ):
        with pytest.raises(GuardFailed, match=message):
            give(casebook, "snooze", CASE, ALL, until=until, note="later")
    with pytest.raises(GuardFailed, match="condition 'rain'"):
        give(casebook, "snooze", CASE, ALL, until=soon.isoformat(), condition="rain", note="later")
    give(casebook, "snooze", CASE, ALL, until=soon.isoformat(), condition="new_evidence", note="waits for the count")
    assert claim_next(casebook, ALL, "a") is None
    assert case(casebook)["status"] == "triaging", "a snooze is no status"
    file_night(casebook, folder, [make_finding("P1", sku="SKU-7")], FIRST + dt.timedelta(days=1))
    assert claim_next(casebook, ALL, "b").case == CASE  # type: ignore[union-attr]
    give(casebook, "release", CASE, ALL)
    give(casebook, "wake_up", CASE, ALL)
    with pytest.raises(GuardFailed, match="is not so"):
        give(casebook, "wake_up", CASE, ALL)
    give(casebook, "snooze", CASE, ALL, until=soon.isoformat(), note="later")
    assert claim_next(casebook, ALL, "c", now=soon - dt.timedelta(minutes=1)) is None
    assert claim_next(casebook, ALL, "d", now=soon + dt.timedelta(minutes=1)).case == CASE  # type: ignore[union-attr]


def test_what_is_escalated_stands_first_until_it_is_assigned(casebook: Engine) -> None:
    assert list_cases(casebook)[-1]["number"] == "FC-2026-000003"
    give(casebook, "escalate", "FC-2026-000003", ALL, note="large dealer")
    assert list_cases(casebook)[0]["number"] == "FC-2026-000003"
    with pytest.raises(GuardFailed, match="is so already"):
        give(casebook, "escalate", "FC-2026-000003", ALL, note="large dealer")
    give(casebook, "assign", "FC-2026-000003", OTHER, to=ALL.name)
    assert list_cases(casebook)[0]["number"] == CASE


def test_a_decision_lifts_attention_and_snooze(casebook: Engine) -> None:
    give(casebook, "escalate", CASE, ALL, note="look")
    until = (dt.datetime.now(dt.UTC) + dt.timedelta(days=3)).isoformat()
    give(casebook, "snooze", CASE, ALL, until=until, note="later")
    give(casebook, "propose", CASE, ALL, kind="dismiss", reason="authorised", note="permit")
    give(casebook, "approve", CASE, OTHER)
    assert (case(casebook)["attention"], case(casebook)["snooze"]) == (None, None)


def test_nothing_is_closed_or_sealed_under_a_legal_hold(casebook: Engine, folder: Path) -> None:
    bring(casebook, "FC-2026-000002", "confirmed")
    give(casebook, "hold", "FC-2026-000002", ALL, note="court asks")
    give(casebook, "hold", "FC-2026-000002", OTHER, note="second court")
    with pytest.raises(GuardFailed, match="under legal hold 1 by user:all: court asks"):
        give(casebook, "close", "FC-2026-000002", OTHER, outcome="settled")
    with pytest.raises(GuardFailed, match=r"say which hold is lifted .*: 1, 2"):
        give(casebook, "lift_hold", "FC-2026-000002", ALL, note="over")
    give(casebook, "lift_hold", "FC-2026-000002", ALL, note="over", hold=1)
    with pytest.raises(GuardFailed, match="under legal hold 2"):
        give(casebook, "close", "FC-2026-000002", OTHER, outcome="settled")
    give(casebook, "lift_hold", "FC-2026-000002", ALL, note="over")
    give(casebook, "close", "FC-2026-000002", OTHER, outcome="settled")
    assert [hold["lifted_by"] for hold in shown(casebook, folder, "FC-2026-000002")["legal_holds"]] == [ALL.name] * 2


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kind": "rumour"}, "kind 'rumour'; expected one of purchase_receipt"),
        ({"sha256": "abc"}, "64 hex digits"),
        ({"name": ""}, "a name is needed"),
        ({"name": "x" * 201}, "at most 200"),
        ({}, "has this file as site_photo already"),
    ],
)
def test_what_cannot_be_attached(casebook: Engine, params: dict[str, str], message: str) -> None:
    good = {"kind": "site_photo", "name": "shelf.jpg", "sha256": sha256_hex(b"shelf")}
    give(casebook, "attach", CASE, ALL, **good)
    with pytest.raises(GuardFailed, match=message):
        give(casebook, "attach", CASE, ALL, **{**good, **params})


def test_cases_are_linked_by_hand_once(casebook: Engine, folder: Path) -> None:
    give(casebook, "link", CASE, ALL, other="FC-2026-000002", kind="same_goods")
    assert {"number": CASE, "kind": "same_goods"} in shown(casebook, folder, "FC-2026-000002")["links"]
    for params, message in (
        ({"other": CASE}, "is the case itself"),
        ({"other": "FC-2026-000002", "kind": "same_goods"}, "are linked as same_goods already"),
        ({"other": "FC-2026-000002", "kind": "same_subject"}, "kind 'same_subject'"),
    ):
        with pytest.raises(GuardFailed, match=message):
            give(casebook, "link", CASE, ALL, **params)
    with pytest.raises(Exception, match="no such case to link"):
        give(casebook, "link", CASE, ALL, other="FC-2026-000077")
