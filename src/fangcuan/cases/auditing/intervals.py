"""Exact intervals for a share of a finite number of cases, from a sample drawn without putting back."""

from __future__ import annotations

import math
from collections.abc import Callable

LEVEL = 0.95


def share_interval(found: int, drawn: int, population: int, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) for the share of all cases that have a property which `found` of `drawn` have.

    Clopper and Pearson's interval (Biometrika 26, 1934, 404-413) with the hypergeometric distribution in place of the
    binomial, because a case is drawn once: Wright, Exact Confidence Bounds when Sampling from Small Finite Universes
    (Springer 1991). Low and high are the smallest and the largest count among all cases under which as many as were found,
    or as few, have a probability of more than (1 - level) / 2. Drawing all of them leaves no doubt: low = high. For large
    populations it becomes Clopper and Pearson's. Raises ValueError for counts that cannot be.
    """
    if not 0 <= found <= drawn <= population or drawn == 0:
        raise ValueError(f"{found} found of {drawn} drawn of {population}: expected 0 <= found <= drawn <= population")
    tail = (1 - level) / 2
    lowest, highest = found, population - (drawn - found)
    # Both tails are monotone in the true count, so each bound is found by halving.
    low = _first(lowest, highest, lambda count: _at_least(found, drawn, count, population) > tail)
    high = population - _first(
        population - highest,
        population - lowest,
        lambda others: _at_least(drawn - found, drawn, others, population) > tail,
    )
    return low / population, high / population


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The smallest number of the range for which a condition holds that, once true, stays true; `high` is known to."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _at_least(found: int, drawn: int, count: int, population: int) -> float:
    """P(at least `found` of `drawn` have it), where `count` of `population` do."""
    first, last = max(found, drawn - (population - count)), min(drawn, count)
    total = _log_choose(population, drawn)
    logs = (
        _log_choose(count, hits) + _log_choose(population - count, drawn - hits) - total
        for hits in range(first, last + 1)
    )
    return math.fsum(math.exp(log) for log in logs)


def _log_choose(of: int, some: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)
