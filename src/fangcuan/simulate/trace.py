"""Trace events of the goods: what warehouses, partners, return desks, inspectors and consumers recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fangcuan.core.feeds import TRACE_EVENTS
from fangcuan.simulate.catalogue import carton_epcs, pallet_epcs
from fangcuan.simulate.clock import DAY, HOUR, MINUTE, day_number
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.goods import Goods
from fangcuan.simulate.network import Network
from fangcuan.simulate.scans import Scans
from fangcuan.simulate.spec import WorldSpec

#: Columns a source writes; the loader fills the source and the offset.
COLUMNS = tuple(name for name in TRACE_EVENTS.column_names if name not in {"source_id", "event_time_offset"})


class _Book:
    """Collects blocks of events. Scalars stand for a whole block; a missing column is null."""

    def __init__(self, geo: Geography, net: Network) -> None:
        self.codes = np.append(geo.codes, None)
        self.ids = np.append(net.ids, None)
        self.site = net.region
        self.blocks: list[pd.DataFrame] = []

    def add(self, event_id: np.ndarray, time: np.ndarray, epc: np.ndarray, **columns: Any) -> None:
        """`partner`, `source`, `destination` and `region` are positions, -1 for none; the rest are columns of the feed."""
        if len(epc) == 0:
            return
        values: dict[str, Any] = {"event_id": event_id, "event_time": time, "epc": epc, "item_role": "item"}
        for name, column in (("partner", "partner_id"), ("source", "source_partner_id")):
            if name in columns:
                values[column] = self.ids[columns.pop(name)]
        if "destination" in columns:
            values["destination_partner_id"] = self.ids[columns.pop("destination")]
        if "region" in columns:
            values["region_code"] = self.codes[columns.pop("region")]
        values.update(columns)
        self.blocks.append(pd.DataFrame(values, index=range(len(epc))))


def events(
    spec: WorldSpec, geo: Geography, net: Network, goods: Goods, units: pd.DataFrame, scans: Scans
) -> pd.DataFrame:
    """All trace events up to the last night, unsorted; `event_time` in local seconds, `arrival` not yet given."""
    book = _Book(geo, net)
    cartons = goods.cartons[goods.cartons["traced"]]
    sku = np.array([product.sku for product in net.products], dtype=object)
    codes = np.full(len(goods.cartons), None, dtype=object)
    codes[cartons.index] = carton_epcs(cartons.index.to_numpy())
    _production(net, book, goods.cartons, units, codes, sku)
    _first_hop(spec, net, book, cartons, codes, sku)
    _second_hop(spec, net, book, cartons, codes, sku)
    _third_hop(spec, net, book, cartons, codes, sku)
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


def _ids(prefix: str, *parts: np.ndarray) -> np.ndarray:
    columns = [part.tolist() for part in parts]
    return np.array(
        [f"urn:event:{prefix}-" + "-".join(map(str, row)) for row in zip(*columns, strict=True)], dtype=object
    )


def _production(
    net: Network, book: _Book, cartons: pd.DataFrame, units: pd.DataFrame, codes: np.ndarray, sku: np.ndarray
) -> None:
    """Commissioning of units by carton load, units into cartons, cartons onto pallets."""
    carton, packed_in = units["carton"].to_numpy(), units["packed_in"].to_numpy()
    produced, lot = cartons["produced"].to_numpy(), cartons["lot"].to_numpy(dtype=object)
    common = {"partner": net.plant, "region": net.region[net.plant], "place_source": "site", "observer": "warehouse"}
    common["read_point"] = "urn:epc:id:sgln:6901234.00001.line1"
    book.add(
        _ids("COM", carton),
        produced[carton],
        units["epc"].to_numpy(),
        event_type="object",
        action="ADD",
        biz_step="commissioning",
        disposition="active",
        sku=sku[units["sku"].to_numpy()],
        lot=lot[carton],
        **common,
    )
    book.add(
        _ids("PCK", packed_in),
        produced[packed_in] + 20 * MINUTE,
        units["epc"].to_numpy(),
        item_role="child",
        event_type="aggregation",
        action="ADD",
        biz_step="packing",
        disposition="in_progress",
        parent_epc=codes[packed_in],
        sku=sku[units["sku"].to_numpy()],
        lot=lot[carton],
        **common,
    )
    mine = cartons[cartons["traced"]]
    pallet = mine["pallet"].to_numpy()
    done = mine.groupby("pallet")["produced"].transform("max").to_numpy() + HOUR
    book.add(
        _ids("PAL", pallet),
        done,
        codes[mine.index],
        item_role="child",
        event_type="aggregation",
        action="ADD",
        biz_step="packing",
        disposition="in_progress",
        parent_epc=pallet_epcs(pallet),
        sku=sku[mine["sku"].to_numpy()],
        lot=mine["lot"].to_numpy(dtype=object),
        **common,
    )


def _notes(prefix: str, numbers: np.ndarray) -> list[str]:
    """Business transaction lists naming a despatch advice."""
    return [f'[{{"type":"desadv","bizTransaction":"{prefix}-{number:06d}"}}]' for number in numbers.tolist()]


def _first_hop(
    spec: WorldSpec, net: Network, book: _Book, cartons: pd.DataFrame, codes: np.ndarray, sku: np.ndarray
) -> None:
    """Brand warehouse to distributor: whole pallets are one row, loose ones a row per carton."""
    rng = spec.rng("first hop")
    loads = cartons.drop_duplicates("pallet")
    whole = loads[~loads["loose"]]
    loose = cartons[cartons["loose"]]
    miss = rng.random(int(cartons["pallet"].max()) + 1 if len(cartons) else 0)
    for frame, epcs in (
        (whole, pallet_epcs(whole["pallet"].to_numpy())),
        (loose, codes[loose.index]),
    ):
        pallet, root = frame["pallet"].to_numpy(), frame["root"].to_numpy()
        book.add(
            _ids("SH1", pallet),
            frame["ship1"].to_numpy(),
            epcs,
            event_type="object",
            action="OBSERVE",
            biz_step="shipping",
            disposition="in_transit",
            sku=sku[frame["sku"].to_numpy()],
            lot=frame["lot"].to_numpy(dtype=object),
            partner=net.plant,
            source=net.plant,
            destination=root,
            region=net.region[net.plant],
            place_source="site",
            observer="warehouse",
            business_transactions=_notes("DN1", pallet),
        )
        strayed = (frame["flow"] == "mis_shipped_pallet").to_numpy()
        reader = np.where(strayed, frame["receipt2"].to_numpy(), root)
        keep = (reader >= 0) & (strayed | (miss[pallet] >= net.partners["miss_in"].to_numpy()[root]))
        book.add(
            _ids("RC1", pallet[keep]),
            frame["recv1"].to_numpy()[keep],
            epcs[keep],
            event_type="object",
            action="OBSERVE",
            biz_step="receiving",
            disposition="in_progress",
            sku=sku[frame["sku"].to_numpy()[keep]],
            lot=frame["lot"].to_numpy(dtype=object)[keep],
            partner=reader[keep],
            source=net.plant,
            destination=root[keep],
            region=net.region[reader[keep]],
            place_source="site",
            observer="partner_scan",
        )
    opened = cartons[(cartons["ship2"] >= 0) & ~cartons["loose"] & cartons["recorded2"]]
    opened = opened[rng.random(len(opened)) < 0.75]
    root = opened["root"].to_numpy()
    book.add(
        _ids("UNP", opened["pallet"].to_numpy(), opened["line"].to_numpy()),
        opened["ship2"].to_numpy() - HOUR,
        codes[opened.index],
        item_role="child",
        event_type="aggregation",
        action="DELETE",
        biz_step="unpacking",
        disposition="in_progress",
        parent_epc=pallet_epcs(opened["pallet"].to_numpy()),
        sku=sku[opened["sku"].to_numpy()],
        lot=opened["lot"].to_numpy(dtype=object),
        partner=root,
        region=net.region[root],
        place_source="site",
        observer="partner_scan",
    )


def _second_hop(
    spec: WorldSpec, net: Network, book: _Book, cartons: pd.DataFrame, codes: np.ndarray, sku: np.ndarray
) -> None:
    """Distributor to dealer, key account or authorised shop, carton by carton."""
    rng = spec.rng("second hop records")
    frame = cartons[(cartons["ship2"] >= 0) & cartons["recorded2"]]
    root, consignee = frame["root"].to_numpy(), frame["consignee"].to_numpy()
    line, pallet = frame["line"].to_numpy(), frame["pallet"].to_numpy()
    epcs, lot, skus = codes[frame.index], frame["lot"].to_numpy(dtype=object), sku[frame["sku"].to_numpy()]
    book.add(
        _ids("SH2", line, pallet),
        frame["ship2"].to_numpy(),
        epcs,
        event_type="object",
        action="OBSERVE",
        biz_step="shipping",
        disposition="in_transit",
        sku=skus,
        lot=lot,
        partner=root,
        source=root,
        destination=consignee,
        region=net.region[root],
        place_source="site",
        observer="partner_scan",
        business_transactions=_notes("DN2", line),
    )
    strayed = (frame["flow"] == "mis_shipped").to_numpy()
    reader = np.where(strayed, frame["receipt2"].to_numpy(), consignee)
    keep = (reader >= 0) & (strayed | (rng.random(len(frame)) >= net.partners["miss_in"].to_numpy()[consignee]))
    book.add(
        _ids("RC2", line[keep], pallet[keep]),
        frame["recv2"].to_numpy()[keep],
        epcs[keep],
        event_type="object",
        action="OBSERVE",
        biz_step="receiving",
        disposition="in_progress",
        sku=skus[keep],
        lot=lot[keep],
        partner=reader[keep],
        source=root[keep],
        destination=consignee[keep],
        region=net.region[reader[keep]],
        place_source="site",
        observer="partner_scan",
    )


def _third_hop(
    spec: WorldSpec, net: Network, book: _Book, cartons: pd.DataFrame, codes: np.ndarray, sku: np.ndarray
) -> None:
    """Dealer to retailer, where the dealer scans at all; permitted transfers between dealers look the same."""
    rng = spec.rng("third hop records")
    frame = cartons[cartons["recorded3"] & (cartons["retailer"] >= 0)]
    giver, taker = frame["consignee"].to_numpy(), frame["retailer"].to_numpy()
    epcs, lot, skus = codes[frame.index], frame["lot"].to_numpy(dtype=object), sku[frame["sku"].to_numpy()]
    common = {"event_type": "object", "action": "OBSERVE", "place_source": "site", "observer": "partner_scan"}
    book.add(
        _ids("SH3", frame.index.to_numpy()),
        frame["leaves"].to_numpy(),
        epcs,
        biz_step="shipping",
        disposition="in_transit",
        sku=skus,
        lot=lot,
        partner=giver,
        source=giver,
        destination=taker,
        region=net.region[giver],
        **common,
    )
    keep = rng.random(len(frame)) >= net.partners["miss_in"].to_numpy()[taker]
    arrives = frame["leaves"].to_numpy() + rng.integers(HOUR, 5 * HOUR, len(frame))
    book.add(
        _ids("RC3", frame.index.to_numpy()[keep]),
        arrives[keep],
        epcs[keep],
        biz_step="receiving",
        disposition="in_progress",
        sku=skus[keep],
        lot=lot[keep],
        partner=taker[keep],
        source=giver[keep],
        destination=taker[keep],
        region=net.region[taker[keep]],
        **common,
    )


def _ends(
    net: Network, book: _Book, cartons: pd.DataFrame, units: pd.DataFrame, codes: np.ndarray, sku: np.ndarray
) -> None:
    """Returns by carton, destruction by unit."""
    back = cartons[cartons["returned"] >= 0]
    giver = back["consignee"].to_numpy()
    book.add(
        _ids("RET", back.index.to_numpy()),
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
        _ids("DEC", mine["carton"].to_numpy()),
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


def _consumers(book: _Book, cartons: pd.DataFrame, units: pd.DataFrame, scans: Scans, sku: np.ndarray) -> None:
    frame = scans.frame.sort_values(["time", "epc"], kind="stable").reset_index(drop=True)
    unit = frame["unit"].to_numpy()
    lots = cartons["lot"].to_numpy(dtype=object)[units["carton"].to_numpy()[unit]]
    lots[unit < 0] = None
    # A hash of the phone, never the phone: splitmix64 spreads the numbers over 16 hex digits.
    with np.errstate(over="ignore"):
        mixed = frame["device"].to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    book.add(
        _ids("CS", np.arange(len(frame))),
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
    spec: WorldSpec, net: Network, book: _Book, cartons: pd.DataFrame, units: pd.DataFrame, sku: np.ndarray
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
        _ids("POS", chosen),
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
