"""Rates of many dealers from their counts: a gamma-Poisson mixture of two components, of which the lower is the null.

Model of DuMouchel (1999, The American Statistician 53:177): count n_i is Poisson with mean λ_i E_i for an exposure E_i (scans,
cartons or an expected count), and λ_i comes from a gamma distribution for most dealers and from a higher one for a few. p-values
are taken from the **lower** component alone: one distribution fitted to all is widened by the dealers it is to find.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import betainc, digamma, expit, gammainc, gammaincinv, gammaln, logit

from fangcuan.detect.evidence import SMALLEST_P, Vector

#: Below this many units nothing is said about a second component, and the one is made as wide as the data allow.
FEW_UNITS = 20
#: The upper component is a minority. A "null" that few belong to would accuse all others.
MOST_UPPER = 0.3
#: Means of the two components differ by this factor at least; nearer ones are one.
_LEAST_RATIO, _MOST_RATIO = 1.5, 1000.0
_SHAPES = (0.05, 1e4)
_UPPER_SHAPES = (0.5, 1e3)
#: A weak prior on log shapes, worth less than one unit: few units do not prove that all rates are equal.
_SHAPE_CENTRE, _SHAPE_SPREAD = np.log(2.0), 1.5
#: (share, ratio, lower shape, upper shape) where the search begins.
_STARTS = ((0.05, 5.0, 2.0, 2.0), (0.1, 3.0, 10.0, 5.0), (0.15, 10.0, 1.0, 2.0), (0.02, 30.0, 5.0, 1.0))
#: For few units: shapes and means (in multiples of the pooled rate) tried.
_WIDE_SHAPES, _WIDE_MEANS = np.geomspace(0.5, 1e3, 23), np.exp(np.linspace(-2.5, 2.5, 41))
#: How far log-likelihood may lie below the best: half the 95 % point of χ² with one degree of freedom.
_WIDE_DROP = 1.92


@dataclass(frozen=True)
class Gamma:
    """Gamma distribution of rates: shape a, and rate b in units of exposure; its mean is a / b."""

    shape: float
    rate: float

    @property
    def mean(self) -> float:
        return self.shape / self.rate


@dataclass(frozen=True)
class RateMixture:
    """A fit. `upper_share` is 0 where one component suffices; then `upper` is `lower`. `wide` says that there were few units."""

    lower: Gamma
    upper: Gamma
    upper_share: float
    units: int
    log_likelihood: float
    wide: bool

    def mid_p(self, counts: ArrayLike, exposures: ArrayLike) -> Vector:
        """P(N > n) + P(N = n) / 2 under the lower component (negative binomial), (units,). No exposure tells nothing: p = 1."""
        n, exposure = counted(counts, exposures)
        a, b = self.lower.shape, self.lower.rate
        seen = exposure > 0
        share = np.where(seen, exposure / (exposure + b), 0.5)
        above = betainc(n + 1, a, share)
        equal = np.exp(gammaln(a + n) - gammaln(a) - gammaln(n + 1) + a * np.log1p(-share) + n * np.log(share))
        return np.where(seen, np.clip(above + equal / 2, SMALLEST_P, 1.0), 1.0)

    def upper_probability(self, counts: ArrayLike, exposures: ArrayLike) -> Vector:
        """Posterior probability that a unit belongs to the upper component, (units,)."""
        n, exposure = counted(counts, exposures)
        if not self.upper_share:
            return np.zeros(len(n))
        low, high = (_log_density(n, exposure, part.shape, part.mean) for part in (self.lower, self.upper))
        return np.asarray(expit(logit(self.upper_share) + high - low), dtype=np.float64)

    def mean(self, counts: ArrayLike, exposures: ArrayLike) -> Vector:
        """Posterior mean of every unit's rate, per unit of exposure: (units,)."""
        n, exposure = counted(counts, exposures)
        high = self.upper_probability(n, exposure)
        low_mean, high_mean = ((part.shape + n) / (part.rate + exposure) for part in (self.lower, self.upper))
        return np.asarray((1 - high) * low_mean + high * high_mean, dtype=np.float64)

    def quantile(self, counts: ArrayLike, exposures: ArrayLike, level: float) -> Vector:
        """Posterior quantile of every unit's rate, per unit of exposure, (units,); level 0.05 is DuMouchel's EB05."""
        n, exposure = counted(counts, exposures)
        high = self.upper_probability(n, exposure)
        parts = [(part.shape + n, part.rate + exposure) for part in (self.lower, self.upper)]
        ends = [gammaincinv(shape, level) / rate for shape, rate in parts]
        # The quantile of a mixture lies between those of its components.
        low, top = np.minimum(*ends), np.maximum(*ends)
        for _ in range(40):
            middle = np.sqrt(np.maximum(low, np.finfo(float).tiny) * top)
            below = (1 - high) * gammainc(parts[0][0], parts[0][1] * middle)
            below += high * gammainc(parts[1][0], parts[1][1] * middle)
            low, top = np.where(below < level, middle, low), np.where(below < level, top, middle)
        return np.asarray(top, dtype=np.float64)

    def eb05(self, counts: ArrayLike, exposures: ArrayLike) -> Vector:
        """The rate that a unit exceeds with posterior probability 95 %: (units,)."""
        return self.quantile(counts, exposures, 0.05)


def counted(counts: ArrayLike, exposures: ArrayLike) -> tuple[Vector, Vector]:
    """Both as arrays of floats. Raises ValueError for what cannot be: fractions, negatives, counts without exposure."""
    n, exposure = np.asarray(counts, dtype=np.float64), np.asarray(exposures, dtype=np.float64)
    if n.ndim != 1 or n.shape != exposure.shape:
        raise ValueError("one count and one exposure per unit are wanted")
    if not np.isfinite(n).all() or np.any(n < 0) or np.any(n != np.floor(n)):
        raise ValueError("counts are whole numbers, 0 or more")
    if not np.isfinite(exposure).all() or np.any(exposure < 0):
        raise ValueError("exposures are finite, 0 or more")
    if np.any((exposure == 0) & (n > 0)):
        raise ValueError(f"unit {int(np.argmax((exposure == 0) & (n > 0)))}: a count without exposure")
    return n, exposure


def fit_rates(counts: ArrayLike, exposures: ArrayLike, most_upper: float = MOST_UPPER) -> RateMixture:
    """Fit both components by marginal likelihood (L-BFGS, four starts): counts and exposures, (units,) each.

    The second component stays only if it raises the log-likelihood by 1.5 log(units), the price of its three numbers by the
    Bayesian information criterion: else a homogeneous population would lose its tail to an "upper" part. With `most_upper` = 0
    there is one component only. Below `FEW_UNITS` the shape is the smallest that 95 % of likelihood allows, from 1/2 on: wide
    p-values, no error. Deterministic, and the same for every order of units. Raises ValueError as `counted` does.
    """
    n, exposure = counted(counts, exposures)
    n, exposure = n[exposure > 0], exposure[exposure > 0]
    units = len(n)
    # Equal rows are counted once, and in their own order: sums are the same to the last bit whatever order they came in.
    rows, often = np.unique(np.column_stack([n, exposure]), axis=0, return_counts=True)
    times = often.astype(np.float64)
    # Half a count, so that nothing seen anywhere is a low rate and not none.
    pooled = float((times @ rows[:, 0] + 0.5) / (times @ rows[:, 1])) if units else 1.0
    # Rates as multiples of the pooled one: the fit does not depend on the unit of exposure.
    fit = _Fit(rows[:, 0], rows[:, 1] * pooled, times, most_upper)
    if units < FEW_UNITS:
        shape, mean = fit.wide()
        return _mixture(shape, mean, shape, mean, 0.0, pooled, units, fit.one_likelihood(shape, mean), wide=True)
    one, two = fit.one(), fit.two() if most_upper > 0 else None
    if two is None or two[1] - one[1] < 1.5 * np.log(units):
        (shape, mean), value = one
        return _mixture(shape, mean, shape, mean, 0.0, pooled, units, value, wide=False)
    (low_shape, low_mean, high_shape, high_mean, share), value = two
    return _mixture(low_shape, low_mean, high_shape, high_mean, share, pooled, units, value, wide=False)


def _mixture(
    low_shape: float,
    low_mean: float,
    high_shape: float,
    high_mean: float,
    share: float,
    pooled: float,
    units: int,
    log_likelihood: float,
    *,
    wide: bool,
) -> RateMixture:
    lower = Gamma(low_shape, low_shape / (low_mean * pooled))
    upper = Gamma(high_shape, high_shape / (high_mean * pooled))
    return RateMixture(lower, upper, share, units, float(log_likelihood), wide)


def _log_density(n: Vector, exposure: Vector, shape: float, mean: float) -> Vector:
    """log of the negative binomial probability of counts whose rates are gamma with a shape and a mean."""
    expected = mean * exposure
    # 0 log 0 is 0: nothing is expected and nothing seen.
    log_part = n * np.log(np.where(n > 0, expected / (shape + expected), 1.0))
    choose = gammaln(shape + n) - gammaln(shape) - gammaln(n + 1)
    return np.asarray(choose - shape * np.log1p(expected / shape) + log_part, dtype=np.float64)


def _slopes(n: Vector, exposure: Vector, shape: float, mean: float) -> tuple[Vector, Vector]:
    """Derivatives of `_log_density` by log shape and by log mean."""
    expected = mean * exposure
    by_shape = digamma(shape + n) - digamma(shape) - np.log1p(expected / shape) + 1 - (shape + n) / (shape + expected)
    return shape * by_shape, shape * (n - expected) / (shape + expected)


class _Fit:
    """Likelihoods over distinct rows with how often each occurs; rates are multiples of the pooled one."""

    def __init__(self, n: Vector, exposure: Vector, times: Vector, most_upper: float) -> None:
        self.n, self.exposure, self.times, self.most = n, exposure, times, most_upper

    def one_likelihood(self, shape: float, mean: float) -> float:
        return float(self.times @ _log_density(self.n, self.exposure, shape, mean))

    def one(self) -> tuple[tuple[float, float], float]:
        """((shape, mean), log-likelihood) of one component."""

        def loss(x: Vector) -> tuple[float, Vector]:
            shape, mean = np.exp(x)
            by_shape, by_mean = _slopes(self.n, self.exposure, shape, mean)
            prior, slope = _prior(x[0])
            level, level_slope = _level(x[1])
            value = self.one_likelihood(shape, mean) + prior + level
            return -value, -np.array([self.times @ by_shape + slope, self.times @ by_mean + level_slope])

        bounds = [tuple(np.log(_SHAPES)), (-12.0, 12.0)]
        found = min((_search(loss, [np.log(shape), 0.0], bounds) for shape in (1.0, 20.0)), key=lambda item: item[1])
        shape, mean = np.exp(found[0])
        return (float(shape), float(mean)), self.one_likelihood(shape, mean)

    def two(self) -> tuple[tuple[float, float, float, float, float], float]:
        """((lower shape, lower mean, upper shape, upper mean, upper share), log-likelihood) of two components."""

        def unpack(x: Vector) -> tuple[float, float, float, float, float]:
            shape, mean, high_shape = (float(value) for value in np.exp(x[:3]))
            return shape, mean, high_shape, mean * (1 + float(np.exp(x[3]))), self.most * float(expit(x[4]))

        def parts(x: Vector) -> tuple[Vector, Vector]:
            """log-likelihood of every row, and its probability of the upper component."""
            shape, mean, high_shape, high_mean, share = unpack(x)
            low = _log_density(self.n, self.exposure, shape, mean) + np.log1p(-share)
            high = _log_density(self.n, self.exposure, high_shape, high_mean) + np.log(share)
            both = np.logaddexp(low, high)
            return both, np.exp(high - both)

        def loss(x: Vector) -> tuple[float, Vector]:
            shape, mean, high_shape, high_mean, share = unpack(x)
            both, upper = parts(x)
            low_slopes = _slopes(self.n, self.exposure, shape, mean)
            high_slopes = _slopes(self.n, self.exposure, high_shape, high_mean)
            in_low, in_high = self.times * (1 - upper), self.times * upper
            prior, slope = _prior(x[0])
            high_prior, high_slope = _prior(x[2])
            level, level_slope = _level(x[1])
            by_high_mean = in_high @ high_slopes[1]
            # d log share / dz and d log(1 - share) / dz for share = most · expit(z).
            step = 1 - share / self.most
            by_share = in_high.sum() * step - in_low.sum() * share * step / (1 - share)
            slopes = np.array(
                [
                    in_low @ low_slopes[0] + slope,
                    in_low @ low_slopes[1] + by_high_mean + level_slope,
                    in_high @ high_slopes[0] + high_slope,
                    by_high_mean * (1 - mean / high_mean),
                    by_share,
                ]
            )
            return -(float(self.times @ both) + prior + high_prior + level), -slopes

        ratios = (np.log(_LEAST_RATIO - 1), np.log(_MOST_RATIO - 1))
        bounds = [tuple(np.log(_SHAPES)), (-12.0, 12.0), tuple(np.log(_UPPER_SHAPES)), ratios, (-8.0, 8.0)]
        found = []
        for share, ratio, shape, high_shape in _STARTS:
            # Where the pooled rate is 1, the lower mean is that much below it.
            mean = 1 / (1 - share + share * ratio)
            odds = float(logit(min(share / self.most, 0.9)))
            start = [np.log(shape), np.log(mean), np.log(high_shape), np.log(ratio - 1), odds]
            found.append(_search(loss, start, bounds))
        best = min(found, key=lambda item: item[1])[0]
        return unpack(best), float(self.times @ parts(best)[0])

    def wide(self) -> tuple[float, float]:
        """(shape, mean): the smallest shape within `_WIDE_DROP` of the best log-likelihood, and the mean that fits it best."""
        if not len(self.n):
            return float(_WIDE_SHAPES[0]), 1.0
        tried = []
        for shape in _WIDE_SHAPES:
            values = [self.one_likelihood(float(shape), mean) + _level(np.log(mean))[0] for mean in _WIDE_MEANS]
            at = int(np.argmax(values))
            tried.append((float(shape), float(_WIDE_MEANS[at]), values[at]))
        best = max(value for _, _, value in tried)
        return next((shape, mean) for shape, mean, value in tried if value >= best - _WIDE_DROP)


def _search(loss: object, start: list[float], bounds: list[tuple[float, float]]) -> tuple[Vector, float]:
    inside = [min(max(value, low), high) for value, (low, high) in zip(start, bounds, strict=True)]
    found = minimize(loss, np.array(inside), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 300})
    return np.asarray(found.x, dtype=np.float64), float(found.fun)


def _prior(log_shape: float) -> tuple[float, float]:
    """Log-density (but for a constant) and slope of the weak prior on a log shape."""
    away = (log_shape - _SHAPE_CENTRE) / _SHAPE_SPREAD
    return -away * away / 2, -away / _SHAPE_SPREAD


def _level(log_mean: float) -> tuple[float, float]:
    """The same for a log mean in multiples of the pooled rate: half a count at that rate, so that no rate becomes 0."""
    mean = float(np.exp(log_mean))
    return (log_mean - mean) / 2, (1 - mean) / 2
