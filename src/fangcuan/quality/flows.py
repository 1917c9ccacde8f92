"""Cartons that went elsewhere: schemes, and what looks like one. Each is a row here before anybody scans a unit of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fangcuan.quality.network import Chooser, Floats, Ints, Network
from fangcuan.quality.spec import WEEKS_PER_QUARTER, WorldSpec

#: Share of what a diverter moves that he orders on top; the rest is missing at home.
ORDERED_ON_TOP = 0.7
_PALLET_CARTONS = 40
#: How likely a further scan of a carton comes from another device: units sold in shops, one buyer of a whole carton.
_SHOPS, _ONE_BUYER = 0.97, 0.1


@dataclass(frozen=True)
class Flows:
    """Per carton: account, destination, ship_week, units that went there, alive (share of codes left readable), distinct (chance
    of another device), flow (row of `table`)."""

    account: Ints
    destination: Ints
    ship_week: Ints
    units: Ints
    alive: Floats
    distinct: Floats
    flow: Ints
    table: pd.DataFrame


def _flows(table: pd.DataFrame, number: Ints, ship_week: Ints, units: Ints, distinct: float) -> Flows:
    """Cartons of the flows in `table` (account, destination, stealth): `number` of each, in the order of its rows."""
    flow = np.repeat(np.arange(len(table)), number)
    stealth = table["stealth"].to_numpy(dtype=np.float64)
    return Flows(
        account=table["account"].to_numpy(dtype=np.int64)[flow],
        destination=table["destination"].to_numpy(dtype=np.int64)[flow],
        ship_week=ship_week.astype(np.int64),
        units=units.astype(np.int64),
        alive=1.0 - stealth[flow],
        distinct=np.full(len(flow), distinct),
        flow=flow,
        table=table,
    )


def schemes(spec: WorldSpec, net: Network) -> Flows:
    """One scheme for each diverting dealer, kinds in turn.

    `whole_carton`: 20–40 cartons within 4–8 weeks. `slow_drip`: 40–80 within 20–40 weeks. `quarter_end_dump`: 40–100 in the last
    two weeks of a quarter. `splitting`: 2–6 units of each of 150–250 cartons within 6–10 weeks, the rest sold at home.
    """
    rng = spec.rng("schemes")
    number = round(spec.diverting * spec.dealers)
    dealers = rng.choice(spec.dealers, size=number, replace=False)
    first_account = np.searchsorted(net.dealer, dealers)
    held = np.bincount(net.dealer, minlength=spec.dealers)[dealers]
    account = first_account + (rng.random(number) * held).astype(np.int64)
    home = net.home[account]
    near = Chooser(net.pull).draw(rng, home)
    anywhere = rng.choice(spec.regions, size=number, p=net.population / net.population.sum())
    far = (rng.random(number) >= 0.6) & (anywhere != home)
    kind = np.array([spec.kinds[at % len(spec.kinds)] for at in range(number)], dtype=object)
    dump, drip, split = (kind == name for name in ("quarter_end_dump", "slow_drip", "splitting"))

    def between(low: int, high: int) -> Ints:
        return np.asarray(rng.integers(low, high + 1, number), dtype=np.int64)

    weeks = np.select([dump, drip, split], [np.full(number, 2), between(20, 40), between(6, 10)], between(4, 8))
    cartons = np.select([dump, drip, split], [between(40, 100), between(40, 80), between(150, 250)], between(20, 40))
    cartons = np.maximum(np.rint(cartons * spec.scheme_size).astype(np.int64), 1)
    latest = spec.weeks - WEEKS_PER_QUARTER
    first = spec.history_weeks + (rng.random(number) * (latest - spec.history_weeks)).astype(np.int64)
    quarter_end = (first // WEEKS_PER_QUARTER) * WEEKS_PER_QUARTER + WEEKS_PER_QUARTER - 2
    first = np.where(dump, quarter_end, first)
    weeks = np.minimum(weeks, spec.weeks - first)
    low, high = spec.stealth
    table = pd.DataFrame(
        {
            "kind": kind,
            "account": account,
            "destination": np.where(far, anywhere, near),
            "first_week": first,
            "cartons": cartons,
            "stealth": low + (high - low) * rng.random(number),
        }
    )
    flow = np.repeat(np.arange(number), cartons)
    ship_week = first[flow] + (rng.random(len(flow)) * weeks[flow]).astype(np.int64)
    units = np.where(split[flow], rng.integers(2, 7, len(flow)), spec.units_per_carton)
    table["last_week"] = first + weeks - 1
    table["units"] = np.bincount(flow, weights=units, minlength=number).astype(np.int64)
    table["money"] = table["units"] * net.margin[net.line[account]]
    return _flows(table, cartons, ship_week, units, _SHOPS)


def innocents(spec: WorldSpec, net: Network) -> list[Flows]:
    """Whole cartons that innocently are where the master data do not expect them; none for what the spec leaves at zero."""
    return [_redrawn(spec, net), _misshipped(spec, net), _online(spec, net)]


def _table(kind: str, account: Ints, destination: Ints) -> pd.DataFrame:
    return pd.DataFrame({"kind": kind, "account": account, "destination": destination, "stealth": 0.0})


def _redrawn(spec: WorldSpec, net: Network) -> Flows:
    """Dealers who got their nearest region and sell a quarter of their goods there, while the master data say otherwise."""
    rng = spec.rng("redraw")
    dealers = np.flatnonzero(rng.random(spec.dealers) < spec.redrawn_share)
    account = np.flatnonzero(np.isin(net.dealer, dealers))
    began = rng.integers(spec.history_weeks, spec.weeks - WEEKS_PER_QUARTER, spec.dealers)[net.dealer[account]]
    table = _table("territory_redraw", account, np.argmax(net.pull[net.home[account]], axis=1))
    each = rng.poisson(0.25 * net.volume[account][:, None], (len(account), spec.weeks))
    each *= np.arange(spec.weeks) >= began[:, None]
    ship_week = np.repeat(np.tile(np.arange(spec.weeks), len(account)), each.ravel())
    units = np.full(len(ship_week), spec.units_per_carton)
    return _flows(table, each.sum(axis=1), ship_week, units, _SHOPS)


def _misshipped(spec: WorldSpec, net: Network) -> Flows:
    """Pallets that were unloaded at the wrong place on one day and sold there."""
    rng = spec.rng("misshipped")
    number = int(rng.poisson(spec.misshipped_per_year * net.accounts * spec.weeks / 52.0))
    account = rng.integers(0, net.accounts, number)
    table = _table("misshipment", account, Chooser(net.pull).draw(rng, net.home[account]))
    ship_week = np.repeat(rng.integers(0, spec.weeks, number), _PALLET_CARTONS)
    units = np.full(len(ship_week), spec.units_per_carton)
    return _flows(table, np.full(number, _PALLET_CARTONS), ship_week, units, _SHOPS)


def _online(spec: WorldSpec, net: Network) -> Flows:
    """Whole cartons sent to single buyers all over the country."""
    rng = spec.rng("online")
    number = int(rng.poisson(spec.online_cartons_per_week * net.accounts * spec.weeks))
    account = rng.choice(net.accounts, size=number, p=net.volume / net.volume.sum())
    goal = rng.choice(spec.regions, size=number, p=net.population / net.population.sum())
    kept = goal != net.home[account]
    table = _table("online_bulk", account[kept], goal[kept])
    one = np.ones(len(table), dtype=np.int64)
    ship_week = rng.integers(0, spec.weeks, len(table))
    return _flows(table, one, ship_week, one * spec.units_per_carton, _ONE_BUYER)
