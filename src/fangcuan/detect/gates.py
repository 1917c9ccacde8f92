"""Gates: which of many tested units pass, with the share of false discoveries held. BH for p-values, e-BH for e-values.

Every gate gives *adjusted* values: the smallest level at which a unit passes. They do not depend on the order of input, ties get
the same, and less evidence for any one unit lowers nobody's adjusted value. How many units were *tested* matters, so units
without evidence are given too, or counted by `tested`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fangcuan.detect.evidence import Vector, known

#: Logarithms of numbers that are equal on paper may differ in their last bits.
_ROUNDING = 1e-12


def bh(p_values: ArrayLike, weights: ArrayLike | None = None, tested: int | None = None) -> Vector:
    """Adjusted p-values of Benjamini & Hochberg (1995); with weights those of Genovese, Roeder & Wasserman (2006): (units,).

    min over k ≥ rank of m p(k) / k, 1 at most; with weights of p/w. False discoveries are held for p-values that are independent
    or positively dependent. Unknown (nan) counts as p = 1. `weights` are fixed before the data, ≥ 0, scaled to mean 1 over the
    units. `tested` is m where not every tested unit is given; the rest counts as p = 1.
    Raises ValueError for p outside [0, 1], weights that do not fit, or `tested` below the number of units.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or np.any((p < 0) | (p > 1)):
        raise ValueError("p-values in [0, 1] are wanted, one per unit")
    with np.errstate(divide="ignore"):
        log_p = np.log(np.where(np.isnan(p), 1.0, p))
    return _step_up(log_p, weights, tested)


def e_bh(log_e: ArrayLike, weights: ArrayLike | None = None, tested: int | None = None) -> Vector:
    """Adjusted values of e-BH (Wang & Ramdas 2022, JRSS B 84:822) for log e-values, (units,): BH on 1/e.

    A unit passes at level α when for some k ≥ its rank e(k) ≥ m / (k α). False discoveries are held **however the units depend on
    each other**, and e-processes may be looked at every night. Arguments and errors as in `bh`; unknown counts as e = 1.
    """
    found = known(log_e)
    if found.ndim != 1:
        raise ValueError("log e-values are wanted, one per unit")
    return _step_up(-found, weights, tested)


def passing(adjusted: ArrayLike, level: float) -> NDArray[np.bool_]:
    """Which units pass at a level, by their adjusted values. Raises ValueError for a level outside (0, 1)."""
    if not 0 < level < 1:
        raise ValueError(f"a level of {level}; it lies between 0 and 1")
    return np.asarray(adjusted, dtype=np.float64) <= level * (1 + _ROUNDING)


def _step_up(log_p: Vector, weights: ArrayLike | None, tested: int | None) -> Vector:
    """min over k ≥ rank of (m / k) p(k), 1 at most, from logarithms: e-values beyond e^745 are still told apart in rank."""
    units = len(log_p)
    count = units if tested is None else tested
    if count < units:
        raise ValueError(f"{units} units of {count} tested")
    if not units:
        return np.empty(0)
    if weights is not None:
        share = _weights(weights, units)
        # A weight of 0 is a unit that never passes, whatever its p-value.
        log_p = np.where(share == 0, np.inf, log_p - np.log(np.where(share == 0, 1.0, share)))
    order = np.argsort(log_p, kind="stable")
    scaled = log_p[order] + np.log(count) - np.log(np.arange(1, units + 1))
    adjusted = np.empty(units)
    adjusted[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return np.exp(np.minimum(adjusted, 0.0))


def _weights(weights: ArrayLike, units: int) -> Vector:
    found = np.asarray(weights, dtype=np.float64)
    if found.shape != (units,) or not np.isfinite(found).all() or found.min() < 0 or found.sum() <= 0:
        raise ValueError(f"{units} weights are wanted, ≥ 0 and not all 0")
    # By the largest first: the mean of the smallest numbers there are would be 0.
    found = found / found.max()
    return np.asarray(found / found.mean(), dtype=np.float64)
