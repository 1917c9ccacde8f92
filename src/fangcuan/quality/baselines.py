"""The rules that are used in practice, and plain statistics: what a detector has to beat on the same worlds.

Each sees only what had arrived. Counts are those of the running quarter. All speak of an account as a whole, so the scorer lets
any destination count as right: they are measured in their own favour. `plain_concordance` is the exception; it is no rule of
practice, it shows how far shared cartons alone carry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.ensemble import IsolationForest

from fangcuan.quality.arrived import Arrived, Detector, Filed
from fangcuan.quality.network import Floats, Ints
from fangcuan.quality.spec import WEEKS_PER_QUARTER

FALSE_DISCOVERIES = 0.10
#: Cases a week that a rule which only sorts hands on.
CAPACITY = 20
#: Order-size rules look at months of four weeks, against the six before.
_MONTH, _MONTHS = 4, 6
_LEAST_SCANS = 20


def quarter_counts(arrived: Arrived) -> tuple[Ints, Ints]:
    """(own scans, scans elsewhere) per account, scanned since the running quarter began."""
    start = arrived.week // WEEKS_PER_QUARTER * WEEKS_PER_QUARTER
    own = arrived.own[:, start:].sum(axis=1)
    foreign = np.bincount(arrived.foreign.account[arrived.foreign.week >= start], minlength=arrived.accounts)
    return own, foreign


def benjamini_hochberg(p: Floats, level: float) -> NDArray[np.bool_]:
    """Which hypotheses are rejected at false-discovery rate `level` (Benjamini & Hochberg 1995)."""
    ordered = np.sort(p)
    below = np.flatnonzero(ordered <= level * np.arange(1, len(p) + 1) / len(p))
    if not len(below):
        return np.zeros(len(p), dtype=bool)
    return np.asarray(p <= ordered[below[-1]], dtype=bool)


def any_foreign_scan(arrived: Arrived) -> Filed:
    """Every account of which one unit was scanned elsewhere."""
    _, foreign = quarter_counts(arrived)
    return Filed.of_accounts(foreign >= 1, foreign)


def five_mismatches(arrived: Arrived) -> Filed:
    """Five units or more elsewhere."""
    _, foreign = quarter_counts(arrived)
    return Filed.of_accounts(foreign >= 5, foreign)


def share_above_tenth(arrived: Arrived) -> Filed:
    """More than 10 % of at least 20 scans elsewhere."""
    own, foreign = quarter_counts(arrived)
    total = own + foreign
    share = foreign / np.maximum(total, 1)
    return Filed.of_accounts((share > 0.10) & (total >= _LEAST_SCANS), share)


def binomial_bh(arrived: Arrived) -> Filed:
    """Binomial test of each account's share against the pooled one, Benjamini–Hochberg at 10 %."""
    own, foreign = quarter_counts(arrived)
    total = own + foreign
    if not foreign.sum():
        return Filed.nothing()
    p = stats.binom.sf(foreign - 1, total, foreign.sum() / total.sum())
    return Filed.of_accounts(benjamini_hochberg(p, FALSE_DISCOVERIES), -np.log10(np.maximum(p, 1e-300)))


def _months(arrived: Arrived) -> NDArray[np.int64] | None:
    """Cartons ordered per account in the month just over and the six before, oldest first; None where no month ends now."""
    until, needed = arrived.week + 1, _MONTH * (_MONTHS + 1)
    if until % _MONTH or until < needed:
        return None
    return arrived.orders[:, until - needed : until].reshape(arrived.accounts, _MONTHS + 1, _MONTH).sum(axis=2)


def order_above_maximum(arrived: Arrived) -> Filed:
    """A month's order above every one of the six months before."""
    months = _months(arrived)
    if months is None:
        return Filed.nothing()
    largest = months[:, :-1].max(axis=1)
    return Filed.of_accounts(months[:, -1] > largest, months[:, -1] / np.maximum(largest, 1))


def _order_above_mean(arrived: Arrived, factor: float) -> Filed:
    months = _months(arrived)
    if months is None:
        return Filed.nothing()
    mean = months[:, :-1].mean(axis=1)
    return Filed.of_accounts(months[:, -1] > factor * mean, months[:, -1] / np.maximum(mean, 1.0))


def order_above_twice_mean(arrived: Arrived) -> Filed:
    """A month's order above twice the mean of the six months before."""
    return _order_above_mean(arrived, 2.0)


def order_above_three_times_mean(arrived: Arrived) -> Filed:
    """A month's order above three times the mean of the six months before."""
    return _order_above_mean(arrived, 3.0)


def raw_volume(arrived: Arrived) -> Filed:
    """The twenty accounts with most units elsewhere; fewer where the next one has as many as the last."""
    _, foreign = quarter_counts(arrived)
    ordered = np.sort(foreign)
    limit = ordered[-CAPACITY - 1] if len(ordered) > CAPACITY else 0
    return Filed.of_accounts(foreign > max(int(limit), 0), foreign)


def isolation_forest(arrived: Arrived) -> Filed:
    """What scikit-learn's IsolationForest with its defaults calls an outlier, once a month, on five plain features.

    Scans in all, scans elsewhere, their share, regions reached, and the last month's order against the six before.
    """
    months = _months(arrived)
    if months is None:
        return Filed.nothing()
    own, foreign = quarter_counts(arrived)
    start = arrived.week // WEEKS_PER_QUARTER * WEEKS_PER_QUARTER
    recent = arrived.foreign.take(arrived.foreign.week >= start)
    pairs = np.unique(np.column_stack([recent.account, recent.destination]), axis=0)
    reached = np.bincount(pairs[:, 0], minlength=arrived.accounts)
    ratio = months[:, -1] / np.maximum(months[:, :-1].mean(axis=1), 1.0)
    table = np.column_stack([own + foreign, foreign, foreign / np.maximum(own + foreign, 1), reached, ratio])
    # The forest samples rows by position: an order of their own keeps names out of it.
    rows = table[np.lexsort(table.T)]
    forest = IsolationForest(random_state=0, n_jobs=1).fit(rows)
    score = -forest.score_samples(table)
    return Filed.of_accounts(score > -forest.offset_, score)


def plain_concordance(arrived: Arrived, weeks: int = 26, cartons: int = 3) -> Filed:
    """Account and region with at least three cartons of which two units were scanned there by different devices.

    Over half a year, from at least two ship weeks. No null model, so no claim about its error.
    """
    recent = arrived.foreign.take(arrived.foreign.week > arrived.week - weeks)
    if not len(recent):
        return Filed.nothing()
    size = int(recent.destination.max()) + 1
    place = recent.account * size + recent.destination
    devices = np.unique(np.column_stack([place, recent.carton, recent.device, recent.ship_week]), axis=0)
    found, first, number = np.unique(devices[:, :2], axis=0, return_index=True, return_counts=True)
    shared = number >= 2
    places, at, count = np.unique(found[shared, 0], return_inverse=True, return_counts=True)
    shipped = np.unique(np.column_stack([at, devices[first[shared], 3]]), axis=0)
    days = np.bincount(shipped[:, 0], minlength=len(places))
    chosen = (count >= cartons) & (days >= 2)
    account, destination = np.divmod(places[chosen], size)
    return Filed(account, destination, count[chosen].astype(np.float64))


#: Every rule by the name it is reported under.
RULES: Mapping[str, Callable[[Arrived], Filed]] = MappingProxyType(
    {
        rule.__name__: rule
        for rule in (
            any_foreign_scan,
            five_mismatches,
            share_above_tenth,
            binomial_bh,
            order_above_maximum,
            order_above_twice_mean,
            order_above_three_times_mean,
            raw_volume,
            isolation_forest,
            plain_concordance,
        )
    }
)


def baselines() -> dict[str, Callable[[], Detector]]:
    """A maker for each rule. They remember nothing, so every world may be given the same one."""

    def maker(rule: Callable[[Arrived], Filed]) -> Callable[[], Detector]:
        return lambda: rule

    return {name: maker(rule) for name, rule in RULES.items()}
