"""The sales feed: orders, sell-in, sell-out, stock and returns that agree with the goods, within counting noise.

A partner's books balance: stock now = stock before + sell-in − sell-out − returns. They do not balance for diverters,
who report what is really on the shelf and leave the diverted cartons out of their sell-out (every second one hides only
part of it), nor for partners who sell goods they never bought from the brand.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.simulate.clock import DAY, HOUR, MINUTE, day_number, iso_days, iso_times, weekday
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.goods import Goods
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan, Scheme
from fangcuan.simulate.spec import WorldSpec

COLUMNS = [
    "partner_id",
    "sku",
    "region_code",
    "day",
    "flow",
    "quantity",
    "amount",
    "currency",
    "counterparty_id",
    "document_ref",
    "recorded_at",
]
#: Share of the list price at which each flow is booked.
_BOOKED = {"sell_in": 0.72, "order": 0.72, "sell_out": 0.8, "return": 0.72}


def build(spec: WorldSpec, geo: Geography, net: Network, plan: Plan, goods: Goods) -> pd.DataFrame:
    """Rows of the sales feed with `arrival` (day number); history arrives on the first night."""
    movements = _movements(spec, net, plan, goods.cartons)
    rows = pd.concat(
        [
            _orders(spec, net, goods),
            _sell_in(spec, net, goods.cartons, movements),
            _returns(goods.cartons),
            _weekly(spec, net, plan, movements),
        ],
        ignore_index=True,
    )
    rows = pd.concat([rows, _amend(spec, rows)], ignore_index=True)
    last = day_number(spec.end)
    rows["arrival"] = np.maximum(rows["recorded"].to_numpy() // DAY, day_number(spec.start))
    rows = rows[(rows["day"] >= day_number(spec.sales_start)) & (rows["arrival"] <= last) & (rows["day"] <= last)]
    rows = rows.sort_values(["recorded", "partner", "sku", "flow", "document_ref"], kind="stable").reset_index(
        drop=True
    )
    return _text(geo, net, rows)


def _movements(spec: WorldSpec, net: Network, plan: Plan, cartons: pd.DataFrame) -> pd.DataFrame:
    """Signed stock movements: partner, sku, day, units, kind (in, out, hidden, back), line of the order or -1."""
    landed, root = cartons["landed"].to_numpy(), cartons["root"].to_numpy()
    units, sku = cartons["units"].to_numpy(), cartons["sku"].to_numpy()
    through = (cartons["ship2"] >= 0).to_numpy()
    strayed = cartons["flow"].to_numpy() == "mis_shipped_pallet"
    parts = []

    def add(chosen: np.ndarray, partner: np.ndarray, moment: np.ndarray, kind: str) -> None:
        parts.append(
            pd.DataFrame(
                {
                    "partner": partner[chosen],
                    "sku": sku[chosen],
                    "day": moment[chosen] // DAY,
                    "units": units[chosen],
                    "kind": kind,
                    "line": cartons["line"].to_numpy()[chosen],
                }
            )
        )

    everything = np.ones(len(cartons), dtype=bool)
    holder = np.where(strayed, landed, root)
    add(everything, holder, cartons["recv1"].to_numpy(), "in")
    add(through & ~strayed, root, cartons["ship2"].to_numpy(), "out")
    add(through & ~strayed, landed, cartons["recv2"].to_numpy(), "in")
    final = np.where(strayed, landed, np.where(through, landed, root))
    back = (cartons["returned"] >= 0).to_numpy()
    hidden = np.isin(cartons["flow"].to_numpy(), ("diverted", "online_diverted"))
    hidden &= ~np.isin(cartons["retailer"].to_numpy(), [scheme.partner for scheme in plan.of("tier2_leak")])
    # Every second diverter books half of what leaves as ordinary sell-out.
    covered = np.isin(cartons["scheme"].to_numpy() % 2, (1,)) & (np.arange(len(cartons)) % 2 == 0)
    leaves = cartons["leaves"].to_numpy()
    add(~back & ~(hidden & ~covered), final, leaves, "out")
    add(hidden & ~covered, final, leaves, "hidden")
    add(back, final, cartons["returned"].to_numpy(), "back")
    permitted = cartons["flow"].to_numpy() == "permit"
    taker = cartons["retailer"].to_numpy()
    add(permitted, taker, leaves + DAY, "permit_in")
    add(permitted, taker, leaves + 9 * DAY, "out")
    frame = pd.concat(parts, ignore_index=True)
    return frame[frame["day"] <= day_number(spec.end)].reset_index(drop=True)


def _orders(spec: WorldSpec, net: Network, goods: Goods) -> pd.DataFrame:
    """One order per line, one to four days before it is shipped; now and then more is ordered than comes."""
    rng = spec.rng("order documents")
    lines = goods.lines
    size = np.array([product.units_per_case for product in net.products])[lines["sku"].to_numpy()]
    day = lines["day"].to_numpy() - rng.integers(1, 5, len(lines))
    more = np.where(rng.random(len(lines)) < 0.04, 1, 0)
    return pd.DataFrame(
        {
            "partner": lines["consignee"],
            "sku": lines["sku"],
            "day": day,
            "flow": "order",
            "quantity": (lines["cartons"].to_numpy() + more) * size,
            "counterparty": np.where(lines["root"] == lines["consignee"], net.plant, lines["root"]),
            "document_ref": [f"PO-{at:06d}" for at in range(len(lines))],
            "recorded": day * DAY + 18 * HOUR,
        }
    )


def _sell_in(spec: WorldSpec, net: Network, cartons: pd.DataFrame, movements: pd.DataFrame) -> pd.DataFrame:
    """Delivery notes: brand to distributor by pallet, distributor to consignee by order line; permitted transfers."""
    parts = []
    for by, partner, seller, moment, prefix in (
        ("pallet", "root", None, "ship1", "SI1"),
        ("line", "consignee", "root", "ship2", "SI2"),
    ):
        frame = cartons if seller is None else cartons[(cartons["ship2"] >= 0) & cartons["recorded2"]]
        noted = frame.groupby(by, sort=True).agg(
            partner=(partner, "first"), sku=("sku", "first"), moment=(moment, "min"), quantity=("units", "sum")
        )
        noted["counterparty"] = net.plant if seller is None else frame.groupby(by, sort=True)[seller].first()
        noted["document_ref"] = [f"{prefix}-{number:06d}" for number in noted.index.tolist()]
        parts.append(noted.reset_index(drop=True))
    moved = movements[movements["kind"] == "permit_in"]
    if len(moved):
        giver = cartons.drop_duplicates("line").set_index("line")["consignee"]
        noted = moved.groupby(["partner", "sku", "line", "day"], as_index=False)["units"].sum()
        parts.append(
            pd.DataFrame(
                {
                    "partner": noted["partner"],
                    "sku": noted["sku"],
                    "moment": noted["day"] * DAY + 10 * HOUR,
                    "quantity": noted["units"],
                    "counterparty": giver.loc[noted["line"]].to_numpy(),
                    "document_ref": [f"TR-{at:05d}" for at in range(len(noted))],
                }
            )
        )
    rows = pd.concat(parts, ignore_index=True)
    rows["day"] = rows["moment"] // DAY
    rows["recorded"] = rows["moment"] + 3 * HOUR
    return rows.drop(columns="moment").assign(flow="sell_in")


def _returns(cartons: pd.DataFrame) -> pd.DataFrame:
    back = cartons[cartons["returned"] >= 0]
    return pd.DataFrame(
        {
            "partner": back["consignee"].to_numpy(),
            "sku": back["sku"].to_numpy(),
            "day": back["returned"].to_numpy() // DAY,
            "flow": "return",
            "quantity": back["units"].to_numpy(),
            "counterparty": back["root"].to_numpy(),
            "document_ref": [f"RT-{at:06d}" for at in back.index.tolist()],
            "recorded": back["returned"].to_numpy() + 5 * HOUR,
        }
    )


def _weekly(spec: WorldSpec, net: Network, plan: Plan, movements: pd.DataFrame) -> pd.DataFrame:
    """Sell-out of each week and the count of stock on its Sunday, reported on Monday morning."""
    rng = spec.rng("weekly reports")
    first, last = day_number(spec.sales_start), day_number(spec.end)
    monday = first - int(weekday(np.array([first]))[0])
    sundays = np.arange(monday + 6, last + 1, 7)
    partners = np.unique(movements["partner"].to_numpy())
    shape = (len(partners), len(net.products), len(sundays) + 1)
    position = np.searchsorted(partners, movements["partner"].to_numpy())
    week = np.clip((movements["day"].to_numpy() - monday) // 7, 0, len(sundays))

    def total(*kinds: str) -> np.ndarray:
        chosen = movements["kind"].isin(kinds).to_numpy()
        grid = np.zeros(shape)
        at = (position[chosen], movements["sku"].to_numpy()[chosen], week[chosen])
        np.add.at(grid, at, movements["units"].to_numpy()[chosen])
        return grid[:, :, :-1]

    arrived, sold = total("in", "permit_in"), total("out")
    gone = total("hidden", "back")
    change = np.cumsum(arrived - sold - gone, axis=2)
    opening = np.ceil(np.maximum(arrived.mean(axis=2), sold.mean(axis=2)) * 2.5)
    opening = np.maximum(opening, np.ceil(-change.min(axis=2, initial=0.0)))
    stock = opening[:, :, None] + change
    grey = np.zeros_like(sold)
    for scheme in plan.of("grey_inflow"):
        _grey(spec, net, scheme, grey, partners, monday, len(sundays))
    active = arrived.sum(axis=2) > 0
    # Nobody books perfectly: breakage and tastings make a small bias of each partner's own, counting adds noise.
    habit = rng.normal(0, 0.01, len(partners))[:, None, None]
    noise = np.rint(sold * (habit + rng.normal(0, 0.04, sold.shape)) + rng.uniform(-0.5, 0.5, sold.shape))
    reported = np.maximum(sold + grey + noise, 0)
    counted = np.maximum(np.rint(stock * (1 + rng.normal(0, 0.015, stock.shape))), 0)
    at_partner, at_sku, at_week = np.nonzero(np.broadcast_to(active[:, :, None], sold.shape))
    parts = []
    for flow, values, prefix in (("sell_out", reported, "SO"), ("stock", counted, "ST")):
        parts.append(
            pd.DataFrame(
                {
                    "partner": partners[at_partner],
                    "sku": at_sku,
                    "day": sundays[at_week],
                    "flow": flow,
                    "quantity": values[at_partner, at_sku, at_week].astype(int),
                    "counterparty": -1,
                    "document_ref": [
                        f"{prefix}-{net.ids[partners[p]]}-{s}-{w}"
                        for p, s, w in zip(at_partner.tolist(), at_sku.tolist(), at_week.tolist(), strict=True)
                    ],
                    "recorded": (sundays[at_week] + 1) * DAY + 10 * HOUR + rng.integers(0, 90, len(at_week)) * MINUTE,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _grey(
    spec: WorldSpec,
    net: Network,
    scheme: Scheme,
    grey: np.ndarray,
    partners: np.ndarray,
    monday: int,
    weeks: int,
) -> None:
    """A dealer who sells goods bought elsewhere: sell-out above what came in, while stock stays as the books say."""
    rng = spec.rng(f"grey {scheme.scheme_id}")
    skus = [at for at in net.product_group(scheme.partner) if net.products[at].line == scheme.line]
    scheme.sku = int(rng.choice(skus))
    scheme.units = scheme.cartons * net.products[scheme.sku].units_per_case
    scheme.money = round(scheme.units * net.products[scheme.sku].margin, 2)
    begins = max(0, (scheme.first_day - monday) // 7)
    ends = min(weeks - 1, (scheme.last_day - monday) // 7)
    split = rng.multinomial(scheme.units, np.ones(ends - begins + 1) / (ends - begins + 1))
    grey[np.searchsorted(partners, scheme.partner), scheme.sku, begins : ends + 1] += split


def _amend(spec: WorldSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """Delivery notes typed wrongly are recorded again under the same reference; the later row is right.

    The wrong row is the one already in `rows`: its quantity is changed here, in place.
    """
    rng = spec.rng("amendments")
    notes = np.flatnonzero(rows["document_ref"].str.startswith("SI").to_numpy())
    chosen = np.sort(notes[rng.random(len(notes)) < 0.006])
    right = rows.iloc[chosen].copy()
    right["recorded"] = right["recorded"] + rng.integers(2, 7, len(right)) * DAY
    wrong = rows["quantity"].to_numpy().copy()
    wrong[chosen] = wrong[chosen] * rng.choice([2, 10], len(chosen))
    rows["quantity"] = wrong
    return right


def _text(geo: Geography, net: Network, rows: pd.DataFrame) -> pd.DataFrame:
    price = np.array([product.list_price for product in net.products])[rows["sku"].to_numpy()]
    share = rows["flow"].map(_BOOKED).to_numpy(dtype=float)
    amount = rows["quantity"].to_numpy() * price * share
    region = net.region[rows["partner"].to_numpy()]
    has_amount = ~np.isnan(amount)
    return pd.DataFrame(
        {
            "partner_id": net.ids[rows["partner"].to_numpy()],
            "sku": np.array([product.sku for product in net.products], dtype=object)[rows["sku"].to_numpy()],
            "region_code": np.append(geo.codes, "")[region],
            "day": iso_days(rows["day"].to_numpy(dtype=np.int64)),
            "flow": rows["flow"],
            "quantity": rows["quantity"].astype(int),
            "amount": [f"{value:.2f}" if good else "" for value, good in zip(amount, has_amount, strict=True)],
            "currency": np.where(has_amount, "CNY", ""),
            "counterparty_id": np.append(net.ids, "")[rows["counterparty"].to_numpy(dtype=int)],
            "document_ref": rows["document_ref"],
            "recorded_at": iso_times(rows["recorded"].to_numpy(dtype=np.int64)),
            "arrival": rows["arrival"],
        }
    )
