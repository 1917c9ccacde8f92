"""Trace events on the way of the goods: production, packing, and every hop that somebody scanned."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.simulate.book import Book, event_ids
from fangcuan.simulate.catalogue import pallet_epcs
from fangcuan.simulate.clock import HOUR, MINUTE
from fangcuan.simulate.network import Network
from fangcuan.simulate.spec import WorldSpec


def production(
    net: Network, book: Book, cartons: pd.DataFrame, units: pd.DataFrame, codes: np.ndarray, sku: np.ndarray
) -> None:
    """Commissioning of units by carton load, units into cartons, cartons onto pallets."""
    carton, packed_in = units["carton"].to_numpy(), units["packed_in"].to_numpy()
    produced, lot = cartons["produced"].to_numpy(), cartons["lot"].to_numpy(dtype=object)
    common = {"partner": net.plant, "region": net.region[net.plant], "place_source": "site", "observer": "warehouse"}
    common["read_point"] = "urn:epc:id:sgln:6901234.00001.line1"
    book.add(
        event_ids("COM", carton),
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
        event_ids("PCK", packed_in),
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
        event_ids("PAL", pallet),
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


def first_hop(
    spec: WorldSpec, net: Network, book: Book, cartons: pd.DataFrame, codes: np.ndarray, sku: np.ndarray
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
            event_ids("SH1", pallet),
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
            event_ids("RC1", pallet[keep]),
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
        event_ids("UNP", opened["pallet"].to_numpy(), opened["line"].to_numpy()),
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


def second_hop(
    spec: WorldSpec, net: Network, book: Book, cartons: pd.DataFrame, codes: np.ndarray, sku: np.ndarray
) -> None:
    """Distributor to dealer, key account or authorised shop, carton by carton."""
    rng = spec.rng("second hop records")
    frame = cartons[(cartons["ship2"] >= 0) & cartons["recorded2"]]
    root, consignee = frame["root"].to_numpy(), frame["consignee"].to_numpy()
    line, pallet = frame["line"].to_numpy(), frame["pallet"].to_numpy()
    epcs, lot, skus = codes[frame.index], frame["lot"].to_numpy(dtype=object), sku[frame["sku"].to_numpy()]
    book.add(
        event_ids("SH2", line, pallet),
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
        event_ids("RC2", line[keep], pallet[keep]),
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


def third_hop(
    spec: WorldSpec, net: Network, book: Book, cartons: pd.DataFrame, codes: np.ndarray, sku: np.ndarray
) -> None:
    """Dealer to retailer, where the dealer scans at all; permitted transfers between dealers look the same."""
    rng = spec.rng("third hop records")
    frame = cartons[cartons["recorded3"] & (cartons["retailer"] >= 0)]
    giver, taker = frame["consignee"].to_numpy(), frame["retailer"].to_numpy()
    epcs, lot, skus = codes[frame.index], frame["lot"].to_numpy(dtype=object), sku[frame["sku"].to_numpy()]
    common = {"event_type": "object", "action": "OBSERVE", "place_source": "site", "observer": "partner_scan"}
    book.add(
        event_ids("SH3", frame.index.to_numpy()),
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
        event_ids("RC3", frame.index.to_numpy()[keep]),
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
