"""Families of prices: a page redesigned, a tax lowered, a platform nobody knew, and offers that hide from the scraper."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.core.canonical import sha256_hex
from fangcuan.simulate import policies as rules
from fangcuan.simulate.clock import DAY, HOUR, MINUTE, date_of, iso_times, stamp
from fangcuan.simulate.families import Planting
from fangcuan.simulate.plan import Scheme
from fangcuan.simulate.revision import Revision

#: Parts in which the instalment shown on a page is quoted.
INSTALMENTS = 12
_OLD_RATE = 0.13


def _numbers(values: pd.Series) -> np.ndarray:
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=float)


def _days(rev: Revision) -> np.ndarray:
    texts = rev.world.prices.rows["observed_at"].str[:10].to_numpy(dtype=str)
    return np.asarray(texts.astype("datetime64[D]").astype(np.int64))


def _free(rev: Revision) -> np.ndarray:
    """Mask over the rows of the feed: read well, no scheme's, no other family's."""
    free = rev.world.prices.truth["observation_id"].to_numpy()[rev.free_offers()]
    return rev.world.prices.rows["observation_id"].isin(set(free.tolist())).to_numpy()


def _texts(values: np.ndarray) -> np.ndarray:
    return np.array([f"{value:.2f}" for value in values], dtype=object)


def _tell(rev: Revision, ids: np.ndarray, **columns: np.ndarray | str) -> None:
    """Set columns of the truth for these observations; arrays follow the order of `ids`."""
    truth = rev.world.prices.truth
    where = pd.Index(ids).get_indexer(truth["observation_id"].to_numpy())
    rows = truth.index[where >= 0]
    for name, value in columns.items():
        truth.loc[rows, name] = value if isinstance(value, str) else value[where[where >= 0]]


def scraper_redesign(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """For some nights the scraper of one platform takes the monthly instalment for the price."""
    rows = rev.world.prices.rows
    platform = str(rng.choice(["tmall", "jd", "douyin"]))
    first = rev.first_night + planting.start
    last = first + int(planting.size) - 1
    day, draw = _days(rev), rng.random(len(rows))
    mine = _free(rev) & (rows["platform"] == platform).to_numpy() & (day >= first) & (day <= last)
    chosen = np.flatnonzero(mine & (draw < planting.strength))
    _, reason = rev.innocent(
        "scraper_error",
        "platform",
        platform,
        first_day=first,
        last_day=last,
        units=len(chosen),
        note="page redesigned: the instalment is read as the price",
    )
    seen = np.round(_numbers(rows["price"])[chosen] / INSTALMENTS, 2)
    coupon = _numbers(rows["coupon"])[chosen]
    rows.loc[chosen, "price"] = _texts(seen)
    some = ~np.isnan(coupon)
    rows.loc[chosen[some], "coupon"] = _texts(np.minimum(coupon, seen)[some])
    ids = rows["observation_id"].to_numpy()[chosen]
    _tell(rev, ids, **{"class": "error", "error_kind": "instalment"})
    rev.take_offers(ids, reason, "changed")


def tax_change(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Value added tax falls on one day: some sellers lower their prices by the difference, invoices add less tax.

    An offer that thereby gets below a floor written for the old rate is of class `tax_change`, not a violation.
    """
    prices, rate = rev.world.prices, planting.strength
    rows, ratio = prices.rows, (1 + rate) / (1 + _OLD_RATE)
    first = rev.first_night + planting.start
    sellers = np.sort(rows["seller_ref"].unique().astype(str))
    passing = set(sellers[rng.random(len(sellers)) < planting.size].tolist())
    after, free = _days(rev) >= first, _free(rev)
    taxed = rows["tax_included"].to_numpy(dtype=bool)
    cheaper = after & free & taxed & (rows["currency"] == "CNY").to_numpy()
    cheaper &= rows["seller_ref"].isin(passing).to_numpy()
    chosen = np.flatnonzero(cheaper)
    price, coupon = _numbers(rows["price"])[chosen], np.nan_to_num(_numbers(rows["coupon"]))[chosen]
    price, coupon = np.round(price * ratio, 2), np.round(coupon * ratio, 2)
    pack = rows["pack_quantity"].to_numpy(dtype=float)[chosen]
    _, reason = rev.innocent(
        "tax_change",
        "region",
        "100000",
        first_day=first,
        last_day=rev.last_night,
        units=len(chosen),
        note=f"value added tax {_OLD_RATE:.0%} to {rate:.0%}; {len(passing)} sellers pass it on",
    )
    rows.loc[chosen, "price"] = _texts(price)
    some = coupon > 0
    rows.loc[chosen[some], "coupon"] = _texts(coupon[some])
    ids = rows["observation_id"].to_numpy()[chosen]
    net = (price - coupon) / pack
    _tell(rev, ids, true_net_unit_price=np.array([f"{value:.4f}" for value in net], dtype=object))
    truth = prices.truth
    true_net, floor = _numbers(truth["true_net_unit_price"]), _numbers(truth["floor"])
    below = truth["observation_id"].isin(set(ids.tolist())).to_numpy() & (true_net < floor)
    truth.loc[below, "class"] = "tax_change"
    invoiced = set(rows["observation_id"].to_numpy()[after & free & ~taxed].tolist())
    other = truth["observation_id"].isin(invoiced).to_numpy()
    truth.loc[other, "true_net_unit_price"] = [f"{value * ratio:.4f}" for value in true_net[other]]
    rev.take_offers(ids, reason, "changed")
    _new_rate(rev, first, rate)


def _new_rate(rev: Revision, first: int, rate: float) -> None:
    """The master data follow the law in time: every product has a new version from the day on."""
    products = rev.world.masters["products"]
    day = date_of(first).isoformat()
    old = products.assign(valid_to=day)
    new = products.assign(vat_rate=f"{rate:.2f}", valid_from=day, recorded_at=stamp(date_of(first - 5)))
    rev.world.masters["products"] = pd.concat([old, new], ignore_index=True)


def _looks(rev: Revision, sellers: pd.DataFrame, first: int, rng: np.random.Generator) -> pd.DataFrame:
    """One evening look per seller and night from `first` on, with the terms in force: offers of `prices` in small."""
    days = np.arange(first, rev.last_night + 1)
    offers = sellers.loc[np.repeat(np.arange(len(sellers)), len(days))].reset_index(drop=True)
    offers["day"] = np.tile(days, len(sellers))
    offers["time"] = offers["day"] * DAY + 21 * HOUR + rng.integers(0, 90 * MINUTE, len(offers))
    offers["channel"], offers["tier"], offers["surface"], offers["region_code"] = "online", "", "list", ""
    offers = offers.sort_values(["time", "seller_ref"], kind="stable").reset_index(drop=True)
    return offers.assign(terms_at=np.arange(len(offers)))


def _append(rev: Revision, offers: pd.DataFrame, prefix: str, reason: str) -> np.ndarray:
    """Rows of the feed and of the truth for offers with price, seen_pack, class, error, floor and scheme_id."""
    prices, net = rev.world.prices, rev.net
    ids = np.array([f"OB-{prefix}-{at + 1:05d}" for at in range(len(offers))], dtype=object)
    sku = offers["sku"].to_numpy()
    rows = pd.DataFrame(
        {
            "observation_id": ids,
            "observed_at": iso_times(offers["time"].to_numpy(dtype=np.int64)),
            "channel": "online",
            "platform": offers["platform"],
            "shop_name": offers["shop_name"],
            "seller_ref": offers["seller_ref"],
            "partner_id": None,
            "listing_url": offers["listing_url"],
            "title": [f"{net.products[at].name} 正品包邮" for at in sku.tolist()],
            "sku": [net.products[at].sku for at in sku.tolist()],
            "surface": "list",
            "price": _texts(offers["price"].to_numpy(dtype=float)),
            "pack_quantity": offers["seen_pack"].astype(int),
            "shipping": "0.00",
            "coupon": None,
            "currency": "CNY",
            "tax_included": True,
            "region_code": None,
            "in_stock": True,
            "capture_sha256": [sha256_hex(f"{rev.spec.seed}:{name}".encode()) for name in ids],
            "capture_ok": True,
            "arrival": offers["day"],
        }
    )
    truth = pd.DataFrame(
        {
            "observation_id": ids,
            "class": offers["class"],
            "true_net_unit_price": [f"{value:.4f}" for value in offers["price"]],
            "floor": [f"{value:.2f}" if value == value else "" for value in offers["floor"]],
            "error_kind": offers["error"],
            "scheme_id": offers["scheme_id"],
        }
    )
    kinds = prices.rows.dtypes.to_dict()
    prices.rows = pd.concat([prices.rows.astype(object), rows.astype(object)], ignore_index=True).astype(kinds)
    prices.truth = pd.concat([prices.truth, truth], ignore_index=True)
    rev.take_offers(ids, reason, "added")
    return ids


def _strangers(rng: np.random.Generator, count: int, platforms: tuple[str, ...], sku: np.ndarray) -> pd.DataFrame:
    """Sellers that no master table knows, one listing each."""
    number = rng.choice(90_000_000, count, replace=False) + 10_000_000
    platform = [platforms[at % len(platforms)] for at in range(count)]
    return pd.DataFrame(
        {
            "platform": platform,
            "seller_ref": [f"{name}-x{at}" for name, at in zip(platform, number.tolist(), strict=True)],
            "shop_name": [f"{name}新商家{at + 1}" for at, name in enumerate(platform)],
            "listing_url": [
                f"https://{name}.example/item/{at}" for name, at in zip(platform, number.tolist(), strict=True)
            ],
            "sku": sku,
        }
    )


def new_platform(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """The scraper begins to read a platform: ordinary prices of unknown sellers, packs misread in the first week."""
    count, products = int(planting.size), rev.net.products
    first = rev.first_night + planting.start
    sellers = _strangers(rng, count, ("kuaishou",), rng.integers(0, len(products), count))
    sellers["level"] = rng.uniform(0.985, 1.06, count)
    offers = _looks(rev, sellers, first, rng)
    terms = rules.in_force(rev.net, rev.world.policies, offers)
    list_price = np.array([product.list_price for product in products])[offers["sku"].to_numpy()]
    offers["price"] = np.round(list_price * offers["level"] * (1 + rng.normal(0, 0.004, len(offers))), 2)
    young = (offers["day"] < first + 7).to_numpy() & (rng.random(len(offers)) < planting.strength)
    offers["seen_pack"] = np.where(young, rng.choice([2, 3, 6], len(offers)), 1)
    offers["error"] = np.where(young, "wrong_pack", "")
    offers["class"] = np.where(young, "error", "ordinary")
    offers["floor"], offers["scheme_id"] = terms.floor, ""
    _, reason = rev.innocent(
        "new_platform",
        "platform",
        "kuaishou",
        first_day=first,
        last_day=rev.last_night,
        units=len(offers),
        note=f"{count} sellers unknown to the brand",
    )
    _append(rev, offers, "NP", reason)


def _price_scheme(rev: Revision, kind: str, first: int, last: int, **more: object) -> tuple[int, Scheme]:
    schemes = rev.world.plan.schemes
    scheme = Scheme(f"S{len(schemes) + 1:03d}", "price", kind, -1, first, last)
    for name, value in more.items():
        setattr(scheme, name, value)
    schemes.append(scheme)
    return len(schemes) - 1, scheme


def night_offer(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Listings of marketplace sellers that go below the floor after eight in the evening and come back by morning."""
    prices, net = rev.world.prices, rev.net
    rows = prices.rows
    first = rev.first_night + planting.start
    hour = rows["observed_at"].str[11:13].astype(int).to_numpy()
    evening = _free(rev) & (_days(rev) >= first) & (hour >= 20) & (rows["currency"] == "CNY").to_numpy()
    # Offers that run under a promotion keep their price: a scheme that keeps to the terms would be none.
    floor = prices.truth.set_index("observation_id")["floor"].reindex(rows["observation_id"])
    ordinary = prices.truth.set_index("observation_id")["class"].reindex(rows["observation_id"]).to_numpy()
    bound = _numbers(floor)
    evening &= (bound > 0) & np.isin(ordinary, ("ordinary", "bundle", "coupon"))
    sellers = {str(net.partners["seller_ref"].iat[at]): int(at) for at in net.sellers}
    seen = rows.loc[evening & rows["seller_ref"].isin(sellers).to_numpy(), "listing_url"].value_counts()
    # A listing that is mostly under a promotion has few evenings left to break the floor on.
    listings = np.sort(seen.index[seen >= 0.7 * seen.max()].to_numpy()) if len(seen) else np.array([], dtype=object)
    skip, depth = rng.random(len(rows)), rng.uniform(0.80, 0.92, len(rows))
    for url in rng.permutation(listings)[: int(planting.size)]:
        mine = evening & (rows["listing_url"] == url).to_numpy()
        chosen = np.flatnonzero(mine & (skip >= planting.strength))
        if len(chosen) == 0:
            continue
        seller = sellers[str(rows["seller_ref"].iat[chosen[0]])]
        sku = next(at for at, product in enumerate(net.products) if product.sku == rows["sku"].iat[chosen[0]])
        pack = rows["pack_quantity"].to_numpy(dtype=float)[chosen]
        coupon = np.nan_to_num(_numbers(rows["coupon"]))[chosen]
        price = np.round(bound[chosen] * depth[chosen[0]] * pack + coupon, 2)
        net_unit = (price - coupon) / pack
        _, scheme = _price_scheme(
            rev,
            "night_offer",
            first,
            rev.last_night,
            partner=seller,
            seller=seller,
            platform=str(rows["platform"].iat[chosen[0]]),
            sku=sku,
            line=net.products[sku].line,
            stealth=planting.strength,
            units=len(chosen),
            money=float(np.round((bound[chosen] - net_unit).sum(), 2)),
            subject=f"{rows['platform'].iat[chosen[0]]}:{rows['seller_ref'].iat[chosen[0]]}",
        )
        ids = rows["observation_id"].to_numpy()[chosen]
        rows.loc[chosen, "price"] = _texts(price)
        texts = np.array([f"{value:.4f}" for value in net_unit], dtype=object)
        _tell(rev, ids, true_net_unit_price=texts)
        _tell(rev, ids, **{"class": "violation", "scheme_id": scheme.scheme_id})
        rev.take_offers(ids, scheme.scheme_id, "changed")


def flood(rev: Revision, planting: Planting, rng: np.random.Generator) -> None:
    """Unknown sellers on all platforms offer the dearest product below the floor, all within some days."""
    count = int(planting.size)
    first = rev.first_night + planting.start
    sellers = _strangers(rng, count, ("pinduoduo", "douyin", "tmall", "jd"), np.zeros(count, dtype=int))
    sellers["low"], sellers["begins"] = rng.uniform(0.78, 0.92, count), first + rng.integers(0, 4, count)
    offers = _looks(rev, sellers, first, rng)
    terms = rules.in_force(rev.net, rev.world.policies, offers)
    offers["floor"] = terms.floor
    offers["price"] = np.round(terms.floor * offers["low"].to_numpy() * (1 + rng.normal(0, 0.003, len(offers))), 2)
    hides = rng.random(len(offers)) < planting.strength
    offers = offers[~hides & (offers["day"] >= offers["begins"]).to_numpy() & (terms.floor > 0)].reset_index(drop=True)
    net = rev.net
    scheme_ids = {}
    for ref in sellers["seller_ref"]:
        mine = offers[offers["seller_ref"] == ref]
        if len(mine) == 0:
            continue
        _, scheme = _price_scheme(
            rev,
            "flood",
            int(mine["day"].min()),
            int(mine["day"].max()),
            platform=str(mine["platform"].iat[0]),
            sku=0,
            line=net.products[0].line,
            stealth=planting.strength,
            units=len(mine),
            money=float(np.round((mine["floor"] - mine["price"]).sum(), 2)),
            subject=f"{mine['platform'].iat[0]}:{ref}",
        )
        scheme_ids[ref] = scheme.scheme_id
    offers["scheme_id"] = offers["seller_ref"].map(scheme_ids)
    offers["class"], offers["error"], offers["seen_pack"] = "violation", "", 1
    ids = _append(rev, offers, "FL", "")
    for touched, owner in zip(rev.touched[-len(ids) :], offers["scheme_id"], strict=True):
        touched["reason_id"] = owner
