"""From what a detector filed week by week to figures about schemes and cases.

A *case* is account × destination × quarter: what is filed again in the same quarter adds nothing. It is right when a scheme of
that account had begun by then and was over for no more than half a year, and the destination is the scheme's or was not named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from fangcuan.quality.arrived import ANYWHERE, Detector
from fangcuan.quality.network import Floats
from fangcuan.quality.spec import WEEKS_PER_QUARTER
from fangcuan.quality.worlds import World

#: Weeks after a scheme's end in which a case about it is still right.
AFTERWARDS = 26
#: Cases that analysts can work on in a week, and weeks that one waits at most.
CAPACITY, WAITING = 10, 13
TOP = 20


def follow(world: World, detector: Detector) -> pd.DataFrame:
    """Ask a detector every week of the judged years; gives its cases: week, account, destination, score, in the order of filing.

    Raises ValueError for an account or region that does not exist, a score that is not finite, or an answer whose columns
    differ in length.
    """
    rows: list[pd.DataFrame] = []
    for week in range(world.spec.history_weeks, world.spec.weeks):
        arrived = world.arrived(week)
        filed = detector(arrived)
        if not len(filed.account) == len(filed.destination) == len(filed.score):
            raise ValueError(f"week {week}: {len(filed.account)} accounts, {len(filed.destination)} destinations")
        if len(filed.account):
            _checked(filed.account, 0, arrived.accounts, f"week {week}: account")
            _checked(filed.destination, ANYWHERE, len(arrived.population), f"week {week}: destination")
            if not np.isfinite(filed.score).all():
                raise ValueError(f"week {week}: a score is not finite")
            columns = {"account": filed.account, "destination": filed.destination, "score": filed.score}
            rows.append(pd.DataFrame({"week": week, **columns}))
    if not rows:
        return pd.DataFrame({name: np.zeros(0, dtype=np.int64) for name in ("week", "account", "destination", "score")})
    found = pd.concat(rows, ignore_index=True)
    found["quarter"] = found["week"] // WEEKS_PER_QUARTER
    found = found.drop_duplicates(["account", "destination", "quarter"]).drop(columns="quarter")
    return found.reset_index(drop=True)


def _checked(numbers: NDArray[np.int64], low: int, end: int, what: str) -> None:
    if numbers.min() < low or numbers.max() >= end:
        raise ValueError(f"{what} {numbers.min()} … {numbers.max()} is not between {low} and {end - 1}")


def matches(cases: pd.DataFrame, schemes: pd.DataFrame) -> pd.DataFrame:
    """(case, scheme) by their rows, of every case that is right about a scheme."""
    left = cases.reset_index(names="case")[["case", "week", "account", "destination"]]
    right = schemes.reset_index(names="scheme")[["scheme", "account", "destination", "first_week", "last_week"]]
    pairs = left.merge(right, on="account", suffixes=("", "_true"))
    place = (pairs["destination"] == ANYWHERE) | (pairs["destination"] == pairs["destination_true"])
    time = (pairs["week"] >= pairs["first_week"]) & (pairs["week"] <= pairs["last_week"] + AFTERWARDS)
    return pairs.loc[place & time, ["case", "scheme", "week"]].reset_index(drop=True)


@dataclass(frozen=True)
class Score:
    """One world under one detector. Shares are None where there is nothing to take a share of."""

    years: int
    dealers: int
    cases: int
    false_cases: int
    schemes: int
    found: int
    found_by_kind: Mapping[str, tuple[int, int]]
    volume_recall: float | None
    weeks_to_filing: Sequence[int] = field(repr=False)
    precision_of_top: float | None = None
    money_captured: float | None = None

    @property
    def false_discovery_rate(self) -> float:
        """False cases of all cases; 0 where none was filed."""
        return self.false_cases / self.cases if self.cases else 0.0


def score(world: World, cases: pd.DataFrame) -> Score:
    """Compare the cases of a detector with the truth of its world."""
    schemes = world.schemes
    found = matches(cases, schemes)
    right = np.zeros(len(cases), dtype=bool)
    right[found["case"].to_numpy(dtype=np.int64)] = True
    first = found.groupby("scheme")["week"].min()
    units = schemes["units"].to_numpy(dtype=np.float64)
    by_kind = {
        str(kind): (int(rows.index.isin(first.index).sum()), len(rows)) for kind, rows in schemes.groupby("kind")
    }
    waited = first - schemes["first_week"].reindex(first.index)
    return Score(
        years=world.spec.years,
        dealers=world.spec.dealers,
        cases=len(cases),
        false_cases=int((~right).sum()),
        schemes=len(schemes),
        found=len(first),
        found_by_kind=by_kind,
        volume_recall=float(units[first.index.to_numpy(dtype=np.int64)].sum() / units.sum()) if len(schemes) else None,
        weeks_to_filing=[int(number) for number in waited],
        precision_of_top=_precision_of_top(cases, right),
        money_captured=_money(world, cases, found),
    )


def _precision_of_top(cases: pd.DataFrame, right: NDArray[np.bool_]) -> float | None:
    """Share of right cases among the twenty of highest score that are new in a week, over all weeks."""
    if not len(cases):
        return None
    ranked = cases.assign(right=right).sort_values(["week", "score", "right"], ascending=[True, False, True])
    return float(ranked.groupby("week").head(TOP)["right"].mean())


def _worked(week: NDArray[np.int64], urgency: Floats, gain: Floats, weeks: int) -> NDArray[np.int64]:
    """Rows that analysts get to, in that order: each week the most urgent of those that came within the last quarter. Of equally
    urgent ones those with the least to gain go first, so that the order of accounts helps nobody."""
    taken: list[int] = []
    waiting: list[int] = []
    for now in range(weeks):
        waiting += np.flatnonzero(week == now).tolist()
        waiting = [row for row in waiting if now - week[row] < WAITING]
        waiting.sort(key=lambda row: (-urgency[row], gain[row]))
        taken += waiting[:CAPACITY]
        waiting = waiting[CAPACITY:]
    return np.array(taken, dtype=np.int64)


def _money(world: World, cases: pd.DataFrame, found: pd.DataFrame) -> float | None:
    """Money of the schemes whose cases analysts get to, as a share of what an oracle gets: one that files each scheme, and
    nothing else, in the week of its first scan, and works on the largest first."""
    schemes, weeks = world.schemes, world.spec.weeks
    if not len(schemes):
        return None
    money = schemes["money"].to_numpy(dtype=np.float64)
    best = money[_worked(schemes["first_seen"].to_numpy(dtype=np.int64), money, money, weeks)].sum()
    gain = np.zeros(len(cases))
    np.maximum.at(gain, found["case"].to_numpy(dtype=np.int64), money[found["scheme"].to_numpy(dtype=np.int64)])
    week, urgency = cases["week"].to_numpy(dtype=np.int64), cases["score"].to_numpy(dtype=np.float64)
    worked = _worked(week, urgency, gain, weeks)
    captured = found.loc[found["case"].isin(worked), "scheme"].unique()
    return float(money[captured.astype(np.int64)].sum() / best) if best else None


def poisson_upper(count: int, years: float, level: float = 0.95) -> float:
    """Upper limit of a yearly rate of which `count` were seen in `years` (exact, Garwood 1936)."""
    return float(stats.chi2.ppf(level, 2 * (count + 1)) / 2.0 / years)


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student interval of the mean over seeds; None with fewer than two of them."""
    if len(values) < 2:
        return None
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.5 + level / 2.0, len(values) - 1)) * spread / float(np.sqrt(len(values)))
    return mean - half, mean + half
