"""The night key of a run: parameter, else asset event, else the moment the run stands for."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("airflow", reason="Airflow is missing; install the extra `airflow`")

from fangcuan import flow
from fangcuan.flow import dagkit

CUT_OFF = datetime(2026, 3, 14, 19, 0, tzinfo=UTC)  # 03:00 of the 15th in Shanghai


def context(
    *,
    logical: datetime | None = None,
    conf: dict[str, Any] | None = None,
    night: str | None = None,
    extras: tuple[Any, ...] = (),
) -> dict[str, Any]:
    run = SimpleNamespace(logical_date=logical, run_after=CUT_OFF, conf=conf)
    events = {"fangcuan_landed_nightly": [SimpleNamespace(extra=extra) for extra in extras]}
    return {"dag_run": run, "params": {"night": night}, "triggering_asset_events": events}


def test_the_cut_off_at_three_in_shanghai_judges_the_day_that_has_ended() -> None:
    moment, requested = dagkit.night_of(context(logical=CUT_OFF))
    assert requested is None
    assert flow.night_due(moment, requested) == "2026-03-14"


def test_a_run_without_logical_date_stands_for_its_run_after() -> None:
    assert dagkit.night_of(context()) == (CUT_OFF.isoformat(), None)


def test_an_asset_event_names_the_night() -> None:
    assert dagkit.night_of(context(extras=({"night": "2026-03-12"},)))[1] == "2026-03-12"


def test_a_parameter_wins_over_the_event() -> None:
    asked = context(conf={"night": "2026-03-10"}, extras=({"night": "2026-03-12"},))
    assert dagkit.night_of(asked)[1] == "2026-03-10"
    assert dagkit.night_of(context(night="2026-03-11"))[1] == "2026-03-11"


def test_of_several_nights_that_landed_the_latest_is_judged_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="fangcuan.dags"):
        requested = dagkit.night_of(context(extras=({"night": "2026-03-13"}, {"night": "2026-03-12"}, {}, None)))[1]
    assert requested == "2026-03-13"
    assert "2026-03-12, 2026-03-13" in caplog.text


def test_a_night_that_is_no_date_is_refused() -> None:
    with pytest.raises(ValueError):
        dagkit.night_of(context(conf={"night": "yesterday"}))


def test_prices_seen_at_noon_belong_to_the_night_of_that_day() -> None:
    noon = datetime(2026, 3, 15, 4, 0, tzinfo=UTC)
    assert flow.night_due(*dagkit.night_of(context(logical=noon), ahead=timedelta(days=1))) == "2026-03-15"


def test_a_failure_is_logged_with_its_address(caplog: pytest.LogCaptureFixture) -> None:
    task = SimpleNamespace(dag_id="pull_sources", task_id="pull_events", map_index=2, run_id="r1", try_number=3)
    with caplog.at_level(logging.WARNING, logger="fangcuan.dags"):
        dagkit.task_failed({"ti": task, "exception": ValueError("来源不可用")})
        dagkit.task_retried({"ti": task, "exception": None})
        dagkit.deadline_missed("4:00:00", {"dag_run": {"dag_id": "nightly_conflict_check", "state": "running"}})
    assert 'TASK FAILED {"dag": "pull_sources", "task": "pull_events", "map_index": 2' in caplog.text
    assert "来源不可用" in caplog.text
    assert "TASK WILL BE RETRIED" in caplog.text
    assert 'DEADLINE MISSED {"dag_id": "nightly_conflict_check"' in caplog.text
