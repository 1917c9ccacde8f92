"""The two-component fit: finds who was planted where one component is masked, and keeps its word under the null."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gamma, nbinom, poisson

from fangcuan.detect.counts import FEW_UNITS, Gamma, RateMixture, fit_rates
from fangcuan.detect.gates import bh, passing


def world(seed: int, units: int = 600, bad: float = 0.1, times: float = 6.0) -> tuple[np.ndarray, ...]:
    """Counts, exposures and who is bad: rates around 2 in 100 of 30 to 3,000 scans, a share of dealers `times` as high."""
    draws = np.random.default_rng(seed)
    exposure = np.exp(draws.uniform(np.log(30), np.log(3000), units))
    guilty = draws.random(units) < bad
    rate = draws.gamma(4.0, 0.02 / 4.0, units) * np.where(guilty, times, 1.0)
    return draws.poisson(rate * exposure).astype(float), exposure, guilty


def gate(seed: int, bad: float, most_upper: float) -> tuple[float, float, int]:
    """(recall, share of false discoveries, false discoveries) of BH at 10 % on mid-p-values of the lower component."""
    counts, exposure, guilty = world(seed, bad=bad)
    model = fit_rates(counts, exposure, most_upper)
    hits = passing(bh(model.mid_p(counts, exposure)), 0.1)
    false = int((hits & ~guilty).sum())
    return float(hits[guilty].mean()) if guilty.any() else 0.0, false / max(int(hits.sum()), 1), false


def test_two_components_find_what_masks_one() -> None:
    two = np.array([gate(seed, 0.1, 0.3)[:2] for seed in range(30)])
    one = np.array([gate(seed, 0.1, 0.0)[:2] for seed in range(30)])
    assert two[:, 0].mean() > 0.7
    assert one[:, 0].mean() < 0.25
    error = two[:, 1].std() / np.sqrt(len(two))
    assert two[:, 1].mean() - 3 * error < 0.1, "false discoveries are above the level"


def test_without_anybody_bad_hardly_anybody_is_named() -> None:
    named = [gate(seed, 0.0, 0.3)[2] for seed in range(24)]
    assert np.mean([number > 0 for number in named]) <= 0.15


def test_how_far_the_gamma_shape_carries() -> None:
    """Innocent rates that are log-normal: borne up to a spread of 0.5; beyond that their tail is taken for a second component."""

    def named(spread: float, seed: int) -> int:
        draws = np.random.default_rng(500 + seed)
        exposure = np.exp(draws.uniform(np.log(30), np.log(3000), 600))
        counts = draws.poisson(exposure * 0.02 * np.exp(draws.normal(0, spread, 600)))
        return int(passing(bh(fit_rates(counts, exposure).mid_p(counts, exposure)), 0.1).sum())

    assert np.mean([named(0.5, seed) for seed in range(15)]) <= 1.5
    assert np.mean([named(0.8, seed) for seed in range(5)]) > 10, (
        "better than documented: change docs/evidence-arithmetic.md"
    )


def test_p_values_of_ordinary_dealers_are_honest() -> None:
    """Those of the lower component, the bad ones among them or not."""
    for bad in (0.0, 0.1):
        p = []
        for seed in range(20):
            counts, exposure, guilty = world(100 + seed, bad=bad)
            p.append(fit_rates(counts, exposure).mid_p(counts, exposure)[~guilty])
        together = np.concatenate(p)
        assert np.mean(together < 0.05) < 0.065
        assert np.mean(together < 0.001) < 0.003
        assert np.mean(together < 0.5) == pytest.approx(0.5, abs=0.05)


def test_the_fit_recovers_what_was_drawn() -> None:
    draws = np.random.default_rng(5)
    exposure = draws.uniform(50, 5000, 3000)
    upper = draws.random(3000) < 0.08
    rate = np.where(upper, draws.gamma(6, 0.2 / 6, 3000), draws.gamma(3, 0.02 / 3, 3000))
    counts = draws.poisson(rate * exposure)
    model = fit_rates(counts, exposure)
    assert model.lower.mean == pytest.approx(0.02, rel=0.05)
    assert model.lower.shape == pytest.approx(3, rel=0.15)
    assert model.upper.mean == pytest.approx(0.2, rel=0.1)
    assert model.upper_share == pytest.approx(0.08, abs=0.015)
    assert model.upper_probability(counts, exposure)[upper].mean() > 0.9
    # The truth lies above its 5 % bound 95 times in 100.
    assert np.mean(rate > model.eb05(counts, exposure)) == pytest.approx(0.95, abs=0.015)


def test_formulas_against_scipy() -> None:
    model = RateMixture(Gamma(2.5, 100.0), Gamma(4.0, 20.0), 0.1, 100, 0.0, False)
    n, exposure = np.array([0.0, 3.0, 40.0]), np.array([10.0, 200.0, 150.0])
    low, high = (nbinom(part.shape, part.rate / (part.rate + exposure)) for part in (model.lower, model.upper))
    assert model.mid_p(n, exposure) == pytest.approx(low.sf(n) + low.pmf(n) / 2)
    posterior = 0.1 * high.pmf(n) / (0.9 * low.pmf(n) + 0.1 * high.pmf(n))
    assert model.upper_probability(n, exposure) == pytest.approx(posterior)
    for level in (0.05, 0.5):
        at = model.quantile(n, exposure, level)
        mass = [(1 - posterior, model.lower), (posterior, model.upper)]
        below = sum(weight * gamma.cdf(at, part.shape + n, scale=1 / (part.rate + exposure)) for weight, part in mass)
        assert below == pytest.approx(level)
    mean = (1 - posterior) * (2.5 + n) / (100 + exposure) + posterior * (4 + n) / (20 + exposure)
    assert model.mean(n, exposure) == pytest.approx(mean)
    far = model.mid_p([90.0, 100.0, 10_000.0], [10.0, 10.0, 10.0])
    assert 0 < far[2] < far[1] < far[0] < 1e-80, "tails are told apart far out"


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60), st.sampled_from([1e-3, 7.0, 1e6]))
def test_order_and_unit_of_exposure_do_not_matter(seed: int, units: int, scale: float) -> None:
    counts, exposure, _ = world(seed, units)
    order = np.random.default_rng(seed).permutation(units)
    model = fit_rates(counts, exposure)
    assert fit_rates(counts[order], exposure[order]) == model
    scaled = fit_rates(counts, exposure * scale)
    assert scaled.mid_p(counts, exposure * scale) == pytest.approx(model.mid_p(counts, exposure), rel=1e-3, abs=1e-9)
    assert scaled.eb05(counts, exposure * scale) * scale == pytest.approx(model.eb05(counts, exposure), rel=1e-3)


@given(st.integers(0, 300), st.floats(1, 1e5), st.integers(1, 50))
def test_more_seen_is_never_less_evidence(count: int, exposure: float, more: int) -> None:
    model = RateMixture(Gamma(2.0, 150.0), Gamma(3.0, 20.0), 0.08, 100, 0.0, False)
    p = model.mid_p([count, count + more], [exposure, exposure])
    assert p[1] <= p[0]
    bound = model.eb05([count, count + more], [exposure, exposure])
    assert bound[1] >= bound[0]


@pytest.mark.parametrize("units", [0, 1, 2, 5, FEW_UNITS - 1])
def test_few_units_are_wide_and_no_error(units: int) -> None:
    counts, exposure, _ = world(7, max(units, 1), bad=0.0)
    counts, exposure = counts[:units], exposure[:units]
    model = fit_rates(counts, exposure)
    assert model.wide
    assert model.upper_share == 0
    assert model.units == units
    many = fit_rates(*world(8, 3000, bad=0.0)[:2])
    assert not many.wide
    assert model.lower.shape < many.lower.shape
    assert model.upper_probability(counts, exposure).tolist() == [0.0] * units


def test_p_values_from_few_units_are_cautious() -> None:
    """Fitted on ten dealers, asked of a thousand others."""
    rare = []
    for seed in range(100):
        counts, exposure, _ = world(200 + seed, 1010, bad=0.0)
        p = fit_rates(counts[:10], exposure[:10]).mid_p(counts[10:], exposure[10:])
        rare.append(np.mean(p < 0.01))
    assert np.mean(rare) < 0.01


def test_zeros_equal_counts_and_exposures_far_apart() -> None:
    exposure = np.geomspace(1, 1e6, 200)
    nothing = fit_rates(np.zeros(200), exposure)
    assert (nothing.mid_p(np.zeros(200), exposure) >= 0.3).all()
    assert 0 < nothing.lower.mean < 1e-5
    equal = fit_rates(np.full(50, 7), np.full(50, 100.0))
    assert equal.lower.mean == pytest.approx(0.07, rel=0.05)
    assert equal.mid_p([7], [100.0])[0] == pytest.approx(0.5, abs=0.1)
    counts = np.random.default_rng(9).poisson(0.01 * exposure)
    far = fit_rates(counts, exposure)
    for values in (far.mid_p(counts, exposure), far.eb05(counts, exposure), far.mean(counts, exposure)):
        assert np.isfinite(values).all()
        assert (values > 0).all()
    assert far.lower.mean == pytest.approx(0.01, rel=0.1)
    silent = fit_rates(np.append(counts, 0), np.append(exposure, 0.0))
    assert silent == far, "a dealer without exposure says nothing"
    assert far.mid_p([0], [0.0])[0] == 1


def test_what_cannot_be_is_refused() -> None:
    for counts, exposure in (([-1], [1]), ([0.5], [1]), ([1], [-1]), ([1], [np.inf]), ([np.nan], [1]), ([1, 2], [1])):
        with pytest.raises(ValueError):
            fit_rates(counts, exposure)
    with pytest.raises(ValueError, match="unit 1: a count without exposure"):
        fit_rates([0, 3], [0, 0])


def test_three_thousand_dealers_take_less_than_a_second() -> None:
    counts, exposure, _ = world(3, 3000)
    began = time.process_time()
    model = fit_rates(counts, exposure)
    model.mid_p(counts, exposure)
    model.eb05(counts, exposure)
    assert time.process_time() - began < 1


def test_equal_rates_are_no_mixture() -> None:
    """Nothing but Poisson noise: one component, and about as narrow as the noise."""
    exposure = np.full(500, 200.0)
    counts = poisson.rvs(0.05 * exposure, random_state=4)
    model = fit_rates(counts, exposure)
    assert model.upper_share == 0
    assert model.lower.shape > 50
