"""Nights in one process: pull, open, detect, decide, file, one night after the other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from fangcuan.flow import pulling
from fangcuan.flow.capturing import capture_findings
from fangcuan.flow.filing import file_run
from fangcuan.flow.installation import Installation
from fangcuan.flow.night import NightDetection, check_lake, lake_engine, load_run, open_night
from fangcuan.warehouse.engine import DuckEngine

Progress = Callable[[str], None]


def nights_between(first: dt.date, last: dt.date) -> list[dt.date]:
    return [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]


def judge_night(
    installation: Installation,
    night: dt.date,
    *,
    world: Path | None = None,
    pull: bool = True,
    progress: Progress = lambda message: None,
    engine: DuckEngine | None = None,
) -> dict[str, Any]:
    """Pull and judge one night; for a judged night its summary again, marked `again`.

    `engine` (of `lake_engine`) holds what earlier nights read; None makes one for this night.
    """
    if pull:
        for result in pulling.pull_all(installation, night, world=world, progress=progress):
            progress(f"{night} {result['source_id']}: {result['state']}, {result['rows_loaded']} rows")
    opened = open_night(installation, night)
    if opened["state"] == "judged":
        return {**opened, "again": True}
    run = load_run(installation, opened["run_id"])
    check_lake(installation, run.run_id)
    with nullcontext(engine) if engine else lake_engine(installation) as shared:
        detection = NightDetection(installation, run, engine=shared)
        try:
            for unit_id in (*run.plan["facts"], *run.plan["units"]):
                result = detection.detect(unit_id)
                progress(f"{night} {unit_id}: {result['state']}, {result['rows']} rows, {result['seconds']} s")
        finally:
            detection.close()
    summary = file_run(installation, run.run_id)
    if installation.settings.capture_most:
        captures = capture_findings(installation, run.run_id)
        progress(f"{night} captures: {captures['captured']} pages, {len(captures['problems'])} not to be had")
    return summary


def judge_nights(
    installation: Installation,
    first: dt.date,
    last: dt.date,
    *,
    world: Path | None = None,
    progress: Progress = lambda message: None,
) -> Iterator[dict[str, Any]]:
    """Judge every night from `first` to `last`, oldest first; each sees only what had arrived by then."""
    with lake_engine(installation) as engine:
        for night in nights_between(first, last):
            yield judge_night(installation, night, world=world, progress=progress, engine=engine)
