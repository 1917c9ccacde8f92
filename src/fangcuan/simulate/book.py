"""A book of trace events: blocks of rows that become one table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fangcuan.simulate.geography import Geography
from fangcuan.simulate.network import Network


class Book:
    """Collects blocks of events. Scalars stand for a whole block; a missing column is null."""

    def __init__(self, geo: Geography, net: Network) -> None:
        self.codes = np.array([*geo.codes, None], dtype=object)
        self.ids = np.array([*net.ids, None], dtype=object)
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


def event_ids(prefix: str, *parts: np.ndarray) -> np.ndarray:
    """Event identifiers from a prefix and one number per part."""
    columns = [part.tolist() for part in parts]
    return np.array(
        [f"urn:event:{prefix}-" + "-".join(map(str, row)) for row in zip(*columns, strict=True)], dtype=object
    )
