"""What was planted, for those who measure: never read by the pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from fangcuan.simulate.catalogue import carton_epcs
from fangcuan.simulate.clock import DAY, day_number, iso_days
from fangcuan.simulate.geography import Geography
from fangcuan.simulate.goods import Goods
from fangcuan.simulate.ledger import Ledger
from fangcuan.simulate.network import Network
from fangcuan.simulate.plan import Plan
from fangcuan.simulate.scans import Scans
from fangcuan.simulate.spec import WorldSpec
from fangcuan.simulate.writing import day_columns, write_csv, write_json

SCHEME_COLUMNS = (
    "scheme_id",
    "family",
    "kind",
    "partner_id",
    "accomplices",
    "subject",
    "victim_partner_id",
    "region_code",
    "platform",
    "seller_ref",
    "sku",
    "product_line",
    "first_day",
    "last_day",
    "cartons",
    "units",
    "money",
    "stealth",
    "scanned_units",
    "scanned_outside",
    "sibling_cartons",
    "first_seen",
    "linked",
)


def schemes(geo: Geography, net: Network, plan: Plan, goods: Goods, units: pd.DataFrame, scans: Scans) -> pd.DataFrame:
    """truth/schemes.csv. The last columns say how much of a scheme consumers have made visible by the last night."""
    seen = _visible(geo, net, plan, goods, units, scans)
    rows = []
    for at, scheme in enumerate(plan.schemes):
        seller = net.partners.iloc[scheme.seller] if scheme.seller >= 0 else None
        rows.append(
            {
                "scheme_id": scheme.scheme_id,
                "family": scheme.family,
                "kind": scheme.kind,
                "partner_id": net.ids[scheme.partner] if scheme.partner >= 0 else "",
                "accomplices": " ".join(net.ids[other] for other in scheme.accomplices),
                "subject": scheme.subject,
                "victim_partner_id": net.ids[scheme.victim] if scheme.victim >= 0 else "",
                "region_code": geo.codes[scheme.region] if scheme.region >= 0 else "",
                "platform": scheme.platform,
                "seller_ref": seller["seller_ref"] if seller is not None else "",
                "sku": net.products[scheme.sku].sku if scheme.sku >= 0 else "",
                "product_line": scheme.line,
                "first_day": scheme.first_day,
                "last_day": scheme.last_day,
                "cartons": scheme.cartons,
                "units": scheme.units,
                "money": round(scheme.money, 2),
                "stealth": round(scheme.stealth, 2),
                "linked": scheme.linked,
                **seen.get(at, {"scanned_units": 0, "scanned_outside": 0, "sibling_cartons": 0, "first_seen": -1}),
            }
        )
    frame = pd.DataFrame(rows, columns=list(SCHEME_COLUMNS))
    return day_columns(frame, "first_day", "last_day", "first_seen") if len(frame) else frame


def _visible(
    geo: Geography, net: Network, plan: Plan, goods: Goods, units: pd.DataFrame, scans: Scans
) -> dict[int, dict[str, int]]:
    """Scans of each scheme's units: how many units, how many of them outside the culprit's region, first day outside."""
    frame = scans.frame[["unit", "epc", "time", "region"]].copy()
    carton = units["carton"].to_numpy()[frame["unit"].to_numpy()]
    carton = np.where(frame["unit"].to_numpy() >= 0, carton, -1)
    frame["carton"] = carton
    frame["scheme"] = np.where(carton >= 0, goods.cartons["scheme"].to_numpy()[carton], -1)
    home = net.region[goods.cartons["consignee"].to_numpy()[carton]]
    frame["outside"] = (frame["region"].to_numpy() >= 0) & (frame["region"].to_numpy() != home)
    found = {}
    for at, scheme in enumerate(plan.schemes):
        if scheme.family == "code_integrity":
            mine = frame[frame["epc"].isin(scheme.epcs) & (frame["time"] // DAY >= scheme.first_day)]
            out = mine
            siblings = 0
        else:
            mine = frame[frame["epc"].isin(scheme.epcs) if scheme.epcs else frame["scheme"] == at]
            target = mine["region"] == scheme.region if scheme.region >= 0 else mine["outside"]
            out = mine[mine["outside"] & target]
            siblings = int((out.groupby("carton")["epc"].nunique() >= 2).sum())
        found[at] = {
            "scanned_units": mine["epc"].nunique(),
            "scanned_outside": out["epc"].nunique(),
            "sibling_cartons": siblings,
            "first_seen": int(out["time"].min() // DAY) if len(out) else -1,
        }
    return found


def flows(geo: Geography, net: Network, plan: Plan, goods: Goods, ledger: Ledger) -> pd.DataFrame:
    """truth/flows.csv: every traced carton that did not go the ordinary way, with the reason."""
    cartons = goods.cartons
    odd = cartons[
        cartons["traced"] & ((~cartons["flow"].isin(["normal", "online"])).to_numpy() | (cartons["scheme"] >= 0))
    ]
    names = [scheme.scheme_id for scheme in plan.schemes]
    innocents = [str(row["innocent_id"]) for row in ledger.innocents]
    return pd.DataFrame(
        {
            "carton_epc": carton_epcs(odd.index.to_numpy()),
            "flow": odd["flow"].to_numpy(),
            "partner_id": net.ids[odd["consignee"].to_numpy()],
            "region_code": np.append(geo.codes, "")[odd["venue"].to_numpy()],
            "scheme_id": [names[at] if at >= 0 else "" for at in odd["scheme"].tolist()],
            "innocent_id": [innocents[at] if at >= 0 else "" for at in odd["innocent"].tolist()],
            "on_sale_day": iso_days(odd["on_sale"].to_numpy() // DAY),
        }
    )


def unit_links(plan: Plan, goods: Goods, units: pd.DataFrame) -> pd.DataFrame:
    """truth/units.csv: every unit that belongs to a scheme, scanned or not."""
    scheme = goods.cartons["scheme"].to_numpy()[units["carton"].to_numpy()]
    mine = np.flatnonzero(scheme >= 0)
    carton = units["carton"].to_numpy()[mine]
    parts = [
        pd.DataFrame(
            {
                "epc": units["epc"].to_numpy()[mine],
                "scheme_id": [plan.schemes[at].scheme_id for at in scheme[mine].tolist()],
                "carton_epc": carton_epcs(carton),
            }
        )
    ]
    for found in plan.schemes:
        if found.kind == "carton_splitting":
            carton_of = units.set_index("epc")["carton"].reindex(found.epcs).to_numpy()
            parts.append(
                pd.DataFrame({"epc": found.epcs, "scheme_id": found.scheme_id, "carton_epc": carton_epcs(carton_of)})
            )
        if found.kind in {"never_issued", "cloned_serial"}:
            parts.append(pd.DataFrame({"epc": found.epcs, "scheme_id": found.scheme_id, "carton_epc": ""}))
    return pd.concat(parts, ignore_index=True)


def innocents(ledger: Ledger) -> pd.DataFrame:
    """truth/innocents.csv."""
    columns = [
        "innocent_id",
        "kind",
        "subject_kind",
        "subject",
        "region_code",
        "first_day",
        "last_day",
        "units",
        "note",
    ]
    frame = pd.DataFrame(ledger.innocents, columns=columns)
    return day_columns(frame, "first_day", "last_day") if len(frame) else frame


def write(folder: Path, spec: WorldSpec, tables: dict[str, pd.DataFrame]) -> None:
    for name, frame in tables.items():
        write_csv(folder / "truth" / f"{name}.csv", frame)
    write_json(folder / "truth" / "spec.json", {**spec.to_json(), "last_day": day_number(spec.end)})
