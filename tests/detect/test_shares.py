"""Beta-binomial empirical Bayes of shares: against scipy's sums, on small samples, and with what it cannot do."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from fangcuan.detect.shares import ShareModel, fit_shares


def world(seed: int, units: int = 600, strength: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    trials = np.floor(np.exp(draws.uniform(np.log(30), np.log(3000), units)))
    return draws.binomial(trials.astype(int), draws.beta(0.03 * strength, 0.97 * strength, units)).astype(float), trials


@pytest.mark.parametrize(("a", "b"), [(1.8, 58.2), (0.5, 4.5), (30.0, 970.0)])
@pytest.mark.parametrize("trials", [2, 20, 400, 5000])
def test_mid_p_is_the_sum_of_the_tail(a: float, b: float, trials: int) -> None:
    model = ShareModel(a, b, 100, False)
    k = np.unique(np.ceil(np.linspace(0, trials * min(1.0, 4 * model.mean), 12)))
    terms = betabinom.pmf(np.arange(trials + 1), trials, a, b)
    above = np.array([terms[int(n) + 1 :].sum() + terms[int(n)] / 2 for n in k])
    kept = above > 1e-10
    assert kept.sum() >= 2
    assert model.mid_p(k, np.full(len(k), trials))[kept] == pytest.approx(above[kept], rel=0.05)


def test_the_fit_recovers_what_was_drawn_and_is_honest() -> None:
    k, n = world(1, 3000)
    model = fit_shares(k, n)
    assert model.mean == pytest.approx(0.03, rel=0.05)
    assert model.a + model.b == pytest.approx(60, rel=0.15)
    p = model.mid_p(k, n)
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.012)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 50))
def test_order_does_not_matter(seed: int, units: int) -> None:
    k, n = world(seed, units)
    order = np.random.default_rng(seed).permutation(units)
    assert fit_shares(k[order], n[order]) == fit_shares(k, n)


@given(st.integers(0, 400), st.integers(1, 50), st.integers(450, 100_000))
def test_more_seen_is_never_less_evidence(count: int, more: int, trials: int) -> None:
    model = ShareModel(1.8, 58.2, 100, False)
    p = model.mid_p([count, count + more], [trials, trials])
    assert p[1] <= p[0] * (1 + 1e-12)
    low = model.quantile([count, count + more], [trials, trials], 0.05)
    assert low[1] >= low[0]


@pytest.mark.parametrize("units", [0, 1, 3, 19])
def test_few_units_are_wide_and_no_error(units: int) -> None:
    k, n = world(2, max(units, 1))
    model = fit_shares(k[:units], n[:units])
    assert model.wide
    assert model.a + model.b < 60


def test_zeros_equal_shares_and_trials_far_apart() -> None:
    trials = np.floor(np.geomspace(1, 1e6, 100))
    nothing = fit_shares(np.zeros(100), trials)
    assert nothing.mid_p(np.zeros(100), trials).min() > 0.3
    everything = fit_shares(trials, trials)
    assert np.isfinite(everything.mid_p(trials, trials)).all()
    equal = fit_shares(np.full(50, 5), np.full(50, 100))
    assert equal.mean == pytest.approx(0.05, rel=0.05)
    assert nothing.mid_p([0], [0])[0] == 1
    for k, n in (([2], [1]), ([1.5], [2]), ([1], [1.5]), ([-1], [1])):
        with pytest.raises(ValueError):
            fit_shares(k, n)


def test_three_thousand_dealers_take_less_than_a_second() -> None:
    k, n = world(3, 3000)
    began = time.process_time()
    fit_shares(k, n).mid_p(k, n)
    assert time.process_time() - began < 1
