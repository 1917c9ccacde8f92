"""Scores: what counts as right, found, late and captured; worked by hand against worlds whose truth is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from fangcuan.quality.arrived import ANYWHERE, Arrived, Filed
from fangcuan.quality.baselines import RULES
from fangcuan.quality.scoring import AFTERWARDS, follow, interval, matches, poisson_upper, score
from fangcuan.quality.worlds import World

Worlds = Callable[..., World]


def cases(*rows: tuple[int, int, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["week", "account", "destination", "score"])


class Knowing:
    """Files every scheme once a unit of it was scanned, with its money as score: the oracle as a detector."""

    def __init__(self, world: World):
        self.schemes = world.schemes
        self.weeks: list[int] = []

    def __call__(self, arrived: Arrived) -> Filed:
        self.weeks.append(arrived.week)
        rows = self.schemes[self.schemes["first_seen"] <= arrived.week]
        return Filed(
            rows["account"].to_numpy(), rows["destination"].to_numpy(), rows["money"].to_numpy(dtype=np.float64)
        )


def test_whoever_knows_scores_best(worlds: Worlds) -> None:
    world = worlds("mixed", coverage=0.05)
    knowing = Knowing(world)
    found = follow(world, knowing)
    assert knowing.weeks == list(range(26, 78)), "every judged week once, in order"
    seen = world.schemes[world.schemes["first_seen"] < 78]
    assert found["week"].min() == seen["first_seen"].min()
    result = score(world, found)
    late = len(found) - len(found.drop_duplicates(["account", "destination"]))
    assert result.found == len(seen)
    assert result.cases == len(seen) + late
    assert result.volume_recall == pytest.approx(seen["units"].sum() / world.schemes["units"].sum())
    assert result.money_captured == pytest.approx(1.0)
    assert sorted(result.weeks_to_filing) == sorted((seen["first_seen"] - seen["first_week"]).tolist())
    assert sum(of for _, of in result.found_by_kind.values()) == len(world.schemes)


def test_a_case_is_right_by_account_place_and_time(worlds: Worlds) -> None:
    world = worlds("whole_carton")
    one = world.schemes.iloc[0]
    account, there = int(one["account"]), int(one["destination"])
    first, last = int(one["first_week"]), int(one["last_week"])
    stranger = int(np.setdiff1d(np.arange(world.net.accounts), world.schemes["account"])[0])
    tried = cases(
        (first, account, there, 1.0),
        (first, account, ANYWHERE, 1.0),
        (last + AFTERWARDS, account, there, 1.0),
        (first - 1, account, there, 1.0),
        (last + AFTERWARDS + 1, account, there, 1.0),
        (first, account, (there + 1) % 300, 1.0),
        (first, stranger, ANYWHERE, 1.0),
    )
    assert matches(tried, world.schemes)["case"].tolist() == [0, 1, 2]
    result = score(world, tried)
    assert (result.cases, result.false_cases, result.found) == (7, 4, 1)
    assert result.weeks_to_filing == [0]
    assert result.false_discovery_rate == pytest.approx(4 / 7)


def test_the_same_in_the_same_quarter_is_one_case(worlds: Worlds) -> None:
    world = worlds("plain")

    def always(arrived: Arrived) -> Filed:
        return Filed(np.array([3]), np.array([7]), np.array([float(arrived.week)]))

    found = follow(world, always)
    assert found["week"].tolist() == [26, 39, 52, 65]
    assert score(world, found).false_cases == 4


def test_the_top_and_the_money_go_by_score(worlds: Worlds) -> None:
    world = worlds("whole_carton")
    week = int(world.schemes["last_week"].max())
    right = [(week, int(row.account), int(row.destination), 2.0) for row in world.schemes.head(5).itertuples()]
    strangers = np.setdiff1d(np.arange(world.net.accounts), world.schemes["account"])[:200]
    in_time = [row for row in right if matches(cases(row), world.schemes).size]
    wrong = [(week, int(account), ANYWHERE, 1.0) for account in strangers]
    first = score(world, cases(*in_time, *wrong))
    assert first.precision_of_top == pytest.approx(len(in_time) / 20)
    assert first.money_captured is not None
    assert first.money_captured > 0
    last = score(world, cases(*in_time, *((*row[:3], 3.0) for row in wrong)))
    assert (last.precision_of_top, last.money_captured) == (0.0, 0.0)
    tied = score(world, cases(*in_time, *((*row[:3], 2.0) for row in wrong)))
    assert (tied.precision_of_top, tied.money_captured) == (0.0, 0.0), "ties help nobody"


class Renaming:
    """A rule that is asked under other names for the accounts, and its answer told in the right ones."""

    def __init__(self, rule: Callable[[Arrived], Filed], new: np.ndarray):
        self.rule, self.new, self.rows = rule, new, np.argsort(new)

    def __call__(self, arrived: Arrived) -> Filed:
        per_account = ("dealer", "line", "home", "own", "orders", "targets")
        changed = {name: getattr(arrived, name)[self.rows] for name in per_account}
        foreign = dataclasses.replace(arrived.foreign, account=self.new[arrived.foreign.account])
        found = self.rule(dataclasses.replace(arrived, foreign=foreign, **changed))
        return dataclasses.replace(found, account=self.rows[found.account])


@pytest.mark.parametrize("name", ["binomial_bh", "plain_concordance", "raw_volume"])
def test_names_change_no_figure(worlds: Worlds, name: str) -> None:
    world = worlds("mixed", coverage=0.05)
    new = np.random.default_rng(5).permutation(world.net.accounts)
    renamed = score(world, follow(world, Renaming(RULES[name], new)))
    assert renamed.cases > 0
    assert renamed == score(world, follow(world, RULES[name]))


def test_nothing_filed_is_nothing_false(worlds: Worlds) -> None:
    world = worlds("mixed")
    found = follow(world, lambda arrived: Filed.nothing())
    result = score(world, found)
    assert (result.cases, result.false_discovery_rate, result.volume_recall, result.money_captured) == (
        0,
        0.0,
        0.0,
        0.0,
    )
    assert result.precision_of_top is None


@pytest.mark.parametrize(
    ("account", "place", "points", "said"),
    [(9999, 1, 1.0, "account"), (1, 300, 1.0, "destination"), (1, -2, 1.0, "destination"), (1, 1, np.nan, "finite")],
)
def test_answers_that_cannot_be_are_refused(worlds: Worlds, account: int, place: int, points: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        follow(worlds("plain"), lambda arrived: Filed(np.array([account]), np.array([place]), np.array([points])))


def test_limits_are_the_published_ones() -> None:
    assert poisson_upper(0, 1) == pytest.approx(2.9957, abs=1e-4)
    assert poisson_upper(0, 10) == pytest.approx(0.29957, abs=1e-5)
    assert poisson_upper(3, 1) == pytest.approx(7.7537, abs=1e-4)
    assert interval([1.0]) is None
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-4)
