"""What the DAG files share: schedules, tags, limits, the night key of a run, and what is logged when something goes wrong.

Parsed every time Airflow parses a DAG file, so it imports nothing beyond the standard library and `airflow.sdk`.
Task functions call `fangcuan.flow`, which loads what is heavy only then.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from airflow.sdk import (  # type: ignore[attr-defined]  # the stub file of Airflow 3.3 lacks the deadline names
    Asset,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    Param,
    SyncCallback,
)

from fangcuan import settings

log = logging.getLogger("fangcuan.dags")

NIGHT_PATTERN = r"^\d{4}-\d{2}-\d{2}$"


class Tag(StrEnum):
    """The tags a DAG may carry; the test over the DAG files knows no others."""

    INGEST = "stage:ingest"
    DETECT = "stage:detect"
    TRAIN = "stage:train"
    UPKEEP = "stage:upkeep"
    NIGHTLY = "cadence:nightly"
    INTRADAY = "cadence:intraday"
    WEEKLY = "cadence:weekly"


# When what runs, in the brand's time zone. FANGCUAN_CRON_<NAME> overrides one entry; `off` leaves only triggers by hand
# and by assets.
CRONS: dict[str, str] = {
    "pull": "0 1 * * *",
    "cut_off": "0 3 * * *",
    "price_watch": "0 8-22/2 * * *",
    "train": "30 4 * * 0",
    "housekeeping": "30 5 * * *",
}


def landed(schedule: str) -> Asset:
    """The asset updated when every source of a schedule group has been tried for a night; `extra` carries the night."""
    return Asset(name=f"fangcuan_landed_{schedule}", uri=f"fangcuan://landed/{schedule}", group="fangcuan")


def cron(name: str) -> CronTriggerTimetable | None:
    """The timetable of an entry of `CRONS`, or None where it is switched off."""
    expression = os.environ.get(f"FANGCUAN_CRON_{name.upper()}") or CRONS[name]
    if expression.strip().lower() == "off":
        return None
    return CronTriggerTimetable(expression, timezone=settings.load().timezone)


def landed_or_cut_off(schedule: str) -> AssetOrTimeSchedule | list[Asset]:
    """A night starts when its sources have landed, at the latest at the cut-off."""
    clock = cron("cut_off")
    if clock is None:
        return [landed(schedule)]
    return AssetOrTimeSchedule(assets=[landed(schedule)], timetable=clock)


def task_defaults(retries: int = 2, delay: timedelta = timedelta(minutes=2), **more: Any) -> dict[str, Any]:
    """`default_args` of a DAG: everything retries, nothing runs for ever, every failure is logged with its address."""
    return {
        "owner": "fangcuan",
        "retries": retries,
        "retry_delay": _delay(delay),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=20),
        "execution_timeout": timedelta(hours=1),
        "on_failure_callback": task_failed,
        "on_retry_callback": task_retried,
        **more,
    }


def _delay(default: timedelta) -> timedelta:
    """FANGCUAN_RETRY_DELAY (seconds) shortens the wait before a retry, for runs over synthetic data."""
    seconds = os.environ.get("FANGCUAN_RETRY_DELAY")
    return timedelta(seconds=float(seconds)) if seconds else default


def night_params() -> dict[str, Param]:
    """The one parameter of runs started by hand: the night, or nothing for the one that is due."""
    return {
        "night": Param(
            None,
            type=["null", "string"],
            pattern=NIGHT_PATTERN,
            title="Night",
            description="Local date of the night, such as 2026-03-14. Empty: the night that was due at the time of the run.",
        )
    }


def deadline(interval: timedelta) -> DeadlineAlert | None:
    """An alert when a run has not ended `interval` after it was queued; it runs in the executor, no triggerer needed.

    FANGCUAN_DEADLINE (seconds, or `off`) overrides the interval. `airflow dags test` needs it off: in Airflow 3.3 it runs
    every task and then fails on its own copy of the alert.
    """
    seconds = os.environ.get("FANGCUAN_DEADLINE", "")
    if seconds.lower() == "off":
        return None
    if seconds:
        interval = timedelta(seconds=float(seconds))
    return DeadlineAlert(
        name="night deadline",
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=interval,
        callback=SyncCallback("fangcuan.flow.dagkit.deadline_missed", kwargs={"allowed": str(interval)}),
    )


def source_stages(schedule: str) -> tuple[list[str], list[str]]:
    """Ids of a schedule group: sources of master data only, then the others, whose rows refer to it."""
    from fangcuan.flow.configured import source_ids, sources
    from fangcuan.flow.installation import open_installation
    from fangcuan.ingest.source import RELATIONS

    installation = open_installation()
    known = sources(installation)
    ids = source_ids(installation, schedule)
    masters = [key for key in ids if all(RELATIONS[feed.relation].kind == "master" for feed in known[key].feeds)]
    return masters, [key for key in ids if key not in masters]


def night_of(context: Mapping[str, Any], ahead: timedelta = timedelta()) -> tuple[str, str | None]:
    """(the moment the run stands for as ISO text with offset, the night asked for or None).

    The night asked for is the parameter `night`, else the latest night among the asset events the run consumed. The
    moment is the logical date, which a back-fill sets to the cut-off of that night; runs started by assets have none, so
    theirs is `run_after`. Never the wall clock: a task that starts or is retried after midnight keeps its night.
    `ahead` is added to the moment; a day ahead, the night that is due is the one of the current local date.
    """
    run = context["dag_run"]
    moment: datetime = run.logical_date or run.run_after
    requested = (run.conf or {}).get("night") or context["params"].get("night")
    if not requested:
        nights = sorted(_event_nights(context.get("triggering_asset_events") or {}))
        if len(nights) > 1:
            # Airflow hands several events to one run when they arrive while another night is being judged. The latest
            # night sees all rows since the last judged one, so nothing is lost; the earlier nights get no run.
            log.warning("several nights landed before this run: %s; judging the latest", ", ".join(nights))
        requested = nights[-1] if nights else None
    if requested:
        date.fromisoformat(requested)
    return (moment + ahead).isoformat(), requested


def _event_nights(events: Mapping[Any, Any]) -> set[str]:
    return {
        str(event.extra["night"])
        for asset in events
        for event in events[asset]
        if isinstance(event.extra, dict) and event.extra.get("night")
    }


def _address(context: Mapping[str, Any]) -> dict[str, Any]:
    task = context["ti"]
    return {
        "dag": task.dag_id,
        "task": task.task_id,
        "map_index": task.map_index,
        "run": task.run_id,
        "try": task.try_number,
    }


def task_failed(context: Mapping[str, Any]) -> None:
    """Failure callback of every task: one line of JSON a log shipper can alert on."""
    error = context.get("exception")
    log.error("TASK FAILED %s", json.dumps({**_address(context), "error": str(error)}, ensure_ascii=False))


def task_retried(context: Mapping[str, Any]) -> None:
    """Retry callback of every task."""
    error = context.get("exception")
    log.warning("TASK WILL BE RETRIED %s", json.dumps({**_address(context), "error": str(error)}, ensure_ascii=False))


def deadline_missed(allowed: str = "", context: Mapping[str, Any] | None = None, **_: Any) -> None:
    """Callback of `deadline`: the night is still open although its time is up."""
    run = (context or {}).get("dag_run") or {}
    named = {key: run.get(key) for key in ("dag_id", "dag_run_id", "logical_date", "state")} if run else {}
    log.error("DEADLINE MISSED %s", json.dumps({**named, "allowed": allowed}, ensure_ascii=False, default=str))
