"""BH and e-BH against their definitions; order, names and ties do not matter; less evidence opens no gate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fangcuan.detect.gates import bh, e_bh, passing

#: Few values, so that ties are common.
P = st.lists(
    st.one_of(st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.05, 0.5, 1.0]), st.floats(0, 1)), min_size=1, max_size=12
)
LOG_E = st.lists(st.one_of(st.sampled_from([-3.0, 0.0, 3.0, 6.0, 900.0]), st.floats(-20, 20)), min_size=1, max_size=12)
LEVELS = st.sampled_from([0.01, 0.05, 0.1, 0.3])


def step_up(p: list[float], level: float) -> set[int]:
    """Benjamini & Hochberg as they wrote it: the largest k with p(k) ≤ k level / m, and all as small as that."""
    m = len(p)
    ks = [k for k in range(1, m + 1) if sorted(p)[k - 1] <= k * level / m]
    return {at for at in range(m) if ks and p[at] <= sorted(p)[max(ks) - 1]}


def e_step_up(e: list[float], level: float) -> set[int]:
    """Wang & Ramdas as they wrote it: the largest k with k e(k) / m ≥ 1 / level."""
    m = len(e)
    ks = [k for k in range(1, m + 1) if k * sorted(e, reverse=True)[k - 1] / m >= 1 / level]
    return {at for at in range(m) if ks and e[at] >= sorted(e, reverse=True)[max(ks) - 1]}


def found(adjusted: np.ndarray, level: float) -> set[int]:
    return set(np.flatnonzero(passing(adjusted, level)).tolist())


@given(P, LEVELS)
def test_bh_is_its_definition(p: list[float], level: float) -> None:
    adjusted = bh(p)
    if np.abs(adjusted - level).min() > 1e-9:
        assert found(adjusted, level) == step_up(p, level)


@given(LOG_E, LEVELS)
def test_e_bh_is_its_definition(log_e: list[float], level: float) -> None:
    log_e = [min(value, 600.0) for value in log_e]
    adjusted = e_bh(log_e)
    if np.abs(adjusted - level).min() > 1e-9:
        assert found(adjusted, level) == e_step_up(np.exp(log_e).tolist(), level)


def test_known_values() -> None:
    assert bh([0.01, 0.02, 0.03, 0.5]).tolist() == pytest.approx([0.04, 0.04, 0.04, 0.5])
    assert e_bh(np.log([100.0, 40.0, 1.0, 1.0])).tolist() == pytest.approx([0.04, 0.05, 1.0, 1.0])
    assert found(e_bh(np.log([20.0])), 0.05) == {0}, "exactly at the level"
    assert bh([]).shape == (0,)
    assert bh([np.nan, 0.01]).tolist() == pytest.approx([1.0, 0.02])
    assert e_bh([np.nan, np.log(100.0)]).tolist() == pytest.approx([1.0, 0.02])


@given(LOG_E, st.data())
def test_order_and_ties_do_not_matter(log_e: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(log_e))))
    weights = data.draw(st.lists(st.floats(0.1, 5), min_size=len(log_e), max_size=len(log_e)))
    assert e_bh(log_e)[order].tolist() == e_bh([log_e[at] for at in order]).tolist()
    straight = e_bh(log_e, weights)[order]
    assert straight == pytest.approx(e_bh([log_e[at] for at in order], [weights[at] for at in order]))
    adjusted = e_bh(log_e)
    for at, value in enumerate(log_e):
        assert all(adjusted[other] == adjusted[at] for other, same in enumerate(log_e) if same == value)


@given(LOG_E, st.data())
def test_less_evidence_adds_no_discovery(log_e: list[float], data: st.DataObject) -> None:
    """Neither for the unit that lost some, nor for any other."""
    at = data.draw(st.integers(0, len(log_e) - 1))
    weights = data.draw(st.one_of(st.none(), st.lists(st.floats(0, 5), min_size=len(log_e), max_size=len(log_e))))
    if weights is not None and sum(weights) == 0:
        weights = None
    less = list(log_e)
    less[at] -= data.draw(st.floats(0, 30))
    assert (e_bh(less, weights) >= e_bh(log_e, weights)).all()
    gone = list(log_e)
    gone[at] = float("nan") if log_e[at] >= 0 else -np.inf
    assert (e_bh(gone, weights) >= e_bh(log_e, weights)).all()


@given(P, st.data())
def test_a_larger_p_value_adds_no_discovery(p: list[float], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(p) - 1))
    more = list(p)
    more[at] = data.draw(st.floats(p[at], 1))
    assert (bh(more) >= bh(p)).all()


@given(P, st.integers(0, 5))
def test_tested_counts_the_units_that_are_not_given(p: list[float], others: int) -> None:
    assert bh(p, tested=len(p) + others) == pytest.approx(bh(p + [1.0] * others)[: len(p)])


def test_weights_move_a_gate_and_are_scaled() -> None:
    p = [0.03, 0.03, 0.9, 0.9]
    assert found(bh(p), 0.05) == set()
    assert found(bh(p, [3, 0.1, 0.5, 0.4]), 0.05) == {0}
    assert bh(p, [30, 1, 5, 4]) == pytest.approx(bh(p, [3, 0.1, 0.5, 0.4]))
    assert bh(p, [1, 1, 1, 1]) == pytest.approx(bh(p))
    assert bh([0.0, 0.5], [0, 1])[0] == 1, "a weight of 0 never passes"


def test_what_cannot_be_is_refused() -> None:
    for p, weights, tested in (([1.2], None, None), ([0.1], [1, 2], None), ([0.1], [0], None), ([0.1, 0.1], None, 1)):
        with pytest.raises(ValueError):
            bh(p, weights, tested)
    with pytest.raises(ValueError, match="one per unit"):
        e_bh([[1.0]])
    with pytest.raises(ValueError, match="level"):
        passing([0.1], 1.0)


def mixture(seed: int, units: int = 200, bad: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Log e-values of units in blocks of ten that share most of their noise; the first `bad` of a shuffled list are true."""
    draws = np.random.default_rng(seed)
    common = np.repeat(draws.normal(size=units // 10), 10)
    noise = np.sqrt(0.8) * common + np.sqrt(0.2) * draws.normal(size=units)
    true = draws.permutation(units) < bad
    # Likelihood ratio of a shift of 3.5 standard deviations.
    return 3.5 * (noise + 3.5 * true) - 3.5**2 / 2, true


def test_e_bh_holds_false_discoveries_under_dependence() -> None:
    shares, power = [], []
    for seed in range(2000):
        log_e, true = mixture(seed)
        hits = passing(e_bh(log_e), 0.05)
        shares.append((hits & ~true).sum() / max(hits.sum(), 1))
        power.append(hits[true].mean())
    mean, error = np.mean(shares), np.std(shares) / np.sqrt(len(shares))
    assert mean + 3 * error <= 0.05
    assert np.mean(power) > 0.5
    assert mean > 0, "a gate that never errs was not tried"
