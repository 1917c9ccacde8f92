"""Leftovers of killed runs go, everything a receipt lists stays."""

from __future__ import annotations

import os
import time
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


def test_the_half_of_a_killed_evidence_write_goes_after_a_day(new_home: Any) -> None:
    home = new_home()
    kept = home.evidence.put(b"evidence of a case")
    young, old = (home.evidence.folder / f".incoming-{name}" for name in ("young", "old"))
    young.write_bytes(b"being written")
    old.write_bytes(b"killed while it was written")
    old.chmod(0o444)
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    removed = tidy(home)
    assert (removed["evidence"], removed["bytes"]) == (1, len(b"killed while it was written"))
    assert (young.exists(), old.exists()) == (True, False)
    assert home.evidence.get(kept) == b"evidence of a case"
