"""Goods in motion: orders become cartons on pallets, and every carton gets its moments of production, shipping and arrival."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fangcuan.simulate.catalogue import CARTONS_PER_PALLET
from fangcuan.simulate.clock import DAY, HOUR, day_number, office_hours, weekday
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import RUSH_DAYS, Plan
from fangcuan.simulate.spec import WorldSpec

#: Spring Festival of 2024–2027, first and last day of the public holiday.
SPRING_FESTIVALS = (
    (dt.date(2024, 2, 10), dt.date(2024, 2, 17)),
    (dt.date(2025, 1, 28), dt.date(2025, 2, 4)),
    (dt.date(2026, 2, 15), dt.date(2026, 2, 23)),
    (dt.date(2027, 2, 5), dt.date(2027, 2, 12)),
)


@dataclass
class Goods:
    """`lines`: one row per order line (consignee, root, sku, day, cartons, scheme). `cartons`: one row per carton, in the
    order of production; times are local seconds, -1 where there is none. `venue` is the prefecture where consumers buy it,
    -1 for nation-wide online sale; `flow` says why it is there; `scheme` is the position of the scheme or -1."""

    lines: pd.DataFrame
    cartons: pd.DataFrame


def order_lines(spec: WorldSpec, geo: Geography, net: Network, plan: Plan) -> pd.DataFrame:
    """Order lines by consignee, product and day, from `sales_start` to the last night; schemes add their own."""
    rng = spec.rng("orders")
    first, last = day_number(spec.sales_start), day_number(spec.end)
    weeks = np.arange(first - int(weekday(np.array([first]))[0]), last + 1, 7)
    parts = []
    size = np.sqrt(geo.population / geo.population.mean())
    consignees = [(int(at), spec.cartons_per_dealer_week * size[net.region[at]]) for at in net.dealers]
    consignees += [(int(at), spec.cartons_per_dealer_week * 0.7) for at in net.key_accounts]
    consignees += [
        (int(at), spec.cartons_per_dealer_week * 0.8) for at in net.shops if net.parent[at] in net.distributors
    ]
    consignees.append((net.online_warehouse, spec.cartons_per_dealer_week * 3.0))
    for partner, rate in consignees:
        skus = net.product_group(partner)
        weights = np.array([net.products[at].weight for at in skus])
        level = rate * weights / weights.sum()
        orders = rng.random((len(weeks), len(skus))) < 0.45
        season = np.array(
            [[_season(int(week), net.products[at].line, plan.period_end) for at in skus] for week in weeks]
        )
        amount = rng.poisson(level[None, :] / 0.45 * season) * orders
        week_at, sku_at = np.nonzero(amount)
        days = weeks[week_at] + rng.choice(6, len(week_at), p=[0.22, 0.2, 0.18, 0.18, 0.17, 0.05])
        parts.append(
            pd.DataFrame({"consignee": partner, "sku": skus[sku_at], "day": days, "cartons": amount[week_at, sku_at]})
        )
    lines = pd.concat(parts, ignore_index=True)
    lines["scheme"] = -1
    lines = pd.concat([_after_bulge(spec, net, plan, lines), *_scheme_lines(spec, net, plan)], ignore_index=True)
    lines = lines[(lines["day"] >= first) & (lines["day"] <= last) & (lines["cartons"] > 0)]
    root = np.where(
        lines["consignee"] == net.online_warehouse, net.online_warehouse, net.parent[lines["consignee"].to_numpy()]
    )
    return lines.assign(root=root).reset_index(drop=True)


def _season(week: int, line: str, period_end: int) -> float:
    """Everybody's calendar: Spring Festival, and the mild rush at the end of every quarter that rebates cause."""
    factor = 1.0
    for begins, ends in SPRING_FESTIVALS:
        if day_number(begins) - 3 <= week <= day_number(ends):
            return 0.3
        if day_number(begins) - 28 <= week < day_number(begins) - 3:
            factor *= 1.5 if line == "baijiu" else 1.2
    for quarter in (period_end, period_end - 90, period_end + 91):
        if quarter - RUSH_DAYS - 4 <= week <= quarter:
            factor *= 1.25
        elif quarter < week <= quarter + 14:
            factor *= 0.85
    return factor


def _after_bulge(spec: WorldSpec, net: Network, plan: Plan, lines: pd.DataFrame) -> pd.DataFrame:
    """A partner who loaded at the end of the period orders little for five weeks."""
    rng = spec.rng("after bulge")
    keep = np.ones(len(lines), dtype=bool)
    names = np.array([product.line for product in net.products])
    for scheme in plan.of("period_end_bulge"):
        quiet = (
            (lines["consignee"] == scheme.partner)
            & (lines["day"] > scheme.last_day)
            & (lines["day"] <= scheme.last_day + 35)
            & (names[lines["sku"].to_numpy()] == scheme.line)
        ).to_numpy()
        keep &= ~(quiet & (rng.random(len(lines)) < 0.75))
    return lines[keep]


def _scheme_lines(spec: WorldSpec, net: Network, plan: Plan) -> list[pd.DataFrame]:
    rng = spec.rng("scheme orders")
    parts = []
    for at, scheme in enumerate(plan.schemes):
        if scheme.family not in {"diversion", "loading"} or scheme.kind == "grey_inflow":
            continue
        members = [member for member in scheme.culprits if member in set(net.dealers.tolist())]
        each = int(np.ceil(scheme.cartons / len(members)))
        for member in members:
            skus = [sku for sku in net.product_group(member) if net.products[sku].line == scheme.line]
            count = max(2, each // 7)
            days = np.sort(rng.integers(scheme.first_day, scheme.last_day + 1, count))
            split = rng.multinomial(each, np.ones(count) / count)
            part = pd.DataFrame({"consignee": member, "sku": rng.choice(skus, count), "day": days, "cartons": split})
            parts.append(part.assign(scheme=at))
    return parts


def pack(spec: WorldSpec, geo: Geography, net: Network, plan: Plan, lines: pd.DataFrame) -> Goods:
    """Cartons of the order lines on pallets of one product for one distributor, numbered in order of production."""
    rng = spec.rng("packing")
    counts = lines["cartons"].to_numpy()
    cartons = pd.DataFrame({"line": np.repeat(np.arange(len(lines)), counts)})
    for name in ("consignee", "root", "sku", "day"):
        cartons[name] = np.repeat(lines[name].to_numpy(), counts)
    cartons["ordered_for"] = np.repeat(lines["scheme"].to_numpy(), counts)
    cartons = cartons.sort_values(["root", "sku", "day", "line"], kind="stable").reset_index(drop=True)
    # A pallet is what a distributor needs of a product for a fortnight at most.
    cartons["fortnight"] = cartons["day"] // 14
    group = cartons.groupby(["root", "sku", "fortnight"], sort=False).cumcount().to_numpy() // CARTONS_PER_PALLET
    key = pd.MultiIndex.from_arrays([cartons["root"], cartons["sku"], cartons.pop("fortnight"), group])
    pallet = pd.factorize(key)[0]
    first = pd.Series(cartons["day"].to_numpy()).groupby(pallet).min().to_numpy()
    ship1_day = first - rng.integers(3, 10, len(first))
    produced_day = ship1_day - rng.integers(5, 26, len(first))
    order = np.lexsort((np.arange(len(first)), produced_day))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    cartons["pallet"] = rank[pallet]
    cartons = cartons.sort_values("pallet", kind="stable").reset_index(drop=True)
    ship1_day, produced_day = ship1_day[order], produced_day[order]
    on = cartons["pallet"].to_numpy()
    produced = office_hours(rng, produced_day)
    ship1 = office_hours(rng, ship1_day)
    root_of_pallet = cartons.groupby("pallet", sort=True)["root"].first().to_numpy()
    haul = _haul(geo, net.region[net.plant], net.region[root_of_pallet], rng)
    cartons["produced"] = produced[on] + cartons.groupby("pallet").cumcount().to_numpy() * 45
    cartons["ship1"] = ship1[on]
    # Receipts happen in the office hours of the day after the lorry comes in, and before anything is shipped on.
    cartons["recv1"] = (ship1 + haul)[on]
    cartons["traced"] = ship1_day[on] >= day_number(spec.trace_start)
    cartons["loose"] = (rng.random(len(ship1)) < 0.3)[on]
    units = np.array([product.units_per_case for product in net.products])[cartons["sku"].to_numpy()]
    cartons["units"] = units
    cartons["first_unit"] = cartons.groupby("sku")["units"].cumsum() - units
    cartons["lot"] = [
        f"{net.products[sku].sku.split('-')[0]}{day}"
        for sku, day in zip(cartons["sku"], _lot_days(produced_day[on]), strict=True)
    ]
    _second_hop(spec, geo, net, cartons)
    _third_hop(spec, net, cartons)
    cartons["scheme"] = -1
    cartons["innocent"] = -1
    return Goods(lines, cartons)


def _lot_days(days: np.ndarray) -> list[str]:
    """A lot is a week of production, named by its Monday."""
    monday = days - weekday(days)
    return [text.replace("-", "")[2:] for text in np.datetime_as_string(monday.astype("datetime64[D]"), unit="D")]


def _haul(geo: Geography, origin: np.ndarray | int, to: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seconds on the road: half a day of handling and 600 km a day."""
    distance = geo.distance[origin, to]
    return (0.5 * DAY + distance / 600 * DAY * rng.uniform(0.8, 1.2, len(to))).astype(np.int64)


def _second_hop(spec: WorldSpec, geo: Geography, net: Network, cartons: pd.DataFrame) -> None:
    """From the distributor to the consignee; goods of the online warehouse stop at the first hop."""
    rng = spec.rng("second hop")
    moves = (cartons["consignee"] != cartons["root"]).to_numpy()
    line = cartons["line"].to_numpy()
    moment = np.zeros(line.max() + 1, dtype=np.int64) if len(line) else np.zeros(0, dtype=np.int64)
    road = moment.copy()
    firsts = cartons.drop_duplicates("line")
    at = firsts["line"].to_numpy()
    moment[at] = office_hours(rng, firsts["day"].to_numpy())
    road[at] = _haul(geo, net.region[firsts["root"].to_numpy()], net.region[firsts["consignee"].to_numpy()], rng)
    ship2 = np.maximum(moment[line], cartons["recv1"].to_numpy() + 2 * HOUR)
    cartons["ship2"] = np.where(moves, ship2, -1)
    cartons["recv2"] = np.where(moves, ship2 + road[line], -1)
    cartons["holds_from"] = np.where(moves, cartons["recv2"], cartons["recv1"])


def _third_hop(spec: WorldSpec, net: Network, cartons: pd.DataFrame) -> None:
    """From the dealer to a retailer (or over the dealer's own counter), then to consumers.

    `leaves` is when the carton leaves the last registered holder's stock, `on_sale` when consumers can buy it.
    """
    rng = spec.rng("third hop")
    count = len(cartons)
    consignee = cartons["consignee"].to_numpy()
    stay = (rng.gamma(1.6, 6.0, count) * DAY).astype(np.int64) + 4 * HOUR
    leaves = cartons["holds_from"].to_numpy() + stay
    pick = rng.random(count)
    direct = rng.random(count) < 0.3
    retailer = np.full(count, -1)
    for dealer in net.dealers:
        children = net.children(int(dealer), "retailer")
        if len(children):
            mine = np.flatnonzero((consignee == dealer) & ~direct)
            retailer[mine] = children[(pick[mine] * len(children)).astype(int)]
    partners = net.partners
    cartons["retailer"] = retailer
    cartons["leaves"] = leaves
    recorded = rng.random(count) < partners["scan_out"].to_numpy()[consignee]
    cartons["recorded3"] = (retailer >= 0) & recorded
    cartons["on_sale"] = leaves + (rng.uniform(0.2, 1.5, count) * DAY).astype(np.int64)
    venue = net.region[consignee].copy()
    online = np.isin(consignee, net.shops) | (consignee == net.online_warehouse)
    venue[online] = -1
    cartons["venue"] = venue
    cartons["flow"] = np.where(online, "online", "normal")
