"""A small installation with sources of its own, and an Airflow home that runs the real DAG files on it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# Importing Airflow writes its configuration into AIRFLOW_HOME; the one of whoever runs the tests is none of our business.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="fangcuan-airflow-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

pytest.importorskip("airflow", reason="Airflow is missing; install the extra `airflow`")

from fangcuan.flow import airflow_home  # noqa: E402
from fangcuan.flow.airflow_home import AirflowHome  # noqa: E402
from fangcuan.flow.installation import Installation, initialise, open_installation  # noqa: E402
from fangcuan.flow.pools import pools_json  # noqa: E402

DAGS = Path(__file__).parents[2] / "dags"

MASTERS = {
    "regions": "region_code,level,latitude,longitude\n320100,prefecture,32.06,118.80\n410100,prefecture,34.75,113.62\n",
    "partners": "partner_id,name,kind,region_code,valid_from\nBRAND,Brand,brand,,2020-01-01\n"
    "D1,Dealer one,dealer,320100,2020-01-01\n",
    "products": "sku,name,product_line,valid_from\nS1,Baijiu,baijiu,2020-01-01\n",
    "territories": "grant_id,partner_id,region_code,scope,jurisdiction,legal_basis,approved_by,valid_from\n"
    "G1,D1,320100,all,CN,contract,ops,2020-01-01\n",
}
TRACE_COLUMNS = (
    "event_id,event_time,event_type,action,biz_step,epc,parent_epc,sku,partner_id,source_partner_id,"
    "destination_partner_id,region_code,latitude,longitude,accuracy_m,observer,device_hash"
)
PRICE_COLUMNS = "observation_id,observed_at,channel,surface,sku,price,currency,listing_url"
SALES_COLUMNS = "partner_id,sku,region_code,day,flow,quantity"


def traces(night: str) -> str:
    """Events of one night: two cartons of the Nanjing dealer opened in Zhengzhou, two units of each scanned there."""
    lines = [TRACE_COLUMNS]
    for carton in (1, 2):
        name = f"{night}-c{carton}"
        for unit in (1, 2):
            epc = f"{name}-u{unit}"
            lines += [
                f"{epc}-1,{night}T08:00:00+08:00,object,ADD,commissioning,{epc},,S1,BRAND,,,,,,,,",
                f"{epc}-2,{night}T09:00:00+08:00,aggregation,ADD,packing,{epc},{name},,,,,,,,,,",
                f"{epc}-4,{night}T20:00:00+08:00,object,OBSERVE,,{epc},,,,,,410100,34.75,113.62,50,consumer_scan,d{unit}",
            ]
        lines.append(f"{name}-3,{night}T10:00:00+08:00,object,OBSERVE,shipping,{name},,,,BRAND,D1,,,,,,")
    return "\n".join(lines) + "\n"


@dataclass
class Place:
    """One installation: its home, the content overlay with its sources, and the inbox these sources read."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    def deliver(self, night: str) -> None:
        """Put the files of one night into the inbox."""
        for name, text in (
            ("traces", traces(night)),
            ("sales", f"{SALES_COLUMNS}\nD1,S1,320100,{night},sell_in,10\n"),
            ("prices", f"{PRICE_COLUMNS}\n{night}-1,{night}T12:00:00+08:00,online,list,S1,99,CNY,shop/1\n"),
        ):
            (self.inbox / name).mkdir(parents=True, exist_ok=True)
            (self.inbox / name / f"{night}.csv").write_text(text, encoding="utf-8")

    def lose(self, source: str) -> None:
        """Make a source unreachable."""
        (self.inbox / source).rename(self.inbox / f".{source}-lost")

    def add_rule(self, name: str, query: str) -> None:
        """A unit of the overlay, so that a test can have one that fails."""
        path = self.root / "overlay" / "rules" / "diversion" / f"{name}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(RULE.format(name=name, query=query), encoding="utf-8")

    def opened(self) -> Installation:
        return open_installation(self.home)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Rows of the casebook."""
        from sqlalchemy import text

        with self.opened().engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(statement)).mappings()]

    def judged(self) -> dict[str, dict[str, Any]]:
        """Judged nights with their run."""
        return {str(row["night"]): row for row in self.rows("select * from run where state = 'judged' order by night")}


RULE = """id: diversion.{name}
title: {{en: A unit of a test, zh: 测试单元}}
role: watch
status: active
owner: tests
subject: partner
query: |
  {query}
explanation: {{en: A unit of a test., zh: 测试单元。}}
triage: {{en: None., zh: 无。}}
innocent_readings: [{{en: None., zh: 无。}}]
known_gaps: [{{en: None., zh: 无。}}]
tests:
  - {{name: a partner of nobody fires, given: {{}}, expect: [{{subject_id: P1}}]}}
  - {{name: an empty night is quiet, given: {{}}, expect: []}}
"""


def new_place(root: Path) -> Place:
    place = Place(root)
    names = []
    for name, text in MASTERS.items():
        (place.inbox / "master").mkdir(parents=True, exist_ok=True)
        (place.inbox / "master" / f"{name}.csv").write_text(text, encoding="utf-8")
        names.append(
            _source(place, f"t_{name}", name, {"path": f"{place.inbox}/master/{name}.csv", "arrival": "night"})
        )
    for name, relation, schedule in (
        ("traces", "trace_events", "nightly"),
        ("sales", "sales", "nightly"),
        ("prices", "price_observations", "intraday"),
    ):
        options = {"path": f"{place.inbox}/{name}/{{night:%Y-%m-%d}}.csv"}
        names.append(_source(place, f"t_{name}", relation, options, schedule))
    initialise(place.home, sources=names, timezone="Asia/Shanghai", threads=1, memory_limit="1GB")
    place.env = {"FANGCUAN_HOME": str(place.home), "FANGCUAN_CONTENT": str(root / "overlay")}
    return place


def _source(place: Place, key: str, relation: str, options: dict[str, Any], schedule: str = "nightly") -> str:
    folder = place.root / "overlay" / "pipelines" / key
    folder.mkdir(parents=True)
    spec = {
        "id": key,
        "title": {"en": f"Test {relation}", "zh": "测试"},
        "owner": "tests",
        "schedule": schedule,
        "connector": {"kind": "files", **options},
        "feeds": [{"relation": relation, "identity": True}],
    }
    (folder / "source.yml").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
    return key


@pytest.fixture
def make_place() -> Callable[[Path], Place]:
    return new_place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = new_place(tmp_path / "place")
    for name, value in made.env.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> AirflowHome:
    """A migrated Airflow home with pools, made once; tests work on copies of its database."""
    home = airflow_home.prepare(tmp_path_factory.mktemp("airflow") / "home", dags=DAGS)
    file = home.path / "pools.json"
    file.write_text(json.dumps(pools_json()), encoding="utf-8")
    home.airflow("pools", "import", str(file))
    return home


@pytest.fixture
def airflow_on(empty_home: AirflowHome, tmp_path: Path) -> Callable[..., AirflowHome]:
    """Makes an Airflow home that runs on a place: `airflow_on(place, FANGCUAN_CRON_CUT_OFF="* * * * *")`."""

    def make(place: Place, options: dict[tuple[str, str], str] | None = None, **env: str) -> AirflowHome:
        path = tmp_path / "airflow"
        path.mkdir()
        shutil.copy(empty_home.database, path / "airflow.db")
        bytecode = str(empty_home.path / "bytecode")
        every = {"FANGCUAN_RETRY_DELAY": "0", "PYTHONPYCACHEPREFIX": bytecode, **place.env, **env}
        return airflow_home.prepare(path, dags=DAGS, env=every, options=options)

    return make


@dataclass(frozen=True)
class Tested:
    """What `airflow dags test` did: state of the run, states of its tasks by `id` or `id[map index]`, and the log."""

    state: str
    tasks: dict[str, str]
    log: str

    def not_successful(self) -> dict[str, str]:
        return {name: state for name, state in self.tasks.items() if state != "success"}


@pytest.fixture
def dags_test() -> Callable[..., Tested]:
    return run_dags_test


def run_dags_test(home: AirflowHome, dag_id: str, **conf: str) -> Tested:
    """Run one DAG by `airflow dags test`."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "dags", "test", dag_id, "--conf", json.dumps(conf)],
        # Airflow 3.3 fails after the last task of a DAG with a deadline when it is run this way (apache/airflow#73428).
        env=home.environment(FANGCUAN_DEADLINE="off"),
        cwd=home.path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    with sqlite3.connect(home.database) as connection:
        newest = "select run_id, state from dag_run where dag_id = ? order by id desc limit 1"
        found = connection.execute(newest, (dag_id,)).fetchone()
        assert found, done.stdout + done.stderr
        rows = connection.execute(
            "select task_id, map_index, state from task_instance where dag_id = ? and run_id = ?", (dag_id, found[0])
        ).fetchall()
    connection.close()
    tasks = {task if index < 0 else f"{task}[{index}]": state for task, index, state in rows}
    return Tested(found[1], tasks, done.stdout + done.stderr)
