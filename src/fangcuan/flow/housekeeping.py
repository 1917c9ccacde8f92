"""Remove what a killed run left behind: lake files no receipt lists, half-written work and evidence, spilled memory."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select

from fangcuan.core.feeds import FEEDS
from fangcuan.flow.installation import Installation
from fangcuan.store.catalogue import LakeFileRow
from fangcuan.store.database import read
from fangcuan.warehouse.custody import CUSTODY

#: Younger leftovers may belong to a load that is still running.
SETTLED_SECONDS = 24 * 3600.0


def tidy(installation: Installation, *, settled_seconds: float = SETTLED_SECONDS) -> dict[str, Any]:
    """Delete leftovers older than `settled_seconds`; gives {"orphans", "work", "spill", "evidence", "bytes"}.

    A lake file exists for readers only once the casebook lists it, so one that is not listed was never seen by anyone.
    """
    lake = installation.settings.lake_path
    with read(installation.engine) as connection:
        listed = set(connection.execute(select(LakeFileRow.path)).scalars())
    removed = {"orphans": 0, "work": 0, "spill": 0, "evidence": 0, "bytes": 0}
    before = time.time() - settled_seconds
    for relation in (*FEEDS, *CUSTODY):
        for path in sorted((lake / relation).rglob("*")):
            if path.is_file() and str(path.relative_to(lake)) not in listed and path.stat().st_mtime < before:
                removed["bytes"] += path.stat().st_size
                path.unlink()
                removed["orphans"] += 1
    for name, folder in (("work", lake / "_work"), ("spill", installation.settings.spill_path)):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.stat().st_mtime < before:
                removed["bytes"] += _size(path)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed[name] += 1
    for path in installation.evidence.leftovers(before):
        removed["bytes"] += path.stat().st_size
        path.unlink()
        removed["evidence"] += 1
    return removed


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(item.stat().st_size for item in files if item.is_file())
