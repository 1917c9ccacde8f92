"""An Airflow installation of one's own: SQLite, LocalExecutor, servers on 127.0.0.1, nothing shared with another Airflow.

`prepare` writes `airflow.cfg`, secrets and the metadata database into one folder. Point `AIRFLOW_HOME` at that folder and
every `airflow` command uses the same settings. Deleting the folder removes all of it. Nothing here imports Airflow.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from configparser import RawConfigParser
from dataclasses import dataclass, field
from pathlib import Path

ADMIN = "admin"
PASSWORDS = "simple_auth_manager_passwords.json"
#: Modules, separated by commas, that the scheduler imports before it forks its workers.
PRELOAD = "FANGCUAN_AIRFLOW_PRELOAD"
LOCAL_SETTINGS = "from fangcuan.flow.airflow_local import *  # noqa: F403\n"
# `off` for every entry of dagkit.CRONS: a home that judges chosen nights must not start tonight's by itself.
CLOCK_OFF = {f"FANGCUAN_CRON_{name}": "off" for name in ("PULL", "CUT_OFF", "PRICE_WATCH", "TRAIN", "HOUSEKEEPING")}


class AirflowError(Exception):
    """Airflow is missing, does not start, or does not do what it was asked; the message says where its log is."""


@dataclass(frozen=True)
class AirflowHome:
    """A prepared home. `env` are the variables on top of the caller's; `port` is the API server's on 127.0.0.1."""

    path: Path
    dags: Path
    port: int
    password: str
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        return self.path / "airflow.db"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of every Airflow process: the caller's without its AIRFLOW__ overrides, plus ours."""
        # PYTHONDONTWRITEBYTECODE would make each of the processes compile Airflow again (seconds each); their bytecode
        # goes into the home instead, so nothing is written where it was not wanted.
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AIRFLOW") and name != "PYTHONDONTWRITEBYTECODE"
        }
        if os.environ.get("PYTHONDONTWRITEBYTECODE"):
            env.setdefault("PYTHONPYCACHEPREFIX", str(self.path / "bytecode"))
        loopback = "127.0.0.1,localhost"
        env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, (env.get("NO_PROXY"), loopback)))
        env |= {"AIRFLOW_HOME": str(self.path), "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
        return env | dict(self.env) | more

    def airflow(self, *arguments: str, timeout: float = 300) -> str:
        """Run one `airflow` command in this home. Returns its standard output; raises AirflowError with its last lines."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment(),
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise AirflowError(f"airflow {' '.join(arguments)} ended with {done.returncode}:\n{tail}")
        return done.stdout


def free_port() -> int:
    """A TCP port nobody listens on at 127.0.0.1 right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def dags_folder() -> Path:
    """The `dags/` folder: FANGCUAN_DAGS, else the one beside the sources of an editable installation."""
    chosen = os.environ.get("FANGCUAN_DAGS")
    candidates = [Path(chosen)] if chosen else [Path(__file__).parents[3] / "dags", Path.cwd() / "dags"]
    for folder in candidates:
        if (folder / "nightly_conflict_check.py").is_file():
            return folder.resolve()
    raise AirflowError(
        f"no DAG files in {candidates[0]}; set FANGCUAN_DAGS to the folder with nightly_conflict_check.py"
    )


def prepare(
    path: Path,
    *,
    dags: Path | None = None,
    parallelism: int = 2,
    env: Mapping[str, str] | None = None,
    options: Mapping[tuple[str, str], str] | None = None,
) -> AirflowHome:
    """Make or refresh an Airflow home below `path`.

    parallelism: task processes at once. env: variables for all its processes (FANGCUAN_HOME, FANGCUAN_CRON_CUT_OFF, …);
    without any, schedules are off. options: {(section, key): value} over the settings below.
    Keeps database, secrets and logs of an earlier call; the port is chosen anew.
    """
    path = path.resolve()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = (dags or dags_folder()).resolve()
    password = _password(path)
    home = AirflowHome(path, folder, free_port(), password, CLOCK_OFF | dict(env or {}))
    _write_config(home, parallelism, options or {})
    local = path / "config" / "airflow_local_settings.py"
    local.parent.mkdir(exist_ok=True)
    local.write_text(LOCAL_SETTINGS, encoding="utf-8")
    if not home.database.exists():
        home.airflow("db", "migrate")
        # Readers and the one writer no longer block each other; the mode is kept in the file.
        with sqlite3.connect(home.database) as connection:
            connection.execute("pragma journal_mode=wal")
        connection.close()
    return home


def _password(path: Path) -> str:
    """The password of the one user, generated once; the file is what Airflow's simple auth manager reads."""
    stored = path / PASSWORDS
    if stored.exists():
        return str(json.loads(stored.read_text(encoding="utf-8"))[ADMIN])
    password = secrets.token_urlsafe(16)
    _write_private(stored, json.dumps({ADMIN: password}))
    return password


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _write_config(home: AirflowHome, parallelism: int, options: Mapping[tuple[str, str], str]) -> None:
    path = home.path / "airflow.cfg"
    config = RawConfigParser()
    config.optionxform = str  # type: ignore[method-assign,assignment]
    if path.exists():
        config.read(path, encoding="utf-8")
    kept = {
        ("core", "fernet_key"): base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        ("api", "secret_key"): secrets.token_urlsafe(32),
        ("api_auth", "jwt_secret"): secrets.token_urlsafe(48),
    }
    kept = {key: config.get(*key, fallback=value) for key, value in kept.items()}
    written = RawConfigParser()
    written.optionxform = str  # type: ignore[method-assign,assignment]
    for (section, key), value in (_settings(home, parallelism) | kept | dict(options)).items():
        if not written.has_section(section):
            written.add_section(section)
        written.set(section, key, value)
    temporary = path.with_suffix(".new")
    _write_private(temporary, "")
    with temporary.open("w", encoding="utf-8") as file:
        written.write(file)
    temporary.replace(path)


def _settings(home: AirflowHome, parallelism: int) -> dict[tuple[str, str], str]:
    return {
        ("core", "dags_folder"): str(home.dags),
        ("core", "plugins_folder"): str(home.path / "plugins"),
        ("core", "executor"): "LocalExecutor",
        ("core", "parallelism"): str(parallelism),
        ("core", "max_active_tasks_per_dag"): str(parallelism),
        ("core", "load_examples"): "False",
        ("core", "dags_are_paused_at_creation"): "True",
        ("core", "auth_manager"): "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        ("core", "simple_auth_manager_users"): f"{ADMIN}:admin",
        ("core", "simple_auth_manager_passwords_file"): str(home.path / PASSWORDS),
        ("core", "execution_api_server_url"): f"{home.url}/execution/",
        # A DNS lookup of one's own name can take seconds on a machine without a resolver.
        ("core", "hostname_callable"): "socket.gethostname",
        ("core", "mp_start_method"): "fork",
        ("database", "sql_alchemy_conn"): f"sqlite:///{home.database}",
        ("logging", "base_log_folder"): str(home.path / "logs"),
        ("logging", "dag_processor_child_process_log_directory"): str(home.path / "logs" / "dag_processor"),
        ("logging", "colored_console_log"): "False",
        # Libraries that say hundreds of lines a task.
        ("logging", "namespace_levels"): "great_expectations=WARNING sqlglot=WARNING alembic=WARNING",
        ("api", "host"): "127.0.0.1",
        ("api", "port"): str(home.port),
        ("api", "base_url"): home.url,
        ("api", "worker_timeout"): "10",
        # Its pages load scripts from a content network.
        ("api", "enable_swagger_ui"): "False",
        # The scheduler sleeps this long whenever a pass found nothing to do, and a mapped night has many short waits.
        ("scheduler", "scheduler_idle_sleep_time"): "0.3",
        ("dag_processor", "min_file_process_interval"): "3600",
        ("dag_processor", "refresh_interval"): "3600",
        ("dag_processor", "parsing_processes"): "1",
        ("workers", "execution_api_timeout"): "30",
    }
