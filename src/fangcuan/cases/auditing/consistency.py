"""Same facts, same treatment: are equal cases confirmed equally often, whoever they are about and whoever worked on them?

Cases are compared within strata of equal facts only. For each group (a tier, a region, a handler) and stratum there is a table
of two by two: cases of the group and of all others, confirmed or not. Everything here is counting; where the counts come from
is `cases.auditing.treatment`.

All inference is exact, given the margins of the tables: how many cases a stratum has, how many of them are of the group, and
how many were confirmed. Under equal treatment the group's confirmed cases are then a hypergeometric draw in each stratum, and
their sum over the strata is a convolution of these; so a handful of cases is judged as exactly as a thousand.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
#: differs: the group was treated otherwise; none_found: no difference was found, which is not the same as that there is none;
#: one_case: there would be one but for a single case; too_few: too few equal cases to say anything.
Verdict = Literal["differs", "none_found", "one_case", "too_few"]

LEVEL = 0.95
#: Fewer cases of a group that can be compared are not tested.
FEWEST = 5
#: Odds ratios beyond exp(±this) are as good as infinite.
_FURTHEST = 60.0
_HALVINGS = 50
#: Enough to be near the odds ratio that fits best, which is all that is asked of it.
_ROUGHLY = 12


@dataclass(frozen=True)
class Treated:
    """One decided case: its `stratum` of equal facts, its group, whether it was confirmed, and the sanction that followed.

    `confirmed` may say another thing that is so or not, such as whether a penalty followed. `sanction` is an amount, in the same
    currency throughout a stratum; None where there is none on record.
    """

    number: str
    stratum: tuple[str, ...]
    group: str
    confirmed: bool
    sanction: Decimal | None = None


@dataclass(frozen=True)
class Treatment:
    """How one group was treated beside all others.

    `cases` of the group were decided; `compared` of them, in `strata` strata, have equal cases outside the group and a stratum
    in which not all ended alike: only these can show a difference, and everything below is about them. `observed` were
    confirmed, `expected` would have been at the rates of their strata; `ratio` is observed / expected, the indirectly
    standardised ratio. `risk_difference` is the Mantel-Haenszel difference of the shares confirmed (group minus others),
    with its interval `low` to `high` at `LEVEL`. `p` is two-sided and exact, `adjusted_p` after Benjamini and Hochberg over
    the groups tested. Floats; None where nothing could be compared, and no p where there were too few.
    """

    group: str
    cases: int
    confirmed: int
    compared: int
    strata: int
    observed: int
    expected: float | None
    ratio: float | None
    risk_difference: float | None
    low: float | None
    high: float | None
    p: float | None
    adjusted_p: float | None
    verdict: Verdict


def compare(cases: Iterable[Treated]) -> list[Treatment]:
    """The treatment of every group, sorted by group."""
    counted: dict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(lambda: [0, 0])
    for case in cases:
        cell = counted[case.group, case.stratum]
        cell[0] += 1
        cell[1] += case.confirmed
    groups = sorted({group for group, _ in counted})
    strata = sorted({stratum for _, stratum in counted})
    cells = [[counted.get((group, stratum), [0, 0]) for stratum in strata] for group in groups]
    table = np.array(cells, dtype=np.int64).reshape(len(groups), len(strata), 2)
    return compare_counts(groups, table[..., 0], table[..., 1])


def compare_counts(groups: Sequence[str], cases: Counts, confirmed: Counts) -> list[Treatment]:
    """The same from counts: `cases` and `confirmed` have a row per group and a column per stratum."""
    all_cases, all_confirmed = cases.sum(axis=0), confirmed.sum(axis=0)
    judged = [_judge(group, cases[row], confirmed[row], all_cases, all_confirmed) for row, group in enumerate(groups)]
    adjusted = iter(benjamini_hochberg([one["p"] for one, _ in judged if one["p"] is not None]))
    found = []
    for one, without_one in judged:
        p = None if one["p"] is None else next(adjusted)
        found.append(Treatment(**one, adjusted_p=p, verdict=_verdict(p, without_one)))
    return found


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the same order (Benjamini and Hochberg, J. R. Statist. Soc. B 57, 1995, 289-300)."""
    count = len(p_values)
    adjusted, smallest = [1.0] * count, 1.0
    for rank, at in sorted(enumerate(np.argsort(p_values, kind="stable"), 1), reverse=True):
        smallest = min(smallest, p_values[at] * count / rank)
        adjusted[at] = smallest
    return adjusted


def above_median(cases: Iterable[Treated]) -> list[Treated]:
    """Cases with a sanction on record, `confirmed` saying whether it is higher than the median of their stratum.

    So `compare` of them is the median test, stratified and exact: it asks whether a group's sanctions lie on one side more
    often than others' for equal facts, and no single large amount decides it (Mood, Ann. Math. Statist. 25, 1954, 514-522).
    """
    amounts: dict[tuple[str, ...], list[Decimal]] = defaultdict(list)
    known = [case for case in cases if case.sanction is not None]
    for case in known:
        amounts[case.stratum].append(Decimal(case.sanction or 0))
    middle = {stratum: median(values) for stratum, values in amounts.items()}
    return [replace(case, confirmed=Decimal(case.sanction or 0) > middle[case.stratum]) for case in known]


def quantity_band(quantity: Decimal | None) -> str:
    """The power of ten a quantity lies in: `10-99`; `unknown` for none."""
    if quantity is None:
        return "unknown"
    if quantity < 1:
        return "under 1"
    digits = quantity.adjusted()
    return f"{10**digits}-{10 ** (digits + 1) - 1}"


def _judge(
    group: str, cases: Counts, confirmed: Counts, all_cases: Counts, all_confirmed: Counts
) -> tuple[dict[str, Any], float | None]:
    """The fields of a Treatment, and p with one case decided otherwise."""
    others = all_cases - cases
    tells = (cases > 0) & (others > 0) & (all_confirmed > 0) & (all_confirmed < all_cases)
    n, x, total, hits = cases[tells], confirmed[tells], all_cases[tells], all_confirmed[tells]
    found: dict[str, Any] = {"group": group, "cases": int(cases.sum()), "confirmed": int(confirmed.sum())}
    found |= {"compared": int(n.sum()), "strata": int(tells.sum()), "observed": int(x.sum())}
    nothing = ("expected", "ratio", "risk_difference", "low", "high", "p")
    if not tells.any():
        return {**found, **dict.fromkeys(nothing)}, None
    expected = float((n * hits / total).sum())
    weight = float((n * (total - n) / total).sum())
    low, high = ((mean - expected) / weight for mean in _mean_interval(int(x.sum()), n, total, hits, (1 - LEVEL) / 2))
    found |= {"expected": expected, "ratio": float(x.sum()) / expected}
    # Mantel and Haenszel's weights n·m/N make the weighted mean of differences equal to (observed - expected) / weight.
    found |= {"risk_difference": (float(x.sum()) - expected) / weight, "low": low, "high": high, "p": None}
    if found["compared"] < FEWEST:
        return found, None
    least, weights = _distribution(n, total, hits, 0.0)
    at = int(x.sum()) - least
    found["p"] = _two_sided(weights, at)
    return found, _two_sided(weights, at + (-1 if x.sum() > expected else 1))


def _verdict(adjusted: float | None, without_one: float | None) -> Verdict:
    if adjusted is None or without_one is None:
        return "too_few"
    if adjusted > 1 - LEVEL:
        return "none_found"
    return "differs" if without_one <= 1 - LEVEL else "one_case"


def _two_sided(weights: Floats, at: int) -> float:
    """Twice the smaller tail, at most 1: with it, the p-value and the interval below never contradict each other."""
    return float(min(1.0, 2 * min(weights[: at + 1].sum(), weights[at:].sum())))


def _mean_interval(observed: int, n: Counts, total: Counts, hits: Counts, tail: float) -> tuple[float, float]:
    """Bounds for the number confirmed that is to be expected of the group, from an exact interval of the common odds ratio.

    The interval of the odds ratio has each tail at `tail` (Gart, Biometrika 57, 1970, 471-475; computed as Mehta, Patel and
    Gray do, J. Amer. Statist. Assoc. 80, 1985, 969-973). The expected number rises with the odds ratio, so its bounds are
    those of the odds ratio, carried over. Where a bound of the odds ratio is 0 or infinite, so is the widest that can be.
    """
    least, most = int(np.maximum(0, hits - (total - n)).sum()), int(np.minimum(n, hits).sum())
    # Around the odds ratio that fits best, what matters of the distribution is far from underflow.
    centre = _fitting(min(max(observed, least + 0.5), most - 0.5), n, total, hits)
    _, weights = _distribution(n, total, hits, centre)
    steps = np.arange(len(weights))
    with np.errstate(divide="ignore"):
        logs = np.log(weights)

    def tilted(log_odds: float) -> Floats:
        shifted = logs + steps * (log_odds - centre)
        found: Floats = np.exp(shifted - shifted.max())
        return found / found.sum()

    at = observed - least
    low = high = None
    if observed > least:
        low = _halve(lambda log_odds: float(tilted(log_odds)[at:].sum()) > tail)
    if observed < most:
        high = _halve(lambda log_odds: float(tilted(log_odds)[: at + 1].sum()) <= tail)
    means = [None if bound is None else least + float((tilted(bound) * steps).sum()) for bound in (low, high)]
    return float(least) if means[0] is None else means[0], float(most) if means[1] is None else means[1]


def _halve(holds: Callable[[float], bool], halvings: int = _HALVINGS) -> float:
    """The log odds ratio from which on a condition holds."""
    low, high = -_FURTHEST, _FURTHEST
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return (low + high) / 2


def _fitting(mean: float, n: Counts, total: Counts, hits: Counts) -> float:
    """The log odds ratio under which `mean` confirmed are to be expected of the group."""
    strata = [_one(mine, among, some, 0.0) for mine, among, some in zip(n, total, hits, strict=True)]

    def expected(log_odds: float) -> float:
        found = 0.0
        for least, logs in strata:
            shifted = logs + np.arange(len(logs)) * log_odds
            weights = np.exp(shifted - shifted.max())
            found += least + float((weights * np.arange(len(logs))).sum() / weights.sum())
        return found

    return _halve(lambda log_odds: expected(log_odds) >= mean, _ROUGHLY)


def _distribution(n: Counts, total: Counts, hits: Counts, log_odds: float) -> tuple[int, Floats]:
    """(least possible number confirmed of the group, probability of each number from there on) under a common odds ratio."""
    least, weights = 0, np.ones(1)
    for mine, among, some in zip(n, total, hits, strict=True):
        first, logs = _one(mine, among, some, log_odds)
        one = np.exp(logs - logs.max())
        least, weights = least + first, np.convolve(weights, one / one.sum())
    return least, weights / weights.sum()


def _one(n: int, total: int, hits: int, log_odds: float) -> tuple[int, Floats]:
    """One stratum: (least possible number, log weight of each number from there on) of the noncentral hypergeometric."""
    n, total, hits = int(n), int(total), int(hits)
    least, most = max(0, hits - (total - n)), min(n, hits)
    numbers = range(least, most + 1)
    logs = [_log_choose(n, k) + _log_choose(total - n, hits - k) + (k - least) * log_odds for k in numbers]
    return least, np.array(logs)


def _log_choose(of: int, some: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)
