"""The e-process of weekly counts: a martingale by exact sums, the mixture it claims to be, and honest for a year of looking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import nbinom

from fangcuan.detect.eprocess import (
    EXCESS_STEPS,
    HAZARD,
    STEP,
    ChangeState,
    CountNull,
    begin,
    fit_null,
    recompute,
    update,
)
from fangcuan.detect.gates import e_bh, passing

NULL = CountNull(level_shape=2.0, level_mean=1.0, weekly_shape=5.0)
WEEKS, CROSSED = 52, np.log(20)


def drawn(
    seed: int, units: int, weeks: int = WEEKS, weekly_shape: float = 4.0, level_shape: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Counts and expected counts of innocent units: gamma levels, gamma noise by week, expectations from 0.3 to 30 a week."""
    draws = np.random.default_rng(seed)
    expected = np.exp(draws.uniform(np.log(0.3), np.log(30), (units, 1))) * np.ones(weeks)
    level = draws.gamma(level_shape, 1 / level_shape, (units, 1))
    noise = draws.gamma(weekly_shape, 1 / weekly_shape, (units, weeks))
    return draws.poisson(expected * level * noise).astype(float), expected


def looked_at_weekly(
    null: CountNull, counts: np.ndarray, expected: np.ndarray, power: float = 1.0, at_most: float = np.inf
) -> np.ndarray:
    """log e of every unit after every week, (units, weeks)."""
    state, seen = begin(null, len(counts)), []
    for week in range(counts.shape[1]):
        state = update(null, state, counts[:, week], expected[:, week], power, at_most)
        seen.append(state.log_e)
    return np.column_stack(seen)


def by_hand(null: CountNull, counts: np.ndarray, expected: np.ndarray) -> float:
    """log e of one unit as the definition has it: every start week and size on its own, all weeks at once, levels summed."""

    def likelihood(start: int, steps: int) -> float:
        levels = np.exp(null.grid)[:, None] * np.where(np.arange(len(counts)) >= start, np.exp(steps * STEP), 1.0)
        mean = levels * expected
        k = null.weekly_shape
        return float(logsumexp(null.log_prior + nbinom.logpmf(counts, k, k / (k + mean)).sum(axis=1)))

    terms = [len(counts) * np.log1p(-HAZARD)]
    innocent = likelihood(len(counts), 0)
    for start in range(len(counts)):
        for steps in EXCESS_STEPS:
            weight = np.log(HAZARD) + start * np.log1p(-HAZARD) - np.log(len(EXCESS_STEPS))
            terms.append(weight + likelihood(start, steps) - innocent)
    return float(logsumexp(terms))


def same(first: ChangeState, second: ChangeState) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in first.__dataclass_fields__)


def test_week_by_week_is_the_definition() -> None:
    counts, expected = drawn(1, 6, weeks=12)
    counts[0, 7:] *= 5
    state = recompute(NULL, counts, expected)
    for unit in range(6):
        assert state.log_e[unit] == pytest.approx(by_hand(NULL, counts[unit], expected[unit]), abs=1e-8)
    assert state.log_e[0] > state.log_e[1:].max()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 11), st.sampled_from([(1.0, np.inf), (0.5, np.inf), (1.0, 1.5)]))
def test_incremental_is_full_and_order_of_units_permutes(seed: int, cut: int, temper: tuple[float, float]) -> None:
    counts, expected = drawn(seed, 5, weeks=12)
    full = recompute(NULL, counts, expected, *temper)
    state = recompute(NULL, counts[:, :cut], expected[:, :cut], *temper)
    for week in range(cut, 12):
        before = ChangeState(*(getattr(state, name).copy() for name in state.__dataclass_fields__))
        after = update(NULL, state, counts[:, week], expected[:, week], *temper)
        assert same(before, state), "the state given was changed"
        state = after
    assert same(state, full)
    order = np.random.default_rng(seed).permutation(5)
    assert recompute(NULL, counts[order], expected[order], *temper).log_e == pytest.approx(full.log_e[order], abs=1e-9)


@pytest.mark.parametrize("past", [[], [0, 0, 1], [3, 5, 2, 9, 30], [400, 380, 500]])
def test_it_is_a_martingale_exactly(past: list[int]) -> None:
    """Summed over every count the next week can have, by the chance the null gives it then: the mean is the value now."""
    state = recompute(NULL, np.array([past]).reshape(1, -1), np.full((1, len(past)), 4.0))
    mean, k = 4.0 * np.exp(NULL.grid), NULL.weekly_shape
    counts = np.arange(30_000)
    weights = np.exp(state.null[0])
    chance = sum(w * nbinom.pmf(counts, k, k / (k + m)) for w, m in zip(weights, mean, strict=True) if w > 1e-14)
    assert chance.sum() == pytest.approx(1, abs=1e-6)
    now, total = float(np.exp(state.log_martingale[0])), 0.0
    for some in np.array_split(counts, 30):
        copies = ChangeState(*(np.repeat(getattr(state, n), len(some), axis=0) for n in state.__dataclass_fields__))
        after = update(NULL, copies, some, np.full(len(some), 4.0))
        total += float(chance[some] @ np.exp(after.log_martingale))
    assert total == pytest.approx(now, rel=1e-4)


def test_a_year_of_looking_crosses_twenty_in_one_of_twenty_at_most() -> None:
    """Levels and overdispersion are fitted from a year of other weeks of the same kind of units."""
    crossed, last = [], []
    for seed, shape in ((1, 1.0), (2, 4.0), (3, 30.0)):
        null = fit_null(*drawn(100 + seed, 300, weeks=26, weekly_shape=shape))
        seen = looked_at_weekly(null, *drawn(seed, 600, weekly_shape=shape))
        crossed.append((seen.max(axis=1) >= CROSSED).mean())
        last.append(np.minimum(np.exp(seen[:, -1]), 100).mean())
    error = np.sqrt(0.05 * 0.95 / 600)
    assert max(crossed) + 0 <= 0.05, crossed
    assert np.mean(crossed) + 3 * error / np.sqrt(3) <= 0.05
    assert max(last) <= 1.1


def test_a_null_without_overdispersion_would_accuse() -> None:
    """What the fit is for: the same counts against weeks that are nearly Poisson."""
    counts, expected = drawn(2, 300, weekly_shape=4.0)
    narrow = CountNull(2.0, 1.0, 1000.0)
    assert (looked_at_weekly(narrow, counts, expected).max(axis=1) >= CROSSED).mean() > 0.2


def test_what_rises_is_found_and_who_was_always_high_is_not() -> None:
    counts, expected = drawn(4, 400)
    null = fit_null(*drawn(104, 300, weeks=26))
    draws = np.random.default_rng(5)
    risen = np.arange(400) < 60
    counts[:60, 20:] += draws.poisson(4 * expected[:60, 20:])
    # Hubs: twelve times the ordinary level, in every week.
    hubs = (np.arange(400) >= 60) & (np.arange(400) < 120)
    noise = draws.gamma(4.0, 0.25, (60, WEEKS))
    counts[60:120] = draws.poisson(12 * expected[60:120] * noise)
    seen = looked_at_weekly(null, counts, expected)
    hits = np.column_stack([passing(e_bh(seen[:, week]), 0.05) for week in range(WEEKS)])
    assert hits[risen].any(axis=1).mean() > 0.95
    found = [int(np.argmax(row)) - 20 for row in hits[risen] if row.any()]
    assert np.median(found) <= 3
    assert hits[hubs].any(axis=1).mean() <= 0.02
    assert hits[~risen].any(axis=1).mean() <= 0.02
    assert not hits[:, :20].any()


def test_tempering_bears_a_week_of_bus_tours() -> None:
    """A null that knows nothing of single weeks ten times as high; a cut makes one week too little to cross."""
    counts, expected = drawn(6, 400)
    null = fit_null(*drawn(106, 300, weeks=26))
    draws = np.random.default_rng(7)
    counts[np.arange(400), draws.integers(10, WEEKS, 400)] += draws.poisson(20 * expected[:, 0])
    plain = (looked_at_weekly(null, counts, expected).max(axis=1) >= CROSSED).mean()
    cut = (looked_at_weekly(null, counts, expected, 1.0, 1.5).max(axis=1) >= CROSSED).mean()
    assert plain > 0.9
    assert cut <= 0.02


def test_a_holiday_must_be_in_what_is_expected() -> None:
    """Two weeks three times as high for everybody: harmless where the calendar is known, an accusation where it is not."""
    draws = np.random.default_rng(8)
    flat = np.exp(draws.uniform(np.log(0.3), np.log(30), (400, 1))) * np.ones(WEEKS)
    holiday = flat * np.where(np.isin(np.arange(WEEKS), [30, 31]), 3.0, 1.0)
    noise = draws.gamma(2.0, 0.5, (400, 1)) * draws.gamma(4.0, 0.25, (400, WEEKS))
    counts = draws.poisson(holiday * noise).astype(float)
    named = [
        max(passing(e_bh(seen[:, week]), 0.05).sum() for week in range(WEEKS))
        for seen in (looked_at_weekly(NULL, counts, expected) for expected in (holiday, flat))
    ]
    assert named[0] == 0
    assert named[1] >= 5


def test_the_fit_recovers_and_leans_to_more_overdispersion() -> None:
    for shape in (1.0, 4.0, 16.0):
        null = fit_null(*drawn(int(shape), 400, weeks=26, weekly_shape=shape))
        assert shape / 2 <= null.weekly_shape <= shape
        assert null.level_mean == pytest.approx(1.0, rel=0.15)
        assert null.level_shape == pytest.approx(2.0, rel=0.35)


def test_unknown_weeks_and_weeks_without_expectation_say_nothing() -> None:
    counts, expected = drawn(8, 3, weeks=10)
    state = recompute(NULL, counts, expected)
    silent = update(NULL, state, [np.nan, 0, 4], [3.0, 0.0, 3.0])
    assert silent.null[:2] == pytest.approx(state.null[:2])
    # The martingale keeps its value: what may begin in a silent week has shown nothing yet.
    assert silent.log_e[:2] == pytest.approx(state.log_e[:2], abs=1e-12)
    assert silent.log_e[2] != state.log_e[2]
    for y, mean in (([-1, 0, 0], [1, 1, 1]), ([0.5, 0, 0], [1, 1, 1]), ([0, 0, 0], [1, np.inf, 1]), ([0], [1])):
        with pytest.raises(ValueError):
            update(NULL, state, y, mean)
    with pytest.raises(ValueError, match="unit 2: a count where nothing is expected"):
        update(NULL, state, [0, 0, 1], [1, 1, 0])
    with pytest.raises(ValueError, match="levels"):
        update(CountNull(9.0, 1.0, 5.0), state, [0, 0, 0], [1, 1, 1])
    with pytest.raises(ValueError, match="nothing is expected"):
        fit_null(np.zeros((3, 4)), np.zeros((3, 4)))


def test_the_prior_is_one_and_wide() -> None:
    for shape in (0.1, 2.0, 500.0):
        null = CountNull(shape, 1.0, 5.0)
        assert np.exp(null.log_prior).sum() == pytest.approx(1)
        assert len(null.grid) < 400
    assert np.exp(NULL.grid[0]) < 0.003
    assert np.exp(NULL.grid[-1]) > 60


def test_large_counts_stay_honest() -> None:
    """Levels lie between grid points and weeks are precise: the grid must not be mistaken for a change."""
    draws = np.random.default_rng(9)
    null = CountNull(2.0, 1.0, 1000.0)
    level = draws.gamma(2.0, 0.5, (300, 1))
    expected = np.full((300, 30), 3000.0)
    counts = draws.poisson(expected * level * draws.gamma(1000.0, 1e-3, (300, 30))).astype(float)
    assert (looked_at_weekly(null, counts, expected).max(axis=1) >= CROSSED).mean() <= 0.05


@given(st.integers(0, 200), st.integers(1, 100))
def test_in_the_first_week_more_is_never_less_evidence(count: int, more: int) -> None:
    """Without hubs, that is: a share of them explains a very high first week better than a change does."""
    null = CountNull(2.0, 1.0, 5.0, hubs=0.0)
    state = recompute(null, np.array([[count], [count + more]]), np.full((2, 1), 5.0))
    assert state.log_e[1] >= state.log_e[0] - 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 60), st.integers(1, 100))
def test_after_ordinary_weeks_more_is_never_less_evidence(seed: int, count: int, more: int) -> None:
    past = np.random.default_rng(seed).poisson(5.0, 12)
    state = recompute(NULL, np.array([[*past, count], [*past, count + more]]), np.full((2, 13), 5.0))
    assert state.log_e[1] >= state.log_e[0] - 1e-9
