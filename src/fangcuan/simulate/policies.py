"""Price policies, promotions, rebate plans and exchange rates, and which floor is in force for an offer."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fangcuan.simulate.clock import day_number, stamp
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.masters import approval, dated, opening, table
from fangcuan.simulate.network import Network
from fangcuan.simulate.spec import WorldSpec

PRICE_BASIS = "CN Anti-Monopoly Law art. 18: resale price; observe only, market share below 5 %"
#: Yuan for one dollar, by month; a listing abroad is read with the rate of its day.
DOLLAR = {1: 7.01, 2: 6.96, 3: 6.91, 4: 6.88, 5: 6.93, 6: 6.97, 7: 7.02, 8: 7.05, 9: 7.03, 10: 7.08, 11: 7.1, 12: 7.06}


@dataclass(frozen=True)
class Terms:
    """Arrays with one value per offer; floor and ceiling are net unit prices in yuan with tax, nan where there is none."""

    floor: np.ndarray
    ceiling: np.ndarray
    tolerance: np.ndarray
    promoted: np.ndarray
    cut: np.ndarray


@dataclass(frozen=True)
class Policies:
    """Rows as in the master tables, and `cut_day`: the day a policy lowers the floor of `cut_sku`."""

    price_policies: list[dict[str, Any]]
    promotions: list[dict[str, Any]]
    cut_sku: str
    cut_day: int


def make(spec: WorldSpec, geo: Geography, net: Network) -> Policies:
    cut = net.products[-1] if len(net.products) < 5 else net.products[4]
    cut_date = spec.start + dt.timedelta(days=spec.nights // 2)
    rows: list[dict[str, Any]] = []
    for product in net.products:
        unified = product.sku == "MO-1L-5W40"
        online = (0.97, 0.97) if unified else (0.90, 1.15)
        mode = "unified" if unified else "advertised_minimum"
        common: dict[str, Any] = {"scope": product.sku, "price": product.list_price}
        if product.sku == cut.sku:
            rows.append(_policy(spec, mode, *online, **common, channel="online", until=cut_date))
            lower = _policy(spec, mode, 0.78, online[1], **common, channel="online", since=cut_date)
            rows.append({**lower, "recorded_at": stamp(cut_date - dt.timedelta(days=6), 17)})
        else:
            rows.append(_policy(spec, mode, *online, **common, channel="online", tolerance=4 if unified else 1))
        rows.append(_policy(spec, "band", 0.88, 1.13, **common, channel="offline", tolerance=2))
        rows.append(
            _policy(spec, "band", 0.66, 0.86, **common, channel="offline", tier="2", surface="invoice", tolerance=1)
        )
    dear = net.products[0]
    for province in geo.provinces[:2]:
        code = province["region_code"]
        rows.append(
            _policy(
                spec,
                "band",
                0.93,
                1.16,
                scope=dear.sku,
                price=dear.list_price,
                channel="offline",
                region=code,
                surface="shelf",
                tolerance=2,
            )
        )
    for at, row in enumerate(rows):
        row["policy_id"] = f"PP{at + 1:03d}"
    return Policies(rows, _promotions(spec, geo, net), cut.sku, day_number(cut_date))


def _policy(
    spec: WorldSpec,
    mode: str,
    low: float,
    high: float,
    *,
    scope: str,
    price: float,
    channel: str,
    region: str = "",
    tier: str = "",
    surface: str = "",
    tolerance: int = 1,
    since: dt.date | None = None,
    until: dt.date | None = None,
) -> dict[str, Any]:
    return {
        "scope": scope,
        "region_code": region,
        "channel": channel,
        "tier": tier,
        "surface": surface,
        "mode": mode,
        "floor": f"{price * low:.2f}",
        "ceiling": f"{price * high:.2f}",
        "currency": "CNY",
        "tax_included": "true",
        "tolerance_pct": str(tolerance),
        "jurisdiction": "CN",
        "legal_basis": PRICE_BASIS,
        **approval(spec, (since or opening(spec)) - dt.timedelta(days=10)),
        **dated(spec, since, until),
    }


def _promotions(spec: WorldSpec, geo: Geography, net: Network) -> list[dict[str, Any]]:
    """An online floor promotion, one for a single region's shops, and a short exemption."""
    first, second = net.products[1], net.products[min(3, len(net.products) - 1)]
    third = net.products[2]
    plan = (
        ("M001", first.sku, "", "online", "floor", first.list_price * 0.78, 0.2, 0.32),
        (
            "M002",
            second.sku,
            geo.codes[net.region[net.dealers[0]]],
            "offline",
            "floor",
            second.list_price * 0.75,
            0.3,
            0.65,
        ),
        ("M003", third.sku, "", "online", "exempt", None, 0.5, 0.57),
    )
    rows = []
    for number, scope, region, channel, effect, floor, begins, ends in plan:
        since = spec.start + dt.timedelta(days=int(spec.nights * begins))
        until = spec.start + dt.timedelta(days=max(int(spec.nights * begins) + 2, int(spec.nights * ends)))
        rows.append(
            {
                "promotion_id": number,
                "scope": scope,
                "region_code": region,
                "channel": channel,
                "effect": effect,
                "floor": "" if floor is None else f"{floor:.2f}",
                "currency": "CNY" if floor is not None else "",
                **approval(spec, since - dt.timedelta(days=12)),
                **dated(spec, since, until),
                "recorded_at": stamp(since - dt.timedelta(days=5), 14),
            }
        )
    return rows


def tables(spec: WorldSpec, net: Network, policies: Policies) -> dict[str, pd.DataFrame]:
    return {
        "price_policies": table("price_policies", policies.price_policies),
        "promotions": table("promotions", policies.promotions),
        "rebate_plans": table("rebate_plans", _rebates(spec, net)),
        "fx_rates": table("fx_rates", _rates(spec)),
    }


def _rebates(spec: WorldSpec, net: Network) -> list[dict[str, Any]]:
    """Quarterly steps per tier, in units bought."""
    quarter = dt.date(spec.sales_start.year, 3 * ((spec.sales_start.month - 1) // 3) + 1, 1)
    rows = []
    while quarter <= spec.end:
        following = dt.date(quarter.year + quarter.month // 10, (quarter.month + 2) % 12 + 1, 1)
        for tier, steps in (("1", (4000, 8000, 12000)), ("2", (400, 700, 1000))):
            rows.append(
                {
                    "plan_id": f"R{tier}-{quarter:%Y%m}",
                    "tier": tier,
                    "period": "quarter",
                    "period_start": quarter.isoformat(),
                    "period_end": (following - dt.timedelta(days=1)).isoformat(),
                    "thresholds": json.dumps(list(steps)),
                    "rates": json.dumps([0.01, 0.025, 0.04]),
                    **dated(spec, quarter, following),
                }
            )
        quarter = following
    return rows


def _rates(spec: WorldSpec) -> list[dict[str, Any]]:
    rows = []
    month = spec.sales_start.replace(day=1)
    while month <= spec.end:
        following = (month + dt.timedelta(days=32)).replace(day=1)
        rows.append(
            {
                "currency": "USD",
                "quote_currency": "CNY",
                "rate": f"{DOLLAR[month.month]:.4f}",
                "valid_from": month.isoformat(),
                "valid_to": following.isoformat(),
                "recorded_at": stamp(month, 0, 30),
            }
        )
        month = following
    return rows


def in_force(net: Network, policies: Policies, offers: pd.DataFrame) -> Terms:
    """Terms for offers with columns sku (position), channel, surface, tier, region_code ("" for none) and day (number).

    The most specific policy wins: sku over line over all, prefecture over province over none, then tier, then surface.
    """
    count = len(offers)
    floor, ceiling, tolerance = (np.full(count, np.nan) for _ in range(3))
    for row in sorted(policies.price_policies, key=_specificity):
        hit = _matches(net, row, offers)
        floor[hit], ceiling[hit] = float(row["floor"]), float(row["ceiling"])
        tolerance[hit] = float(row["tolerance_pct"]) / 100
    promoted = np.zeros(count, dtype=bool)
    for row in policies.promotions:
        hit = _matches(net, row, offers)
        promoted |= hit
        floor[hit] = float(row["floor"]) if row["effect"] == "floor" else 0.0
    skus = np.array([product.sku for product in net.products], dtype=object)[offers["sku"].to_numpy()]
    cut = (skus == policies.cut_sku) & (offers["day"].to_numpy() >= policies.cut_day)
    cut &= offers["channel"].to_numpy(dtype=object) == "online"
    return Terms(floor, ceiling, tolerance, promoted, cut)


def _specificity(row: dict[str, Any]) -> tuple[int, int, bool, bool]:
    region = row["region_code"]
    scope = 0 if row["scope"] == "all" else 2 if "-" in row["scope"] else 1
    place = 0 if not region else 1 if region.endswith("0000") else 2
    return scope, place, bool(row.get("tier")), bool(row.get("surface"))


def _matches(net: Network, row: dict[str, Any], offers: pd.DataFrame) -> np.ndarray:
    skus = np.array([product.sku for product in net.products], dtype=object)[offers["sku"].to_numpy()]
    lines = np.array([product.line for product in net.products], dtype=object)[offers["sku"].to_numpy()]
    hit = (
        np.ones(len(offers), dtype=bool) if row["scope"] == "all" else (skus == row["scope"]) | (lines == row["scope"])
    )
    hit &= offers["channel"].to_numpy(dtype=object) == row["channel"]
    for name in ("tier", "surface"):
        if row.get(name):
            hit &= offers[name].to_numpy(dtype=object) == row[name]
    if row["region_code"]:
        prefix = row["region_code"].removesuffix("0000")
        hit &= np.array([str(code).startswith(prefix) for code in offers["region_code"]])
    day = offers["day"].to_numpy()
    hit &= day >= day_number(dt.date.fromisoformat(row["valid_from"]))
    if row["valid_to"]:
        hit &= day < day_number(dt.date.fromisoformat(row["valid_to"]))
    return hit
