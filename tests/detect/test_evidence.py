"""Log e-values: mean at most 1 under the null, exactly where it can be summed; merged only as they may be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nbinom

from fangcuan.detect.counts import Gamma, RateMixture
from fangcuan.detect.evidence import SMALLEST_P, across_families, calibrate, tempered, within_family

LOG_E = st.floats(-50, 50)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean less and plus three standard errors."""
    mean, error = float(np.mean(values)), float(np.std(values) / np.sqrt(len(values)))
    return mean - 3 * error, mean + 3 * error


def test_the_calibrator_at_its_edges() -> None:
    found = calibrate([0.0, 1.0, np.nan, 0.25, 0.0025])
    assert np.exp(found[1:]) == pytest.approx([0.5, 1.0, 1.0, 10.0])
    assert np.isfinite(found[0])
    assert found[0] == calibrate(SMALLEST_P)
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="p-value"):
            calibrate([0.5, wrong])
    for kappa in (0.0, 1.0):
        with pytest.raises(ValueError, match="kappa"):
            calibrate(0.5, kappa)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), st.floats(0.05, 0.95))
def test_a_smaller_p_value_is_never_less_evidence(p: list[float], kappa: float) -> None:
    low, high = calibrate(sorted(p), kappa)
    assert low >= high


def test_calibrated_p_values_have_mean_one() -> None:
    """Cut at 100, since the square of the calibrator has no mean: the exact mean of that is 0.9975."""
    p = np.random.default_rng(11).random(400_000)
    low, high = interval(np.minimum(np.exp(calibrate(p)), 100))
    assert low < 0.9975 < high
    assert high < 1.01


@given(st.floats(0.1, 50), st.floats(0.01, 100))
def test_mid_p_of_counts_gives_e_values_exactly(shape: float, mean: float) -> None:
    """The whole distribution is summed, so no luck is in it."""
    part = Gamma(shape, shape / mean)
    model = RateMixture(part, part, 0.0, 100, 0.0, False)
    chance = part.rate / (part.rate + 1)
    n = np.arange(nbinom.isf(1e-10, shape, chance) + 1)
    e = np.exp(calibrate(model.mid_p(n, np.ones(len(n)))))
    mean_e = float(nbinom.pmf(n, shape, chance) @ e)
    assert mean_e <= 1 + 1e-9
    assert mean_e > 0.65, "a calibrator that says nothing would pass as well"


def test_the_mean_within_a_family_holds_however_tests_depend() -> None:
    draws = np.random.default_rng(12).normal(size=(200_000, 1))
    # Three tests of one draw: as dependent as can be.
    e = np.concatenate([draws * s - s * s / 2 for s in (0.3, 0.6, 0.9)], axis=1)
    low, high = interval(np.exp(within_family(e)))
    assert low < 1 < high
    assert high < 1.02
    product = np.exp(e.sum(axis=1))
    assert interval(product)[0] > 2, "what must be declared disjoint, multiplied although it is not"


def test_the_product_of_disjoint_families_has_mean_one() -> None:
    draws = np.random.default_rng(13).normal(size=(2, 200_000)) * 0.7 - 0.245
    merged = across_families({"ledger": draws[0], "siblings": draws[1]}, {"ledger", "siblings", "price"})
    low, high = interval(np.exp(merged))
    assert low < 1 < high
    assert high < 1.02


def test_families_not_declared_disjoint_are_not_multiplied() -> None:
    with pytest.raises(ValueError, match="rate: not declared disjoint"):
        across_families({"siblings": [1.0], "rate": [1.0]}, {"siblings", "ledger"})
    assert across_families({"rate": [1.5]}, set()) == [1.5]
    with pytest.raises(ValueError, match="no family"):
        across_families({}, {"siblings"})
    with pytest.raises(ValueError, match="different shapes"):
        across_families({"a": [1.0], "b": [1.0, 2.0]}, {"a", "b"})


def test_what_is_unknown_counts_as_one_and_what_is_infinite_is_refused() -> None:
    assert np.exp(within_family([np.log(9.0), np.nan])) == pytest.approx(5.0)
    assert across_families({"a": [2.0], "b": [np.nan]}, {"a", "b"}) == [2.0]
    assert within_family([-np.inf, -np.inf]) == -np.inf
    assert across_families({"a": [-np.inf], "b": [900.0]}, {"a", "b"}) == [-np.inf]
    assert within_family([2000.0, 1.0]) == pytest.approx(2000 - np.log(2))
    with pytest.raises(ValueError, match="infinite"):
        within_family([np.inf, 0.0])
    with pytest.raises(ValueError, match="without tests"):
        within_family([])
    for weights in ([1.0], [0.0, 0.0], [1.0, -1.0]):
        with pytest.raises(ValueError, match="weights"):
            within_family([1.0, 2.0], weights)


@given(st.lists(LOG_E, min_size=1, max_size=8), st.data())
def test_merging_ignores_order_and_rises_with_each_part(values: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(values))))
    shuffled = [values[at] for at in order]
    assert within_family(shuffled) == pytest.approx(float(within_family(values)), abs=1e-9)
    at = data.draw(st.integers(0, len(values) - 1))
    less = list(values)
    less[at] -= data.draw(st.floats(0, 30))
    assert within_family(less) <= within_family(values) + 1e-12
    assert min(values) - 1e-9 <= within_family(values) <= max(values) + 1e-9
    names = [f"f{n}" for n in range(len(values))]
    first = across_families(dict(zip(names, ([v] for v in values), strict=True)), names)
    again = across_families({names[n]: [values[n]] for n in order}, names)
    assert first == again
    assert across_families({n: [v] for n, v in zip(names, less, strict=True)}, names) <= first


def test_weights_of_a_family_are_shares() -> None:
    assert np.exp(within_family(np.log([4.0, 1.0]), [3, 1])) == pytest.approx(3.25)
    assert np.exp(within_family(np.log([4.0, 1.0]), [0.5, 0.5])) == pytest.approx(2.5)


def test_tempering_keeps_e_values_e_values() -> None:
    draws = np.random.default_rng(14).normal(size=200_000) * 1.2 - 0.72
    for power, cut in ((0.5, np.inf), (1.0, 1.0), (0.5, 1.0)):
        assert interval(np.exp(tempered(draws, power, cut)))[1] < 1
    assert np.array_equal(tempered(draws), draws)
    assert tempered([4.0, -4.0, np.nan], 0.5, 3.0).tolist() == [1.5, -2.0, 0.0]
    for power, cut in ((0.0, 1.0), (1.1, 1.0), (0.5, 0.0)):
        with pytest.raises(ValueError):
            tempered([1.0], power, cut)
