"""A year of a sales network as counts: what was scanned where, what was ordered, and which part of it was a scheme.

Own scans are counts per account and week. Scans outside the territory are few and kept one by one, since it matters which
of them share a carton, a device, a lot and a ship date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fangcuan.quality import flows, network
from fangcuan.quality.arrived import Arrived, Sightings
from fangcuan.quality.flows import Flows
from fangcuan.quality.network import DELAYS, SHELF, Chooser, Floats, Ints
from fangcuan.quality.spec import WEEKS_PER_QUARTER, WEEKS_PER_YEAR, WorldSpec

#: Innocent journeys by how many units of one carton travel together, as shares of all journeys, and the chance that a
#: further unit is scanned by another device: a household, a party, a gift of a whole carton.
TOGETHER = {1: (0.955, 1.0), 2: (0.030, 0.2), 6: (0.012, 0.3), 24: (0.003, 0.5)}
_UNITS_PER_JOURNEY = sum(units * share for units, (share, _) in TOGETHER.items())
#: Weeks of the year with public holidays: Spring Festival, May, October.
HOLIDAYS = (5, 6, 17, 39)
_CAMPAIGN_WEEKS = 6
#: More cartons than an account ships in a week: numbers of cartons stay apart.
_CARTONS = 1 << 16


@dataclass(frozen=True)
class _Scans:
    """Scans before they are put in order; `carton` and `device` are still numbers that say where they come from."""

    account: Ints
    destination: Ints
    week: Ints
    carton: Ints
    device: Ints
    ship_week: Ints
    flow: Ints


class World:
    """Everything of one spec. `schemes` is the truth (one row each), `innocents` counts the flows that only look like it."""

    def __init__(self, spec: WorldSpec):
        self.spec = spec
        self.net = network.build(spec)
        base, self.targets = network.orders(spec, self.net)
        planted = flows.schemes(spec, self.net)
        self.orders = base + _ordered_on_top(spec, planted, base.shape)
        week_of_year = np.arange(spec.weeks) % WEEKS_PER_YEAR
        self.holidays: NDArray[np.bool_] = np.isin(week_of_year, HOLIDAYS)
        self._campaign = _campaign(spec)
        sold = network.sold_units(spec, self.net, base)
        rate = self._leaving(sold)
        self._own = self._own_scans(sold, rate, planted)
        self._last_order = _last_order(base)
        self._base = base
        parts = [self._journeys(rate, units) for units in TOGETHER]
        looks = [self._cartons(flow, at) for at, flow in enumerate(flows.innocents(spec, self.net))]
        guilty = self._cartons(planted, -1)
        self.innocents = pd.concat([found for found, _ in looks], ignore_index=True)
        self.schemes = _seen(guilty[0], guilty[1], spec.weeks)
        self.foreign = self._in_order([*parts, *(scans for _, scans in looks), guilty[1]])

    def arrived(self, week: int) -> Arrived:
        """What was known at the end of a week. Raises ValueError for a week outside the world."""
        if not 0 <= week < self.spec.weeks:
            raise ValueError(f"week {week}: the world has weeks 0 to {self.spec.weeks - 1}")
        until = week + 1
        own = self._own[0][:, :until].copy()
        for delay in range(1, len(DELAYS)):
            if until > delay:
                own[:, : until - delay] += self._own[delay][:, : until - delay]
        net = self.net
        return Arrived(
            week=week,
            dealer=net.dealer,
            line=net.line,
            home=net.home,
            own=own,
            foreign=self.foreign.take(slice(0, int(np.searchsorted(self.foreign.arrival, until)))),
            orders=self.orders[:, :until],
            targets=self.targets[:, : week // WEEKS_PER_QUARTER + 1],
            holidays=self.holidays[:until],
            places=net.places,
            population=net.population,
            margin=net.margin,
        )

    def _leaving(self, sold: Floats) -> Floats:
        """Units expected to leave their territory innocently, per account × week, before the pull of corridors."""
        spec, net = self.spec, self.net
        rng = spec.rng("leaving")
        rate = sold * net.leakage[:, None] * np.where(self.holidays, spec.holiday_factor, 1.0)
        drifting = rng.random(net.accounts) < 1.0 / 3.0
        ramp = np.clip((np.arange(spec.weeks) - spec.history_weeks) / (spec.weeks - spec.history_weeks), 0.0, 1.0)
        rate *= 1.0 + (spec.drift - 1.0) * drifting[:, None] * ramp
        if spec.tour_shape:
            rate *= rng.gamma(spec.tour_shape, 1.0 / spec.tour_shape, rate.shape)
        return rate

    def _own_scans(self, sold: Floats, leaving: Floats, planted: Flows) -> list[NDArray[np.int64]]:
        """Scans at home by delay of their arrival: accounts × weeks each. What was diverted and not ordered on top is missing."""
        spec, net = self.spec, self.net
        rng = spec.rng("own")
        missing = np.zeros(sold.shape)
        np.add.at(missing, (planted.account, planted.ship_week), (1.0 - flows.ORDERED_ON_TOP) * planted.units)
        at_home = np.maximum(sold - leaving - missing, 0.0)
        mean = at_home * spec.coverage * net.scanning[net.home][:, None] * self._campaign[net.home]
        scans = rng.poisson(mean * rng.gamma(30.0, 1.0 / 30.0, mean.shape))
        later = rng.binomial(scans, DELAYS[1:].sum())
        latest = rng.binomial(later, DELAYS[2] / DELAYS[1:].sum())
        return [scans - later, later - latest, latest]

    def _journeys(self, leaving: Floats, units: int) -> _Scans:
        """Scans of units that travel `units` together, out of one carton."""
        spec, net = self.spec, self.net
        rng = spec.rng(f"journeys of {units}")
        share, distinct = TOGETHER[units]
        journeys = leaving * (net.pull.sum(axis=1)[net.home] * share / _UNITS_PER_JOURNEY)[:, None]
        most = float(self._campaign.max())
        if units == 1:
            # Most journeys of one unit are never seen: draw the seen ones alone, where they are seen.
            weights = net.pull * net.scanning[None, :]
            seen = weights.sum(axis=1) / net.pull.sum(axis=1)
            journeys = journeys * (spec.coverage * seen[net.home] * most)[:, None]
        else:
            weights = net.pull
        flat = np.repeat(np.arange(journeys.size), rng.poisson(journeys).ravel())
        account, week = np.divmod(flat, spec.weeks)
        destination = Chooser(weights).draw(rng, net.home[account])
        ship_week = week - rng.choice(len(SHELF), size=len(week), p=SHELF)
        if units == 1:
            kept = rng.random(len(week)) * most < self._campaign[destination, week]
            scans = kept.astype(np.int64)
        else:
            chance = spec.coverage * net.scanning[destination] * self._campaign[destination, week]
            scans = rng.binomial(units, np.minimum(chance, 1.0))
        shipped = np.where(ship_week >= 0, self._last_order[account, np.maximum(ship_week, 0)], ship_week)
        cartons = np.where(shipped >= 0, self._base[account, np.maximum(shipped, 0)], net.volume[account])
        index = (rng.random(len(week)) * np.clip(cartons, 1, _CARTONS - 1)).astype(np.int64)
        carton = (account * (spec.weeks + 2 * len(SHELF)) + shipped + 2 * len(SHELF)) * _CARTONS + index
        at = np.repeat(np.arange(len(week)), scans)
        return self._scanned(rng, at, account, destination, week[at], carton, shipped, np.full(len(week), distinct))

    def _cartons(self, flow: Flows, number: int) -> tuple[pd.DataFrame, _Scans]:
        """Scans of cartons that went elsewhere, and the table of their flows."""
        spec, net = self.spec, self.net
        rng = spec.rng(f"cartons of {number}")
        most = float(self._campaign.max())
        chance = spec.coverage * net.scanning[flow.destination] * flow.alive * most
        scans = rng.binomial(flow.units, np.minimum(chance, 1.0))
        at = np.repeat(np.arange(len(scans)), scans)
        week = flow.ship_week[at] + rng.choice(len(SHELF), size=len(at), p=SHELF)
        inside = week < spec.weeks
        at, week = at[inside], week[inside]
        kept = rng.random(len(at)) * most < self._campaign[flow.destination[at], week]
        at, week = at[kept], week[kept]
        # Below every number of an ordinary carton, and apart for each of the flows.
        carton = -1 - (np.arange(len(scans)) * 8 + number + 1)
        found = self._scanned(
            rng, at, flow.account, flow.destination, week, carton, flow.ship_week, flow.distinct, flow.flow
        )
        return flow.table, found

    def _scanned(
        self,
        rng: np.random.Generator,
        at: Ints,
        account: Ints,
        destination: Ints,
        week: Ints,
        carton: Ints,
        ship_week: Ints,
        distinct: Floats,
        flow: Ints | None = None,
    ) -> _Scans:
        """One row per scan: `at` names the journey or carton, `week` is that of the scan."""
        another = rng.random(len(at)) < distinct[at]
        own_device = 2 * np.arange(len(at)) + 1
        return _Scans(
            account=account[at],
            destination=destination[at],
            week=week,
            carton=carton[at],
            device=np.where(another, own_device, 2 * at),
            ship_week=ship_week[at],
            flow=np.full(len(at), -1) if flow is None else flow[at],
        )

    def _in_order(self, parts: list[_Scans]) -> Sightings:
        """All scans by arrival. Numbers of cartons and devices are drawn anew, so that they say nothing about their origin."""
        spec, net = self.spec, self.net
        rng = spec.rng("arrival")
        # Devices of two parts are never the same.
        device = np.concatenate([part.device * len(parts) + at for at, part in enumerate(parts)])
        whole = {name: _joined(parts, name) for name in ("account", "destination", "week", "carton", "ship_week")}
        week, account = whole["week"], whole["account"]
        arrival = week + rng.choice(len(DELAYS), size=len(week), p=DELAYS)
        order = np.lexsort((rng.random(len(week)), arrival))
        found = Sightings(
            account=account,
            destination=whole["destination"],
            week=week,
            arrival=arrival,
            carton=_renumbered(rng, whole["carton"]),
            device=_renumbered(rng, device),
            ship_week=whole["ship_week"],
            lot=(whole["ship_week"] // 2 + len(SHELF)) * spec.lines + net.line[account],
        )
        return found.take(order)


def _joined(parts: list[_Scans], name: str) -> Ints:
    return np.concatenate([getattr(part, name) for part in parts]).astype(np.int64)


def _renumbered(rng: np.random.Generator, numbers: Ints) -> Ints:
    names, inverse = np.unique(numbers, return_inverse=True)
    return np.asarray(rng.permutation(len(names))[inverse], dtype=np.int64)


def _ordered_on_top(spec: WorldSpec, planted: Flows, shape: tuple[int, ...]) -> NDArray[np.int64]:
    extra = np.zeros(shape)
    cartons = flows.ORDERED_ON_TOP * planted.units / spec.units_per_carton
    np.add.at(extra, (planted.account, planted.ship_week), cartons)
    return np.rint(extra).astype(np.int64)


def _campaign(spec: WorldSpec) -> Floats:
    """Factor of scan coverage, regions × weeks: a campaign of six weeks in a third of the regions each year."""
    rng = spec.rng("campaign")
    factor = np.ones((spec.regions, spec.weeks))
    for year in range(spec.years):
        start = spec.history_weeks + WEEKS_PER_YEAR * year + int(rng.integers(0, WEEKS_PER_YEAR - _CAMPAIGN_WEEKS))
        chosen = rng.random(spec.regions) < 1.0 / 3.0
        factor[chosen, start : start + _CAMPAIGN_WEEKS] = spec.campaign_factor
    return factor


def _last_order(cartons: Ints) -> Ints:
    """Per account × week: the latest week up to then in which cartons were shipped; -1 where there was none."""
    weeks = np.where(cartons > 0, np.arange(cartons.shape[1])[None, :], -1)
    return np.asarray(np.maximum.accumulate(weeks, axis=1), dtype=np.int64)


def _seen(table: pd.DataFrame, scans: _Scans, weeks: int) -> pd.DataFrame:
    """The truth with what of it anybody can see: scanned_units, sibling_cartons (two or more units of it scanned), first_seen
    (week of the first scan; the world's end where there is none)."""
    seen = pd.DataFrame({"flow": scans.flow, "carton": scans.carton, "week": scans.week})
    per_carton = seen.groupby(["flow", "carton"]).size()
    siblings = per_carton[per_carton >= 2].groupby("flow").size()
    by_flow: Any = seen.groupby("flow")["week"]
    return table.assign(
        scanned_units=by_flow.size().reindex(table.index, fill_value=0).astype(np.int64),
        sibling_cartons=siblings.reindex(table.index, fill_value=0).astype(np.int64),
        first_seen=by_flow.min().reindex(table.index, fill_value=weeks).astype(np.int64),
    )
