"""Consumer scans: which units are scanned, when, where the consumer is, and where the phone says they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fangcuan.simulate.clock import DAY, HOUR, date_of, day_number, waking_hours
from fangcuan.simulate.geography import KM_PER_DEGREE, Geography
from fangcuan.simulate.goods import SPRING_FESTIVALS, Goods
from fangcuan.simulate.ledger import Ledger
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan
from fangcuan.simulate.spec import WorldSpec

#: Public holidays with much travel, as (month, first day, last day); Spring Festival moves and is listed with the goods.
FIXED_HOLIDAYS = ((1, 1, 3), (4, 4, 6), (5, 1, 5), (10, 1, 7))


@dataclass
class Scans:
    """`frame`: one row per consumer scan with unit (position or -1), epc, sku, time, region (measured position, -1 where
    nothing was measured), true_region, latitude, longitude, accuracy_m, place_source, device."""

    frame: pd.DataFrame


def is_holiday(days: np.ndarray) -> np.ndarray:
    """Whether each day number is a travel holiday."""
    unique, back = np.unique(days, return_inverse=True)
    flags = np.zeros(len(unique), dtype=bool)
    for at, number in enumerate(unique.tolist()):
        day = date_of(number)
        flags[at] = any(day.month == m and a <= day.day <= b for m, a, b in FIXED_HOLIDAYS) or any(
            begins <= day <= ends for begins, ends in SPRING_FESTIVALS
        )
    return flags[back]


def region_propensity(spec: WorldSpec, geo: Geography) -> np.ndarray:
    """How much more or less than average consumers of a prefecture scan."""
    return spec.rng("propensity").lognormal(0.0, 0.25, len(geo))


def scan(
    spec: WorldSpec, geo: Geography, net: Network, plan: Plan, goods: Goods, units: pd.DataFrame, ledger: Ledger
) -> Scans:
    """Scans of sold units up to the last night."""
    rng = spec.rng("scans")
    cartons = goods.cartons
    carton = units["carton"].to_numpy()
    count = len(units)
    venue = cartons["venue"].to_numpy()[carton]
    draw, sale_lag, scan_lag = rng.random(count), rng.gamma(1.3, 5.0, count), rng.gamma(1.0, 21.0, count)
    national = rng.choice(len(geo), count, p=geo.population / geo.population.sum())
    venue = np.where(venue < 0, national, venue)
    propensity = np.array([product.propensity for product in net.products])[units["sku"].to_numpy()]
    chance = spec.scan_coverage * propensity * region_propensity(spec, geo)[venue]
    chance *= cartons["scan_factor"].to_numpy()[carton]
    sold = cartons["on_sale"].to_numpy()[carton] + (sale_lag * DAY).astype(np.int64)
    day = (sold + (scan_lag * DAY).astype(np.int64)) // DAY
    scanned = draw < chance
    if spec.nulls:
        scanned, day = _campaign(spec, geo, net, units, venue, sold, scanned, day, cartons, carton, ledger)
    rows = np.flatnonzero(scanned & (day <= day_number(spec.end)))
    moment = np.maximum(waking_hours(rng, day[rows]), sold[rows] + 10 * 60)
    late = moment // DAY > day_number(spec.end)
    rows, moment = rows[~late], moment[~late]
    flow = cartons["flow"].to_numpy()[carton[rows]]
    consignee = cartons["consignee"].to_numpy()[carton[rows]]
    true_region, border = _travel(spec, geo, plan, venue[rows], consignee, flow, moment, rng)
    frame = pd.DataFrame(
        {
            "unit": rows,
            "epc": units["epc"].to_numpy()[rows],
            "sku": units["sku"].to_numpy()[rows],
            "time": moment,
            "true_region": true_region,
            "device": _devices(spec, carton[rows], flow, rng),
        }
    )
    frame = pd.concat([frame.assign(border=border), _again(spec, frame.assign(border=border), rng)], ignore_index=True)
    return Scans(measure(geo, frame, rng))


def _campaign(
    spec: WorldSpec,
    geo: Geography,
    net: Network,
    units: pd.DataFrame,
    venue: np.ndarray,
    sold: np.ndarray,
    scanned: np.ndarray,
    day: np.ndarray,
    cartons: pd.DataFrame,
    carton: np.ndarray,
    ledger: Ledger,
) -> tuple[np.ndarray, np.ndarray]:
    """Red-packet campaigns: for twelve days everybody in a region scans one product line."""
    rng = spec.rng("campaigns")
    lines = np.array([product.line for product in net.products], dtype=object)[units["sku"].to_numpy()]
    for _ in range(2):
        region = int(rng.choice(net.region[net.dealers]))
        line = str(rng.choice(sorted({product.line for product in net.products})))
        first = day_number(spec.start) + int(rng.integers(0, max(1, spec.nights * 2 // 3)))
        last = min(first + 11, day_number(spec.end))
        lured = (
            (venue == region)
            & (lines == line)
            & (sold // DAY < last)
            & (cartons["scan_factor"].to_numpy()[carton] > 0)
            & (~scanned | (day > last))
            & (rng.random(len(units)) < 0.35)
        )
        scanned = scanned | lured
        day = np.where(lured, np.maximum(sold // DAY, rng.integers(first, last + 1, len(units))), day)
        ledger.innocent("campaign", "region", geo.codes[region], geo.codes[region], first, last, int(lured.sum()), line)
        ledger.campaigns.append({"region": region, "line": line, "first": first, "last": last})
    return scanned, day


def _travel(
    spec: WorldSpec,
    geo: Geography,
    plan: Plan,
    venue: np.ndarray,
    consignee: np.ndarray,
    flow: np.ndarray,
    moment: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Where each unit is scanned, and the neighbour across the border for scans within a few kilometres of it (-1)."""
    count = len(venue)
    leak = np.full(count, spec.leakage if spec.nulls else 0.0)
    towards = np.full(count, -1)
    habits = plan.habits
    for partner, share in habits.hubs.items():
        leak[(consignee == partner) & (flow == "normal")] = share
    for partner, target in habits.corridors.items():
        chosen = (consignee == partner) & (flow == "normal")
        leak[chosen] = 0.12
        towards[chosen & (rng.random(count) < 0.7)] = target
    # A campaign or a festival moves people, not goods: the same share more for everybody.
    leak = np.minimum(leak * np.where(is_holiday(moment // DAY), 2.5, 1.0), 0.5)
    away = rng.random(count) < leak
    # All rows of the cumulative gravity in one line, row r from r to r + 1: one search serves every origin.
    shelf = (np.cumsum(geo.gravity(), axis=1) + np.arange(len(geo))[:, None]).ravel()
    found = np.searchsorted(shelf, venue + rng.random(count)) - venue * len(geo)
    gone = np.where(towards >= 0, towards, np.clip(found, 0, len(geo) - 1))
    region = np.where(away, gone, venue)
    border = np.full(count, -1)
    chance = rng.random(count)
    for partner in habits.border:
        near = np.flatnonzero((consignee == partner) & (flow == "normal") & ~away & (chance < 0.35))
        for home in np.unique(venue[near]).tolist():
            beside = np.flatnonzero(geo.adjacent[home])
            if len(beside):
                nearest = beside[np.argsort(geo.distance[home, beside], kind="stable")[:2]]
                mine = near[venue[near] == home]
                border[mine] = rng.choice(nearest, len(mine))
    return region, border


def _devices(spec: WorldSpec, carton: np.ndarray, flow: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Device numbers. Households that buy several units of a carton scan them with one phone; gifts and bulk more so."""
    shared = rng.random(len(carton)) < np.where(np.isin(flow, ("gift", "online_bulk")), 0.6, 0.12)
    return np.where(shared, carton.astype(np.int64) + 10**9, rng.integers(0, 10**9, len(carton)))


def _again(spec: WorldSpec, frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Some consumers scan the same unit twice within three days."""
    again = frame[rng.random(len(frame)) < 0.07].copy()
    again["time"] = again["time"] + rng.integers(2 * 60, 3 * DAY, len(again))
    hour = again["time"] % DAY // HOUR
    return again[(again["time"] // DAY <= day_number(spec.end)) & (hour >= 6)]


def measure(geo: Geography, frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Positions as the phone reports them: satellite (tens of metres), address of the network (tens of kilometres), none."""
    count = len(frame)
    region = frame["true_region"].to_numpy()
    border = frame["border"].to_numpy() if "border" in frame else np.full(count, -1)
    spread = geo.spread_km[region]
    north, east = rng.normal(0, 1, count) * spread, rng.normal(0, 1, count) * spread
    latitude = geo.latitude[region] + north / KM_PER_DEGREE
    longitude = geo.longitude[region] + east / (KM_PER_DEGREE * np.cos(np.radians(geo.latitude[region])))
    near = np.flatnonzero(border >= 0)
    if len(near):
        # On the line between the two seats, within four kilometres of the middle, a little to either side.
        here, there = region[near], border[near]
        along = 0.5 + rng.normal(0.3, 2.5, len(near)) / np.maximum(geo.distance[here, there], 10)
        sideways = rng.normal(0, 0.03, len(near))
        latitude[near] = geo.latitude[here] + along * (geo.latitude[there] - geo.latitude[here]) + sideways
        longitude[near] = geo.longitude[here] + along * (geo.longitude[there] - geo.longitude[here]) - sideways
    kind = rng.choice(np.array(["gps", "ip", "none"], dtype=object), count, p=[0.62, 0.28, 0.10])
    accuracy = np.where(kind == "gps", rng.lognormal(3.3, 0.8, count), rng.uniform(3_000, 30_000, count))
    error = np.where(kind == "gps", accuracy, accuracy * 0.6) / 1000.0
    latitude = latitude + rng.normal(0, 1, count) * error / KM_PER_DEGREE / 1.5
    longitude = longitude + rng.normal(0, 1, count) * error / KM_PER_DEGREE / 1.5
    measured = geo.region_of(latitude, longitude)
    unknown = kind == "none"
    out = frame.drop(columns=["border"], errors="ignore").copy()
    out["latitude"] = np.where(unknown, np.nan, np.round(latitude, 5))
    out["longitude"] = np.where(unknown, np.nan, np.round(longitude, 5))
    out["accuracy_m"] = np.where(unknown, np.nan, np.round(accuracy, 0))
    out["place_source"] = kind
    out["region"] = np.where(unknown, -1, measured)
    return out
