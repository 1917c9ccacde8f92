"""Run nights through Airflow: start its components, trigger, wait, stop; nothing stays behind.

`run_nights` is what `make run` calls. Each night takes the way it takes in production: `pull_sources` is triggered with
the night, its asset starts `nightly_conflict_check`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from fangcuan.flow.airflow_home import ADMIN, PRELOAD, AirflowError, AirflowHome
from fangcuan.flow.pools import pools_json

COMPONENTS: dict[str, tuple[str, ...]] = {
    # The log servers of scheduler and triggerer listen on all interfaces; the API server reads the files itself.
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}
ENDED = {"success", "failed"}
# Importing these takes seconds in every task; the scheduler imports them once and its workers, being forks, have them.
WARM = (
    "great_expectations",
    "pandas",
    "pyarrow.parquet",
    "duckdb",
    "sklearn.ensemble",
    "sqlglot",
    "fangcuan.flow.nightly",
)
PULL, NIGHT = "pull_sources", "nightly_conflict_check"


def silent(_: str) -> None:
    """Progress nobody wants to see, and which is not asked for then."""


@dataclass(frozen=True)
class RunOutcome:
    """One DAG run that ended. `failed` are tasks as `task_id` or `task_id[map index]`."""

    dag_id: str
    run_id: str
    run_type: str
    state: str
    seconds: float
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class NightOutcome:
    """A night that went through Airflow: the pull and the judgement."""

    night: str
    pull: RunOutcome
    check: RunOutcome
    seconds: float

    @property
    def ok(self) -> bool:
        """Judged. A source that failed does not count against it: it is recorded as coverage."""
        return self.check.state == "success"


class Api:
    """The few calls of Airflow's public REST API that are needed here."""

    def __init__(self, home: AirflowHome) -> None:
        # trust_env: a proxy set for the outside must not see calls to ourselves.
        self._client = httpx.Client(base_url=home.url, timeout=60, trust_env=False)
        self._home = home

    def close(self) -> None:
        self._client.close()

    def healthy(self, parts: Iterable[str]) -> bool:
        """True when these components have a heartbeat."""
        try:
            answer = self._client.get("/api/v2/monitor/health", timeout=5)
        except httpx.HTTPError:
            return False
        if answer.status_code != 200:
            return False
        state = answer.json()
        return all((state.get(part) or {}).get("status") == "healthy" for part in parts)

    def login(self) -> None:
        answer = self._client.post("/auth/token", json={"username": ADMIN, "password": self._home.password})
        self._check(answer)
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **more: Any) -> Any:
        answer = self._client.request(method, f"/api/v2{path}", **more)
        self._check(answer)
        return answer.json() if answer.content else None

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_error:
            raise AirflowError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}")

    def dags(self) -> list[str]:
        return [dag["dag_id"] for dag in self.call("GET", "/dags")["dags"]]

    def import_errors(self) -> list[str]:
        errors = self.call("GET", "/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace']}" for error in errors]

    def ensure_pools(self) -> None:
        """Create the pools the DAG files name, as far as they are missing."""
        known = {pool["name"] for pool in self.call("GET", "/pools")["pools"]}
        for name, pool in pools_json().items():
            if name not in known:
                self.call("POST", "/pools", json={"name": name, **pool})

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run by hand. Returns its run id."""
        run = self.call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(conf or {})})
        return str(run["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """All runs, newest first."""
        return list(self.call("GET", f"/dags/{dag_id}/dagRuns", params={"order_by": "-id", "limit": 50})["dag_runs"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self.call("GET", path, params={"limit": 100})["task_instances"])

    def nights_of(self, dag_id: str, run_id: str) -> set[str]:
        """The nights in the asset events a run consumed."""
        events = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/upstreamAssetEvents")["asset_events"]
        return {str(event["extra"]["night"]) for event in events if (event.get("extra") or {}).get("night")}


@dataclass
class Standalone:
    """Airflow's components as child processes, for the time of a `with` block."""

    home: AirflowHome
    preload: tuple[str, ...] = WARM
    components: tuple[str, ...] = tuple(COMPONENTS)
    say: Callable[[str], None] = silent
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    api: Api = field(init=False)

    def __enter__(self) -> Standalone:
        self.api = Api(self.home)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def log_of(self, component: str) -> Path:
        return self.home.path / "logs" / f"{component}.log"

    def _start(self) -> None:
        (self.home.path / "logs").mkdir(exist_ok=True)
        for name in self.components:
            self.start(name)
        parts = [name.replace("-", "_") for name in self.components if name != "api-server"]
        self.wait_for(lambda: self.api.healthy(parts), "Airflow to start")
        self.api.login()
        self.wait_for(self._parsed, "the DAG files to be parsed")

    def _parsed(self) -> bool:
        if errors := self.api.import_errors():
            raise AirflowError("DAG files do not parse:\n" + "\n".join(errors))
        return {PULL, NIGHT} <= set(self.api.dags())

    def start(self, name: str, **env: str) -> None:
        """Start one component; its output goes to `logs/<component>.log` of the home."""
        more = {PRELOAD: ",".join(self.preload), **env} if name == "scheduler" else env
        with self.log_of(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "airflow", *COMPONENTS[name]],
                env=self.home.environment(**more),
                cwd=self.home.path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def wait_for(self, condition: Callable[[], Any], what: str, timeout: float = 600, every: float = 0.3) -> Any:
        """Wait until `condition()` is true and return it. Raises AirflowError when a component dies or time is up."""
        end = time.monotonic() + timeout
        while not (result := condition()):
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise AirflowError(
                        f"{name} ended with {process.returncode} while waiting for {what}: {self._tail(name)}"
                    )
            if time.monotonic() > end:
                raise AirflowError(f"waited {timeout:.0f} s for {what}; logs are in {self.home.path / 'logs'}")
            time.sleep(every)
        return result

    def _tail(self, name: str) -> str:
        lines = self.log_of(name).read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        return f"last lines of {self.log_of(name)}:\n" + "\n".join(lines)

    def wait_run(self, dag_id: str, run_id: str, timeout: float = 900) -> RunOutcome:
        """Wait until a run has ended, saying how far it is."""
        began, last = time.monotonic(), ""

        def ended() -> dict[str, Any] | None:
            nonlocal last
            run = self.api.run(dag_id, run_id)
            if self.say is silent:
                return run if run["state"] in ENDED else None
            tasks = self.api.tasks(dag_id, run_id)
            done = sum(task["state"] in {"success", "failed", "skipped", "upstream_failed"} for task in tasks)
            if (line := f"{dag_id}: {done} of {len(tasks)} tasks") != last:
                last = line
                self.say(line)
            return run if run["state"] in ENDED else None

        # Each look costs the API server time the tasks need.
        run = self.wait_for(ended, f"{dag_id} {run_id}", timeout, every=1.0)
        failed = tuple(
            task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else "")
            for task in self.api.tasks(dag_id, run_id)
            if task["state"] == "failed"
        )
        return RunOutcome(dag_id, run_id, run["run_type"], run["state"], time.monotonic() - began, failed)

    def wait_night(self, night: str, after: Iterable[str], timeout: float = 600) -> str:
        """The run of the night DAG that the asset event of `night` started; `after` are run ids to leave out."""
        old = set(after)

        def started() -> str | None:
            for run in self.api.runs(NIGHT):
                run_id = str(run["dag_run_id"])
                # Airflow 3.3 answers 500 for the events of a run that is still queued.
                if run_id not in old and run["run_type"] == "asset_triggered" and run["start_date"]:
                    if night in self.api.nights_of(NIGHT, run_id):
                        return run_id
                    old.add(run_id)
            return None

        return str(self.wait_for(started, f"the asset of night {night} to start {NIGHT}", timeout))

    def unpause(self, *dag_ids: str) -> None:
        """Let the scheduler run these DAGs."""
        for dag_id in dag_ids:
            self.api.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def run_night(self, night: str) -> NightOutcome:
        """Pull and judge one night through the asset."""
        began = time.monotonic()
        before = [run["dag_run_id"] for run in self.api.runs(NIGHT)]
        pull = self.wait_run(PULL, self.api.trigger(PULL, {"night": night}))
        check = self.wait_run(NIGHT, self.wait_night(night, before))
        return NightOutcome(night, pull, check, time.monotonic() - began)

    def kill(self, name: str) -> None:
        """Kill a component and the tasks it forked, as a machine that dies would."""
        process = self.processes.pop(name)
        _kill_sessions({process.pid})
        process.wait()

    def stop(self, grace: float = 10) -> None:
        """Stop every component and whatever they forked. Running tasks get `grace` seconds."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        end = time.monotonic() + grace
        while time.monotonic() < end and any(process.poll() is None for process in self.processes.values()):
            time.sleep(0.1)
        _kill_sessions({process.pid for process in self.processes.values()})
        for process in self.processes.values():
            process.wait()
        self.processes.clear()
        self.api.close()


def _kill_sessions(sessions: set[int]) -> None:
    """Tasks get process groups of their own, but stay in the session of the component that forked them."""
    import psutil

    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in sessions:
                process.kill()
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue


def _die_with_parent() -> None:
    """In the child, before exec: end when the parent is killed (Linux; elsewhere `stop` is all there is)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def run_nights(
    nights: Iterable[str],
    home: AirflowHome,
    *,
    preload: tuple[str, ...] = WARM,
    say: Callable[[str], None] = print,
) -> list[NightOutcome]:
    """Judge nights in order, each through `pull_sources` and the asset it updates. Stops at the first that fails."""
    outcomes: list[NightOutcome] = []
    with Standalone(home, preload=preload, say=say) as airflow:
        airflow.api.ensure_pools()
        airflow.unpause(PULL, NIGHT)
        for night in nights:
            outcome = airflow.run_night(night)
            outcomes.append(outcome)
            say(f"night {night}: {outcome.check.state} in {outcome.seconds:.0f} s")
            if not outcome.ok:
                break
    return outcomes
