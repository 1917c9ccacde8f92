"""Nights under the real scheduler: LocalExecutor, SQLite, the components `airflow standalone` starts."""

from __future__ import annotations

import datetime as dt
import json
import os
import zoneinfo
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(1800)]

NIGHT, NEXT = "2026-03-14", "2026-03-15"
CHECK = "nightly_conflict_check"


def digest_of(run: dict[str, Any]) -> str:
    counts = run["counts"]
    return str((json.loads(counts) if isinstance(counts, str) else counts)["findings_digest"])


def undisturbed(make_place: Any, root: Path, monkeypatch: pytest.MonkeyPatch, *nights: str) -> dict[str, str]:
    """Digests of the findings of nights judged in this process, one after the other, as they come."""
    from fangcuan.flow.nightly import judge_night

    place = make_place(root)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in place.env.items():
            patch.setenv(name, value)
        for night in nights:
            place.deliver(night)
            judge_night(place.opened(), dt.date.fromisoformat(night))
    judged = {night: digest_of(run) for night, run in place.judged().items()}
    assert sorted(judged) == sorted(nights)
    assert all(json.loads(json.dumps(run["counts"])) for run in place.judged().values())
    return judged


def left_behind(home: Any) -> list[str]:
    """Command lines of processes that still have this Airflow home in their environment."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AIRFLOW_HOME") == str(home.path):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_nights_started_by_assets_and_a_second_trigger_that_does_nothing(
    place, make_place, airflow_on, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fangcuan.flow.airflow_run import Standalone

    expected = undisturbed(make_place, tmp_path / "other", monkeypatch, NIGHT, NEXT)
    home = airflow_on(place)
    with Standalone(home, say=print) as airflow:
        airflow.api.ensure_pools()
        airflow.unpause("pull_sources", CHECK)
        outcomes = []
        for night in (NIGHT, NEXT):
            place.deliver(night)
            outcomes.append(airflow.run_night(night))
        again = airflow.wait_run(CHECK, airflow.api.trigger(CHECK, {"night": NIGHT}))
        states = {task["task_id"]: task["state"] for task in airflow.api.tasks(CHECK, again.run_id)}
        assert airflow.api.dags() == sorted(airflow.api.dags())
    assert [outcome.check.run_type for outcome in outcomes] == ["asset_triggered", "asset_triggered"]
    assert [(outcome.ok, outcome.pull.failed, outcome.check.failed) for outcome in outcomes] == [(True, (), ())] * 2
    assert {night: digest_of(run) for night, run in place.judged().items()} == expected
    assert again.state == "success"
    assert {task for task, state in states.items() if state == "success"} == {"night_due", "open_night"}
    assert left_behind(home) == []


def test_a_night_started_by_the_cut_off_with_one_source_missing(place, airflow_on) -> None:
    from fangcuan import flow
    from fangcuan.flow.airflow_run import Standalone

    # A cut-off every minute, so that the test need not wait for 03:00; the night is the day before in Shanghai.
    now = dt.datetime.now(zoneinfo.ZoneInfo("Asia/Shanghai"))
    for night in {(now - dt.timedelta(days=1)).date().isoformat(), now.date().isoformat()}:
        place.deliver(night)
    night = flow.night_due(None, None)
    for source in flow.sources("nightly"):
        if source != "t_sales":
            assert flow.pull(source, night)["state"] == "landed"
    home = airflow_on(place, FANGCUAN_CRON_CUT_OFF="* * * * *")
    with Standalone(home, say=print) as airflow:
        airflow.api.ensure_pools()
        airflow.unpause(CHECK)
        runs = airflow.wait_for(lambda: airflow.api.runs(CHECK), "the cut-off")
        first = airflow.wait_run(CHECK, runs[-1]["dag_run_id"])
        later = airflow.wait_for(
            lambda: [run for run in airflow.api.runs(CHECK) if run["dag_run_id"] != first.run_id], "the next one"
        )
        second = airflow.wait_run(CHECK, later[-1]["dag_run_id"])
        skipped = {task["task_id"] for task in airflow.api.tasks(CHECK, second.run_id) if task["state"] == "skipped"}
    assert (first.run_type, first.state, first.failed) == ("scheduled", "success", ())
    assert (second.run_type, second.state) == ("scheduled", "success")
    judged = place.judged()
    assert night in judged
    coverage = judged[night]["coverage"]
    states = (json.loads(coverage) if isinstance(coverage, str) else coverage)["sources"]
    assert {source: item["state"] for source, item in states.items() if item["state"] != "landed"} == {
        "t_sales": "missing"
    }
    if list(judged) == [night]:  # not across midnight
        assert {"check_lake", "decide", "detect_fact", "detect_unit", "file_cases"} <= skipped


def test_back_filled_nights_find_what_they_would_have_found_then(
    place, make_place, airflow_on, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fangcuan import flow
    from fangcuan.flow.airflow_run import Standalone

    expected = undisturbed(make_place, tmp_path / "other", monkeypatch, NIGHT, NEXT)
    for night in (NIGHT, NEXT):
        place.deliver(night)
    # All data is there before either night is judged.
    for night in (NIGHT, NEXT):
        for source in flow.sources("nightly"):
            assert flow.pull(source, night)["state"] == "landed"
    home = airflow_on(place, FANGCUAN_CRON_CUT_OFF="0 3 * * *")
    with Standalone(home, say=print) as airflow:
        airflow.api.ensure_pools()
        airflow.unpause(CHECK)
        home.airflow(
            *("backfill", "create", "--dag-id", CHECK, "--max-active-runs", "1"),
            *("--from-date", "2026-03-15T03:00:00+08:00", "--to-date", "2026-03-16T03:00:00+08:00"),
        )
        # When the test runs soon after 03:00 in Shanghai, Airflow starts tonight's cut-off as well.
        runs = [run for run in airflow.api.runs(CHECK) if run["run_type"] == "backfill"]
        outcomes = [airflow.wait_run(CHECK, run["dag_run_id"]) for run in reversed(runs)]
    assert [(outcome.run_type, outcome.state) for outcome in outcomes] == [("backfill", "success")] * 2
    judged = place.judged()
    assert {night: digest_of(judged[night]) for night in (NIGHT, NEXT)} == expected


def test_a_killed_task_and_a_killed_scheduler_lose_nothing(
    place, make_place, airflow_on, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fangcuan import flow
    from fangcuan.flow.airflow_run import Standalone

    expected = undisturbed(make_place, tmp_path / "other", monkeypatch, NIGHT)
    place.deliver(NIGHT)
    for source in flow.sources("nightly"):
        flow.pull(source, NIGHT)
    options = {("scheduler", "scheduler_health_check_threshold"): "8", ("scheduler", "job_heartbeat_sec"): "2"}
    home = airflow_on(place, options, FANGCUAN_RETRY_DELAY="3")

    def state(task_id: str) -> str | None:
        tasks = airflow.api.tasks(CHECK, run_id)
        return next((task["state"] for task in tasks if task["task_id"] == task_id), None)

    with Standalone(home, components=("api-server", "dag-processor"), say=print) as airflow:
        airflow.start("scheduler", FANGCUAN_FAILPOINT="file.before_judged")
        airflow.api.ensure_pools()
        airflow.unpause(CHECK)
        run_id = airflow.api.trigger(CHECK, {"night": NIGHT})
        airflow.wait_for(lambda: state("file_cases") == "up_for_retry", "the task to be killed")
        assert place.judged() == {}
        airflow.kill("scheduler")
        airflow.start("scheduler")
        done = airflow.wait_run(CHECK, run_id)
    assert (done.state, done.failed) == ("success", ())
    assert {night: digest_of(run) for night, run in place.judged().items()} == expected
    assert flow.audit_verify()["exit_code"] == 0
    assert left_behind(home) == []
    assert os.environ.get("FANGCUAN_FAILPOINT") is None


def test_a_night_past_its_deadline_is_said(place, airflow_on) -> None:
    from fangcuan.flow.airflow_run import Standalone

    home = airflow_on(place, FANGCUAN_DEADLINE="1")
    with Standalone(home, say=print) as airflow:
        airflow.api.ensure_pools()
        airflow.unpause(CHECK)
        airflow.wait_run(CHECK, airflow.api.trigger(CHECK, {"night": NIGHT}))

        def logged() -> bool:
            files = [path for path in (home.path / "logs").rglob("*.log") if path.is_file()]
            return any("DEADLINE MISSED" in path.read_text(encoding="utf-8", errors="replace") for path in files)

        airflow.wait_for(logged, "the alert")
