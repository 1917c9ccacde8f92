"""Who sells: brand, warehouses, distributors, dealers, retailers, online shops and marketplace sellers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fangcuan.simulate.catalogue import PRODUCTS, Product
from fangcuan.simulate.geography import COUNTRY, Geography
from fangcuan.simulate.spec import WorldSpec

PLATFORMS = ("tmall", "jd", "douyin", "pinduoduo")


@dataclass(frozen=True)
class Network:
    """Partners by position. `partners` has one row each: partner_id, name, kind, tier, parent (position or -1), region
    (position of the prefecture or -1), channel, group (0: all products, 1 and 2: halves of a shared city), platform,
    seller_ref, scan_out (share of onward shipments it records), miss_in (share of receipts it fails to record)."""

    partners: pd.DataFrame
    products: tuple[Product, ...]
    brand: int
    plant: int
    online_warehouse: int
    distributors: np.ndarray
    dealers: np.ndarray
    retailers: np.ndarray
    key_accounts: np.ndarray
    shops: np.ndarray
    sellers: np.ndarray
    grants: tuple[tuple[int, str, str], ...]

    @property
    def ids(self) -> np.ndarray:
        return self.partners["partner_id"].to_numpy(dtype=object)

    @property
    def region(self) -> np.ndarray:
        return self.partners["region"].to_numpy()

    @property
    def parent(self) -> np.ndarray:
        return self.partners["parent"].to_numpy()

    def children(self, parent: int, kind: str) -> np.ndarray:
        frame = self.partners
        return np.flatnonzero((frame["parent"] == parent).to_numpy() & (frame["kind"] == kind).to_numpy())

    def product_group(self, partner: int) -> np.ndarray:
        """Positions of the products this partner may sell."""
        group = int(self.partners["group"].iat[partner])
        lines = [product.line for product in self.products]
        first = ("baijiu", "herbal_drink")
        return np.array([at for at, line in enumerate(lines) if group == 0 or (line in first) == (group == 1)])


class _Roll:
    """Collects partner rows; positions are the order of registration."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, partner_id: str, name: str, kind: str, **more: object) -> int:
        row: dict[str, Any] = {
            "partner_id": partner_id,
            "name": name,
            "kind": kind,
            "tier": "",
            "parent": -1,
            "region": -1,
            "channel": "offline",
            "group": 0,
            "platform": "",
            "seller_ref": "",
            "scan_out": 0.0,
            "miss_in": 0.0,
        }
        self.rows.append({**row, **more})
        return len(self.rows) - 1


def build(spec: WorldSpec, geo: Geography) -> Network:
    rng = spec.rng("network")
    roll = _Roll()
    brand = roll.add("BRAND", "方川集团", "brand", tier="0", channel="")
    plant = roll.add("WH-01", "方川总仓", "warehouse", tier="0", parent=brand, region=0, channel="")
    online = roll.add("WH-02", "方川电商仓", "warehouse", tier="0", parent=brand, region=0, channel="online")
    grants: list[tuple[int, str, str]] = [(online, COUNTRY, "all")]

    provinces = list(dict.fromkeys(geo.province))
    names = {row["region_code"]: row for row in geo.provinces}
    distributors = []
    for at, code in enumerate(provinces):
        inside = np.flatnonzero(geo.province == code)
        seat = int(inside[np.argmax(geo.population[inside])])
        partner = roll.add(
            f"DT-{at + 1:02d}",
            f"{names[code]['name_zh'].rstrip('省市')}总经销",
            "distributor",
            tier="1",
            parent=brand,
            region=seat,
            miss_in=float(rng.beta(1.5, 40)),
        )
        distributors.append(partner)
        grants.append((partner, code, "all"))
    by_province = dict(zip(provinces, distributors, strict=True))

    dealers = _dealers(spec, geo, roll, grants, by_province, rng)
    retailers: list[int] = []
    for dealer in dealers:
        for _ in range(spec.retailers_per_dealer):
            region = int(roll.rows[dealer]["region"])
            number = len(retailers) + 1
            retailers.append(
                roll.add(
                    f"RT-{number:04d}",
                    f"{geo.names[region]}{number}号店",
                    "retailer",
                    tier="3",
                    parent=dealer,
                    region=region,
                    miss_in=float(rng.uniform(0.05, 0.35)),
                )
            )
    key_accounts = []
    for at, parent in enumerate(distributors[: max(1, len(distributors) // 3)]):
        region = int(roll.rows[parent]["region"])
        key_accounts.append(
            roll.add(
                f"KA-{at + 1:02d}", f"{geo.names[region]}大卖场", "retailer", tier="2", parent=parent, region=region
            )
        )
        grants.append((key_accounts[-1], geo.codes[region], "all"))
    shops = _shops(roll, grants, distributors, online)
    sellers = _sellers(spec, geo, roll, rng)
    return Network(
        partners=pd.DataFrame(roll.rows),
        products=_products(spec),
        brand=brand,
        plant=plant,
        online_warehouse=online,
        distributors=np.array(distributors),
        dealers=np.array(dealers),
        retailers=np.array(retailers),
        key_accounts=np.array(key_accounts),
        shops=np.array(shops),
        sellers=np.array(sellers),
        grants=tuple(grants),
    )


def _products(spec: WorldSpec) -> tuple[Product, ...]:
    return PRODUCTS[: spec.products]


def _dealers(
    spec: WorldSpec,
    geo: Geography,
    roll: _Roll,
    grants: list[tuple[int, str, str]],
    by_province: dict[str, int],
    rng: np.random.Generator,
) -> list[int]:
    """One dealer per prefecture, the most populous first; when dealers remain, big cities are split by product line."""
    order = np.argsort(-geo.population * rng.uniform(0.5, 1.5, len(geo)), kind="stable")
    share = int(min(spec.dealers // 8, len(geo) // 6))
    alone = min(spec.dealers - share, len(geo))
    crowd = [int(at) for at in np.argsort(-geo.population, kind="stable") if at in set(order[:alone].tolist())]
    homes = [(int(at), 0) for at in order[:alone]]
    extra = spec.dealers - alone
    split = crowd[:extra]
    homes = [(at, 1 if at in split else 0) for at, _ in homes] + [(at, 2) for at in split]
    # More dealers than prefectures and shared cities: further dealers share a territory without exclusivity.
    homes += [(crowd[at % len(crowd)], 0) for at in range(spec.dealers - len(homes))]
    lines = tuple(dict.fromkeys(product.line for product in _products(spec)))
    found = []
    for number, (region, group) in enumerate(sorted(homes)):
        suffix = {0: "", 1: "酒饮", 2: "母婴车品"}[group]
        partner = roll.add(
            f"DL-{number + 1:03d}",
            f"{geo.names[region].rstrip('市')}{suffix}经销商{number + 1}",
            "dealer",
            tier="2",
            parent=by_province[geo.province[region]],
            region=region,
            group=group,
            scan_out=float(rng.choice([0.0, 0.5, 0.9], p=[0.5, 0.3, 0.2])),
            miss_in=float(rng.beta(1.5, 16)),
        )
        found.append(partner)
        if group == 0:
            grants.append((partner, geo.codes[region], "all"))
        else:
            inside = ("baijiu", "herbal_drink")
            grants += [(partner, geo.codes[region], line) for line in lines if (line in inside) == (group == 1)]
    return found


def _shops(roll: _Roll, grants: list[tuple[int, str, str]], distributors: list[int], online: int) -> list[int]:
    """Three flagships served by the online warehouse, then shops that distributors run with consent."""
    found = []
    for at, platform in enumerate(PLATFORMS[:3]):
        found.append(
            roll.add(
                f"OS-{at + 1:02d}",
                f"方川{platform}旗舰店",
                "online_shop",
                tier="1",
                parent=online,
                channel="online",
                platform=platform,
                seller_ref=f"{platform}-flagship",
            )
        )
        grants.append((found[-1], COUNTRY, "all"))
    for at, parent in enumerate(distributors[:2]):
        platform = PLATFORMS[(at + 3) % len(PLATFORMS)]
        found.append(
            roll.add(
                f"OS-{at + 4:02d}",
                f"方川授权店{at + 1}",
                "online_shop",
                tier="2",
                parent=parent,
                channel="online",
                platform=platform,
                seller_ref=f"{platform}-auth-{at + 1}",
            )
        )
        grants.append((found[-1], COUNTRY, "all"))
    return found


def _sellers(spec: WorldSpec, geo: Geography, roll: _Roll, rng: np.random.Generator) -> list[int]:
    """Marketplace sellers; the platform's own id of each is known, who stands behind it often is not."""
    found = []
    for at in range(spec.marketplace_sellers):
        platform = PLATFORMS[int(rng.integers(len(PLATFORMS)))]
        found.append(
            roll.add(
                f"MS-{at + 1:03d}",
                f"{platform}商家{at + 1}",
                "marketplace_seller",
                tier="",
                region=int(rng.choice(len(geo), p=geo.population / geo.population.sum())),
                channel="online",
                platform=platform,
                seller_ref=f"{platform}-{rng.integers(10_000_000, 99_999_999)}",
            )
        )
    return found
