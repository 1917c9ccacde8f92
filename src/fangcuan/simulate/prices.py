"""Price observations: what the scraper and the field force saw, what they got wrong, and what the price truly was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fangcuan.core.canonical import sha256_hex
from fangcuan.simulate import policies as rules
from fangcuan.simulate.clock import DAY, HOUR, MINUTE, date_of, day_number, iso_times
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.ledger import Ledger
from fangcuan.simulate.listings import build as build_listings
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan
from fangcuan.simulate.policies import Policies
from fangcuan.simulate.spec import WorldSpec

#: Nights looked at before the first one.
HISTORY_DAYS = 14


@dataclass
class Prices:
    """`rows`: observations as the feed carries them, with `arrival` (day number). `truth`: truth/prices.csv."""

    rows: pd.DataFrame
    truth: pd.DataFrame


def observe(spec: WorldSpec, geo: Geography, net: Network, plan: Plan, policies: Policies, ledger: Ledger) -> Prices:
    """Look at every listing every night and at some shelves and invoices every week."""
    offers = pd.concat(
        [
            _online(spec, geo, net, plan, policies),
            _shelves(spec, geo, net, plan, policies),
            _invoices(spec, geo, net),
        ],
        ignore_index=True,
    )
    offers = offers[offers["time"] // DAY <= day_number(spec.end)]
    offers = offers.sort_values(["time", "listing", "seller_ref", "sku"], kind="stable").reset_index(drop=True)
    offers["observation_id"] = [f"OB-{at + 1:06d}" for at in range(len(offers))]
    terms = rules.in_force(net, policies, offers)
    _misread(spec, offers, ledger)
    return Prices(_rows(spec, net, offers), _truth(plan, offers, terms))


def _quote(net: Network, offers: pd.DataFrame, net_unit: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """Shown price, coupon and true net unit price (yuan with tax) of offers with pack, currency and tax."""
    pack = offers["pack"].to_numpy(dtype=float)
    share = offers["coupon_share"].to_numpy(dtype=float)
    rate = np.ones(len(offers))
    abroad = (offers["currency"] == "USD").to_numpy()
    if abroad.any():
        rate[abroad] = [rules.DOLLAR[date_of(day).month] for day in offers["day"].to_numpy()[abroad].tolist()]
    taxed = offers["tax_included"].to_numpy(dtype=bool)
    total = net_unit * pack / np.where(taxed, 1.0, 1.13) / rate
    price = np.round(total / (1 - share), 2)
    coupon = np.round(price - total, 2)
    coupon = np.where(share > 0, coupon, 0.0)
    true_net = np.round((price - coupon) / pack * rate * np.where(taxed, 1.0, 1.13), 4)
    return offers.assign(price=price, coupon=coupon, true_net=true_net)


def _online(spec: WorldSpec, geo: Geography, net: Network, plan: Plan, policies: Policies) -> pd.DataFrame:
    rng = spec.rng("looks")
    listings = build_listings(spec, geo, net, plan)
    first, last = day_number(spec.start) - HISTORY_DAYS, day_number(spec.end)
    days = np.arange(first, last + 1)
    evening = pd.DataFrame(
        {"listing": np.repeat(np.arange(len(listings)), len(days)), "day": np.tile(days, len(listings))}
    )
    evening["time"] = evening["day"] * DAY + 21 * HOUR + rng.integers(0, 90 * MINUTE, len(evening))
    morning = evening[rng.random(len(evening)) < 0.15].copy()
    morning["time"] = morning["day"] * DAY + 9 * HOUR + rng.integers(0, 60 * MINUTE, len(morning))
    looks = pd.concat([evening, morning], ignore_index=True)
    offers = looks.join(listings, on="listing")
    offers["channel"], offers["tier"], offers["tax_included"] = "online", "", True
    offers["region_code"] = np.append(geo.codes, "")[offers["region"].to_numpy()]
    offers["partner_id"] = None
    level = offers["level"].to_numpy() * (1 + rng.normal(0, 0.004, len(offers)))
    level = np.maximum(level, 0.915)
    terms = rules.in_force(net, policies, offers)
    list_price = np.array([product.list_price for product in net.products])[offers["sku"].to_numpy()]
    net_unit = level * list_price
    joins = (offers["listing"].to_numpy() * 7919 + 13) % 10 < 6
    promo = terms.promoted & joins
    net_unit = np.where(
        promo, np.maximum(terms.floor, 0.72 * list_price) * rng.uniform(1.0, 1.05, len(offers)), net_unit
    )
    follows = terms.cut & ((offers["listing"].to_numpy() * 31 + 7) % 10 < 7)
    net_unit = np.where(follows & ~promo, 0.83 * list_price * (1 + rng.normal(0, 0.004, len(offers))), net_unit)
    offers["planted"] = -1
    for at, scheme in enumerate(plan.schemes):
        mine = (offers["scheme"].to_numpy() == at) & (offers["day"].to_numpy() >= scheme.first_day)
        mine &= (offers["day"].to_numpy() <= scheme.last_day) & (rng.random(len(offers)) >= scheme.stealth)
        if scheme.family != "price" or not mine.any():
            continue
        bound = (
            terms.ceiling
            if scheme.kind == "above_ceiling"
            else np.where(terms.floor > 0, terms.floor, 0.9 * list_price)
        )
        low = offers["low"].to_numpy()
        net_unit = np.where(mine, bound * low * (1 + rng.normal(0, 0.003, len(offers))), net_unit)
        offers.loc[mine, "planted"] = at
        if scheme.kind == "coupon_hidden":
            share = 1 - net_unit / (list_price * offers["level"].to_numpy())
            offers["coupon_share"] = np.where(mine, np.maximum(share, 0.02), offers["coupon_share"])
        scheme.money = float(np.round(np.abs(bound - net_unit)[mine].sum(), 2))
        scheme.subject = f"{scheme.platform}:{net.partners['seller_ref'].iat[scheme.seller]}"
    offers.loc[offers["coupon_share"] < 0, "coupon_share"] = 0.0
    return _quote(net, offers, net_unit, rng)


def _weekly(spec: WorldSpec, partners: np.ndarray, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """One visit a week to a share of the partners: columns partner (position), day, time."""
    first, last = day_number(spec.start) - HISTORY_DAYS, day_number(spec.end)
    weeks = np.arange(first, last + 1, 7)
    frame = pd.DataFrame({"partner": np.repeat(partners, len(weeks)), "day": np.tile(weeks, len(partners))})
    frame = frame[rng.random(len(frame)) < share].reset_index(drop=True)
    frame["day"] = frame["day"] + rng.integers(0, 7, len(frame))
    frame["time"] = frame["day"] * DAY + 10 * HOUR + rng.integers(0, 7 * HOUR, len(frame))
    return frame[frame["day"] <= last].reset_index(drop=True)


def _offline(geo: Geography, net: Network, frame: pd.DataFrame, surface: str, tier: str) -> pd.DataFrame:
    partner = frame["partner"].to_numpy()
    return frame.assign(
        listing=-1,
        platform=None,
        shop_name=net.partners["name"].to_numpy(dtype=object)[partner],
        seller_ref=net.ids[partner],
        partner_id=net.ids[partner],
        surface=surface,
        pack=1,
        currency="CNY",
        coupon_share=0.0,
        shipping=np.nan,
        channel="offline",
        tier=tier,
        tax_included=True,
        region_code=geo.codes[net.region[partner]],
        title=None,
        listing_url=None,
        planted=-1,
    )


def _shelves(spec: WorldSpec, geo: Geography, net: Network, plan: Plan, policies: Policies) -> pd.DataFrame:
    """Shelf prices of retailers; an online/offline gap scheme has dear shelves in its region while it runs."""
    rng = spec.rng("shelves")
    frame = _weekly(spec, net.retailers, 0.7, rng)
    frame["sku"] = rng.integers(0, len(net.products), len(frame))
    offers = _offline(geo, net, frame, "shelf", "")
    terms = rules.in_force(net, policies, offers)
    list_price = np.array([product.list_price for product in net.products])[offers["sku"].to_numpy()]
    low = np.maximum(terms.floor * 1.005, 0.94 * list_price)
    offered = list_price * rng.uniform(0.77, 0.86, len(offers))
    net_unit = np.where(terms.promoted, offered, np.maximum(low, list_price * rng.normal(1.01, 0.03, len(offers))))
    net_unit = np.minimum(net_unit, terms.ceiling * 0.995)
    for at, scheme in enumerate(plan.schemes):
        if scheme.kind == "online_offline_gap":
            mine = (offers["region_code"] == geo.codes[scheme.region]).to_numpy() & (
                offers["sku"] == scheme.sku
            ).to_numpy()
            mine &= (offers["day"] >= scheme.first_day).to_numpy() & (offers["day"] <= scheme.last_day).to_numpy()
            net_unit = np.where(mine, terms.ceiling * 0.99, net_unit)
            offers.loc[mine, "planted"] = at
    return _quote(net, offers, net_unit, rng)


def _invoices(spec: WorldSpec, geo: Geography, net: Network) -> pd.DataFrame:
    """Dealers' invoices to retailers, written without value added tax."""
    rng = spec.rng("invoices")
    frame = _weekly(spec, net.dealers, 0.35, rng)
    frame["sku"] = [int(rng.choice(net.product_group(int(at)))) for at in frame["partner"]]
    offers = _offline(geo, net, frame, "invoice", "2")
    offers["tax_included"] = False
    list_price = np.array([product.list_price for product in net.products])[offers["sku"].to_numpy()]
    return _quote(net, offers, list_price * rng.uniform(0.70, 0.83, len(offers)), rng)


def _misread(spec: WorldSpec, offers: pd.DataFrame, ledger: Ledger) -> None:
    """What the scraper makes of an offer: `seen_price`, `seen_pack`, `seen_currency`, `error`, `capture_ok`."""
    rng = spec.rng("misread")
    count = len(offers)
    online = (offers["channel"] == "online").to_numpy()
    error = np.full(count, "", dtype=object)
    kinds = np.array(["divide_10", "divide_100", "wrong_pack", "wrong_currency"], dtype=object)
    if spec.nulls:
        slips = online & (rng.random(count) < 0.007)
        error[slips] = rng.choice(kinds, int(slips.sum()), p=[0.4, 0.2, 0.3, 0.1])
        # A redesign of a platform's page: for two nights a third of its looks lose the decimal point.
        platform = str(rng.choice(["tmall", "jd", "douyin"]))
        first = day_number(spec.start) + int(spec.nights * rng.uniform(0.2, 0.8))
        day = offers["day"].to_numpy()
        burst = online & (offers["platform"] == platform).to_numpy() & (day >= first) & (day <= first + 1)
        burst &= rng.random(count) < 0.33
        error[burst] = "divide_100"
        ledger.innocent(
            "scraper_error", "platform", platform, "", first, first + 1, int(burst.sum()), "page redesigned"
        )
    failed = (rng.random(count) < 0.03) & online
    error[failed] = ""
    price, pack = offers["price"].to_numpy().copy(), offers["pack"].to_numpy().copy()
    currency = offers["currency"].to_numpy(dtype=object).copy()
    price = np.where(error == "divide_10", price / 10, np.where(error == "divide_100", price / 100, price))
    wrong_pack = error == "wrong_pack"
    pack = np.where(wrong_pack, np.where(pack == 1, rng.choice([2, 3, 6], count), 1), pack)
    wrong = error == "wrong_currency"
    currency[wrong] = np.where(currency[wrong] == "CNY", "USD", "CNY")
    offers["seen_price"] = np.where(failed, np.nan, np.round(price, 2))
    offers["seen_pack"], offers["seen_currency"] = pack, currency
    offers["error"], offers["capture_ok"] = error, ~failed
    offers["in_stock"] = rng.random(count) < 0.95


def _rows(spec: WorldSpec, net: Network, offers: pd.DataFrame) -> pd.DataFrame:
    rng = spec.rng("price arrivals")
    skus = np.array([product.sku for product in net.products], dtype=object)
    online = (offers["channel"] == "online").to_numpy()
    ok = offers["capture_ok"].to_numpy(dtype=bool)
    wait = np.where(online, 0, rng.integers(0, 3, len(offers)))
    wait = np.where(rng.random(len(offers)) < spec.late_share / 2, rng.integers(2, 6, len(offers)), wait)

    def money(values: pd.Series | np.ndarray, keep: np.ndarray) -> list[str | None]:
        return [f"{value:.2f}" if good else None for value, good in zip(values, keep, strict=True)]

    coupon = offers["coupon"].to_numpy()
    rows = pd.DataFrame(
        {
            "observation_id": offers["observation_id"],
            "observed_at": iso_times(offers["time"].to_numpy()),
            "channel": offers["channel"],
            "platform": offers["platform"],
            "shop_name": offers["shop_name"],
            "seller_ref": offers["seller_ref"],
            "partner_id": offers["partner_id"],
            "listing_url": offers["listing_url"],
            "title": offers["title"],
            "sku": skus[offers["sku"].to_numpy()],
            "surface": offers["surface"],
            "price": money(offers["seen_price"], ok),
            "pack_quantity": offers["seen_pack"].astype(int),
            "shipping": money(offers["shipping"], ok & online),
            "coupon": money(np.minimum(coupon, np.nan_to_num(offers["seen_price"].to_numpy())), ok & (coupon > 0)),
            "currency": offers["seen_currency"],
            "tax_included": offers["tax_included"],
            "region_code": offers["region_code"].replace("", None),
            "in_stock": [bool(stock) if good else None for stock, good in zip(offers["in_stock"], ok, strict=True)],
            "capture_sha256": [
                sha256_hex(f"{spec.seed}:{name}".encode()) if good else None
                for name, good in zip(offers["observation_id"], ok, strict=True)
            ],
            "capture_ok": ok,
        }
    )
    rows["arrival"] = np.maximum(offers["day"].to_numpy() + wait, day_number(spec.start))
    return rows[rows["arrival"] <= day_number(spec.end)].reset_index(drop=True)


def _truth(plan: Plan, offers: pd.DataFrame, terms: rules.Terms) -> pd.DataFrame:
    """Class of every observation by its true price and the terms in force, reading errors first."""
    true_net = offers["true_net"].to_numpy()
    below = true_net < terms.floor * (1 - terms.tolerance)
    above = true_net > terms.ceiling * (1 + terms.tolerance)
    planted = offers["planted"].to_numpy()
    gap = np.array([scheme.kind == "online_offline_gap" for scheme in plan.schemes] + [False])[planted]
    conditions = (
        (~offers["capture_ok"].to_numpy(dtype=bool), "failed"),
        ((offers["error"] != "").to_numpy(), "error"),
        (below | above, "violation"),
        (gap, "gap"),
        (terms.promoted & (true_net < 0.89 * _reference(offers, terms)), "promotion"),
        (terms.cut, "legitimate_cut"),
        (~offers["tax_included"].to_numpy(dtype=bool), "tax_excluded"),
        ((offers["currency"] == "USD").to_numpy(), "foreign_currency"),
        ((offers["pack"] > 1).to_numpy(), "bundle"),
        ((offers["coupon"] > 0).to_numpy(), "coupon"),
    )
    names = [scheme.scheme_id for scheme in plan.schemes]
    return pd.DataFrame(
        {
            "observation_id": offers["observation_id"],
            "class": np.select([c for c, _ in conditions], [n for _, n in conditions], default="ordinary"),
            "true_net_unit_price": [f"{value:.4f}" for value in true_net],
            "floor": [f"{value:.2f}" if value == value else "" for value in terms.floor],
            "error_kind": offers["error"],
            "scheme_id": [names[at] if at >= 0 else "" for at in planted.tolist()],
        }
    )


def _reference(offers: pd.DataFrame, terms: rules.Terms) -> np.ndarray:
    """The ceiling leads back to the list price: promotions lower the floor and leave it alone."""
    return np.nan_to_num(terms.ceiling, nan=np.inf) / 1.13
