"""Which case a finding belongs to. Pure: the outcome depends on the set of findings and the cases known, never on order."""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fangcuan.core.canonical import sha256_hex
from fangcuan.core.finding import Finding
from fangcuan.store.jsontext import canonical_text

Action = Literal["open", "attach", "wake", "silent"]


@dataclass(frozen=True)
class GroupingPolicy:
    """How findings become cases. A change of the key's recipe takes a new `version`; old cases keep their keys.

    `regression_days`: how long after its decision's evidence cut-off a case can be woken; later findings open a new epoch.
    A unit is stormy when it would open or wake more cases in a night than its `max_cases`, or more than
    `storm_factor` × the median of its last 14 nights (and more than `storm_floor`), given `storm_nights` nights of history.
    """

    version: int = 1
    regression_days: int = 180
    storm_factor: int = 5
    storm_floor: int = 20
    storm_nights: int = 7


@dataclass(frozen=True)
class UnitFiling:
    """What filing needs to know about a unit: how many cases a night may bring, and who is asked when it brings more."""

    max_cases: int
    owner: str


@dataclass(frozen=True)
class CaseKey:
    """Family × subject × the grouping the unit declares (product line or sku, period). `order` sorts keys readably."""

    value: str
    family: str
    subject_kind: str
    subject_id: str
    grouping: Mapping[str, Any]
    order: bytes

    @property
    def subject(self) -> tuple[str, str, str]:
        return (self.family, self.subject_kind, self.subject_id)

    def __hash__(self) -> int:
        return hash(self.value)


def case_key(finding: Finding, policy: GroupingPolicy) -> CaseKey:
    grouping = dict(finding.grouping)
    order = canonical_text([policy.version, finding.family, finding.subject_kind, finding.subject_id, grouping])
    return CaseKey(
        value=f"v{policy.version}:{sha256_hex(order)}",
        family=finding.family,
        subject_kind=finding.subject_kind,
        subject_id=finding.subject_id,
        grouping=grouping,
        order=order,
    )


@dataclass(frozen=True)
class KnownCase:
    """The latest epoch of a key, as far as placing a finding needs it. `cutoff` is None while nothing was decided."""

    number: str
    epoch: int
    is_open: bool
    wakes: bool
    cutoff: dt.datetime | None


@dataclass(frozen=True)
class Candidate:
    """One finding of a key: who reported it and until when its window runs."""

    reported_id: str
    unit_id: str
    window_end: dt.datetime


@dataclass(frozen=True)
class Placement:
    """What becomes of the findings of one key: `here` go to the known case, `fresh` to a new one, `waiting` to none.

    `action` is what happens to the known case ("attach", "wake", "silent"); "open" where there is only a new one.
    """

    action: Action
    here: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


def place(
    known: KnownCase | None,
    candidates: Sequence[Candidate],
    policy: GroupingPolicy,
    stormy: frozenset[str] = frozenset(),
) -> Placement:
    """Place the findings of one key. Findings of `stormy` units join what others open or wake, and else wait."""
    everything = tuple(sorted(candidate.reported_id for candidate in candidates))
    if known is not None and known.is_open:
        return Placement("attach", here=everything)
    older = {c.reported_id for c in candidates if known and known.cutoff and c.window_end <= known.cutoff}
    later = [c for c in candidates if c.reported_id not in older]
    calm = [c.window_end for c in later if c.unit_id not in stormy]
    new = tuple(sorted(c.reported_id for c in later))
    here = tuple(sorted(older))
    if not calm:
        return Placement("silent", here=here, waiting=new)
    if known is None:
        return Placement("open", fresh=new)
    if known.wakes and known.cutoff and min(calm) - known.cutoff <= dt.timedelta(days=policy.regression_days):
        return Placement("wake", here=everything)
    return Placement("silent" if here else "open", here=here, fresh=new)


def working_units(known: KnownCase | None, candidates: Sequence[Candidate], placement: Placement) -> set[str]:
    """Units whose findings open or wake a case under this placement."""
    working = set(placement.fresh)
    if placement.action == "wake" and known is not None and known.cutoff is not None:
        working = {c.reported_id for c in candidates if c.window_end > known.cutoff}
    return {c.unit_id for c in candidates if c.reported_id in working}


def storm_limit(setting: UnitFiling, history: Sequence[int], policy: GroupingPolicy) -> int:
    """Most cases a unit may open or wake in a night; `history` holds its counts of recent nights without a storm."""
    if len(history) < policy.storm_nights:
        return setting.max_cases
    usual = int(policy.storm_factor * statistics.median(history))
    return min(setting.max_cases, max(policy.storm_floor, usual))


def stormy_units(
    groups: Iterable[tuple[KnownCase | None, Sequence[Candidate]]],
    limits: Mapping[str, int],
    already: Mapping[str, int],
    policy: GroupingPolicy,
) -> dict[str, int]:
    """Units over their limit, with the number of cases they would open or wake; `already` counts those of this night."""
    would: dict[str, int] = dict.fromkeys(limits, 0)
    for known, candidates in groups:
        for unit in working_units(known, candidates, place(known, candidates, policy)):
            would[unit] += 1
    return {
        unit: count for unit, count in sorted(would.items()) if count and count + already.get(unit, 0) > limits[unit]
    }
