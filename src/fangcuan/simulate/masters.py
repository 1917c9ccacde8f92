"""Master data of a world: who, what, where. Policies and prices are in `policies`."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd

from fangcuan.core.masters import MASTERS
from fangcuan.simulate.catalogue import COMPANY_PREFIX
from fangcuan.simulate.clock import date_of, stamp
from fangcuan.simulate.geography import COUNTRY, Geography
from fangcuan.simulate.goods import SPRING_FESTIVALS
from fangcuan.simulate.ledger import Ledger
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan
from fangcuan.simulate.scans import FIXED_HOLIDAYS
from fangcuan.simulate.spec import WorldSpec

#: Chinese law on territorial restraints: a safe harbour exists below a market share, so a grant names its basis.
TERRITORY_BASIS = "CN Anti-Monopoly Law art. 18: territorial restraint, market share below 15 %"


def table(name: str, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with exactly the columns of the contract, everything as text."""
    columns = MASTERS[name].column_names
    unknown = {key for row in rows for key in row} - set(columns)
    if unknown:
        raise ValueError(f"{name}: columns {sorted(unknown)} are not in the contract")
    frame = pd.DataFrame(rows, columns=list(columns))
    return frame.astype(object).where(frame.notna(), "")


def dated(spec: WorldSpec, valid_from: dt.date | None = None, valid_to: dt.date | None = None) -> dict[str, str]:
    """Validity columns of a row known since before the world began."""
    begins = valid_from or opening(spec)
    return {
        "valid_from": begins.isoformat(),
        "valid_to": valid_to.isoformat() if valid_to else "",
        "recorded_at": stamp(min(begins, opening(spec))),
    }


def opening(spec: WorldSpec) -> dt.date:
    """The first of January before anything is recorded."""
    return dt.date(spec.sales_start.year, 1, 1)


def approval(spec: WorldSpec, day: dt.date | None = None) -> dict[str, str]:
    return {"approved_by": "legal.chen", "approved_at": stamp(day or opening(spec))}


def build(spec: WorldSpec, geo: Geography, net: Network, plan: Plan, ledger: Ledger) -> dict[str, pd.DataFrame]:
    """The tables that do not depend on prices, by name."""
    return {
        "regions": table("regions", _regions(geo)),
        "region_neighbours": table("region_neighbours", _neighbours(geo)),
        "partners": table("partners", _partners(spec, geo, net)),
        "partner_aliases": table("partner_aliases", _aliases(spec, net, plan)),
        "products": table("products", _products(spec, net)),
        "territories": table("territories", _territories(spec, geo, net, ledger)),
        "transfer_permits": table("transfer_permits", _permits(spec, net, ledger)),
        "evidence_policies": table("evidence_policies", _evidence(spec, geo)),
        "calendar": table("calendar", _calendar(spec, geo, ledger)),
        "contracts": table("contracts", _contracts(spec, net)),
        "freight": table("freight", _freight(spec, geo)),
    }


def _regions(geo: Geography) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "region_code": COUNTRY,
            "level": "country",
            "name_zh": "中国",
            "name_en": "China",
            "latitude": 35.0,
            "longitude": 105.0,
        }
    ]
    for province in geo.provinces:
        row = {name: province[name] for name in ("region_code", "name_zh", "name_en", "latitude", "longitude")}
        rows.append({**row, "parent_code": COUNTRY, "level": "province"})
    for at, code in enumerate(geo.codes):
        rows.append(
            {
                "region_code": code,
                "parent_code": geo.province[at],
                "level": "prefecture",
                "name_zh": geo.names[at],
                "name_en": geo.names_en[at],
                "latitude": geo.latitude[at],
                "longitude": geo.longitude[at],
            }
        )
    return rows


def _neighbours(geo: Geography) -> list[dict[str, Any]]:
    here, there = np.nonzero(geo.adjacent)
    return [
        {"region_code": geo.codes[a], "neighbour_code": geo.codes[b]}
        for a, b in zip(here.tolist(), there.tolist(), strict=True)
    ]


def _partners(spec: WorldSpec, geo: Geography, net: Network) -> list[dict[str, Any]]:
    rows = []
    for at, row in enumerate(net.partners.to_dict("records")):
        rows.append(
            {
                "partner_id": row["partner_id"],
                "name": row["name"],
                "kind": row["kind"],
                "tier": row["tier"],
                "parent_id": net.ids[row["parent"]] if row["parent"] >= 0 else "",
                "region_code": geo.codes[row["region"]] if row["region"] >= 0 else "",
                "channel": row["channel"],
                "gln": f"{COMPANY_PREFIX}{at:05d}{_check_digit(f'{COMPANY_PREFIX}{at:05d}')}",
                "status": "active",
                **dated(spec),
            }
        )
    return rows


def _check_digit(digits: str) -> int:
    return -sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(digits)) % 10


def known_sellers(spec: WorldSpec, net: Network) -> np.ndarray:
    """Marketplace sellers whose partner the brand has confirmed."""
    rng = spec.rng("aliases")
    return net.sellers[rng.random(len(net.sellers)) < 0.7]


def _aliases(spec: WorldSpec, net: Network, plan: Plan) -> list[dict[str, Any]]:
    """Official shops and most sellers are known, some of them only in the middle of the world."""
    rng = spec.rng("alias dates")
    rows = []
    known = set(known_sellers(spec, net).tolist())
    for at in [*net.shops.tolist(), *sorted(known)]:
        row = net.partners.iloc[at]
        official = row["kind"] == "online_shop"
        late = not official and rng.random() < 0.3
        recorded = spec.start + dt.timedelta(days=int(rng.integers(1, max(2, spec.nights - 2))))
        rows.append(
            {
                "platform": row["platform"],
                "seller_ref": row["seller_ref"],
                "partner_id": row["partner_id"],
                "confidence": 1.0 if official else round(float(rng.uniform(0.8, 1.0)), 2),
                "confirmed_by": "ops.li",
                **dated(spec),
                **({"recorded_at": stamp(recorded, 15)} if late else {}),
            }
        )
    return rows


def _products(spec: WorldSpec, net: Network) -> list[dict[str, Any]]:
    return [
        {
            "sku": product.sku,
            "gtin": product.gtin,
            "name": product.name,
            "brand": "方川",
            "product_line": product.line,
            "units_per_case": product.units_per_case,
            "list_price": f"{product.list_price:.2f}",
            "currency": "CNY",
            "vat_rate": f"{product.vat:.2f}",
            "unit_margin": f"{product.margin:.2f}",
            **dated(spec),
        }
        for product in net.products
    ]


def _territories(spec: WorldSpec, geo: Geography, net: Network, ledger: Ledger) -> list[dict[str, Any]]:
    kinds, channels = net.partners["kind"].to_numpy(), net.partners["channel"].to_numpy()
    names = np.array(geo.codes.tolist(), dtype=object)
    rows = []
    for at, (partner, region, scope) in enumerate(net.grants):
        rows.append(
            _grant(f"G{at + 1:04d}", net.ids[partner], region, scope, channels[partner], kinds[partner] == "dealer")
            | approval(spec)
            | dated(spec)
        )
    for at, change in enumerate(ledger.redraws):
        begins, known = date_of(change["from"]), date_of(change["known"])
        rows.append(
            _grant(f"G9{at + 1:03d}", net.ids[change["partner"]], names[change["region"]], "all", "offline", True)
            | approval(spec, begins - dt.timedelta(days=7))
            | dated(spec, begins)
            | {"recorded_at": stamp(known, 16)}
        )
    return rows


def _grant(number: str, partner: str, region: str, scope: str, channel: str, exclusive: bool) -> dict[str, Any]:
    return {
        "grant_id": number,
        "partner_id": partner,
        "region_code": region,
        "scope": scope,
        "channel": channel,
        "exclusive": "true" if exclusive else "false",
        "contract_ref": f"C-{partner}",
        "jurisdiction": "CN",
        "legal_basis": TERRITORY_BASIS,
    }


def _permits(spec: WorldSpec, net: Network, ledger: Ledger) -> list[dict[str, Any]]:
    rows = []
    for at, permit in enumerate(ledger.permits):
        begins, ends = date_of(permit["first_day"]), date_of(permit["last_day"])
        rows.append(
            {
                "permit_id": f"P{at + 1:03d}",
                "from_partner_id": net.ids[permit["giver"]],
                "to_partner_id": net.ids[permit["taker"]],
                "scope": "all",
                "quantity": permit["units"],
                **approval(spec, begins),
                **dated(spec, begins, ends),
                "recorded_at": stamp(begins, 11),
            }
        )
    return rows


def _evidence(spec: WorldSpec, geo: Geography) -> list[dict[str, Any]]:
    """How much a province asks for before a case may be acted on."""
    rows = [{"region_code": COUNTRY, "family": "diversion", "min_units": 3, "min_corroborations": 1, **dated(spec)}]
    for at, province in enumerate(geo.provinces[:4]):
        rows.append(
            {
                "region_code": province["region_code"],
                "family": "diversion",
                "min_units": 3 + 2 * at,
                "min_corroborations": 1 + at % 2,
                **dated(spec),
            }
        )
    rows.append({"region_code": COUNTRY, "family": "price", "min_units": 1, "min_corroborations": 2, **dated(spec)})
    return rows


def _calendar(spec: WorldSpec, geo: Geography, ledger: Ledger) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    day = spec.sales_start
    while day <= spec.end + dt.timedelta(days=31):
        fixed = any(day.month == month and a <= day.day <= b for month, a, b in FIXED_HOLIDAYS)
        if fixed or any(begins <= day <= ends for begins, ends in SPRING_FESTIVALS):
            rows.append({"day": day.isoformat(), "kind": "holiday", **dated(spec)})
        if (day.month, day.day) in {(3, 8), (6, 18), (11, 11), (12, 12)}:
            rows.append({"day": day.isoformat(), "kind": "platform_festival", **dated(spec)})
        day += dt.timedelta(days=1)
    for campaign in ledger.campaigns:
        for number in range(int(campaign["first"]), int(campaign["last"]) + 1):
            region = geo.codes[campaign["region"]]
            row = {"day": date_of(number).isoformat(), "kind": "campaign", "region_code": region, **dated(spec)}
            rows.append(row)
    return rows


def _contracts(spec: WorldSpec, net: Network) -> list[dict[str, Any]]:
    clauses = (
        ("T1", "经销商不得在授权区域外主动销售。 The dealer shall not actively sell outside the granted territory."),
        ("T2", "未经书面同意不得向其他经销商调货。 No transfer to other dealers without written consent."),
        ("C1", "不得毁损、遮盖产品追溯码。 Product codes shall not be destroyed or covered."),
    )
    holders = [*net.distributors, *net.dealers, *net.shops]
    return [
        {
            "contract_ref": f"C-{net.ids[at]}",
            "partner_id": net.ids[at],
            "clause_code": code,
            "text": text,
            "penalty_ladder_id": "standard" if code != "C1" else "codes",
            **dated(spec),
        }
        for at in holders
        for code, text in clauses
    ]


def _freight(spec: WorldSpec, geo: Geography) -> list[dict[str, Any]]:
    """Between all prefectures: a loading fee and so much per kilometre and case."""
    here, there = np.nonzero(geo.distance > 0)
    cost = np.round(2.5 + 0.012 * geo.distance[here, there], 2)
    both = dated(spec)
    return [
        {
            "from_region_code": geo.codes[a],
            "to_region_code": geo.codes[b],
            "cost_per_case": f"{value:.2f}",
            "currency": "CNY",
            **both,
        }
        for a, b, value in zip(here.tolist(), there.tolist(), cost.tolist(), strict=True)
    ]
