"""What people saw on the spot: field visits, test purchases, and the papers that corroborate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fangcuan.core.canonical import sha256_hex
from fangcuan.simulate.clock import DAY, HOUR, MINUTE, day_number, iso_days, iso_times
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.goods import Goods
from fangcuan.simulate.masters import known_sellers
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan
from fangcuan.simulate.spec import WorldSpec

INSPECTION_COLUMNS = [
    "visit_id",
    "visited_at",
    "inspector_ref",
    "shop_ref",
    "partner_id",
    "region_code",
    "latitude",
    "longitude",
    "kind",
    "epc",
    "sku",
    "price",
    "quantity",
    "photo_sha256",
    "note",
]
DOCUMENT_COLUMNS = [
    "document_id",
    "kind",
    "day",
    "partner_id",
    "counterparty_id",
    "sku",
    "epc",
    "quantity",
    "file_sha256",
]


@dataclass(frozen=True)
class Field:
    """`trace`: rows for trace_events (times in local seconds). `inspections`, `documents`: feed rows with `arrival`."""

    trace: pd.DataFrame
    inspections: pd.DataFrame
    documents: pd.DataFrame


def look(spec: WorldSpec, geo: Geography, net: Network, plan: Plan, goods: Goods, units: pd.DataFrame) -> Field:
    """Visits every week to registered and corner shops, some of them after a complaint; test purchases online."""
    desk = _Desk(spec, geo, net, plan, goods, units)
    desk.visits()
    desk.test_purchases()
    desk.papers()
    last = day_number(spec.end)
    columns = {"inspections": INSPECTION_COLUMNS, "documents": DOCUMENT_COLUMNS}
    frames = {}
    for name, rows in (("inspections", desk.inspections), ("documents", desk.documents)):
        frame = pd.DataFrame(rows, columns=[*columns[name], "arrival"]).astype(object)
        frame["arrival"] = frame["arrival"].astype(np.int64).clip(lower=day_number(spec.start))
        frames[name] = frame[frame["arrival"] <= last].reset_index(drop=True)
    return Field(pd.DataFrame(desk.trace), frames["inspections"], frames["documents"])


class _Desk:
    def __init__(
        self, spec: WorldSpec, geo: Geography, net: Network, plan: Plan, goods: Goods, units: pd.DataFrame
    ) -> None:
        self.spec, self.geo, self.net, self.plan, self.units = spec, geo, net, plan, units
        self.rng = spec.rng("field")
        cartons = goods.cartons
        self.cartons = cartons
        carton = units["carton"].to_numpy()
        self.venue = cartons["venue"].to_numpy()[carton]
        self.on_sale = cartons["on_sale"].to_numpy()[carton]
        self.retailer = cartons["retailer"].to_numpy()[carton]
        self.flow = cartons["flow"].to_numpy()[carton]
        self.scheme = cartons["scheme"].to_numpy()[carton]
        self.trace: list[dict[str, Any]] = []
        self.inspections: list[dict[str, Any]] = []
        self.documents: list[dict[str, Any]] = []
        self.visited = 0

    def visits(self) -> None:
        """Routine visits, then visits where somebody complained: about real schemes, and about mis-shipped goods."""
        rng, start, end = self.rng, day_number(self.spec.start), day_number(self.spec.end)
        weekly = max(1, self.spec.dealers // 7)
        for day in range(start - 14, end + 1):
            for _ in range(int(rng.poisson(weekly / 7))):
                if rng.random() < 0.5:
                    shop = int(rng.choice(self.net.retailers))
                    self._visit(day, int(self.net.region[shop]), shop, self.retailer == shop, "routine")
                else:
                    region = int(rng.choice(self.net.region[self.net.dealers]))
                    self._visit(day, region, -1, (self.venue == region) & (self.retailer < 0), "routine")
        for at, scheme in enumerate(self.plan.schemes):
            if scheme.family == "diversion" and scheme.region >= 0 and rng.random() < 0.5:
                day = min(end - 1, max(start, scheme.first_day) + int(rng.integers(12, 35)))
                self._visit(day, scheme.region, -1, self.scheme == at, "complaint")
        strayed = np.flatnonzero(np.isin(self.flow, ("mis_shipped", "mis_shipped_pallet", "permit")))
        for region in np.unique(self.venue[strayed])[:4].tolist():
            pool = np.zeros(len(self.units), dtype=bool)
            pool[strayed[self.venue[strayed] == region]] = True
            day = min(end - 1, max(start, int(self.on_sale[pool].min() // DAY) + 12))
            self._visit(day, region, -1, pool, "complaint")

    def _visit(self, day: int, region: int, shop: int, pool: np.ndarray, why: str) -> None:
        rng = self.rng
        moment = day * DAY + 9 * HOUR + int(rng.integers(0, 8 * HOUR))
        fresh = np.flatnonzero(
            pool & (self.on_sale <= moment) & (self.on_sale > moment - 40 * DAY) & (self.flow != "returned")
        )
        self.visited += 1
        number = f"V{self.visited:05d}"
        spread = float(self.geo.spread_km[region]) * 0.5 / 111.2
        latitude = round(float(self.geo.latitude[region] + rng.normal(0, spread)), 5)
        longitude = round(float(self.geo.longitude[region] + rng.normal(0, spread)), 5)
        partner = str(self.net.ids[shop]) if shop >= 0 else ""
        arrival = day + int(rng.integers(0, 3))
        common = {
            "visit_id": number,
            "visited_at": iso_times(np.array([moment]))[0],
            "inspector_ref": f"field-{int(rng.integers(1, 9))}",
            "shop_ref": partner or f"corner-{self.geo.codes[region]}-{int(rng.integers(1, 40))}",
            "partner_id": partner,
            "region_code": self.geo.codes[region],
            "latitude": latitude,
            "longitude": longitude,
            "photo_sha256": sha256_hex(f"{self.spec.seed}:{number}".encode()),
            "arrival": arrival,
        }
        read = np.sort(rng.permutation(fresh)[: int(rng.integers(2, 6))])
        for at, unit in enumerate(read.tolist()):
            product = self.net.products[int(self.units["sku"].iat[unit])]
            epc = self.units["epc"].iat[unit]
            self.inspections.append({**common, "kind": "code_read", "epc": epc, "sku": product.sku, "quantity": 1})
            self._trace(f"FI-{number}-{at}", moment + at * 2 * MINUTE, unit, "field_inspection", shop, region)
            self.trace[-1].update(latitude=latitude, longitude=longitude, accuracy_m=15.0, place_source="gps")
        product = self.net.products[int(rng.integers(len(self.net.products)))]
        price = f"{product.list_price * float(rng.uniform(0.93, 1.08)):.2f}"
        self.inspections.append({**common, "kind": "price", "sku": product.sku, "price": price, "quantity": 1})
        if why == "complaint":
            self.inspections.append({**common, "kind": "complaint", "note": "外地货 goods from elsewhere reported"})
            if len(read) and rng.random() < 0.6:
                self._receipt(f"PR-{number}", day + 1, -1, int(read[0]))

    def _trace(self, number: str, moment: int, unit: int, observer: str, partner: int, region: int) -> None:
        if moment // DAY > day_number(self.spec.end):
            return
        carton = int(self.units["carton"].iat[unit])
        self.trace.append(
            {
                "event_id": f"urn:event:{number}",
                "event_time": moment,
                "epc": self.units["epc"].iat[unit],
                "item_role": "item",
                "event_type": "object",
                "action": "OBSERVE",
                "biz_step": "inspecting",
                "sku": self.net.products[int(self.units["sku"].iat[unit])].sku,
                "lot": self.cartons["lot"].iat[carton],
                "partner_id": self.net.ids[partner] if partner >= 0 else None,
                "region_code": self.geo.codes[region],
                "place_source": "address",
                "observer": observer,
            }
        )

    def _receipt(self, number: str, day: int, partner: int, unit: int) -> None:
        self.documents.append(
            {
                "document_id": number,
                "kind": "purchase_receipt",
                "day": iso_days(np.array([day]))[0],
                "partner_id": self.net.ids[partner] if partner >= 0 else "",
                "sku": self.net.products[int(self.units["sku"].iat[unit])].sku,
                "epc": self.units["epc"].iat[unit],
                "quantity": 1,
                "file_sha256": sha256_hex(f"{self.spec.seed}:{number}".encode()),
                "arrival": day + int(self.rng.integers(0, 3)),
            }
        )

    def test_purchases(self) -> None:
        """Units bought from sellers and sent to the brand: from schemes' sellers, and from honest shops."""
        rng, start, end = self.rng, day_number(self.spec.start), day_number(self.spec.end)
        known = set(known_sellers(self.spec, self.net).tolist())
        number = 0
        jobs = [(at, s.seller, s.first_day) for at, s in enumerate(self.plan.schemes) if s.kind == "online_supply"]
        for at, seller, first in jobs:
            pool = np.flatnonzero(self.scheme == at)
            for unit in np.sort(rng.permutation(pool)[: int(rng.integers(3, 6))]).tolist():
                day = max(start, first + 8, int(self.on_sale[unit] // DAY) + 1) + int(rng.integers(0, 15))
                number += 1
                self._buy(number, min(day, end - 1), seller if seller in known else -1, unit)
        shops = np.flatnonzero(np.isin(self.cartons["consignee"].to_numpy()[self.units["carton"]], self.net.shops))
        shops = shops[self.on_sale[shops] // DAY < end - 2]
        for unit in np.sort(rng.permutation(shops)[: max(1, self.spec.dealers // 6)]).tolist():
            day = max(start, int(self.on_sale[unit] // DAY) + 1) + int(rng.integers(0, 10))
            number += 1
            shop = int(self.cartons["consignee"].iat[int(self.units["carton"].iat[unit])])
            self._buy(number, min(day, end - 1), shop, unit)

    def _buy(self, number: int, day: int, seller: int, unit: int) -> None:
        if self.on_sale[unit] // DAY >= day:
            return
        moment = day * DAY + 15 * HOUR
        self._trace(f"TP-{number:04d}", moment, unit, "test_purchase", seller, int(self.net.region[self.net.plant]))
        self._receipt(f"TP-{number:04d}", day, seller, unit)

    def papers(self) -> None:
        """Delivery notes of a tenth of the deliveries, and notes of returned goods."""
        rng, cartons, net = self.rng, self.cartons, self.net
        first = day_number(self.spec.trace_start)
        shown = cartons[(cartons["ship2"] // DAY >= first) & cartons["recorded2"]]
        notes = shown.groupby("line", sort=True).agg(
            day=("ship2", "min"),
            root=("root", "first"),
            to=("consignee", "first"),
            sku=("sku", "first"),
            units=("units", "sum"),
        )
        notes = notes[rng.random(len(notes)) < 0.1]
        returned = cartons[cartons["returned"] >= 0]
        rows = [
            (f"DN2-{line:06d}", "delivery_note", int(row.day // DAY), row.to, row.root, row.sku, row.units)
            for line, row in zip(notes.index.tolist(), notes.itertuples(), strict=True)
        ]
        rows += [
            (f"RG-{at:06d}", "returned_goods", int(row.returned // DAY), row.consignee, net.plant, row.sku, row.units)
            for at, row in zip(returned.index.tolist(), returned.itertuples(), strict=True)
        ]
        for number, kind, day, partner, other, sku, units in rows:
            self.documents.append(
                {
                    "document_id": number,
                    "kind": kind,
                    "day": iso_days(np.array([day]))[0],
                    "partner_id": net.ids[partner],
                    "counterparty_id": net.ids[other],
                    "sku": net.products[sku].sku,
                    "quantity": int(units),
                    "file_sha256": sha256_hex(f"{self.spec.seed}:{number}".encode()),
                    "arrival": day + int(rng.integers(0, 4)),
                }
            )
