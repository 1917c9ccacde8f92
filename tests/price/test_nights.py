"""What later nights change: confirmation, late policies, promotions and aliases, slips; and what they must not change."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

import pytest


def look(day: int, price: str | int, arrived: int | None = None, **more: Any) -> dict[str, Any]:
    row = {
        "observation_id": f"{more.get('partner_id', more.get('seller_ref', 'D1'))}-{more.get('sku', 'S1')}-{day}",
        "source_id": "spider",
        "observed_at": f"2026-03-{day:02d}T10:00:00+08:00",
        "arrived_on": f"2026-03-{arrived or day:02d}",
        "channel": "online",
        "sku": "S1",
        "surface": "list",
        "price": price,
        "currency": "CNY",
    }
    if "seller_ref" not in more:
        row["partner_id"] = "D1"
    return {**row, **more}


def policy(floor: int, **more: Any) -> dict[str, Any]:
    return {
        "policy_id": "P1",
        "mode": "band",
        "floor": floor,
        "currency": "CNY",
        "tolerance_pct": 2,
        "jurisdiction": "CN",
        "legal_basis": "policy",
        "approved_by": "legal",
        "valid_from": "2026-01-01",
        **more,
    }


def world(looks: list[dict[str, Any]], **masters: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {
        "products": [
            {"sku": "S1", "name": "Baijiu", "product_line": "baijiu"},
            {"sku": "S2", "name": "Small", "product_line": "baijiu"},
        ],
        "partners": [{"partner_id": "D1", "name": "Dealer", "kind": "dealer"}],
        "price_policies": [policy(100)],
        "price_observations": looks,
        **masters,
    }


def test_a_second_look_confirms_and_later_ones_keep_the_identity(nights):
    judged = nights(world([look(10, 95), look(11, 94), look(12, 93)]))
    assert judged.judge("2026-03-10") == []
    (first,) = judged.judge("2026-03-11")
    (second,) = judged.judge("2026-03-12")
    assert first.finding_id == second.finding_id
    assert (first.explanation_params["below_looks"], second.explanation_params["below_looks"]) == (2, 3)
    assert len(second.evidence) == 4, "three looks and the policy"
    assert {ref.relation for ref in second.evidence} == {"price_observations", "price_policies"}


def test_a_night_without_news_gives_nothing_again(nights):
    judged = nights(world([look(10, 95), look(11, 94)]))
    assert len(judged.judge("2026-03-11")) == 1
    assert judged.judge("2026-03-12") == []


def test_a_late_look_between_two_nights_reopens_its_window(nights):
    judged = nights(world([look(10, 95), look(11, 94, arrived=20)]))
    assert judged.judge("2026-03-12") == []
    (found,) = judged.judge("2026-03-20")
    assert found.explanation_params["first_day"] == "2026-03-10"


def test_a_decimal_slip_is_quiet_on_every_night_on_the_way(nights):
    prices = [110, 111, 110, "11.0", "11.0", 110, 111]
    judged = nights(world([look(10 + n, price) for n, price in enumerate(prices)]))
    assert [judged.judge(f"2026-03-{10 + n}") for n in range(len(prices))] == [[]] * len(prices)


def test_one_look_far_down_waits_and_is_dropped_when_the_next_reverts(nights):
    judged = nights(world([look(10, 110), look(11, 110), look(12, 80), look(13, 110)]))
    assert [judged.judge(f"2026-03-{n}") for n in (10, 11, 12, 13)] == [[]] * 4


def test_one_look_far_down_counts_when_the_next_agrees(nights):
    judged = nights(world([look(10, 110), look(11, 110), look(12, 80), look(13, 80)]))
    assert [judged.judge(f"2026-03-{n}") for n in (10, 11, 12)] == [[]] * 3
    (found,) = judged.judge("2026-03-13")
    assert found.explanation_params["below_looks"] == 2


def test_a_policy_recorded_late_judges_the_days_it_was_in_force(nights):
    late = policy(120, valid_from="2026-03-05", recorded_at="2026-03-20T09:00:00+08:00")
    judged = nights(world([look(3, 105), look(4, 105), look(6, 105), look(7, 105)], price_policies=[policy(100), late]))
    assert judged.judge("2026-03-10") == []
    (found,) = judged.judge("2026-03-20")
    assert found.explanation_params["first_day"] == "2026-03-06"
    assert Decimal(found.explanation_params["floor"]) == 120
    assert found.grouping["period"] == "P1|2026-03-05"


def test_a_policy_that_comes_later_does_not_judge_days_before_it(nights):
    raised = policy(120, valid_from="2026-03-08", recorded_at="2026-03-08T09:00:00+08:00")
    judged = nights(world([look(3, 105), look(4, 105)], price_policies=[policy(100), raised]))
    assert judged.judge("2026-03-10") == []


def test_a_promotion_recorded_late_ends_the_repetition_of_a_finding(nights):
    promotion = {
        "promotion_id": "M1",
        "effect": "exempt",
        "approved_by": "ops",
        "valid_from": "2026-03-01",
        "valid_to": "2026-03-15",
        "recorded_at": "2026-03-14T09:00:00+08:00",
    }
    judged = nights(world([look(10, 90), look(11, 90), look(14, 90)], promotions=[promotion]))
    assert len(judged.judge("2026-03-11")) == 1
    assert judged.judge("2026-03-14") == []


def test_an_account_confirmed_later_gives_the_finding_the_name_of_the_partner(nights):
    alias = {
        "platform": "tmall",
        "seller_ref": "x7",
        "partner_id": "D1",
        "confirmed_by": "li",
        "recorded_at": "2026-03-20T09:00:00+08:00",
    }
    shop = {"platform": "tmall", "seller_ref": "x7"}
    judged = nights(world([look(10, 90, **shop), look(11, 90, **shop)], partner_aliases=[alias]))
    (before,) = judged.judge("2026-03-11")
    (after,) = judged.judge("2026-03-20")
    assert (before.subject_id, after.subject_id) == ("tmall:x7", "D1")


def test_an_alias_nobody_confirmed_names_nobody(nights):
    alias = {"platform": "tmall", "seller_ref": "x7", "partner_id": "D1", "confidence": "0.99"}
    shop = {"platform": "tmall", "seller_ref": "x7"}
    judged = nights(world([look(10, 90, **shop), look(11, 90, **shop)], partner_aliases=[alias]))
    (found,) = judged.judge("2026-03-11")
    assert found.subject_id == "tmall:x7"


@pytest.mark.parametrize("unit_id", ["price.below_floor", "price.below_floor_sustained", "price.above_ceiling"])
@pytest.mark.parametrize("seed", [1, 2])
def test_night_by_night_and_all_at_once_agree_to_the_byte(nights, unit_id, seed):
    """Late looks included. Prices stay within a step so that no look waits for its successor."""
    draw = random.Random(seed)
    looks = [
        look(day, f"{draw.uniform(low, low + 8):.2f}", arrived=min(28, day + draw.choice([0, 0, 0, 1, 4])), sku=sku)
        for sku, low in (("S1", 92), ("S2", 97))
        for day in range(1, 27)
        if draw.random() < 0.8
    ]
    masters = {"price_policies": [policy(100, ceiling=100)]}
    by_night = nights(world(looks, **masters))
    latest: dict[str, Any] = {}
    for day in (*range(1, 28, 3), 28):
        for found in by_night.judge(f"2026-03-{day:02d}", unit_id):
            latest[found.finding_id] = found.as_record()
    at_once = {f.finding_id: f.as_record() for f in nights(world(looks, **masters)).judge("2026-03-28", unit_id)}
    assert at_once, "the world must hold findings"
    assert latest == at_once


def test_windows_are_months_of_the_brands_zone(nights):
    judged = nights(world([look(10, 90), look(11, 90)]))
    (found,) = judged.judge("2026-03-11")
    assert found.window_start == dt.datetime(2026, 2, 28, 16, tzinfo=dt.UTC)
    assert found.window_end == dt.datetime(2026, 3, 31, 16, tzinfo=dt.UTC)
