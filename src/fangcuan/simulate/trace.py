"""Trace events of the goods: what warehouses, partners, return desks, inspectors and consumers recorded."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.core.feeds import TRACE_EVENTS
from fangcuan.simulate import shipments
from fangcuan.simulate.book import Book, event_ids
from fangcuan.simulate.catalogue import carton_epcs
from fangcuan.simulate.clock import DAY, HOUR, MINUTE, day_number
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.goods import Goods
from fangcuan.simulate.network import Network
from fangcuan.simulate.scans import Scans
from fangcuan.simulate.spec import WorldSpec

#: Columns a source writes; the loader fills the source and the offset.
COLUMNS = tuple(name for name in TRACE_EVENTS.column_names if name not in {"source_id", "event_time_offset"})


def events(
    spec: WorldSpec, geo: Geography, net: Network, goods: Goods, units: pd.DataFrame, scans: Scans
) -> pd.DataFrame:
    """All trace events up to the last night, unsorted; `event_time` in local seconds, `arrival` not yet given."""
    book = Book(geo, net)
    cartons = goods.cartons[goods.cartons["traced"]]
    sku = np.array([product.sku for product in net.products], dtype=object)
    codes = np.full(len(goods.cartons), None, dtype=object)
    codes[cartons.index] = carton_epcs(cartons.index.to_numpy())
    shipments.production(net, book, goods.cartons, units, codes, sku)
    shipments.first_hop(spec, net, book, cartons, codes, sku)
    shipments.second_hop(spec, net, book, cartons, codes, sku)
    shipments.third_hop(spec, net, book, cartons, codes, sku)
    _ends(net, book, cartons, units, codes, sku)
    _consumers(book, goods.cartons, units, scans, sku)
    _till(spec, net, book, goods.cartons, units, sku)
    frame = pd.concat(book.blocks, ignore_index=True)
    frame = frame[frame["event_time"] // DAY <= day_number(spec.end)].reset_index(drop=True)
    for name in COLUMNS:
        if name not in frame:
            frame[name] = None
    rng = spec.rng("record time")
    frame["record_time"] = frame["event_time"] + rng.integers(5, 15 * MINUTE, len(frame))
    frame["quantity"] = 1
    return frame


def append(spec: WorldSpec, frame: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    """Events noted by hand, added to those of the systems; they are keyed in within two hours."""
    if len(more) == 0:
        return frame
    more = more.assign(record_time=more["event_time"] + 2 * HOUR, quantity=1)
    both = pd.concat([frame, more.reindex(columns=frame.columns).astype(object)], ignore_index=True)
    return both.astype({name: frame[name].dtype for name in ("event_time", "record_time", "quantity")})


def _ends(
    net: Network, book: Book, cartons: pd.DataFrame, units: pd.DataFrame, codes: np.ndarray, sku: np.ndarray
) -> None:
    """Returns by carton, destruction by unit."""
    back = cartons[cartons["returned"] >= 0]
    giver = back["consignee"].to_numpy()
    book.add(
        event_ids("RET", back.index.to_numpy()),
        back["returned"].to_numpy(),
        codes[back.index],
        event_type="object",
        action="OBSERVE",
        biz_step="returning",
        disposition="returned",
        sku=sku[back["sku"].to_numpy()],
        lot=back["lot"].to_numpy(dtype=object),
        partner=giver,
        source=giver,
        destination=np.full(len(back), net.plant),
        region=net.region[giver],
        place_source="site",
        observer="return_desk",
    )
    gone = cartons[cartons["destroyed"] >= 0]
    mine = units[units["carton"].isin(gone.index)]
    of = gone.loc[mine["carton"]]
    desk = of["destroyed_by"].to_numpy()
    book.add(
        event_ids("DEC", mine["carton"].to_numpy()),
        of["destroyed"].to_numpy(),
        mine["epc"].to_numpy(),
        event_type="object",
        action="DELETE",
        biz_step="decommissioning",
        disposition="destroyed",
        sku=sku[mine["sku"].to_numpy()],
        lot=of["lot"].to_numpy(dtype=object),
        partner=desk,
        region=net.region[desk],
        place_source="site",
        observer="return_desk",
    )


def _consumers(book: Book, cartons: pd.DataFrame, units: pd.DataFrame, scans: Scans, sku: np.ndarray) -> None:
    frame = scans.frame.sort_values(["time", "epc"], kind="stable").reset_index(drop=True)
    unit = frame["unit"].to_numpy()
    lots = cartons["lot"].to_numpy(dtype=object)[units["carton"].to_numpy()[unit]]
    lots[unit < 0] = None
    # A hash of the phone, never the phone: splitmix64 spreads the numbers over 16 hex digits.
    with np.errstate(over="ignore"):
        mixed = frame["device"].to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    book.add(
        event_ids("CS", np.arange(len(frame))),
        frame["time"].to_numpy(),
        frame["epc"].to_numpy(dtype=object),
        event_type="object",
        action="OBSERVE",
        sku=sku[frame["sku"].to_numpy(dtype=int)],
        lot=lots,
        region=frame["region"].to_numpy(dtype=int),
        latitude=frame["latitude"].to_numpy(),
        longitude=frame["longitude"].to_numpy(),
        accuracy_m=frame["accuracy_m"].to_numpy(),
        place_source=frame["place_source"].to_numpy(dtype=object),
        observer="consumer_scan",
        device_hash=[f"{value:016x}" for value in mixed.tolist()],
    )


def _till(
    spec: WorldSpec, net: Network, book: Book, cartons: pd.DataFrame, units: pd.DataFrame, sku: np.ndarray
) -> None:
    """Key accounts read some serials at the till."""
    rng = spec.rng("till")
    carton = units["carton"].to_numpy()
    consignee = cartons["consignee"].to_numpy()[carton]
    normal = cartons["flow"].to_numpy()[carton] == "normal"
    chosen = np.flatnonzero(np.isin(consignee, net.key_accounts) & normal & (rng.random(len(units)) < 0.12))
    moment = cartons["on_sale"].to_numpy()[carton[chosen]] + (rng.gamma(1.3, 5.0, len(chosen)) * DAY).astype(np.int64)
    shop = consignee[chosen]
    book.add(
        event_ids("POS", chosen),
        moment,
        units["epc"].to_numpy()[chosen],
        event_type="object",
        action="OBSERVE",
        biz_step="retail_selling",
        disposition="retail_sold",
        sku=sku[units["sku"].to_numpy()[chosen]],
        lot=cartons["lot"].to_numpy(dtype=object)[carton[chosen]],
        partner=shop,
        region=net.region[shop],
        place_source="site",
        observer="partner_scan",
    )
