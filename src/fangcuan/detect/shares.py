"""Shares of many dealers (foreign scans of all scans): beta-binomial empirical Bayes, beside the gamma-Poisson of `counts`.

Successes k_i of n_i trials are binomial with a share that comes from one beta distribution, estimated by marginal likelihood. One
component: where more than a few dealers are bad they widen it and hide, so the gate takes its p-values from `counts`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import betainc, betaincinv, betaln, digamma, expit, gammaln, logit

from fangcuan.detect.counts import FEW_UNITS, counted
from fangcuan.detect.evidence import Vector

#: Strengths (a + b) tried for few units, and the drop of log-likelihood allowed; see `counts`.
_WIDE_STRENGTHS, _WIDE_DROP = np.geomspace(1.0, 1e5, 51), 1.92
_STRENGTHS = (0.1, 1e6)
#: Probabilities of the beta distribution, on the logit scale, between which its mass is cut into cells.
_CUTS = expit(np.arange(-30.0, 30.01, 0.25))


@dataclass(frozen=True)
class ShareModel:
    """A fitted beta distribution of shares; `wide` says that there were few units."""

    a: float
    b: float
    units: int
    wide: bool

    @property
    def mean(self) -> float:
        return self.a / (self.a + self.b)

    def mid_p(self, successes: ArrayLike, trials: ArrayLike) -> Vector:
        """P(K > k) + P(K = k) / 2 under the beta-binomial, (units,). No trial tells nothing: p = 1.

        The mean of the binomial tail over cells of the beta distribution, since summing a million terms per dealer is not worth
        it: relative error below 5 % where the tests compare it with the sum, and no p below 1e-13.
        """
        k, n = _given(successes, trials)
        # Cells of equal logit width reach far into both tails, where the smallest p-values come from.
        ends = betaincinv(self.a, self.b, _CUTS)
        weight = np.diff(_CUTS)
        seen = n > 0
        k_, n_ = k[seen, None], n[seen, None]
        # P(binomial > k) at a share is the regularised incomplete beta function; k = n leaves nothing above.
        tail = np.where(k_ < n_, betainc(k_ + 1, np.maximum(n_ - k_, 1), ends[None, :]), 0.0)
        above = ((tail[:, 1:] + tail[:, :-1]) / 2) @ weight + np.where(k_[:, 0] < n_[:, 0], 1 - _CUTS[-1], 0.0)
        equal = np.exp(_log_density(k[seen], n[seen], self.a, self.b))
        found = np.ones(len(k))
        found[seen] = np.clip(above + equal / 2, np.finfo(float).tiny, 1.0)
        return found

    def quantile(self, successes: ArrayLike, trials: ArrayLike, level: float) -> Vector:
        """Posterior quantile of every unit's share, (units,); level 0.05 is its lower bound."""
        k, n = _given(successes, trials)
        return np.asarray(betaincinv(self.a + k, self.b + n - k, level), dtype=np.float64)

    def posterior_mean(self, successes: ArrayLike, trials: ArrayLike) -> Vector:
        """Posterior mean of every unit's share, (units,)."""
        k, n = _given(successes, trials)
        return np.asarray((self.a + k) / (self.a + self.b + n), dtype=np.float64)


def fit_shares(successes: ArrayLike, trials: ArrayLike) -> ShareModel:
    """Fit the beta distribution by marginal likelihood: successes and trials, (units,) each, whole numbers, successes ≤ trials.

    Below `FEW_UNITS` the strength a + b is the smallest that 95 % of likelihood allows. Deterministic, and the same for every
    order. Raises ValueError for what cannot be.
    """
    k, n = _given(successes, trials)
    k, n = k[n > 0], n[n > 0]
    rows, times = np.unique(np.column_stack([k, n]), axis=0, return_counts=True)
    k, n, often = rows[:, 0], rows[:, 1], times.astype(np.float64)
    units = int(times.sum())
    # Half a success and half a failure, so that no share becomes 0 or 1.
    pooled = float((often @ k + 0.5) / (often @ n + 1)) if units else 0.5
    if units < FEW_UNITS:
        tried = [float(often @ _log_density(k, n, pooled * s, (1 - pooled) * s)) for s in _WIDE_STRENGTHS]
        strength = next(s for s, value in zip(_WIDE_STRENGTHS, tried, strict=True) if value >= max(tried) - _WIDE_DROP)
        return ShareModel(float(pooled * strength), float((1 - pooled) * strength), units, True)

    def loss(x: Vector) -> tuple[float, Vector]:
        mean, strength = float(expit(x[0])), float(np.exp(x[1]))
        a, b = mean * strength, (1 - mean) * strength
        both = digamma(a + b) - digamma(n + a + b)
        by_a = often @ (digamma(k + a) - digamma(a) + both)
        by_b = often @ (digamma(n - k + b) - digamma(b) + both)
        # Half a success and half a failure at the pooled share, as above.
        prior = pooled * np.log(mean) + (1 - pooled) * np.log1p(-mean)
        slope = (by_a - by_b) * strength * mean * (1 - mean) + pooled - mean
        return -(often @ _log_density(k, n, a, b) + prior), -np.array([slope, a * by_a + b * by_b])

    bounds = [(-25.0, 25.0), tuple(np.log(_STRENGTHS))]
    tried_fits = [
        minimize(loss, np.array([logit(pooled), np.log(start)]), jac=True, method="L-BFGS-B", bounds=bounds)
        for start in (5.0, 200.0)
    ]
    best = min(tried_fits, key=lambda found: float(found.fun)).x
    mean, strength = float(expit(best[0])), float(np.exp(best[1]))
    return ShareModel(mean * strength, (1 - mean) * strength, units, False)


def _given(successes: ArrayLike, trials: ArrayLike) -> tuple[Vector, Vector]:
    k, n = counted(successes, trials)
    if np.any(n != np.floor(n)) or np.any(k > n):
        raise ValueError("trials are whole numbers, not fewer than successes")
    return k, n


def _log_density(k: Vector, n: Vector, a: float, b: float) -> Vector:
    choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.asarray(choose + betaln(k + a, n - k + b) - betaln(a, b), dtype=np.float64)
