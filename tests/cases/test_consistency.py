"""Equal cases, equal treatment: exact against enumeration and scipy, quiet where nothing is wrong, loud where something is."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, fisher_exact, hypergeom
from scipy.stats.contingency import odds_ratio

from fangcuan.cases.auditing.consistency import (
    FEWEST,
    Treated,
    Treatment,
    above_median,
    benjamini_hochberg,
    compare,
    compare_counts,
    quantity_band,
)
from fangcuan.cases.auditing.intervals import share_interval

GROUPS = ("A", "B", "C", "D")
STRATA = 8


def casebook(seed: int, tilt: dict[str, float] | None = None, mean: float = 12) -> list[Treatment]:
    """Groups over strata of very different rates of confirmation; `tilt` multiplies the odds for a group."""
    rng = np.random.default_rng(seed)
    cases = rng.poisson(rng.uniform(0.2, 2, (len(GROUPS), STRATA)) * mean)
    odds = np.exp(rng.normal(0, 1, STRATA)) * np.array([[(tilt or {}).get(group, 1.0)] for group in GROUPS])
    return compare_counts(GROUPS, cases, rng.binomial(cases, odds / (1 + odds)))


def single(cases: tuple[int, int], hits: tuple[int, int]) -> Treatment:
    """One group beside one other in one stratum."""
    return compare_counts(["g", "rest"], np.array(cases)[:, None], np.array(hits)[:, None])[0]


@pytest.mark.parametrize(
    ("cases", "hits"), [((12, 30), (9, 10)), ((7, 9), (0, 6)), ((40, 400), (30, 180)), ((6, 6), (6, 1))]
)
def test_one_stratum_is_fishers_table(cases: tuple[int, int], hits: tuple[int, int]) -> None:
    found = single(cases, hits)
    table = [[hits[0], cases[0] - hits[0]], [hits[1], cases[1] - hits[1]]]
    less, more = (fisher_exact(table, alternative=side).pvalue for side in ("less", "greater"))
    assert found.p == pytest.approx(min(1, 2 * min(less, more)), rel=1e-9)
    assert found.risk_difference == pytest.approx(hits[0] / cases[0] - hits[1] / cases[1])
    total, confirmed = sum(cases), sum(hits)
    weight = cases[0] * cases[1] / total
    bounds = odds_ratio(table).confidence_interval(0.95)
    for bound, log_odds in ((found.low, bounds.low), (found.high, bounds.high)):
        support = np.arange(max(0, confirmed - cases[1]), min(cases[0], confirmed) + 1)
        if log_odds in (0, np.inf):
            mean = float(support[0] if log_odds == 0 else support[-1])
        else:
            weights = hypergeom(total, confirmed, cases[0]).pmf(support) * log_odds ** (support - support[0])
            mean = float((support * weights).sum() / weights.sum())
        assert bound == pytest.approx((mean - confirmed * cases[0] / total) / weight, abs=1e-6)


def test_several_strata_are_every_way_of_dealing_the_confirmations() -> None:
    """All ways in which the confirmations of each stratum may fall on its cases, counted one by one."""
    n, others, hits = (3, 2, 4), (3, 5, 2), (2, 3, 4)
    ways = [1.0]
    for mine, rest, confirmed in zip(n, others, hits, strict=True):
        dealt = [sum(case < mine for case in chosen) for chosen in combinations(range(mine + rest), confirmed)]
        shares = np.bincount(dealt, minlength=mine + 1) / len(dealt)
        ways = list(np.convolve(ways, shares))
    for observed in ((2, 2, 3), (0, 0, 2), (1, 1, 2)):
        mine = np.array([n, others])
        theirs = np.array([observed, np.array(hits) - observed])
        found = compare_counts(["g", "rest"], mine, theirs)[0]
        at = sum(observed)
        assert found.p == pytest.approx(min(1, 2 * min(sum(ways[: at + 1]), sum(ways[at:]))))
        assert found.expected == pytest.approx(sum(a * c / (a + b) for a, b, c in zip(n, others, hits, strict=True)))
        assert found.low is not None
        assert found.high is not None
        assert found.low <= (found.risk_difference or 0) <= found.high
        # The interval leaves zero out where, and only where, p is below 5 %.
        assert (found.low > 0 or found.high < 0) == (found.p is not None and found.p < 0.05)


def test_a_planted_bias_is_found_and_only_it() -> None:
    found = {one.group: one for one in casebook(7, {"B": 4.0}, mean=25)}
    assert found["B"].verdict == "differs"
    assert (found["B"].risk_difference or 0) > 0.1
    assert (found["B"].ratio or 0) > 1.1
    powers = [{one.group: one.verdict for one in casebook(seed, {"B": 4.0}, mean=25)} for seed in range(60)]
    assert sum(one["B"] == "differs" for one in powers) >= 55
    assert sum(one.verdict == "differs" for one in casebook(7, mean=25)) == 0, "the same book without it is clean"


def test_without_bias_alarms_come_at_no_more_than_the_nominal_rate() -> None:
    """200 clean casebooks: any alarm in 5 % of them at most, but for chance (four standard errors of it)."""
    books = [casebook(seed, mean=20) for seed in range(200)]
    p_values = np.array([one.p for book in books for one in book if one.p is not None])
    assert len(p_values) > 700
    assert len(np.unique(p_values)) > 300, "the books differ"
    assert 0.02 < (p_values < 0.05).mean() < 0.06, "p-values that never are small would prove nothing"
    alarms = sum(any(one.verdict in {"differs", "one_case"} for one in book) for book in books)
    assert alarms / len(books) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / len(books))
    assert sum(any(one.verdict == "differs" for one in book) for book in books) <= alarms


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Confirmations dealt with a known odds ratio; the truth is what is to be expected given the margins."""
    rng = np.random.default_rng(3)
    n, others, hits = np.array([6, 4, 9]), np.array([8, 12, 5]), np.array([7, 6, 8])
    odds, held, wide = 2.5, 0, []
    strata = []
    for a, b, c in zip(n, others, hits, strict=True):
        support = np.arange(max(0, c - b), min(a, c) + 1)
        weights = hypergeom(a + b, c, a).pmf(support) * odds**support
        strata.append((support, weights / weights.sum()))
    expected = float((n * hits / (n + others)).sum())
    weight = float((n * others / (n + others)).sum())
    truth = (sum(float(support @ weights) for support, weights in strata) - expected) / weight
    for _ in range(600):
        mine = np.array([rng.choice(support, p=weights) for support, weights in strata])
        found = compare_counts(["g", "rest"], np.array([n, others]), np.array([mine, hits - mine]))[0]
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
        wide.append(found.high - found.low)
    assert held / 600 >= 0.94
    assert 0.3 < np.mean(wide) < 0.9, "an interval of everything would hold it as well"


def test_what_the_groups_are_called_changes_nothing() -> None:
    rng = np.random.default_rng(11)
    cases = [
        Treated(str(number), (f"s{rng.integers(5)}",), str(rng.choice(GROUPS)), bool(rng.random() < 0.5))
        for number in range(300)
    ]
    named = dict(zip(GROUPS, ("W", "A", "Z", "M"), strict=True))
    before = {named[one.group]: one for one in compare(cases)}
    renamed = [Treated(one.number, one.stratum, named[one.group], one.confirmed) for one in reversed(cases)]
    after = {one.group: one for one in compare(renamed)}
    assert set(after) == set(named.values())
    for name, one in after.items():
        for field in ("cases", "compared", "observed", "verdict"):
            assert getattr(one, field) == getattr(before[name], field)
        for field in ("expected", "risk_difference", "low", "high", "p", "adjusted_p"):
            assert getattr(one, field) == pytest.approx(getattr(before[name], field), abs=1e-9)


def test_no_alarm_hangs_on_one_case() -> None:
    alone = single((1, 999), (1, 0))
    assert (alone.verdict, alone.p, alone.compared) == ("too_few", None, 1)
    one_of_few = single((FEWEST, 995), (1, 0))
    assert one_of_few.p is not None
    assert one_of_few.p < 0.05
    assert one_of_few.verdict == "one_case"
    beside_one = single((1, 1), (1, 0))
    assert beside_one.low is not None
    assert (beside_one.low, beside_one.high) == (pytest.approx(-0.95), pytest.approx(1.0))
    assert single((8, 8), (8, 0)).verdict == "differs"


def test_strata_that_tell_nothing_are_left_out_and_said_to_be() -> None:
    """Only one group has them, or all cases ended alike."""
    cases = np.array([[10, 4, 9, 0], [0, 4, 9, 3]])
    hits = np.array([[9, 4, 3, 0], [0, 4, 3, 1]])
    found, _ = compare_counts(["g", "rest"], cases, hits)
    assert (found.cases, found.compared, found.strata) == (23, 9, 1)
    assert (found.risk_difference, found.verdict) == (pytest.approx(0.0), "none_found")
    nothing, _ = compare_counts(["g", "rest"], cases[:, :2], hits[:, :2])
    assert (nothing.verdict, nothing.compared, nothing.expected, nothing.low) == ("too_few", 0, None, None)
    assert compare([]) == []
    assert [one.verdict for one in compare([Treated("1", ("s",), "only", True)] * 30)] == ["too_few"]


def test_a_large_casebook_neither_overflows_nor_takes_long() -> None:
    found = single((4_000, 60_000), (3_900, 1_000))
    assert found.p is not None
    assert found.p < 1e-250
    assert found.low is not None
    assert found.high is not None
    assert found.low < 3_900 / 4_000 - 1_000 / 60_000 < found.high
    assert found.high - found.low < 0.02


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg() -> None:
    # The example of their paper, table 1: fifteen p-values, four of which are rejected at 5 %.
    published = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    published += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    order = np.random.default_rng(1).permutation(15)
    adjusted = benjamini_hochberg([published[at] for at in order])
    assert sorted(published[at] for at, p in zip(order, adjusted, strict=True) if p <= 0.05) == published[:4]
    assert adjusted[list(order).index(0)] == pytest.approx(0.0015)
    assert benjamini_hochberg([]) == []


def test_sanctions_are_compared_with_the_median_of_their_like() -> None:
    amounts = [("s", "A", 10), ("s", "A", 20), ("s", "B", 30), ("t", "B", 5), ("t", "A", 1_000_000), ("t", "A", None)]
    cases = [
        Treated(str(n), (stratum,), group, True, None if amount is None else Decimal(amount))
        for n, (stratum, group, amount) in enumerate(amounts)
    ]
    assert [(one.number, one.confirmed) for one in above_median(cases)] == [
        ("0", False),
        ("1", False),
        ("2", True),
        ("3", False),
        ("4", True),
    ]
    hard = [Treated(f"h{n}", ("s",), "hard", True, Decimal(100 + n)) for n in range(12)]
    mild = [Treated(f"m{n}", ("s",), "mild", True, Decimal(10 + n)) for n in range(12)]
    assert {one.group: one.verdict for one in compare(above_median(hard + mild))} == {
        "hard": "differs",
        "mild": "differs",
    }


@pytest.mark.parametrize(
    ("quantity", "band"),
    [(None, "unknown"), ("0", "under 1"), ("0.99", "under 1"), ("1", "1-9"), ("12.50", "10-99"), ("100", "100-999")],
)
def test_quantities_fall_into_powers_of_ten(quantity: str | None, band: str) -> None:
    assert quantity_band(None if quantity is None else Decimal(quantity)) == band


@pytest.mark.parametrize(("found", "drawn"), [(0, 10), (3, 40), (40, 40), (25, 50)])
def test_the_share_of_many_is_clopper_and_pearsons(found: int, drawn: int) -> None:
    low, high = share_interval(found, drawn, 10_000_000)
    assert low == pytest.approx(beta.ppf(0.025, found, drawn - found + 1) if found else 0, abs=1e-5)
    assert high == pytest.approx(beta.ppf(0.975, found + 1, drawn - found) if found < drawn else 1, abs=1e-5)


def test_the_share_of_few_is_exact() -> None:
    """Every true count of a small population: the interval holds it in at least 95 of 100 draws."""
    population, drawn = 40, 12
    intervals = [share_interval(found, drawn, population) for found in range(drawn + 1)]
    for count in range(population + 1):
        odds = hypergeom(population, count, drawn).pmf(np.arange(drawn + 1))
        held = sum(odds[found] for found, (low, high) in enumerate(intervals) if low <= count / population <= high)
        assert held >= 0.95 - 1e-9
    assert share_interval(3, population, population) == (3 / population, 3 / population), "all were drawn"
    wrong: list[tuple[Any, ...]] = [(1, 0, 5), (6, 5, 9), (1, 5, 4), (-1, 5, 9)]
    for counts in wrong:
        with pytest.raises(ValueError, match="expected 0 <= found"):
            share_interval(*counts)
