"""Units of the traced cartons: their codes, and the carton the system believes they are in."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.simulate.catalogue import carton_epc, unit_epcs
from fangcuan.simulate.clock import DAY, HOUR, day_number, office_hours
from fangcuan.simulate.goods import Goods
from fangcuan.simulate.ledger import Ledger
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan
from fangcuan.simulate.spec import WorldSpec


def return_goods(spec: WorldSpec, net: Network, plan: Plan, goods: Goods, ledger: Ledger) -> None:
    """Some cartons go back: `returned` and `destroyed` are moments (-1: never), `destroyed_by` a partner.

    A `reappeared` scheme is a dealer who reports a destruction that does not happen; its cartons are marked here.
    """
    rng, cartons = spec.rng("returns"), goods.cartons
    count = len(cartons)
    for name in ("returned", "destroyed", "destroyed_by"):
        cartons[name] = -1
    start, end = day_number(spec.start), day_number(spec.end)
    age = cartons["holds_from"].to_numpy() // DAY
    free = (
        cartons["traced"].to_numpy()
        & (cartons["flow"].to_numpy() == "normal")
        & np.isin(cartons["consignee"].to_numpy(), net.dealers)
        & (age < start + spec.nights // 3)
    )
    chosen = np.flatnonzero(free & (rng.random(count) < 0.008))
    fake: list[tuple[int, np.ndarray]] = []
    for at, scheme in enumerate(plan.schemes):
        if scheme.kind != "reappeared":
            continue
        dealers = np.unique(cartons["consignee"].to_numpy()[free & (age < start)])
        scheme.partner = int(rng.choice(dealers))
        pool = np.flatnonzero(free & (age < start) & (cartons["consignee"] == scheme.partner).to_numpy())
        pool = pool[~np.isin(pool, chosen)]
        rows = pool[: int(rng.integers(1, 4))]
        scheme.sku = int(cartons["sku"].iat[rows[0]])
        scheme.line = net.products[scheme.sku].line
        fake.append((at, rows))
    rows = np.sort(np.concatenate([chosen, *[part for _, part in fake]]).astype(int))
    held = cartons["holds_from"].to_numpy()[rows]
    back = office_hours(rng, held // DAY + rng.integers(3, 15, len(rows)))
    back = np.maximum(back, held + HOUR)
    cartons.loc[rows, "returned"] = back
    cartons.loc[rows, "leaves"] = back
    cartons.loc[rows, "flow"] = "returned"
    cartons.loc[rows, "scan_factor"] = 0.0
    cartons.loc[rows, "retailer"] = -1
    cartons.loc[rows, "recorded3"] = False
    destroyed = rng.random(len(rows)) < 0.7
    moment = back + (rng.uniform(2, 8, len(rows)) * DAY).astype(np.int64)
    cartons.loc[rows[destroyed], "destroyed"] = moment[destroyed]
    cartons.loc[rows[destroyed], "destroyed_by"] = net.plant
    for at, part in fake:
        scheme = plan.schemes[at]
        moments = moment[np.searchsorted(rows, part)]
        cartons.loc[part, "destroyed"] = moments
        cartons.loc[part, "destroyed_by"] = scheme.partner
        cartons.loc[part, "flow"] = "destroyed_on_paper"
        cartons.loc[part, "scheme"] = at
        scheme.cartons = len(part)
        scheme.units = int(cartons["units"].to_numpy()[part].sum())
        scheme.first_day = int(moments.min() // DAY)
        scheme.last_day = end
    for row in chosen:
        ledger.innocent(
            "return",
            "partner",
            net.ids[int(cartons["consignee"].iat[row])],
            first_day=int(cartons["returned"].iat[row] // DAY),
            last_day=int(cartons["returned"].iat[row] // DAY),
            units=int(cartons["units"].iat[row]),
            note=carton_epc(int(row)),
        )


def expand(spec: WorldSpec, net: Network, goods: Goods, ledger: Ledger) -> pd.DataFrame:
    """One row per unit of a traced carton: carton (true position), packed_in (position on record), sku, number, epc."""
    cartons = goods.cartons
    traced = np.flatnonzero(cartons["traced"].to_numpy())
    sizes = cartons["units"].to_numpy()[traced]
    carton = np.repeat(traced, sizes)
    place = np.arange(len(carton)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    sku = cartons["sku"].to_numpy()[carton]
    number = cartons["first_unit"].to_numpy()[carton] + place
    units = pd.DataFrame({"carton": carton, "packed_in": carton, "place": place, "sku": sku, "number": number})
    units["epc"] = unit_epcs(sku, number, net.products)
    if spec.aggregation_errors > 0 and spec.nulls:
        _aggregation_errors(spec, cartons, units, traced, ledger)
    return units


def _aggregation_errors(
    spec: WorldSpec, cartons: pd.DataFrame, units: pd.DataFrame, traced: np.ndarray, ledger: Ledger
) -> None:
    """Two cartons packed at about the same time have their labels swapped, or one unit of each lands in the other."""
    rng = spec.rng("aggregation")
    packed = units["packed_in"].to_numpy().copy()
    first_row = np.full(len(cartons), -1)
    first_row[traced] = np.cumsum(cartons["units"].to_numpy()[traced]) - cartons["units"].to_numpy()[traced]
    sku, size = cartons["sku"].to_numpy(), cartons["units"].to_numpy()
    used: set[int] = set()
    for here in rng.permutation(traced)[: int(len(traced) * spec.aggregation_errors / 2)].tolist():
        near = np.arange(max(0, here - 120), min(len(cartons), here + 120))
        near = near[(first_row[near] >= 0) & (sku[near] == sku[here]) & (near != here)]
        if len(near) == 0:
            continue
        there = int(rng.choice(near))
        if here in used or there in used:
            continue
        used |= {here, there}
        count = int(size[here]) if rng.random() < 0.5 else 1
        packed[first_row[here] : first_row[here] + count] = there
        packed[first_row[there] : first_row[there] + count] = here
        day = int(cartons["produced"].iat[here] // DAY)
        ledger.innocent(
            "wrong_aggregation",
            "carton",
            carton_epc(here),
            "",
            day,
            day,
            2 * count,
            f"units swapped with {carton_epc(there)}",
        )
    units["packed_in"] = packed
