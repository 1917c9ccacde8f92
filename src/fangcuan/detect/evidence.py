"""Log e-values, the currency of evidence: from p-values, merged inside a family, multiplied across families, tempered.

An e-value is a number ≥ 0 whose mean under the null is at most 1 (Vovk & Wang 2021, Annals of Statistics 49:1736). Twenty means
that an innocent subject shows as much with probability 1/20 at most (Markov). Everything here is its natural logarithm: 0 says
nothing, -inf says never. Unknown (nan) counts as 0: the constant 1 is an e-value, and it takes no side.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

Vector = NDArray[np.float64]

#: Exponent of the calibrator; 1/2 is neither bold nor timid.
KAPPA = 0.5
#: A p-value below this is a rounding of one. Raising p lowers e, so the floor takes evidence away and never adds any.
SMALLEST_P = float(np.finfo(np.float64).tiny)


def calibrate(p_values: ArrayLike, kappa: float = KAPPA) -> Vector:
    """log of κ p^(κ-1) for p-values of any shape (Vovk & Wang 2021, section 2): an e-value of each p-value.

    p = 1 gives log κ; p = 0 is taken as `SMALLEST_P`; nan gives 0. Mid-p-values may be given as well: the calibrator is convex
    and a mid-p is the mean of the randomised p of its count, so by Jensen's inequality the mean stays at most 1.
    Raises ValueError for p outside [0, 1] or κ outside (0, 1).
    """
    if not 0 < kappa < 1:
        raise ValueError(f"kappa is {kappa}; it lies between 0 and 1")
    p = np.asarray(p_values, dtype=np.float64)
    if np.any((p < 0) | (p > 1)):
        raise ValueError("a p-value outside [0, 1]")
    log_e = np.log(kappa) + (kappa - 1) * np.log(np.maximum(p, SMALLEST_P))
    return np.where(np.isnan(p), 0.0, log_e)


def within_family(log_e: ArrayLike, weights: Sequence[float] | None = None) -> Vector:
    """log of the mean of e-values over the last axis, the tests of one family: (…, tests) to (…).

    The mean of e-values is an e-value however they depend on each other, and no other symmetric merging is better everywhere
    (Vovk & Wang 2021, section 3). The tests are those the family declares: one without data counts as e = 1 and is not left out,
    so that it cannot matter which of them happened to have data. `weights` are fixed beforehand, ≥ 0, and scaled to sum 1.
    Raises ValueError for no test, an infinite e-value, or weights that do not fit.
    """
    log_e = known(log_e)
    tests = log_e.shape[-1] if log_e.ndim else 0
    if not tests:
        raise ValueError("a family without tests")
    share = np.ones(tests) if weights is None else np.asarray(weights, dtype=np.float64)
    if share.shape != (tests,) or not np.isfinite(share).all() or share.min() < 0 or share.sum() <= 0:
        raise ValueError(f"{tests} weights are wanted, ≥ 0 and not all 0")
    return np.asarray(logsumexp(log_e, b=share / share.sum(), axis=-1), dtype=np.float64)


def across_families(log_e: Mapping[str, ArrayLike], disjoint: Collection[str]) -> Vector:
    """Sum of log e-values of families: a product of e-values, which is one only if the families use disjoint randomness.

    log_e: family → array, all of one shape. `disjoint` names the families declared to be so, all together and not merely in
    pairs: each one's e-value must have mean ≤ 1 given the others. Raises ValueError for a family not declared, or none at all;
    what is not disjoint belongs into one family.
    """
    if not log_e:
        raise ValueError("no family")
    undeclared = sorted(set(log_e) - set(disjoint))
    if undeclared and len(log_e) > 1:
        raise ValueError(f"{', '.join(undeclared)}: not declared disjoint; merge by within_family")
    # By name, so that the order of the mapping does not decide the last bits.
    arrays = [known(log_e[name]) for name in sorted(log_e)]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError("families of different shapes")
    return np.asarray(np.sum(arrays, axis=0), dtype=np.float64)


def tempered(increments: ArrayLike, power: float = 1.0, at_most: float = np.inf) -> Vector:
    """Log e-increments cut at `at_most` and multiplied by `power`: slack for a null that is not quite right.

    Both keep an e-value one: E[min(e, c)] ≤ E[e], and E[e^η] ≤ E[e]^η for η ≤ 1 (Jensen). A cut bounds what one week can say.
    Raises ValueError for power outside (0, 1] or a cut that is not above 0.
    """
    if not 0 < power <= 1:
        raise ValueError(f"power is {power}; it lies above 0 and is 1 at most")
    if not at_most > 0:
        raise ValueError(f"at_most is {at_most}; a cut at or below 0 leaves no evidence")
    found = np.asarray(increments, dtype=np.float64)
    return power * np.minimum(np.where(np.isnan(found), 0.0, found), at_most)


def known(log_e: ArrayLike) -> Vector:
    """Log e-values with 0 for nan. Raises ValueError for +inf: no data prove anything beyond doubt, so that is a mistake."""
    found = np.asarray(log_e, dtype=np.float64)
    if np.any(found == np.inf):
        raise ValueError("an infinite e-value")
    return np.where(np.isnan(found), 0.0, found)
