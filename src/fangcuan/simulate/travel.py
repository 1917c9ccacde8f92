"""Families of travel: people move and goods do not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.simulate.clock import DAY, waking_hours
from fangcuan.simulate.families import NULLS, Planting
from fangcuan.simulate.geography import COUNTRY
from fangcuan.simulate.revision import Revision
from fangcuan.simulate.scans import is_holiday


def _gravity(rev: Revision, home: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Where travellers from `home` (positions) go, by one uniform number each."""
    count = len(rev.geo)
    shelf = (np.cumsum(rev.geo.gravity(), axis=1) + np.arange(count)[:, None]).ravel()
    return np.clip(np.searchsorted(shelf, home + draw) - home * count, 0, count - 1)


def _send(
    rev: Revision, mask: np.ndarray, share: np.ndarray | float, rng: np.random.Generator, reason: str, to: int = -1
) -> int:
    """Scans of the mask happen elsewhere with the chance `share`: by gravity, or all in one region. Returns how many."""
    scans = rev.scans
    # One draw per scan of the world, so that what is chosen does not depend on what other families took.
    chance, draw = rng.random(len(scans)), rng.random(len(scans))
    chosen = np.flatnonzero(mask & rev.free_scans() & (chance < share))
    home = scans["true_region"].to_numpy()[chosen]
    rev.move(chosen, np.full(len(chosen), to) if to >= 0 else _gravity(rev, home, draw[chosen]), rng, reason)
    return len(chosen)


def _of(rev: Revision, dealer: int, planting: Planting) -> np.ndarray:
    scans = rev.scans
    return (scans["consignee"].to_numpy() == dealer) & (scans["day"].to_numpy() >= rev.first_night + planting.start)


def _period(rev: Revision, planting: Planting) -> dict[str, int]:
    return {"first_day": rev.first_night + planting.start, "last_day": rev.last_night}


def plain(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Ordinary travel of the consumers of a share of the dealers."""
    order = rng.permutation(rev.net.dealers)
    chosen = order[: max(1, round(planting.size * len(order)))]
    since = rev.scans["day"].to_numpy() >= rev.first_night + planting.start
    at, reason = rev.innocent("travel", "region", COUNTRY, region_code="", **_period(rev, planting))
    mask = since & np.isin(rev.scans["consignee"].to_numpy(), chosen)
    rev.count_units(at, _send(rev, mask, planting.strength, rng, reason))


def holiday(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """A wave of travel on days that the calendar does not list; listed holidays are skipped, not counted."""
    days: list[int] = []
    day = rev.first_night + planting.start
    while len(days) < planting.size and day <= rev.last_night:
        if not is_holiday(np.array([day]))[0]:
            days.append(day)
        day += 1
    if not days:
        raise ValueError("plantings: holiday starts after the last night")
    at, reason = rev.innocent("unlisted_holiday", "region", COUNTRY, first_day=days[0], last_day=days[-1])
    mask = np.isin(rev.scans["day"].to_numpy(), days)
    rev.count_units(at, _send(rev, mask, planting.strength, rng, reason))


def hubs(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Dealers at a junction: so many times the foreign scans of others, spread by gravity."""
    ordinary = rev.spec.plantings.get("plain", NULLS["plain"].sample).strength
    share = min(0.6, planting.strength * ordinary)
    for dealer in rev.dealers(rng)[: int(planting.size)]:
        rev.take_dealer(dealer)
        at, reason = rev.innocent(
            "hub", "partner", rev.net.ids[dealer], note=f"natural leakage {share:.3f}", **_period(rev, planting)
        )
        rev.count_units(at, _send(rev, _of(rev, dealer, planting), share, rng, reason))


def migrant_corridor(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Dealers whose consumers travel to one far city each, always the same."""
    geo = rev.geo
    for dealer in rev.dealers(rng)[: int(planting.size)]:
        reach = np.where(geo.distance[rev.net.region[dealer]] > 120, geo.population * geo.price_index, 0)
        to = int(rng.choice(len(geo), p=reach / reach.sum()))
        rev.take_dealer(dealer)
        at, reason = rev.innocent(
            "migrant_corridor",
            "partner",
            rev.net.ids[dealer],
            region_code=geo.codes[to],
            **_period(rev, planting),
        )
        rev.count_units(at, _send(rev, _of(rev, dealer, planting), planting.strength, rng, reason, to))


def drift(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """The share of scans elsewhere rises along a straight line from the start to the last night."""
    order = rng.permutation(rev.net.dealers)
    chosen = order[: max(1, round(planting.size * len(order)))]
    first = rev.first_night + planting.start
    done = (rev.scans["day"].to_numpy() - first) / max(1, rev.last_night - first)
    at, reason = rev.innocent("drift", "region", COUNTRY, note=f"{len(chosen)} dealers", **_period(rev, planting))
    mask = (done > 0) & np.isin(rev.scans["consignee"].to_numpy(), chosen)
    rev.count_units(at, _send(rev, mask, np.clip(done, 0, 1) * planting.strength, rng, reason))


def scan_campaign(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Twelve days of red packets per region: units nobody would have scanned are scanned, some of them on a journey.

    The brand runs the campaign, so the calendar lists it.
    """
    world, geo = rev.world, rev.geo
    ordinary = rev.spec.plantings.get("plain", NULLS["plain"].sample).strength
    carton = world.units["carton"].to_numpy()
    consignee = rev.cartons["consignee"].to_numpy()
    venue, on_sale = rev.cartons["venue"].to_numpy()[carton], rev.cartons["on_sale"].to_numpy()[carton]
    count = len(carton)
    sold = on_sale + (rng.gamma(1.3, 5.0, count) * DAY).astype(np.int64)
    draw, offset, trip, aim = rng.random(count), rng.random(count), rng.random(count), rng.random(count)
    unscanned = np.ones(count, dtype=bool)
    unscanned[world.scans.frame.loc[world.scans.frame["unit"] >= 0, "unit"].to_numpy(dtype=int)] = False
    stay = rev.free_cartons()[carton] & np.isin(consignee, rev.net.dealers)[carton] & unscanned
    first = max(rev.first_night + planting.start, 0)
    last = min(first + 11, rev.last_night - 1)
    stay &= sold // DAY < last
    sizes = np.bincount(venue[stay], minlength=len(geo))
    regions = [int(at) for at in rng.permutation(len(geo)) if sizes[at] >= 10][: int(planting.size)]
    for region in regions:
        unit = np.flatnonzero(stay & (venue == region) & (draw < planting.strength))
        opens = np.maximum(sold[unit] // DAY + 1, first)
        day = opens + (offset[unit] * (last - opens + 1)).astype(np.int64)
        away = trip[unit] < ordinary
        where = np.where(away, _gravity(rev, np.full(len(unit), region), aim[unit]), region)
        at, reason = rev.innocent(
            "campaign", "region", geo.codes[region], region_code=geo.codes[region], first_day=first, last_day=last
        )
        device = rev.devices(rng.integers(0, 2**47, len(unit)), 0xCA)
        prefix = f"CC{geo.codes[region]}"
        moments = waking_hours(rng, day)
        rev.count_units(at, rev.add_scans(prefix, unit, moments, where, device, rng, reason))
        calendar = world.masters["calendar"]
        listed = [
            {
                **dict.fromkeys(calendar.columns, ""),
                "day": str(np.datetime64(number, "D")),
                "kind": "campaign",
                "region_code": geo.codes[region],
                "valid_from": calendar["valid_from"].iat[0],
                "recorded_at": calendar["recorded_at"].iat[0],
            }
            for number in range(first, last + 1)
        ]
        world.masters["calendar"] = pd.concat([calendar, pd.DataFrame(listed)], ignore_index=True)
