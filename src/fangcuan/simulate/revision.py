"""A finished world under revision: rows moved, added or withdrawn for a family, each row for one family only.

Every change is noted with the row it concerns, so truth/touched.csv says exactly which rows of the feeds are whose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fangcuan.simulate.book import event_ids
from fangcuan.simulate.catalogue import carton_epcs
from fangcuan.simulate.clock import DAY, HOUR, MINUTE, day_number, weekday
from fangcuan.simulate.scans import measure

if TYPE_CHECKING:
    from fangcuan.simulate.worlds import World

TOUCHED_COLUMNS = ["reason_id", "feed", "row_id", "how"]
_HANDS_ON = ("field_inspection", "test_purchase")
_MEASURED = ("latitude", "longitude", "accuracy_m", "place_source")


class Revision:
    """`scans`: consumer scans that arrived, of genuine units, one row each, with event_id, unit, carton, consignee, day,
    true_region and `at` (row of `World.scans`). Its order and length never change, so draws by row stay comparable."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.spec, self.geo, self.net = world.spec, world.geo, world.net
        self.cartons = world.goods.cartons
        self.first_night, self.last_night = day_number(world.spec.start), day_number(world.spec.end)
        self._codes = np.array([*world.geo.codes, None], dtype=object)
        self.touched: list[dict[str, str]] = []
        self._taken_scans: set[str] = set()
        self._taken_cartons: set[int] = set()
        self._taken_dealers: set[int] = set()
        self._taken_offers: set[str] = set()
        self._unmarked: list[tuple[np.ndarray, dict[str, Any]]] = []
        self.scans = self._arrived()
        self._read = self._read_by_hand()

    def _arrived(self) -> pd.DataFrame:
        world = self.world
        frame = world.scans.frame.sort_values(["time", "epc"], kind="stable").reset_index(names="at")
        frame["event_id"] = event_ids("CS", np.arange(len(frame)))
        arrived = set(world.trace.loc[world.trace["observer"] == "consumer_scan", "event_id"])
        copied = {epc for scheme in world.plan.schemes for epc in scheme.epcs}
        frame = frame[(frame["unit"] >= 0) & frame["event_id"].isin(arrived) & ~frame["epc"].isin(copied)].reset_index(
            drop=True
        )
        carton = world.units["carton"].to_numpy()[frame["unit"].to_numpy()]
        return frame.assign(
            carton=carton,
            consignee=self.cartons["consignee"].to_numpy()[carton],
            day=frame["time"] // DAY,
        )

    def _read_by_hand(self) -> np.ndarray:
        """Cartons of units that an inspector, a till or a test purchase has read: they stay where they were read."""
        trace, units = self.world.trace, self.world.units
        by_hand = trace["observer"].isin(_HANDS_ON) | trace["biz_step"].eq("retail_selling")
        found = units["epc"].isin(set(trace.loc[by_hand, "epc"]))
        return np.unique(units["carton"].to_numpy()[found.to_numpy()])

    # What is still free.

    def free_scans(self) -> np.ndarray:
        """Mask over `scans`: at home, of an ordinary dealer's ordinary carton, and no other family's."""
        carton = self.scans["carton"].to_numpy()
        ordinary = self._ordinary()[carton] & np.isin(self.scans["consignee"].to_numpy(), self.net.dealers)
        at_home = self.scans["true_region"].to_numpy() == self.cartons["venue"].to_numpy()[carton]
        return ordinary & at_home & ~self.scans["event_id"].isin(self._taken_scans).to_numpy()

    def free_cartons(self, flow: str = "normal") -> np.ndarray:
        """Mask over the cartons: traced, ordinary, not seen by hand, not handed to a retailer on record."""
        free = self._ordinary(flow) & ~self.cartons["recorded3"].to_numpy(dtype=bool)
        free[self._read] = False
        return free

    def _ordinary(self, flow: str = "normal") -> np.ndarray:
        cartons = self.cartons
        free = (
            cartons["traced"].to_numpy()
            & (cartons["flow"].to_numpy() == flow)
            & (cartons["scheme"].to_numpy() < 0)
            & (cartons["innocent"].to_numpy() < 0)
            & (cartons["returned"].to_numpy() < 0)
        )
        free[list(self._taken_cartons)] = False
        return free

    def dealers(self, rng: np.random.Generator) -> list[int]:
        """Dealers of no scheme and no other family in random order; those with few scans come last: they show nothing."""
        guilty = {member for scheme in self.world.plan.schemes for member in scheme.culprits}
        order = [int(at) for at in rng.permutation(self.net.dealers)]
        scans = np.bincount(self.scans["consignee"].to_numpy(), minlength=len(self.net.partners))
        few = 0.6 * scans[self.net.dealers].mean()
        order.sort(key=lambda at: bool(scans[at] < few))
        return [at for at in order if at not in self._taken_dealers and at not in guilty]

    def take_dealer(self, dealer: int) -> None:
        self._taken_dealers.add(dealer)

    def take_offers(self, ids: np.ndarray, reason: str, how: str) -> None:
        self._taken_offers |= set(ids.tolist())
        self.note(reason, "price_observations", ids, how)

    def free_offers(self) -> np.ndarray:
        """Mask over the truth of prices: no scheme's, no error, no other family's."""
        truth = self.world.prices.truth
        free = (truth["scheme_id"] == "") & ~truth["class"].isin(["failed", "error"])
        return np.asarray(free & ~truth["observation_id"].isin(self._taken_offers))

    # Notes.

    def innocent(self, kind: str, subject_kind: str, subject: str, **more: Any) -> tuple[int, str]:
        """A row of truth/innocents.csv: its position and id."""
        at = self.world.ledger.innocent(kind, subject_kind, subject, **more)
        return at, f"N{at + 1:04d}"

    def count_units(self, at: int, units: int) -> None:
        self.world.ledger.innocents[at]["units"] = int(units)

    def note(self, reason: str, feed: str, ids: np.ndarray | list[str], how: str) -> None:
        self.touched += [{"reason_id": reason, "feed": feed, "row_id": str(name), "how": how} for name in ids]

    def mark(self, rows: np.ndarray, **columns: Any) -> None:
        """Set columns of cartons (flow, venue, scheme, innocent) once all families are planted: truth/flows follows them."""
        self._taken_cartons |= set(rows.tolist())
        self._unmarked.append((rows, columns))

    def close(self) -> None:
        for rows, columns in self._unmarked:
            for name, value in columns.items():
                self.cartons.loc[rows, name] = value
        self.world.touched = pd.DataFrame(self.touched, columns=TOUCHED_COLUMNS)

    # Scans.

    def scans_of(self, cartons: np.ndarray) -> np.ndarray:
        """Positions of the scans of these cartons that no other family has."""
        mine = np.isin(self.scans["carton"].to_numpy(), cartons)
        return np.flatnonzero(mine & ~self.scans["event_id"].isin(self._taken_scans).to_numpy())

    def move(
        self,
        chosen: np.ndarray,
        region: np.ndarray,
        rng: np.random.Generator,
        reason: str,
        device: np.ndarray | None = None,
    ) -> None:
        """The scans at these positions happen in other regions (positions), and a phone there measures them anew."""
        if len(chosen) == 0:
            return
        placed = measure(self.geo, pd.DataFrame({"true_region": region.astype(int)}), rng)
        ids = self.scans["event_id"].to_numpy()[chosen]
        trace = self.world.trace
        where = pd.Index(ids).get_indexer(trace["event_id"].to_numpy())
        rows = np.flatnonzero(where >= 0)
        source = where[rows]
        codes = self._codes[placed["region"].to_numpy(dtype=int)]
        index = trace.index[rows]
        for name in _MEASURED:
            trace.loc[index, name] = placed[name].to_numpy()[source]
        trace.loc[index, "region_code"] = codes[source]
        if device is not None:
            trace.loc[index, "device_hash"] = device[source]
        back = self.scans["at"].to_numpy()[chosen]
        frame = self.world.scans.frame
        for name in (*_MEASURED, "region", "true_region"):
            frame.loc[back, name] = placed[name].to_numpy()
        self.scans.loc[chosen, "true_region"] = region
        self._taken_scans |= set(ids.tolist())
        self.note(reason, "trace_events", ids, "moved")

    def devices(self, numbers: np.ndarray, salt: int) -> np.ndarray:
        """Hashes of phones by number, unlike those of any other phone of the world."""
        return np.array([f"{salt:04x}{number & 0xFFFFFFFFFFFF:012x}" for number in numbers.tolist()], dtype=object)

    def add_scans(
        self,
        prefix: str,
        unit: np.ndarray,
        time: np.ndarray,
        region: np.ndarray,
        device: np.ndarray,
        rng: np.random.Generator,
        reason: str,
    ) -> int:
        """Further consumer scans of genuine units; those after the last night are left out. Returns how many arrived."""
        world = self.world
        wait = np.where((time % DAY // HOUR >= 20) | (rng.random(len(time)) < 0.25), 1, 0)
        placed = measure(self.geo, pd.DataFrame({"true_region": region.astype(int)}), rng)
        record = time + rng.integers(5, 15 * MINUTE, len(time))
        arrival = np.maximum(time // DAY + wait, self.first_night)
        keep = np.flatnonzero(arrival <= self.last_night)
        unit, placed = unit[keep], placed.iloc[keep]
        ids = event_ids(prefix, keep)
        carton = world.units["carton"].to_numpy()[unit]
        sku = np.array([product.sku for product in self.net.products], dtype=object)
        rows = pd.DataFrame(
            {
                "event_id": ids,
                "event_time": time[keep],
                "epc": world.units["epc"].to_numpy()[unit],
                "item_role": "item",
                "event_type": "object",
                "action": "OBSERVE",
                "sku": sku[world.units["sku"].to_numpy()[unit]],
                "lot": self.cartons["lot"].to_numpy(dtype=object)[carton],
                "region_code": self._codes[placed["region"].to_numpy(dtype=int)],
                "observer": "consumer_scan",
                "device_hash": device[keep],
                "record_time": record[keep],
                "quantity": 1,
                "arrival": arrival[keep],
                "late": False,
                **{name: placed[name].to_numpy() for name in _MEASURED},
            }
        )
        world.trace = _below(world.trace, rows)
        seen = placed.assign(
            unit=unit, epc=rows["epc"].to_numpy(), sku=world.units["sku"].to_numpy()[unit], time=time[keep], device=-1
        )
        # Labels of the older rows stay: `at` refers to them.
        last = int(world.scans.frame.index.max()) if len(world.scans.frame) else -1
        world.scans.frame = _below(world.scans.frame, seen, np.arange(last + 1, last + 1 + len(seen)))
        self.note(reason, "trace_events", ids, "added")
        return len(ids)

    def withdraw_scans(self, chosen: np.ndarray, reason: str) -> None:
        """The scans at these positions never happened: their codes were destroyed."""
        ids = self.scans["event_id"].to_numpy()[chosen]
        self._withdraw(np.asarray(self.world.trace["event_id"].isin(set(ids.tolist()))))
        self.world.scans.frame = self.world.scans.frame.drop(index=self.scans["at"].to_numpy()[chosen])
        self._taken_scans |= set(ids.tolist())
        self.note(reason, "trace_events", ids, "withdrawn")

    def withdraw_receipts(self, rows: np.ndarray, reason: str) -> None:
        """The dealer's receipts of these cartons were never read; other cartons of the same event stay in it."""
        trace = self.world.trace
        gone = trace["biz_step"].eq("receiving") & trace["event_id"].astype(str).str.startswith("urn:event:RC2-")
        gone &= trace["epc"].isin(set(carton_epcs(rows).tolist()))
        self.note(reason, "trace_events", trace.loc[gone, "event_id"].unique(), "withdrawn")
        self._withdraw(gone.to_numpy())

    def _withdraw(self, gone: np.ndarray) -> None:
        self.world.trace = self.world.trace[~gone].reset_index(drop=True)

    # Books.

    def sell_elsewhere(self, rows: np.ndarray, giver: int, taker: int, reason: str, received: bool = True) -> None:
        """These cartons leave the giver's weekly reports and (when `taker` is a partner) enter the taker's.

        `received` says that the giver had them in stock until they left; else they never came in at all.
        """
        monday = day_number(self.spec.sales_start)
        monday -= int(weekday(np.array([monday]))[0])
        change: dict[str, int] = {}
        for row in rows.tolist():
            sku, units = int(self.cartons["sku"].iat[row]), int(self.cartons["units"].iat[row])
            came = (int(self.cartons["recv2"].iat[row]) // DAY - monday) // 7
            left = (int(self.cartons["leaves"].iat[row]) // DAY - monday) // 7
            for partner, sign in ((giver, -1), (taker, 1)):
                if partner < 0:
                    continue
                stem = f"{self.net.ids[partner]}-{sku}"
                change[f"SO-{stem}-{left}"] = change.get(f"SO-{stem}-{left}", 0) + sign * units
                for week in range(came, left) if sign > 0 or not received else ():
                    change[f"ST-{stem}-{week}"] = change.get(f"ST-{stem}-{week}", 0) + sign * units
        sales = self.world.sales
        hit = np.flatnonzero(sales["document_ref"].isin(change.keys()).to_numpy())
        price = {product.sku: product.list_price for product in self.net.products}
        for at in hit.tolist():
            reference = str(sales["document_ref"].iat[at])
            quantity = max(0, int(sales["quantity"].iat[at]) + change[reference])
            sales.iat[at, sales.columns.get_loc("quantity")] = quantity
            if sales["amount"].iat[at]:
                amount = f"{quantity * price[str(sales['sku'].iat[at])] * 0.8:.2f}"
                sales.iat[at, sales.columns.get_loc("amount")] = amount
        self.note(reason, "sales", sales["document_ref"].to_numpy()[hit], "changed")


def _below(frame: pd.DataFrame, rows: pd.DataFrame, labels: np.ndarray | None = None) -> pd.DataFrame:
    """Rows under a table, in its columns and types; numbered on from 0, or with labels of their own under old ones."""
    rows = rows.reindex(columns=frame.columns)
    if labels is not None:
        rows.index = pd.Index(labels)
    both = pd.concat([frame.astype(object), rows.astype(object)], ignore_index=labels is None)
    return both.astype(frame.dtypes.to_dict())
