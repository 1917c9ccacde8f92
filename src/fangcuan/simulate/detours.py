"""Families of goods that go elsewhere for an innocent reason: a territory nobody loaded, a wrong dock, a bulk buyer."""

from __future__ import annotations

import numpy as np

from fangcuan.simulate.clock import DAY
from fangcuan.simulate.families import Planting
from fangcuan.simulate.revision import Revision


def redraw_not_loaded(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """A dealer is given a neighbouring prefecture without a dealer; the master data never hear of it."""
    geo, net, cartons = rev.geo, rev.net, rev.cartons
    first = rev.first_night + planting.start
    held = set(net.region[net.dealers].tolist())
    done = 0
    for dealer in rev.dealers(rng):
        if done == int(planting.size):
            break
        beside = [int(at) for at in np.flatnonzero(geo.adjacent[net.region[dealer]]) if int(at) not in held]
        pool = np.flatnonzero(
            rev.free_cartons()
            & (cartons["consignee"].to_numpy() == dealer)
            & (cartons["on_sale"].to_numpy() // DAY >= first)
        )
        if not beside or len(pool) < 4:
            continue
        region = int(rng.choice(beside))
        held.add(region)
        rows = np.sort(rng.permutation(pool)[: max(3, round(planting.strength * len(pool)))])
        at, reason = rev.innocent(
            "redraw_not_loaded",
            "partner",
            net.ids[dealer],
            region_code=geo.codes[region],
            first_day=first,
            units=int(cartons["units"].to_numpy()[rows].sum()),
            note="territory given from the first day on, absent from the master data",
        )
        _resell(rev, rows, region, rng, reason)
        rev.mark(rows, flow="redraw", venue=region, innocent=at, retailer=-1)
        rev.take_dealer(dealer)
        done += 1


def mis_shipments(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Whole deliveries unloaded at another dealer of the same products: one ship date, one lot or two."""
    geo, net, cartons = rev.geo, rev.net, rev.cartons
    line = cartons["line"].to_numpy()
    whole = np.bincount(line, minlength=line.max() + 1)
    free = rev.free_cartons() & (cartons["ship2"].to_numpy() // DAY >= rev.first_night + planting.start)
    free &= (cartons["on_sale"].to_numpy() // DAY < rev.last_night) & np.isin(cartons["consignee"], net.dealers)
    sizes = np.bincount(line[free], minlength=len(whole))
    # The largest deliveries of the time first: a lorry that gets lost is a full one.
    order = rng.permutation(np.flatnonzero((sizes == whole) & (sizes >= 2)))
    order = order[np.argsort(-np.minimum(sizes[order], 6), kind="stable")]
    done = 0
    innocent_dealers = set(rev.dealers(rng))
    for number in order.tolist():
        if done == int(planting.size):
            break
        rows = np.flatnonzero(line == number)
        booked, sku = int(cartons["consignee"].iat[rows[0]]), int(cartons["sku"].iat[rows[0]])
        others = [
            at
            for at in net.dealers.tolist()
            if net.region[at] != net.region[booked] and sku in net.product_group(at) and at in innocent_dealers
        ]
        if booked not in innocent_dealers or not others:
            continue
        siblings = [at for at in others if net.parent[at] == net.parent[booked]]
        other = int(rng.choice(siblings or others))
        region, day = int(net.region[other]), int(cartons["ship2"].iat[rows[0]] // DAY)
        at, reason = rev.innocent(
            "mis_shipment",
            "partner",
            net.ids[booked],
            region_code=geo.codes[region],
            first_day=day,
            last_day=day,
            units=int(cartons["units"].to_numpy()[rows].sum()),
            note=f"delivery unloaded at {net.ids[other]}",
        )
        _resell(rev, rows, region, rng, reason)
        _receipt(rev, number, other if rng.random() < planting.strength else -1, reason)
        rev.sell_elsewhere(rows, booked, other, reason, received=False)
        rev.mark(rows, flow="mis_shipped", venue=region, innocent=at, retailer=-1)
        for dealer in (booked, other):
            rev.take_dealer(dealer)
        innocent_dealers -= {booked, other}
        done += 1


def _receipt(rev: Revision, line: int, reader: int, reason: str) -> None:
    """The receipt of a delivery is read by the wrong dealer, or by nobody."""
    trace = rev.world.trace
    mine = trace["event_id"].astype(str).str.startswith(f"urn:event:RC2-{line}-").to_numpy()
    ids = trace.loc[mine, "event_id"].unique().tolist()
    if reader < 0:
        rev.world.trace = trace[~mine].reset_index(drop=True)
        rev.note(reason, "trace_events", ids, "withdrawn")
        return
    trace.loc[mine, "partner_id"] = rev.net.ids[reader]
    trace.loc[mine, "region_code"] = rev.geo.codes[rev.net.region[reader]]
    rev.note(reason, "trace_events", ids, "changed")


def online_bulk(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Companies of one city buy official online stock by the carton; many units are scanned with the buyer's phone."""
    geo, net, cartons = rev.geo, rev.net, rev.cartons
    free = rev.free_cartons("online") & (cartons["on_sale"].to_numpy() // DAY >= rev.first_night + planting.start)
    pool = np.flatnonzero(free & (cartons["on_sale"].to_numpy() // DAY <= rev.last_night))
    rows = np.sort(rng.permutation(pool)[: int(planting.size)])
    region = int(rng.choice(len(geo), p=geo.population / geo.population.sum()))
    for seller in np.unique(cartons["consignee"].to_numpy()[rows]).tolist():
        mine = rows[cartons["consignee"].to_numpy()[rows] == seller]
        days = cartons["on_sale"].to_numpy()[mine] // DAY
        at, reason = rev.innocent(
            "online_bulk",
            "partner",
            net.ids[seller],
            region_code=geo.codes[region],
            first_day=int(days.min()),
            last_day=int(days.max()),
            units=int(cartons["units"].to_numpy()[mine].sum()),
            note=f"{len(mine)} cartons to one city",
        )
        chosen = rev.scans_of(mine)
        shared = rng.random(len(chosen)) < planting.strength
        number = np.where(shared, rev.scans["carton"].to_numpy()[chosen], rng.integers(2**31, 2**46, len(chosen)))
        rev.move(chosen, np.full(len(chosen), region), rng, reason, rev.devices(number, 0xB0))
        rev.mark(mine, flow="online_bulk", venue=region, innocent=at, retailer=-1)


def _resell(rev: Revision, rows: np.ndarray, region: int, rng: np.random.Generator, reason: str) -> None:
    """Consumers buy and scan these cartons in another region."""
    chosen = rev.scans_of(rows)
    rev.move(chosen, np.full(len(chosen), region), rng, reason)
