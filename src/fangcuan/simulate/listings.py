"""Offers that are looked at every night: who offers what, where, in which pack, at which ordinary price."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.simulate.geography import Geography
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan, Scheme
from fangcuan.simulate.spec import WorldSpec

_WORDS = {1: "", 2: " 2件装", 3: " 3件装", 6: " 整箱6件"}


def build(spec: WorldSpec, geo: Geography, net: Network, plan: Plan) -> pd.DataFrame:
    """One row per online listing: partner, platform, seller_ref, sku (position), surface, pack, currency, region (position
    or -1), level (ordinary net unit price as a share of the list price), coupon_share, scheme (position or -1)."""
    rng = spec.rng("listings")
    rows: list[dict[str, object]] = []
    everything = range(len(net.products))
    for shop in net.shops:
        official = net.parent[shop] == net.online_warehouse
        for sku in everything if official else rng.permutation(len(net.products))[:4]:
            rows.append(_row(net, int(shop), int(sku), 1.0 if official else float(rng.uniform(0.95, 1.02)), rng))
    for seller in net.sellers:
        for sku in rng.permutation(len(net.products))[: int(rng.integers(2, 5))]:
            rows.append(_row(net, int(seller), int(sku), float(rng.uniform(0.925, 1.07)), rng))
    _packs_and_currencies(spec, net, rows)
    for at, scheme in enumerate(plan.schemes):
        if scheme.family == "price":
            rows = [
                row
                for row in rows
                if (row["partner"], row["sku"]) != (scheme.seller, scheme.sku) or row["scheme"] != -1
            ]
            rows += _scheme_rows(net, geo, scheme, at, spec.rng(f"listing {scheme.scheme_id}"))
    frame = pd.DataFrame(rows)
    names = np.array([product.name for product in net.products], dtype=object)[frame["sku"].to_numpy()]
    frame["title"] = [f"{name}{_WORDS[pack]} 正品包邮" for name, pack in zip(names, frame["pack"], strict=True)]
    frame["listing_url"] = [
        f"https://{platform}.example/item/{100_000 + at}" for at, platform in enumerate(frame["platform"])
    ]
    return frame


def _row(net: Network, partner: int, sku: int, level: float, rng: np.random.Generator) -> dict[str, object]:
    row = net.partners.iloc[partner]
    unified = net.products[sku].sku == "MO-1L-5W40"
    return {
        "partner": partner,
        "platform": row["platform"],
        "shop_name": row["name"],
        "seller_ref": row["seller_ref"],
        "sku": sku,
        "surface": str(rng.choice(["list", "list", "list", "cart", "coupon", "member"])),
        "pack": 1,
        "currency": "CNY",
        "region": -1,
        "level": float(rng.uniform(0.965, 0.985)) if unified else level,
        "coupon_share": 0.0,
        "shipping": float(rng.choice([0.0, 0.0, 0.0, 8.0])),
        "scheme": -1,
        "low": 1.0,
    }


def _packs_and_currencies(spec: WorldSpec, net: Network, rows: list[dict[str, object]]) -> None:
    """Harmless packs and coupons that keep the floor; one seller abroad who quotes dollars."""
    rng = spec.rng("packs")
    sellers = set(net.sellers.tolist())
    for row in rows:
        if row["partner"] not in sellers:
            continue
        if rng.random() < 0.15:
            row["pack"] = int(rng.choice([2, 3, 6]))
        if row["surface"] == "coupon":
            row["coupon_share"] = float(rng.uniform(0.01, 0.03))
    abroad = int(net.sellers[-1])
    for row in rows:
        if row["partner"] == abroad:
            row["currency"] = "USD"


def _scheme_rows(
    net: Network, geo: Geography, scheme: Scheme, at: int, rng: np.random.Generator
) -> list[dict[str, object]]:
    """The offers of one scheme. `low` is what the net unit price is multiplied with while it runs, against the floor
    (above the ceiling for `above_ceiling`); the ordinary level is kept before and after."""
    base = _row(net, scheme.seller, scheme.sku, float(rng.uniform(0.94, 1.04)), rng)
    base.update(scheme=at, surface="list", low=float(rng.uniform(0.78, 0.93)))
    if scheme.kind == "coupon_hidden":
        base.update(surface="coupon", coupon_share=-1.0)
    elif scheme.kind == "bundle_hidden":
        base["pack"] = int(rng.choice([2, 3, 6]))
    elif scheme.kind == "above_ceiling":
        base["low"] = float(rng.uniform(1.08, 1.2))
    elif scheme.kind == "online_offline_gap":
        base["low"] = 1.0
    elif scheme.kind == "region_targeted":
        far = np.argsort(-geo.distance[scheme.region], kind="stable")[:2]
        return [{**base, "region": scheme.region}, *[{**base, "region": int(place), "scheme": -1} for place in far]]
    return [base]
