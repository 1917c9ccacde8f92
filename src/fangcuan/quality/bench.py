"""Families × coverages × seeds × detectors, scored and put together."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy
import sklearn

from fangcuan import __version__
from fangcuan.quality.arrived import Detector
from fangcuan.quality.scoring import AFTERWARDS, CAPACITY, TOP, Score, follow, interval, poisson_upper, score
from fangcuan.quality.spec import DIVERTING, NULLS, TUNING, WorldSpec, family
from fangcuan.quality.worlds import World

Makers = Mapping[str, Callable[[], Detector]]
#: Told how many of how many worlds are done, and which is next.
Progress = Callable[[int, int, str], None]
NIGHTS_PER_YEAR, NIGHTS_PER_WEEK = 364, 7


@dataclass(frozen=True)
class Plan:
    """What to run: every family at its coverage with every seed. `response` families are run at each of `coverages`."""

    families: tuple[str, ...] = (*NULLS, *DIVERTING)
    response: tuple[str, ...] = ("mixed",)
    coverages: tuple[float, ...] = (0.01, 0.02, 0.05)
    coverage: float = 0.02
    seeds: tuple[int, ...] = (1, 2, 3)
    dealers: int = 3_000
    years: int = 1

    def settings(self) -> list[tuple[str, float]]:
        """(family, coverage) in the order they are run and shown."""
        return [
            (name, coverage)
            for name in self.families
            for coverage in (self.coverages if name in self.response else (self.coverage,))
        ]

    def specs(self, name: str, coverage: float) -> list[WorldSpec]:
        return [
            family(name, coverage=coverage, seed=seed, dealers=self.dealers, years=self.years) for seed in self.seeds
        ]


#: Enough to see every direction, within a minute.
QUICK = Plan(families=("plain", "hubs", "mixed"), coverages=(0.01, 0.05), seeds=(1, 2), dealers=1_000)


def run(plan: Plan, makers: Makers, progress: Progress = lambda done, total, what: None) -> dict[str, Any]:
    """Score every detector on every world of the plan; one row per family, coverage and detector, over the seeds."""
    started = time.perf_counter()
    total = len(plan.settings()) * len(plan.seeds)
    results: list[dict[str, Any]] = []
    visible: list[dict[str, Any]] = []
    done = 0
    for name, coverage in plan.settings():
        scores: dict[str, list[Score]] = {method: [] for method in makers}
        planted: list[pd.DataFrame] = []
        for spec in plan.specs(name, coverage):
            progress(done, total, f"{name}, coverage {coverage:.0%}, seed {spec.seed}")
            world = World(spec)
            planted.append(world.schemes)
            for method, make in makers.items():
                scores[method].append(score(world, follow(world, make())))
            done += 1
        visible += [{"family": name, "coverage": coverage, **row} for row in visibility(pd.concat(planted))]
        results += [
            {
                "family": name,
                "kind": "null" if name in NULLS else "schemes",
                "set": "tuning" if name in TUNING else "reported",
                "coverage": coverage,
                "method": method,
                **summary(found),
            }
            for method, found in scores.items()
        ]
    progress(done, total, "done")
    return {
        "what": "Rules of practice on worlds at the level of counts",
        "plan": {
            "dealers": plan.dealers,
            "years_per_seed": plan.years,
            "seeds": list(plan.seeds),
            "cases_worked_per_week": CAPACITY,
            "top": TOP,
            "weeks_a_case_stays_right": AFTERWARDS,
        },
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pandas": pd.__version__,
            "scipy": scipy.__version__,
            "scikit-learn": sklearn.__version__,
            "fangcuan": __version__,
        },
        "seconds": round(time.perf_counter() - started, 1),
        "results": results,
        "visible": visible,
    }


def visibility(schemes: pd.DataFrame) -> list[dict[str, Any]]:
    """What of the schemes of each kind anybody could have seen by the world's end: a bound for every detector."""
    return [
        {
            "scheme": str(kind),
            "schemes": len(rows),
            "five_scans": round(float((rows["scanned_units"] >= 5).mean()), 4),
            "shared_carton": round(float((rows["sibling_cartons"] >= 1).mean()), 4),
            "three_shared_cartons": round(float((rows["sibling_cartons"] >= 3).mean()), 4),
        }
        for kind, rows in schemes.groupby("kind")
    ]


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """Figures over the seeds of one setting: means, with a Student interval over seeds where they vary; counts are added up."""
    years = sum(one.years for one in scores)
    false = sum(one.false_cases for one in scores)
    nights = sum(one.years * one.dealers for one in scores) * NIGHTS_PER_YEAR
    waited = [weeks for one in scores for weeks in one.weeks_to_filing]
    kinds: dict[str, list[int]] = {}
    for one in scores:
        for kind, (found, of) in one.found_by_kind.items():
            had = kinds.setdefault(kind, [0, 0])
            had[0], had[1] = had[0] + found, had[1] + of
    return {
        "years": years,
        "cases": sum(one.cases for one in scores),
        "false_cases": false,
        "false_cases_per_year": round(false / years, 2),
        "false_cases_per_year_upper": round(poisson_upper(false, years), 2),
        "false_alarms_per_1000_dealer_nights": round(1000.0 * false / nights, 4),
        "false_discovery_rate": _mean([one.false_discovery_rate for one in scores if one.cases]),
        "schemes": sum(one.schemes for one in scores),
        "scheme_recall": _mean([one.found / one.schemes for one in scores if one.schemes]),
        "scheme_recall_by_kind": {kind: round(found / of, 4) for kind, (found, of) in sorted(kinds.items())},
        "volume_recall": _mean([one.volume_recall for one in scores]),
        "nights_to_filing": NIGHTS_PER_WEEK * float(np.median(waited)) if waited else None,
        "precision_of_top": _mean([one.precision_of_top for one in scores]),
        "money_captured": _mean([one.money_captured for one in scores]),
    }


def _mean(values: Sequence[float | None]) -> dict[str, Any] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    limits = interval(known)
    shown = None if limits is None else [round(min(max(limit, 0.0), 1.0), 4) for limit in limits]
    return {"mean": round(float(np.mean(known)), 4), "interval": shown}
