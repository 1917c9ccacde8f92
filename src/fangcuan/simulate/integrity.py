"""Schemes against the codes themselves: serials that were never issued, copied, or that come back from destruction."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.simulate.catalogue import unit_epcs
from fangcuan.simulate.clock import DAY, day_number, waking_hours
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.goods import Goods
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan, Scheme
from fangcuan.simulate.scans import Scans, measure
from fangcuan.simulate.spec import WorldSpec

#: Numbers from here on were never printed in any world.
NEVER_ISSUED_FROM = 50_000_000


def forge(
    spec: WorldSpec, geo: Geography, net: Network, plan: Plan, goods: Goods, units: pd.DataFrame, scans: Scans
) -> None:
    """Add the scans of code integrity schemes to `scans`."""
    parts = [scans.frame]
    for at, scheme in enumerate(plan.schemes):
        if scheme.family != "code_integrity":
            continue
        rng = spec.rng(f"forge {scheme.scheme_id}")
        if scheme.kind == "never_issued":
            frame = _never_issued(spec, geo, net, scheme, rng)
        elif scheme.kind == "cloned_serial":
            frame = _cloned(spec, geo, goods, units, scans, scheme, rng)
            scheme.line, scheme.victim = net.products[scheme.sku].line, -1
        else:
            frame = _reappeared(spec, geo, goods, units, scheme, at, rng)
        if len(frame):
            frame = frame[frame["time"] // DAY <= day_number(spec.end)]
            parts.append(measure(geo, frame.assign(border=-1), rng))
        price = net.products[scheme.sku].list_price
        scheme.money = round(price * max(len(frame), scheme.units) * 0.3, 2)
        scheme.subject = scheme.epcs[0] if scheme.epcs else ""
    scans.frame = pd.concat(parts, ignore_index=True)


def _days(spec: WorldSpec, rng: np.random.Generator, count: int, first: int) -> np.ndarray:
    return np.sort(rng.integers(first, day_number(spec.end) + 1, count))


def _never_issued(
    spec: WorldSpec, geo: Geography, net: Network, scheme: Scheme, rng: np.random.Generator
) -> pd.DataFrame:
    """A counterfeiter prints well-formed serials of his own; they turn up in one region and its neighbours."""
    serials = int(rng.integers(10, 22))
    numbers = NEVER_ISSUED_FROM + rng.choice(1_000_000, serials, replace=False)
    epcs = unit_epcs(np.full(serials, scheme.sku), np.sort(numbers), net.products)
    which = np.concatenate([np.arange(serials), rng.integers(0, serials, serials // 2)])
    first = day_number(spec.start) + int(rng.integers(0, max(1, spec.nights // 3)))
    days = _days(spec, rng, len(which), first)
    scheme.first_day, scheme.last_day, scheme.epcs, scheme.units = first, int(days[-1]), epcs.tolist(), serials
    region = np.where(rng.random(len(which)) < 0.8, scheme.region, rng.choice(len(geo), len(which)))
    return _frame(epcs[which], scheme.sku, waking_hours(rng, days), region, rng)


def _cloned(
    spec: WorldSpec,
    geo: Geography,
    goods: Goods,
    units: pd.DataFrame,
    scans: Scans,
    scheme: Scheme,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Two genuine, sold serials are printed on many units and seen all over the country within weeks."""
    candidates = np.unique(
        scans.frame.loc[scans.frame["time"] // DAY < day_number(spec.start) + spec.nights // 3, "unit"]
    )
    cartons = goods.cartons
    innocent = cartons["flow"].to_numpy()[units["carton"].to_numpy()[candidates]] == "normal"
    chosen = np.sort(rng.permutation(candidates[innocent])[:2])
    scheme.sku = int(units["sku"].iat[chosen[0]])
    epcs = units["epc"].to_numpy()[chosen]
    each = int(rng.integers(10, 22))
    which = np.repeat(np.arange(len(chosen)), each)
    first = day_number(spec.start) + int(rng.integers(0, max(1, spec.nights // 3)))
    sold = cartons["on_sale"].to_numpy()[units["carton"].to_numpy()[chosen]] // DAY
    first = max(first, int(sold.max()) + 1)
    first = min(first, day_number(spec.end) - 1)
    days = rng.permutation(_days(spec, rng, len(which), first))
    scheme.first_day, scheme.last_day, scheme.epcs = first, int(days.max()), epcs.tolist()
    scheme.units, scheme.region = len(which), -1
    region = rng.choice(len(geo), len(which), p=geo.population / geo.population.sum())
    skus = units["sku"].to_numpy()[chosen][which]
    return _frame(epcs[which], skus, waking_hours(rng, days), region, rng, unit=chosen[which])


def _reappeared(
    spec: WorldSpec,
    geo: Geography,
    goods: Goods,
    units: pd.DataFrame,
    scheme: Scheme,
    at: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Units booked as destroyed are sold on and scanned afterwards."""
    cartons = goods.cartons
    carton = units["carton"].to_numpy()
    mine = np.flatnonzero(cartons["scheme"].to_numpy()[carton] == at)
    scheme.epcs = units["epc"].to_numpy()[mine].tolist()
    seen = mine[rng.random(len(mine)) < 0.7]
    if len(seen) == 0:
        seen = mine[:1]
    destroyed = cartons["destroyed"].to_numpy()[carton[seen]]
    last = day_number(spec.end)
    wait = rng.integers(2, 20, len(seen))
    days = np.maximum(np.minimum(destroyed // DAY + wait, last), destroyed // DAY + 1)
    region = np.where(rng.random(len(seen)) < 0.8, scheme.region, rng.choice(len(geo), len(seen)))
    return _frame(units["epc"].to_numpy()[seen], scheme.sku, waking_hours(rng, days), region, rng, unit=seen)


def _frame(
    epcs: np.ndarray,
    sku: int | np.ndarray,
    moments: np.ndarray,
    region: np.ndarray,
    rng: np.random.Generator,
    unit: np.ndarray | int = -1,
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "unit": unit,
            "epc": epcs,
            "sku": sku,
            "time": moments,
            "true_region": region,
            "device": rng.integers(2 * 10**9, 3 * 10**9, len(epcs)),
        }
    )
