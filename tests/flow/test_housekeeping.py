"""Leftovers of killed runs go, everything a receipt lists stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select

from fangcuan.flow.housekeeping import tidy
from fangcuan.store.catalogue import LakeFileRow
from fangcuan.store.database import read


def test_only_what_no_receipt_lists_is_removed(new_home: Any, small_world: Path, flow_tools: dict[str, Any]) -> None:
    home = new_home()
    flow_tools["judge"](home, small_world)
    lake = home.settings.lake_path
    orphan = lake / "trace_events" / "event_date=2026-03-18" / "killed-0.parquet"
    orphan.write_bytes(b"half a file")
    (lake / "_work" / "batch-killed").mkdir(parents=True)
    assert tidy(home)["orphans"] == 0, "a young leftover may belong to a load that is still running"
    removed = tidy(home, settled_seconds=-1)
    assert (removed["orphans"], removed["work"]) == (1, 1)
    with read(home.engine) as connection:
        listed = connection.execute(select(LakeFileRow.path)).scalars().all()
    assert listed
    assert all((lake / path).is_file() for path in listed)
