"""Innocent flows of goods that a naive reader takes for diversion: gifts, mis-shipments, permits, re-draws, bulk orders."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.simulate.catalogue import carton_epc, pallet_epc
from fangcuan.simulate.clock import DAY, day_number
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.goods import Goods
from fangcuan.simulate.ledger import Ledger
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan
from fangcuan.simulate.spec import WorldSpec


def move_innocently(spec: WorldSpec, geo: Geography, net: Network, plan: Plan, goods: Goods, ledger: Ledger) -> None:
    """Give some unmarked cartons an innocent reason to be elsewhere; every reason is noted in the ledger."""
    cartons = goods.cartons
    cartons["recorded2"] = True
    cartons["receipt2"] = -1
    cartons["landed"] = cartons["consignee"]
    if not spec.nulls:
        return
    mover = _Mover(spec, geo, net, plan, cartons, ledger)
    mover.mis_ship_pallets()
    mover.mis_ship_lorries()
    mover.permit_transfers()
    mover.redraw_territories()
    mover.supply_blank_areas()
    mover.give_gifts()
    mover.buy_bulk_online()
    _note_habits(spec, geo, net, plan, ledger)


def _note_habits(spec: WorldSpec, geo: Geography, net: Network, plan: Plan, ledger: Ledger) -> None:
    ids = net.ids
    first, last = day_number(spec.trace_start), day_number(spec.end)
    for partner, share in plan.habits.hubs.items():
        ledger.innocent("hub", "partner", ids[partner], "", first, last, note=f"natural leakage {share:.3f}")
    for partner, region in plan.habits.corridors.items():
        ledger.innocent("migrant_corridor", "partner", ids[partner], geo.codes[region], first, last)
    for partner in plan.habits.border:
        ledger.innocent("border", "partner", ids[partner], "", first, last)


class _Mover:
    def __init__(
        self, spec: WorldSpec, geo: Geography, net: Network, plan: Plan, cartons: pd.DataFrame, ledger: Ledger
    ) -> None:
        self.spec, self.geo, self.net, self.plan = spec, geo, net, plan
        self.cartons, self.ledger = cartons, ledger
        self.holder = {int(net.region[dealer]): int(dealer) for dealer in net.dealers[::-1]}

    def _free(self, window: tuple[int, int] | None = None) -> np.ndarray:
        """Traced cartons of quiet dealers nobody has touched, shipped to the dealer within the window of day numbers."""
        cartons = self.cartons
        free = (
            cartons["traced"].to_numpy()
            & (cartons["flow"].to_numpy() == "normal")
            & np.isin(cartons["consignee"].to_numpy(), self.plan.quiet)
        )
        if window:
            day = cartons["ship2"].to_numpy() // DAY
            free &= (day >= window[0]) & (day <= window[1])
        return free

    def _window(self, before: int, after: int) -> tuple[int, int]:
        start = day_number(self.spec.start)
        return max(day_number(self.spec.trace_start), start - before), min(start + after, day_number(self.spec.end) - 2)

    def _mark(self, rows: np.ndarray, flow: str, venue: int | np.ndarray, note: int) -> None:
        for name, value in (("flow", flow), ("venue", venue), ("innocent", note), ("retailer", -1)):
            self.cartons.loc[rows, name] = value
        self.cartons.loc[rows, "recorded3"] = False

    def _units(self, rows: np.ndarray) -> int:
        return int(self.cartons["units"].to_numpy()[rows].sum())

    def mis_ship_pallets(self) -> None:
        """A pallet booked for one distributor is unloaded at another and sold there: one lot, one ship date."""
        rng, cartons, net = self.spec.rng("mis-shipped pallets"), self.cartons, self.net
        day = cartons["ship1"].to_numpy() // DAY
        low, high = self._window(35, self.spec.nights // 2)
        whole = cartons.groupby("pallet")["flow"].agg(["size", lambda flow: (flow == "normal").all()])
        whole = set(whole.index[(whole.iloc[:, 0] >= 6) & whole.iloc[:, 1].astype(bool)].tolist())
        usable = cartons["traced"].to_numpy() & (day >= low) & (day <= high)
        pallets = [p for p in np.unique(cartons["pallet"].to_numpy()[usable]) if p in whole]
        for pallet in rng.permutation(pallets)[: max(1, self.spec.dealers // 15)]:
            rows = np.flatnonzero((cartons["pallet"] == pallet).to_numpy())
            booked = int(cartons["root"].iat[rows[0]])
            other = int(rng.choice([at for at in net.distributors if at != booked]))
            region = int(net.region[other])
            first = int(day[rows[0]])
            note = self.ledger.innocent(
                "mis_shipment",
                "partner",
                net.ids[booked],
                self.geo.codes[region],
                first,
                first,
                self._units(rows),
                f"{pallet_epc(int(pallet))} unloaded at {net.ids[other]}",
            )
            self._mark(rows, "mis_shipped_pallet", region, note)
            self.cartons.loc[rows, "recorded2"] = False
            self.cartons.loc[rows, "landed"] = other
            self.cartons.loc[rows, "receipt2"] = other if rng.random() < 0.5 else -1

    def mis_ship_lorries(self) -> None:
        """A delivery booked for one dealer goes to a sibling dealer of the same distributor."""
        rng, cartons, net = self.spec.rng("mis-shipped lorries"), self.cartons, self.net
        free = self._free(self._window(30, self.spec.nights // 2))
        sizes = pd.Series(cartons["line"].to_numpy()[free]).value_counts()
        options = np.sort(sizes.index[sizes >= min(5, int(sizes.max()) if len(sizes) else 5)].to_numpy())
        for line in rng.permutation(options)[: max(1, self.spec.dealers // 20)]:
            rows = np.flatnonzero((cartons["line"] == line).to_numpy() & free)
            booked = int(cartons["consignee"].iat[rows[0]])
            siblings = [at for at in net.dealers if net.parent[at] == net.parent[booked] and at != booked]
            siblings = [at for at in siblings if net.region[at] != net.region[booked]]
            if not siblings:
                continue
            other = int(rng.choice(siblings))
            first = int(cartons["ship2"].iat[rows[0]] // DAY)
            note = self.ledger.innocent(
                "mis_shipment",
                "partner",
                net.ids[booked],
                self.geo.codes[net.region[other]],
                first,
                first,
                self._units(rows),
                f"delivery unloaded at {net.ids[other]}",
            )
            self._mark(rows, "mis_shipped", int(net.region[other]), note)
            self.cartons.loc[rows, "landed"] = other
            self.cartons.loc[rows, "receipt2"] = other if rng.random() < 0.5 else -1

    def permit_transfers(self) -> None:
        """Dealers who help each other out with the brand's written consent."""
        rng, cartons, net = self.spec.rng("permits"), self.cartons, self.net
        givers = rng.permutation(self.plan.quiet)
        for at in range(max(1, self.spec.dealers // 15)):
            giver = int(givers[at % len(givers)])
            takers = [d for d in self.plan.quiet if net.region[d] != net.region[giver] and d != giver]
            if not takers:
                continue
            near = sorted(takers, key=lambda d: (self.geo.distance[net.region[giver], net.region[d]], d))[:6]
            taker = int(rng.choice(near))
            first = day_number(self.spec.start) - int(rng.integers(5, 25))
            last = first + int(rng.integers(12, 30))
            pool = np.flatnonzero(self._free((first, last)) & (cartons["consignee"] == giver).to_numpy())
            rows = np.sort(rng.permutation(pool)[: int(rng.integers(8, 20))])
            if len(rows) == 0:
                continue
            region = self.geo.codes[net.region[taker]]
            note = self.ledger.innocent(
                "permit", "partner", net.ids[giver], region, first, last, self._units(rows), f"to {net.ids[taker]}"
            )
            self._mark(rows, "permit", int(net.region[taker]), note)
            self.cartons.loc[rows, "retailer"] = taker
            self.cartons.loc[rows, "recorded3"] = rng.random(len(rows)) < 0.6
            self.ledger.permits.append(
                {
                    "giver": giver,
                    "taker": taker,
                    "first_day": first - 2,
                    "last_day": last + 60,
                    "units": self._units(rows),
                }
            )

    def redraw_territories(self) -> None:
        """A dealer is given a neighbouring prefecture; half of the changes reach the master data three weeks late."""
        rng, cartons, net, geo = self.spec.rng("redraws"), self.cartons, self.net, self.geo
        done = 0
        for dealer in rng.permutation(self.plan.quiet):
            if done == max(1, self.spec.dealers // 15):
                break
            beside = np.flatnonzero(geo.adjacent[net.region[dealer]])
            beside = np.array([at for at in beside if at not in self.holder], dtype=int)
            if len(beside) == 0:
                continue
            region = int(rng.choice(beside))
            self.holder[region] = int(dealer)
            starts = day_number(self.spec.start) - int(rng.integers(10, 35))
            pool = np.flatnonzero(
                self._free((starts, day_number(self.spec.end))) & (cartons["consignee"] == dealer).to_numpy()
            )
            rows = pool[rng.random(len(pool)) < 0.35]
            known = starts + (int(rng.integers(18, 30)) + 20 if done % 2 == 0 else -6)
            note = self.ledger.innocent(
                "redraw_recorded_late" if done % 2 == 0 else "redraw",
                "partner",
                net.ids[dealer],
                geo.codes[region],
                starts,
                -1,
                self._units(rows),
                "territory given from the first day on",
            )
            self._mark(rows, "redraw", region, note)
            self.ledger.redraws.append({"partner": int(dealer), "region": region, "from": starts, "known": known})
            done += 1

    def supply_blank_areas(self) -> None:
        """Goods reaching prefectures that have no dealer, from the dealer next door of the same distributor."""
        rng, cartons, net, geo = self.spec.rng("blank areas"), self.cartons, self.net, self.geo
        done = 0
        for dealer in rng.permutation(self.plan.quiet):
            if done == max(1, self.spec.dealers // 30):
                break
            home = int(net.region[dealer])
            beside = [
                at
                for at in np.flatnonzero(geo.adjacent[home])
                if at not in self.holder and geo.province[at] == geo.province[home]
            ]
            if not beside:
                continue
            region = int(rng.choice(beside))
            pool = np.flatnonzero(self._free() & (cartons["consignee"] == dealer).to_numpy())
            rows = pool[rng.random(len(pool)) < 0.10]
            if len(rows) == 0:
                continue
            note = self.ledger.innocent(
                "blank_area",
                "partner",
                net.ids[dealer],
                geo.codes[region],
                -1,
                -1,
                self._units(rows),
                "no dealer there",
            )
            self._mark(rows, "blank_area", region, note)
            done += 1

    def give_gifts(self) -> None:
        """Whole cartons taken along as gifts, one at a time, mostly around holidays."""
        rng, cartons, net, geo = self.spec.rng("gifts"), self.cartons, self.net, self.geo
        pool = np.flatnonzero(self._free())
        rows = pool[rng.random(len(pool)) < 0.012]
        gravity = geo.gravity()
        for row in rows:
            consignee = int(cartons["consignee"].iat[row])
            region = int(rng.choice(len(geo), p=gravity[net.region[consignee]]))
            day = int(cartons["on_sale"].iat[row] // DAY)
            one = np.array([row])
            note = self.ledger.innocent(
                "gift",
                "partner",
                net.ids[consignee],
                geo.codes[region],
                day,
                day,
                self._units(one),
                carton_epc(int(row)),
            )
            self._mark(one, "gift", region, note)

    def buy_bulk_online(self) -> None:
        """Companies that buy whole cartons from official shops: siblings in one region, far from the warehouse."""
        rng, cartons, geo = self.spec.rng("online bulk"), self.cartons, self.geo
        online = np.flatnonzero((cartons["flow"] == "online").to_numpy() & cartons["traced"].to_numpy())
        rows = online[rng.random(len(online)) < 0.12]
        where = rng.choice(len(geo), len(rows), p=geo.population / geo.population.sum())
        for row, region in zip(rows.tolist(), where.tolist(), strict=True):
            day = int(cartons["on_sale"].iat[row] // DAY)
            seller = self.net.ids[int(cartons["consignee"].iat[row])]
            one = np.array([row])
            note = self.ledger.innocent(
                "online_bulk", "partner", seller, geo.codes[region], day, day, self._units(one), carton_epc(int(row))
            )
            self._mark(one, "online_bulk", int(region), note)
