"""Diversion planted in a finished world: cartons opened, swapped, covered by scans at home, or sent straight elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fangcuan.simulate.clock import DAY, waking_hours
from fangcuan.simulate.families import Planting
from fangcuan.simulate.plan import Scheme
from fangcuan.simulate.revision import Revision


def _pool(rev: Revision, dealer: int, planting: Planting) -> np.ndarray:
    """Cartons of a dealer that reach it from the start on and are sold before the last night."""
    cartons = rev.cartons
    return np.flatnonzero(
        rev.free_cartons()
        & (cartons["consignee"].to_numpy() == dealer)
        & (cartons["ship2"].to_numpy() // DAY >= rev.first_night + planting.start)
        & (cartons["on_sale"].to_numpy() // DAY < rev.last_night)
    )


def _culprits(
    rev: Revision, planting: Planting, rng: np.random.Generator, most: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Dealers with enough cartons, the ones with most first, and up to `most` of their cartons, drawn at random."""
    pools = {dealer: _pool(rev, dealer, planting) for dealer in rev.dealers(rng)}
    left = most
    for dealer, pool in sorted(pools.items(), key=lambda item: (-len(item[1]), item[0])):
        if left <= 0 or len(pool) < 3:
            return
        rows = np.sort(rng.permutation(pool)[: int(left)])
        left -= len(rows)
        yield dealer, rows


def _far(rev: Revision, dealer: int, rng: np.random.Generator) -> int:
    """A dear region at least 120 km away."""
    geo, home = rev.geo, int(rev.net.region[dealer])
    weight = np.where(
        geo.distance[home] >= 120, np.maximum(geo.price_index - geo.price_index[home] + 0.05, 0.005) ** 2, 0
    )
    return int(rng.choice(len(geo), p=weight / weight.sum()))


def _scheme(
    rev: Revision, kind: str, dealer: int, rows: np.ndarray, region: int, planting: Planting
) -> tuple[int, Scheme]:
    cartons, net = rev.cartons, rev.net
    day = cartons["ship2"].to_numpy()[rows] // DAY
    units = cartons["units"].to_numpy()[rows]
    margin = np.array([product.margin for product in net.products])[cartons["sku"].to_numpy()[rows]]
    scheme = Scheme(
        f"S{len(rev.world.plan.schemes) + 1:03d}", "diversion", kind, dealer, int(day.min()), int(day.max())
    )
    scheme.region, scheme.stealth = region, planting.strength
    scheme.cartons, scheme.units, scheme.money = len(rows), int(units.sum()), float((units * margin).sum())
    holders = [int(at) for at in net.dealers if net.region[at] == region and int(at) != dealer]
    scheme.victim = holders[0] if holders else -1
    lines = sorted({net.products[at].line for at in cartons["sku"].to_numpy()[rows].tolist()})
    scheme.line = lines[0] if len(lines) == 1 else ""
    rev.world.plan.schemes.append(scheme)
    rev.take_dealer(dealer)
    return len(rev.world.plan.schemes) - 1, scheme


def _divert(rev: Revision, at: int, scheme: Scheme, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whole cartons are sold in the scheme's region and left out of the dealer's sell-out. Returns the scans moved."""
    chosen = rev.scans_of(rows)
    rev.move(chosen, np.full(len(chosen), scheme.region), rng, scheme.scheme_id)
    rev.sell_elsewhere(rows, scheme.partner, -1, scheme.scheme_id)
    rev.mark(rows, flow="diverted", venue=scheme.region, scheme=at, retailer=-1)
    return chosen


def carton_splitting(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """One dealer opens its cartons and sends a few units of each to one region; the rest of each carton sells at home.

    truth/units.csv lists the units that left, and flows.csv nothing: no carton went anywhere as a whole.
    """
    for dealer, rows in _culprits(rev, planting, rng, planting.size):
        _, scheme = _scheme(rev, "carton_splitting", dealer, rows, _far(rev, dealer, rng), planting)
        units = rev.world.units
        carton = units["carton"].to_numpy()
        inside = np.flatnonzero(np.isin(carton, rows))
        # Within each carton the units with the smallest draws leave.
        order = inside[np.lexsort((rng.random(len(inside)), carton[inside]))]
        starts = np.r_[True, np.diff(carton[order]) != 0]
        place = np.arange(len(order)) - np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
        size = rev.cartons["units"].to_numpy()[carton[order]]
        gone = order[place < np.maximum(1, np.rint(size * (1 - planting.strength)))]
        scheme.epcs = units["epc"].to_numpy()[np.sort(gone)].tolist()
        scheme.units = len(gone)
        margin = np.array([product.margin for product in rev.net.products])
        scheme.money = float(margin[units["sku"].to_numpy()[gone]].sum())
        chosen = rev.scans_of(rows)
        chosen = chosen[np.isin(rev.scans["unit"].to_numpy()[chosen], gone)]
        rev.move(chosen, np.full(len(chosen), scheme.region), rng, scheme.scheme_id)
        rev.mark(rows)
        return


def swap(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Two dealers sell in each other's territory. Both book the sale as their own, so both ledgers balance."""
    pools = {dealer: _pool(rev, dealer, planting) for dealer in rev.dealers(rng)}
    ranked = sorted(pools, key=lambda dealer: (-len(pools[dealer]), dealer))
    first = ranked[0]
    second = next(at for at in ranked[1:] if rev.net.region[at] != rev.net.region[first])
    for dealer, other in ((first, second), (second, first)):
        rows = np.sort(rng.permutation(pools[dealer])[: int(planting.size)])
        at, scheme = _scheme(rev, "swap", dealer, rows, int(rev.net.region[other]), planting)
        scheme.accomplices = (other,)
        chosen = rev.scans_of(rows)
        hidden = rng.random(len(chosen)) < planting.strength
        rev.move(chosen[~hidden], np.full(int((~hidden).sum()), scheme.region), rng, scheme.scheme_id)
        rev.withdraw_scans(chosen[hidden], scheme.scheme_id)
        rev.mark(rows, flow="diverted", venue=scheme.region, scheme=at, retailer=-1)


def fake_own_scans(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Before its cartons leave, a dealer scans a share of their units at home, with three phones within an hour or two."""
    for dealer, rows in _culprits(rev, planting, rng, planting.size):
        at, scheme = _scheme(rev, "fake_own_scans", dealer, rows, _far(rev, dealer, rng), planting)
        _divert(rev, at, scheme, rows, rng)
        carton = rev.world.units["carton"].to_numpy()
        unit = np.flatnonzero(np.isin(carton, rows))
        unit = unit[rng.random(len(unit)) < planting.strength]
        held = rev.cartons["holds_from"].to_numpy()[carton[unit]]
        first_scan = rev.scans.groupby("unit")["time"].min().reindex(unit).to_numpy()
        evening = waking_hours(rng, held // DAY)
        # All the units of a carton within minutes, after the receipt and before any consumer has one.
        _, back = np.unique(carton[unit], return_inverse=True)
        evening = np.maximum(evening[np.unique(back, return_index=True)[1]][back], held + 600)
        time = evening + rng.integers(0, 1200, len(unit))
        keep = ~(time >= np.nan_to_num(first_scan, nan=np.inf))
        unit, time = unit[keep], time[keep]
        phones = rev.devices(rng.integers(0, 3, len(unit)) + 1000 * at, 0xFA)
        home = np.full(len(unit), int(rev.net.region[dealer]))
        rev.add_scans(f"FO{scheme.scheme_id}", unit, time, home, phones, rng, scheme.scheme_id)


def logistics_reroute(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """The lorry goes from the distributor straight to the other region; most cartons are never received on record."""
    for dealer, rows in _culprits(rev, planting, rng, planting.size):
        at, scheme = _scheme(rev, "logistics_reroute", dealer, rows, _far(rev, dealer, rng), planting)
        _divert(rev, at, scheme, rows, rng)
        rev.withdraw_receipts(rows[rng.random(len(rows)) >= planting.strength], scheme.scheme_id)
