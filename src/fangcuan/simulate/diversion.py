"""Diversion schemes: which cartons of the culprits leave for another region, and when."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.simulate.clock import DAY
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.goods import Goods
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan, Scheme
from fangcuan.simulate.spec import WorldSpec


def divert(spec: WorldSpec, geo: Geography, net: Network, plan: Plan, goods: Goods) -> None:
    """Mark the cartons of every diversion and loading scheme; marked cartons are left alone by the innocent flows."""
    cartons = goods.cartons
    cartons["scan_factor"] = 1.0
    lines = np.array([product.line for product in net.products], dtype=object)[cartons["sku"].to_numpy()]
    ship_day = cartons["ship2"].to_numpy() // DAY
    for at, scheme in enumerate(plan.schemes):
        rng = spec.rng(f"divert {scheme.scheme_id}")
        if scheme.kind == "period_end_bulge":
            _hoard(net, cartons, scheme, at, rng)
        elif scheme.family == "diversion":
            dealers = [member for member in scheme.culprits if member in set(net.dealers.tolist())]
            each = int(np.ceil(scheme.cartons / len(dealers)))
            chosen: list[np.ndarray] = []
            for dealer in dealers:
                pool = np.flatnonzero(
                    (cartons["consignee"].to_numpy() == dealer)
                    & (lines == scheme.line)
                    & (ship_day >= scheme.first_day)
                    & (ship_day <= scheme.last_day)
                    & cartons["traced"].to_numpy()
                    & (cartons["scheme"].to_numpy() < 0)
                )
                chosen.append(np.sort(rng.permutation(pool)[:each]))
            _move(geo, net, cartons, scheme, at, np.concatenate(chosen), rng)


def _move(
    geo: Geography,
    net: Network,
    cartons: pd.DataFrame,
    scheme: Scheme,
    at: int,
    rows: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Cartons leave within days of their receipt and are on sale after the drive."""
    count = len(rows)
    consignee = cartons["consignee"].to_numpy()[rows]
    leaves = cartons["holds_from"].to_numpy()[rows] + (rng.uniform(0.5, 6.0, count) * DAY).astype(np.int64)
    if scheme.region >= 0:
        days = geo.distance[net.region[consignee], scheme.region] / 600 + 1
    else:
        days = np.full(count, 2.0)
    cartons.loc[rows, "leaves"] = leaves
    cartons.loc[rows, "on_sale"] = leaves + (days * rng.uniform(0.8, 1.6, count) * DAY).astype(np.int64)
    cartons.loc[rows, "venue"] = scheme.region
    cartons.loc[rows, "flow"] = "diverted" if scheme.region >= 0 else "online_diverted"
    cartons.loc[rows, "scheme"] = at
    cartons.loc[rows, "scan_factor"] = 1.0 - scheme.stealth
    through_retailer = scheme.kind == "tier2_leak"
    cartons.loc[rows, "retailer"] = scheme.partner if through_retailer else -1
    cartons.loc[rows, "recorded3"] = through_retailer
    scheme.cartons = count
    scheme.units = int(cartons["units"].to_numpy()[rows].sum())
    margin = np.array([product.margin for product in net.products])
    scheme.money = float((cartons["units"].to_numpy()[rows] * margin[cartons["sku"].to_numpy()[rows]]).sum())


def _hoard(net: Network, cartons: pd.DataFrame, scheme: Scheme, at: int, rng: np.random.Generator) -> None:
    """Goods bought for the rebate stay in the dealer's own stock for one to two months, then sell at home."""
    rows = np.flatnonzero((cartons["ordered_for"] == at).to_numpy())
    wait = (rng.uniform(30, 60, len(rows)) * DAY).astype(np.int64)
    for name in ("leaves", "on_sale"):
        cartons.loc[rows, name] = cartons[name].to_numpy()[rows] + wait
    scheme.cartons = len(rows)
    scheme.units = int(cartons["units"].to_numpy()[rows].sum())
    price = np.array([product.list_price for product in net.products])
    scheme.money = float((cartons["units"].to_numpy()[rows] * price[cartons["sku"].to_numpy()[rows]] * 0.7).sum())
