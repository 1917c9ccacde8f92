"""What every DAG file must have, and what none may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.airflow

DAGS = Path(__file__).parents[2] / "dags"
TASKS = {
    "pull_sources": ["announce", "list_events", "list_masters", "night_due", "pull_events", "pull_masters"],
    "nightly_conflict_check": [
        "capture_pages",
        "check_lake",
        "decide",
        "detect_fact",
        "detect_unit",
        "file_cases",
        "list_units",
        "night_due",
        "open_night",
        "report_failures",
    ],
    "price_watch": ["announce", "list_sources", "night_ahead", "pull"],
    "train_models": ["detectors", "train"],
    "housekeeping": ["checkpoint", "scrub_evidence", "send_notifications", "tidy", "verify_audit"],
}


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAGs as the files make them, by id."""
    import importlib.util

    from airflow.sdk import DAG

    found: dict[str, Any] = {}
    for path in sorted(DAGS.glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"dag_file_{path.stem}", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        made: list[Any] = []
        original = DAG.__init__

        def remember(self: Any, *args: Any, _into: list[Any] = made, _init: Any = original, **more: Any) -> None:
            _init(self, *args, **more)
            _into.append(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DAG, "__init__", remember)
            spec.loader.exec_module(module)
        assert [dag.dag_id for dag in made] == [path.stem], f"{path.name} holds the DAG of its name and no other"
        found[path.stem] = made[0]
    return found


def every_task(bag: dict[str, Any]) -> list[tuple[str, Any]]:
    tasks = [(f"{dag_id}.{task.task_id}", task) for dag_id, dag in bag.items() for task in dag.tasks]
    assert len(tasks) == sum(map(len, TASKS.values()))
    return tasks


def test_the_files_hold_exactly_these_dags_and_tasks(bag: dict[str, Any]) -> None:
    assert {dag_id: sorted(dag.task_ids) for dag_id, dag in bag.items()} == TASKS


def test_dags_have_text_typed_tags_and_one_run_at_a_time(bag: dict[str, Any]) -> None:
    from fangcuan.flow.dagkit import Tag

    for dag_id, dag in bag.items():
        assert dag.doc_md, dag_id
        assert dag.doc_md.startswith("### "), f"{dag_id}: the text shown in the UI begins with a heading"
        assert dag.tags, dag_id
        assert dag.tags <= set(Tag), f"{dag_id}: tags are members of dagkit.Tag"
        assert {tag.split(":")[0] for tag in dag.tags} == {"stage", "cadence"}, dag_id
        assert dag.max_active_runs == 1, dag_id
        assert dag.catchup is False, dag_id
        dag.validate()


def test_every_task_is_described_limited_and_logged(bag: dict[str, Any]) -> None:
    from fangcuan.flow.pools import Pool

    for name, task in every_task(bag):
        assert task.doc_md, name
        assert isinstance(task.execution_timeout, timedelta), name
        assert timedelta(0) < task.execution_timeout <= timedelta(hours=4), name
        assert task.retries > 0 or name.endswith("report_failures"), name
        assert task.on_failure_callback, name
        assert task.pool in {"default_pool", *Pool}, name


def test_what_is_heavy_or_writes_runs_in_a_pool(bag: dict[str, Any]) -> None:
    light = {"announce", "detectors", "night_ahead", "night_due", "report_failures"}
    free = {name for name, task in every_task(bag) if task.pool == "default_pool"}
    assert {name for name in free if not name.split(".")[1].startswith("list_")} - {
        f"{dag}.{task}" for dag in TASKS for task in light
    } == {"housekeeping.verify_audit", "housekeeping.scrub_evidence"}


def test_work_is_mapped_at_run_time(bag: dict[str, Any]) -> None:
    mapped = {name for name, task in every_task(bag) if task.is_mapped}
    assert mapped == {
        "nightly_conflict_check.detect_fact",
        "nightly_conflict_check.detect_unit",
        "price_watch.pull",
        "pull_sources.pull_events",
        "pull_sources.pull_masters",
        "train_models.train",
    }


def test_the_night_starts_by_asset_or_cut_off_and_has_a_deadline(bag: dict[str, Any]) -> None:
    night = bag["nightly_conflict_check"]
    assert type(night.timetable).__name__ == "AssetOrTimeSchedule"
    assert [asset.name for asset in night.timetable.asset_condition.objects] == ["fangcuan_landed_nightly"]
    assert str(night.timetable.timetable.timezone) == "Asia/Shanghai"
    assert night.deadline
    announce = bag["pull_sources"].get_task("announce")
    assert [asset.name for asset in announce.outlets] == ["fangcuan_landed_nightly"]


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.name)
def test_dag_files_are_wiring_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        for name in names:
            top = name.split(".")[0]
            allowed = name.startswith(("airflow.sdk.", "fangcuan.flow")) or top in sys.stdlib_module_names
            assert allowed, f"{path.name}:{node.lineno}: imports {name}; expected airflow.sdk, stdlib, fangcuan.flow"
    assert len(text.splitlines()) < 160
    assert "__file__" not in text, "no path computed at parse time reaches a task"


def test_parsing_loads_nothing_heavy() -> None:
    heavy = ("duckdb", "great_expectations", "numpy", "pandas", "pyarrow", "sklearn", "sqlglot")
    # What airflow.sdk itself brings is not ours to answer for.
    program = f"""
import sys, airflow.sdk, runpy
before = set(sys.modules)
for path in {[str(path) for path in sorted(DAGS.glob("*.py"))]!r}:
    runpy.run_path(path)
print(sorted(name for name in {heavy!r} if name in sys.modules and name not in before))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_parsing_costs_little_more_than_importing_airflow_sdk() -> None:
    from fangcuan.flow.airflow_parse import parse_ratio

    measured = parse_ratio(DAGS, rounds=3)
    assert measured["files"] == len(TASKS)
    assert measured["ratio"] <= 1.2, measured


def test_a_night_with_its_clock_off_is_started_by_the_asset_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from fangcuan.flow import dagkit

    monkeypatch.setenv("FANGCUAN_CRON_CUT_OFF", "off")
    assert dagkit.landed_or_cut_off("nightly") == [dagkit.landed("nightly")]
    monkeypatch.setenv("FANGCUAN_CRON_PULL", "15 2 * * *")
    pull = dagkit.cron("pull")
    assert pull
    assert pull.expression == "15 2 * * *"
