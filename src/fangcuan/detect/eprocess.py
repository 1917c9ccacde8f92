"""Evidence that weekly counts have risen, valid at whatever week one looks: a mixture over start weeks and sizes of an excess.

Null: y_t given the unit's level θ is negative binomial with mean θ m_t and shape k, where m_t is the count expected of an
ordinary unit (exposure, calendar and destination are in it) and θ comes from a gamma distribution over units. Alternative: from
some week on the mean is θ m_t times a factor. The e-process is the ratio of the marginal likelihoods, alternatives averaged by
weights fixed beforehand: a martingale of mean 1 under the null, so that it ever reaches 20 with probability 1/20 at most (Ville;
see Ramdas et al. 2023, Statistical Science 38:576). Its value now may go into e-BH on any night; its highest so far may not.

θ lives on a grid of equal steps of its logarithm, and the factors are whole steps. So alternatives have the levels of the
null, and a level between two grid points helps neither. Weeks are folded in one by one and the start weeks never kept apart:
what had not risen before may rise this week, with the chance `HAZARD`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import gammainc, gammaincinv, gammaln, logsumexp

from fangcuan.detect.evidence import Vector, tempered

#: Chance per week that an excess begins, so that one is looked for within about a year.
HAZARD = 1 / 52
#: The grid of levels, and the excesses as steps of it: 1.41, 2, 4 and 8 times, equally likely.
STEP = np.log(2.0) / 8
EXCESS_STEPS = (4, 8, 16, 24)
#: Quantiles of the gamma distribution between which the grid lies; mass outside is put on its ends.
_LOWEST, _HIGHEST = 1e-5, 1 - 1e-7
#: Levels up to this many times the highest quantile are thought possible for the share of units called hubs.
_HUB_REACH = 8.0
#: Weekly shapes tried by the fit, and the drop of log-likelihood allowed: the most overdispersion that 95 % of likelihood allows.
_WEEKLY_SHAPES, _DROP = 2.0 ** np.arange(-2, 11), 1.92
_FIT_LEVELS = np.arange(-8.0, 5.0, 0.1)


@dataclass(frozen=True)
class CountNull:
    """How ordinary units count: gamma levels (shape, and mean as a multiple of what is expected), weekly negative binomial shape.

    `hubs` is the share of units whose level may be anything on the grid, evenly by its logarithm: travel hubs and the like are
    always high, and being always high is no change.
    """

    level_shape: float
    level_mean: float
    weekly_shape: float
    hubs: float = 0.05

    @cached_property
    def grid(self) -> Vector:
        """log θ, (levels,)."""
        scale = self.level_mean / self.level_shape
        low, high = gammaincinv(self.level_shape, [_LOWEST, _HIGHEST]) * scale
        low = max(float(low), self.level_mean * 1e-4)
        first, last = np.floor(np.log(low) / STEP), np.ceil(np.log(high * _HUB_REACH) / STEP)
        return np.asarray(np.arange(first, last + 1) * STEP, dtype=np.float64)

    @cached_property
    def log_prior(self) -> Vector:
        """log of the null's weight of every level, (levels,); their sum is 1."""
        share = _gamma_cells(self.grid, STEP, self.level_shape, self.level_mean)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log((1 - self.hubs) * share + self.hubs / len(share)), dtype=np.float64)


@dataclass(frozen=True)
class ChangeState:
    """What is kept of every unit between weeks; all arrays have units first. Nothing in it is changed in place.

    null: log weight of every level given all counts under the null, (units, levels). excess: the same under all excesses begun by
    now, by size, (units, sizes, levels), relative to the null. log_martingale: the mixture; log_e: the sum of its tempered
    increments, which is what gates take. weeks: how many were folded in.
    """

    weeks: Vector
    null: Vector
    excess: Vector
    log_martingale: Vector
    log_e: Vector


def begin(null: CountNull, units: int) -> ChangeState:
    """The state before the first week: log e = 0 for every unit."""
    levels = len(null.grid)
    return ChangeState(
        np.zeros(units),
        np.tile(null.log_prior, (units, 1)),
        np.full((units, len(EXCESS_STEPS), levels), -np.inf),
        np.zeros(units),
        np.zeros(units),
    )


def update(
    null: CountNull,
    state: ChangeState,
    counts: ArrayLike,
    expected: ArrayLike,
    power: float = 1.0,
    at_most: float = np.inf,
) -> ChangeState:
    """Fold in one week: counts and expected counts, (units,) each. Nothing expected, or an unknown count (nan), says nothing.

    `power` and `at_most` temper each week's log increment, as in `evidence.tempered`. `null` must be the one the state began
    with. Raises ValueError for counts that cannot be, and for another number of units or levels.
    """
    y, mean = _weekly(counts, expected)
    units, levels = len(state.log_e), len(null.grid)
    if y.shape != (units,) or state.null.shape != (units, levels):
        raise ValueError(f"the state is of {units} units and {state.null.shape[1]} levels, not {len(y)} and {levels}")
    reach = np.arange(1, max(EXCESS_STEPS) + 1) * STEP
    likelihood = _log_likelihood(y, mean, np.concatenate([null.grid, null.grid[-1] + reach]), null.weekly_shape)
    # An excess of every size may begin this week, from what the null says of the level so far.
    starts = np.log(HAZARD) + state.weeks * np.log1p(-HAZARD) - np.log(len(EXCESS_STEPS))
    excess = np.logaddexp(state.excess, (starts[:, None] + state.null)[:, None, :])
    for at, steps in enumerate(EXCESS_STEPS):
        excess[:, at] += likelihood[:, steps : steps + levels]
    ordinary = state.null + likelihood[:, :levels]
    total = logsumexp(ordinary, axis=1)
    excess -= total[:, None, None]
    weeks = state.weeks + 1
    # Excesses that have not begun yet have the null's likelihood: their share counts as e = 1.
    log_martingale = np.logaddexp(logsumexp(excess, axis=(1, 2)), weeks * np.log1p(-HAZARD))
    log_e = state.log_e + tempered(log_martingale - state.log_martingale, power, at_most)
    return ChangeState(weeks, ordinary - total[:, None], excess, log_martingale, log_e)


def recompute(
    null: CountNull, counts: ArrayLike, expected: ArrayLike, power: float = 1.0, at_most: float = np.inf
) -> ChangeState:
    """The state after all weeks, from the beginning: (units, weeks) each. The same, bit for bit, as week after week."""
    y, mean = np.asarray(counts, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if y.ndim != 2 or y.shape != mean.shape:
        raise ValueError("counts and expected counts of units by weeks are wanted")
    state = begin(null, len(y))
    for week in range(y.shape[1]):
        state = update(null, state, y[:, week], mean[:, week], power, at_most)
    return state


def fit_null(counts: ArrayLike, expected: ArrayLike, hubs: float = 0.05) -> CountNull:
    """Fit levels and weekly overdispersion from a history, (units, weeks) each, by marginal likelihood.

    Of the weekly shapes that 95 % of likelihood allows, the smallest: too little overdispersion accuses, too much only waits.
    Weeks as in `update`. Raises ValueError where nothing is expected anywhere.
    """
    y, mean = np.asarray(counts, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if y.ndim != 2 or y.shape != mean.shape:
        raise ValueError("counts and expected counts of units by weeks are wanted")
    weeks = [_weekly(y[:, week], mean[:, week]) for week in range(y.shape[1])]
    total = sum(float(m.sum()) for _, m in weeks)
    if not total:
        raise ValueError("nothing is expected in any week")
    pooled = np.log((sum(float(np.where(m > 0, n, 0).sum()) for n, m in weeks) + 0.5) / total)
    grid = _FIT_LEVELS + pooled
    start = np.zeros(2)
    found: list[tuple[float, Vector]] = []
    for shape in _WEEKLY_SHAPES:
        table = sum(_log_likelihood(n, m, grid, shape) + _log_constant(n, m, shape)[:, None] for n, m in weeks)
        highest = np.max(table, axis=1, keepdims=True)
        value, start = _fit_levels(np.exp(table - highest), grid, pooled, start)
        found.append((value + float(highest.sum()), start))
    best = max(value for value, _ in found)
    at = next(n for n, (value, _) in enumerate(found) if value >= best - _DROP)
    level_shape, level_mean = np.exp(found[at][1])
    return CountNull(float(level_shape), float(level_mean * np.exp(pooled)), float(_WEEKLY_SHAPES[at]), hubs)


def _fit_levels(likelihood: Vector, grid: Vector, pooled: float, start: Vector) -> tuple[float, Vector]:
    """Log-likelihood and (log shape, log mean in multiples of the pooled level) of the best gamma distribution."""

    def loss(x: Vector) -> float:
        # Bounds as a plain return: the search needs no derivatives.
        if not (-3 <= x[0] <= 7 and -6 <= x[1] <= 6):
            return 1e300
        cells = _gamma_cells(grid, grid[1] - grid[0], float(np.exp(x[0])), float(np.exp(x[1] + pooled)))
        return -float(np.log(np.maximum(likelihood @ cells, 1e-300)).sum())

    found = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-3, "maxiter": 400})
    return -float(found.fun), np.asarray(found.x, dtype=np.float64)


def _gamma_cells(grid: Vector, step: float, shape: float, mean: float) -> Vector:
    """Mass of a gamma distribution around every point of a grid of log levels; the ends take what lies beyond."""
    edges = np.exp((grid[1:] + grid[:-1]) / 2)
    below = np.concatenate([[0.0], gammainc(shape, edges * shape / mean), [1.0]])
    return np.diff(below)


def _weekly(counts: ArrayLike, expected: ArrayLike) -> tuple[Vector, Vector]:
    """Counts and expected counts of one week; both 0 where the week says nothing."""
    y, mean = np.asarray(counts, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if y.ndim != 1 or y.shape != mean.shape:
        raise ValueError("one count and one expected count per unit are wanted")
    unknown = np.isnan(y)
    y, mean = np.where(unknown, 0.0, y), np.where(unknown, 0.0, mean)
    if not np.isfinite(y).all() or np.any(y < 0) or np.any(y != np.floor(y)):
        raise ValueError("counts are whole numbers, 0 or more, or nan for unknown")
    if not np.isfinite(mean).all() or np.any(mean < 0):
        raise ValueError("expected counts are finite, 0 or more")
    if np.any((mean == 0) & (y > 0)):
        raise ValueError(f"unit {int(np.argmax((mean == 0) & (y > 0)))}: a count where nothing is expected")
    return y, mean


def _log_likelihood(y: Vector, mean: Vector, levels: Vector, shape: float) -> Vector:
    """log of the negative binomial at every level, (units, levels), less what no level changes; 0 where nothing is expected."""
    said = mean > 0
    log_mean = np.log(np.where(said, mean, 1.0))[:, None] + levels[None, :]
    found = y[:, None] * log_mean - (y + shape)[:, None] * np.log(np.exp(log_mean) + shape)
    return np.asarray(np.where(said[:, None], found, 0.0), dtype=np.float64)


def _log_constant(y: Vector, mean: Vector, shape: float) -> Vector:
    """What `_log_likelihood` leaves out and the weekly shape changes, (units,)."""
    return np.asarray(np.where(mean > 0, gammaln(y + shape) - gammaln(shape) + shape * np.log(shape), 0.0))
