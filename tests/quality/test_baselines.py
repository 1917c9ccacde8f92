"""The rules to beat: their thresholds, that names do not matter, and that they fail the way the design says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from fangcuan.quality.arrived import ANYWHERE, Arrived, Filed, Sightings
from fangcuan.quality.baselines import CAPACITY, RULES, benjamini_hochberg, plain_concordance
from fangcuan.quality.scoring import Score, follow, score
from fangcuan.quality.worlds import World

Worlds = Callable[..., World]


def made(own: list[int], foreign: list[int], orders: list[list[int]] | None = None) -> Arrived:
    """At the end of week 27, two weeks into a quarter: `own` and `foreign` scans per account in that quarter; many before it."""
    accounts = len(own)
    scans = np.full((accounts, 28), 50)
    scans[:, 26:] = 0
    scans[:, 26] = own
    account = np.repeat(np.arange(accounts), [number + 30 for number in foreign])
    week = np.concatenate([[20] * 30 + [27] * number for number in foreign])
    zero = np.zeros(len(account), dtype=np.int64)
    each = np.arange(len(account))
    sightings = Sightings(account, zero + 1, week, week, each, each, zero + 19, zero)
    return Arrived(
        week=27,
        dealer=np.arange(accounts),
        line=np.zeros(accounts, dtype=np.int64),
        home=np.zeros(accounts, dtype=np.int64),
        own=scans,
        foreign=sightings,
        orders=np.array(orders) if orders else np.full((accounts, 28), 10),
        targets=np.full((accounts, 3), 130),
        holidays=np.zeros(28, dtype=bool),
        places=np.zeros((2, 2)),
        population=np.ones(2),
        margin=np.array([1.0]),
    )


def filed(name: str, arrived: Arrived) -> list[int]:
    return sorted(RULES[name](arrived).account.tolist())


def test_rules_of_counts_keep_their_thresholds() -> None:
    arrived = made([100, 95, 36, 15, 30, 5], [0, 1, 4, 5, 4, 1])
    assert filed("any_foreign_scan", arrived) == [1, 2, 3, 4, 5]
    assert filed("five_mismatches", arrived) == [3]
    assert filed("share_above_tenth", arrived) == [3, 4], "4 of 40 is no more than a tenth, 1 of 6 is too little to say"
    assert filed("raw_volume", arrived) == [1, 2, 3, 4, 5], "fewer than it may file"


def test_rules_of_order_size_look_at_the_six_months_before() -> None:
    orders = [[10] * 24 + [10] * 4, [10] * 24 + [11] * 4, [10] * 24 + [21] * 4, [10] * 24 + [31] * 4]
    arrived = made([1] * 4, [1] * 4, orders)
    assert filed("order_above_maximum", arrived) == [1, 2, 3]
    assert filed("order_above_twice_mean", arrived) == [2, 3]
    assert filed("order_above_three_times_mean", arrived) == [3]
    later = dataclasses.replace(arrived, week=28, orders=np.column_stack([arrived.orders, [99] * 4]))
    assert filed("order_above_maximum", later) == [], "no month ends in this week"


def test_benjamini_hochberg_is_the_published_one() -> None:
    p = np.random.default_rng(1).random(200) ** 3
    assert np.array_equal(benjamini_hochberg(p, 0.1), false_discovery_control(p) <= 0.1)
    assert not benjamini_hochberg(np.ones(5), 0.1).any()


def test_concordance_wants_devices_and_ship_weeks() -> None:
    def seen(devices: list[int], ship_weeks: list[int]) -> Filed:
        six = np.arange(6)
        zero = np.zeros(6, dtype=np.int64)
        sightings = Sightings(
            zero, zero + 1, zero + 27, zero + 27, six // 2, np.array(devices), np.array(ship_weeks), zero
        )
        return plain_concordance(dataclasses.replace(made([9, 9], [0, 0]), foreign=sightings))

    found = seen([0, 1, 2, 3, 4, 5], [20, 20, 20, 20, 21, 21])
    assert (found.account.tolist(), found.destination.tolist(), found.score.tolist()) == ([0], [1], [3.0])
    assert not len(seen([0, 0, 2, 3, 4, 5], [20, 20, 20, 20, 21, 21]).account), "two scans by one device"
    assert not len(seen([0, 1, 2, 3, 4, 5], [20] * 6).account), "one pallet"


@pytest.mark.parametrize("name", sorted(RULES))
def test_other_names_for_dealers_permute_what_is_filed(worlds: Worlds, name: str) -> None:
    arrived = worlds("mixed", coverage=0.05).arrived(67)
    new = np.random.default_rng(3).permutation(arrived.accounts)
    rows = np.argsort(new)
    per_account = {key: getattr(arrived, key)[rows] for key in ("line", "home", "own", "orders", "targets")}
    foreign = dataclasses.replace(arrived.foreign, account=new[arrived.foreign.account])
    renamed = dataclasses.replace(arrived, foreign=foreign, dealer=arrived.dealer[rows], **per_account)
    before, after = RULES[name](arrived), RULES[name](renamed)
    assert len(before.account), "something is filed"
    if name == "raw_volume":
        assert len(before.account) <= CAPACITY

    def rows_of(found: Filed, accounts: np.ndarray) -> list[tuple[int, int, float]]:
        rounded = np.round(found.score, 9).tolist()
        return sorted(zip(accounts.tolist(), found.destination.tolist(), rounded, strict=True))

    assert rows_of(after, after.account) == rows_of(before, new[before.account])


def scored(world: World, name: str) -> Score:
    return score(world, follow(world, RULES[name]))


@pytest.mark.parametrize("name", ["any_foreign_scan", "five_mismatches", "binomial_bh"])
def test_naive_rules_get_worse_with_more_scans(worlds: Worlds, name: str) -> None:
    few, many = (scored(worlds("mixed", coverage=coverage), name) for coverage in (0.01, 0.05))
    assert many.schemes == few.schemes == 15
    assert many.false_discovery_rate > 0.8
    assert many.false_cases > few.false_cases > 0
    assert many.found >= 10, "they do find schemes"
    if name != "any_foreign_scan":
        assert many.false_discovery_rate > few.false_discovery_rate


@pytest.mark.parametrize("name", ["any_foreign_scan", "five_mismatches", "binomial_bh", "order_above_maximum"])
def test_they_accuse_where_nobody_diverts(worlds: Worlds, name: str) -> None:
    found = scored(worlds("hubs", coverage=0.05), name)
    assert found.false_cases == found.cases > 50
    assert found.false_discovery_rate == 1.0


def test_shared_cartons_tell_more_than_counts(worlds: Worlds) -> None:
    world = worlds("whole_carton", coverage=0.05)
    shared, counted = scored(world, "plain_concordance"), scored(world, "five_mismatches")
    assert shared.false_discovery_rate < 0.3 < counted.false_discovery_rate
    assert shared.found >= 10
    assert all(number == ANYWHERE for number in RULES["five_mismatches"](world.arrived(60)).destination)
