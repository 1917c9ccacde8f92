"""When rows arrive: mostly the same or the next night, some days late, some twice, some wrong and corrected later."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fangcuan.simulate.clock import DAY, HOUR, day_number
from fangcuan.simulate.ledger import Ledger
from fangcuan.simulate.network import Network
from fangcuan.simulate.spec import WorldSpec


def deliver(spec: WorldSpec, net: Network, frame: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    """Trace events with `arrival` (day number) and `late` (bool: in the night's late file); rows of the future are gone.

    Everything that would have arrived before the first night arrives with the history, on the first night.
    """
    rng = spec.rng("arrivals")
    frame = _correct(spec, net, frame, ledger)
    day = frame["event_time"].to_numpy() // DAY
    hour = frame["event_time"].to_numpy() % DAY // HOUR
    # A source sends by event, so all rows of an event arrive together.
    event, back = np.unique(frame["event_id"].to_numpy(dtype=str), return_inverse=True)
    coin = rng.random(len(event))[back]
    wait = np.where((hour >= 20) | (coin < 0.25), 1, 0)
    is_late = rng.random(len(event))[back] < spec.late_share
    wait = np.where(is_late, rng.integers(2, 11, len(event))[back], wait)
    correction = frame["corrects_event_id"].notna().to_numpy()
    wait = np.where(correction, rng.integers(3, 9, len(event))[back], wait)
    first, last = day_number(spec.start), day_number(spec.end)
    arrival = day + wait
    frame = frame.assign(arrival=np.maximum(arrival, first), late=(is_late | correction) & (arrival > first))
    frame = frame[arrival <= last]
    twice = frame[(rng.random(len(frame)) < 0.003) & ~frame["late"].to_numpy()]
    twice = twice.assign(arrival=twice["arrival"] + 1)
    twice = twice[twice["arrival"] <= last]
    return pd.concat([frame, twice], ignore_index=True)


def _correct(spec: WorldSpec, net: Network, frame: pd.DataFrame, ledger: Ledger) -> pd.DataFrame:
    """Some shipments are first recorded for the wrong dealer; a later event withdraws and replaces them."""
    if not spec.nulls:
        return frame
    rng = spec.rng("corrections")
    shipments = frame["event_id"].str.startswith("urn:event:SH2-").to_numpy()
    shipments = shipments & (frame["event_time"].to_numpy() // DAY >= day_number(spec.start) - 15)
    ids = np.sort(frame.loc[shipments, "event_id"].unique().astype(str))
    chosen = rng.permutation(ids)[: max(2, spec.dealers // 3)]
    rows = frame["event_id"].isin(set(chosen.tolist())).to_numpy()
    right = frame[rows].copy()
    right["corrects_event_id"] = right["event_id"]
    right["event_id"] = right["event_id"] + "-K1"
    right["record_time"] = right["record_time"] + 2 * DAY
    dealers = net.ids[net.dealers]
    wrong = {}
    for event, group in right.groupby("corrects_event_id", sort=True):
        booked = str(group["destination_partner_id"].iat[0])
        wrong[event] = str(rng.choice([name for name in dealers if name != booked]))
        day = int(group["event_time"].iat[0] // DAY)
        ledger.innocent(
            "correction", "partner", wrong[event], "", day, day + 8, len(group), f"{event} was meant for {booked}"
        )
    frame = frame.copy()
    frame.loc[rows, "destination_partner_id"] = frame.loc[rows, "event_id"].map(wrong)
    return pd.concat([frame, right], ignore_index=True)
