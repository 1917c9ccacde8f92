"""Each service's own command and health check, run without containers against a PostgreSQL of the test's own.

With FANGCUAN_TEST_ACCOUNTS, the `python` of an environment made from requirements/accounts.lock, the services of the
accounts image run there, with accounts; without it they run beside the engine, with Airflow's simple auth manager.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.airflow, pytest.mark.postgres, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))[
    "services"
]
ACCOUNTS = os.environ.get("FANGCUAN_TEST_ACCOUNTS", "")


def server_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin")) or [Path(shutil.which("initdb") or "/none/initdb").parent]
    assert (found[-1] / "initdb").is_file(), "PostgreSQL's initdb is missing: install the server package postgresql"
    return found[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Team:
    """The folder all services share, and how a container's addresses and paths are written here."""

    folder: Path
    database_port: int
    api_port: int

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    def local(self, text: str) -> str:
        for there, here in (
            ("@postgres/", f"@127.0.0.1:{self.database_port}/"),
            ("http://api-server:8080", f"http://127.0.0.1:{self.api_port}"),
            ("http://127.0.0.1:8080", f"http://127.0.0.1:{self.api_port}"),
            ("/run/secrets", str(self.secrets)),
            ("/var/lib/fangcuan/home", str(self.folder / "home")),
            ("/opt/airflow/logs", str(self.folder / "logs")),
            ("/opt/dags", str(ROOT / "dags")),
            ("/opt/deploy/", f"{ROOT}/deploy/"),
        ):
            text = text.replace(there, here)
        return f"{ROOT}{text}" if text.startswith("/deploy/") else text

    def environment(self, name: str) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
        engine = SERVICES[name]["image"] != "fangcuan-accounts"
        python = Path(sys.executable if engine or not ACCOUNTS else ACCOUNTS)
        kept["PATH"] = f"{python.parent}:{server_programs()}:{kept['PATH']}"
        if engine:
            kept |= {"FANGCUAN_HOME": str(self.folder / "home"), "PYTHONPATH": str(ROOT / "deploy")}
        kept |= {"SECRETS_DIR": str(self.secrets), "NO_PROXY": "*", "no_proxy": "*"}
        # Each container has an Airflow home of its own; here they get one each as well.
        kept |= {"AIRFLOW_HOME": str(self.folder / "airflow" / name), "POOLS": str(self.folder / "pools.json")}
        own = {key: self.local(value) for key, value in SERVICES[name].get("environment", {}).items()}
        if not ACCOUNTS:
            own = {
                key: value
                for key, value in own.items()
                if "FabAuthManager" not in value and "FABDBManager" not in value
            }
        # The one port of the machine, instead of one per container.
        return kept | own | {"AIRFLOW__API__PORT": str(self.api_port), "AIRFLOW__API__HOST": "127.0.0.1"}

    def words(self, name: str, words: list[str]) -> list[str]:
        local = [self.local(word) for word in words]
        if "--host" in local:
            local[local.index("--host") + 1] = "127.0.0.1"
            local[1:1] = ["--port", str(self.database_port)]
        return local

    def start(self, name: str, words: list[str] | None = None) -> subprocess.Popen[bytes]:
        """The service's command behind its entry point, as its container would run it."""
        log = (self.folder / f"{name}.log").open("ab")
        command = [str(ROOT / "deploy" / "entrypoint.sh"), *self.words(name, words or SERVICES[name]["command"])]
        # Without --skip-serve-logs scheduler and triggerer would both want the log server's port of this machine.
        if name in {"scheduler", "triggerer"} and words is None:
            command.append("--skip-serve-logs")
        return subprocess.Popen(
            command,
            env=self.environment(name),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, name: str, words: list[str] | None = None, timeout: float = 900) -> tuple[int, str]:
        log = self.folder / f"{name}.log"
        before = log.stat().st_size if log.exists() else 0
        code = self.start(name, words).wait(timeout)
        return code, log.read_bytes()[before:].decode(errors="replace")

    def sql(self, role: str, database: str, statement: str) -> list[tuple[Any, ...]]:
        password = (self.secrets / f"{role}_password").read_text()
        address = {"host": "127.0.0.1", "port": self.database_port, "dbname": database, "user": role}
        with psycopg.connect(**address, password=password, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


def login(port: int, password: str) -> int:
    """Status of asking the API for a token as `admin`."""
    body = {"username": "admin", "password": password}
    return httpx.post(f"http://127.0.0.1:{port}/auth/token", json=body, timeout=60, trust_env=False).status_code


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """Secrets, a new PostgreSQL as the database image makes it, databases and roles."""
    folder = Path(tempfile.mkdtemp(prefix="fangcuan-team-"))
    folder.chmod(0o755)
    team = Team(folder, free_port(), free_port())
    subprocess.run([ROOT / "deploy" / "secrets.sh", team.secrets], check=True, capture_output=True)
    programs, data = server_programs(), folder / "database"
    # A server refuses to run as root.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    data.mkdir()
    if user:
        shutil.chown(data, "postgres", "postgres")
    arguments = SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split()
    listen = f"-c port={team.database_port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data}"
    try:
        subprocess.run(
            [*user, programs / "initdb", "-D", data, "-U", "postgres", "--auth-local=trust", *arguments],
            check=True,
            capture_output=True,
        )
        control = [*user, programs / "pg_ctl", "-D", data, "-w"]
        subprocess.run([*control, "-o", listen, "-l", data / "log", "start"], check=True, capture_output=True)
        try:
            environment = {
                "PATH": f"{programs}:{os.environ['PATH']}",
                "PGHOST": str(data),
                "PGPORT": str(team.database_port),
                "SECRETS_DIR": str(team.secrets),
            }
            subprocess.run([ROOT / "deploy" / "postgres-init.sh"], env=environment, check=True, capture_output=True)
            code = "import json; from fangcuan.flow.pools import pools_json; print(json.dumps(pools_json()))"
            pools = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            (folder / "pools.json").write_bytes(pools.stdout)
            yield team
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def migrated(team: Team) -> Team:
    """After `migrate` and `grants`, each of them twice: a second start of the services must change nothing."""
    for _ in range(2):
        for name in ("migrate", "grants"):
            code, said = team.run(name)
            assert code == 0, f"{name}: {said}"
    return team


def test_the_database_is_healthy_and_nobody_enters_without_a_password(team: Team) -> None:
    words = team.words("postgres", SERVICES["postgres"]["healthcheck"]["test"][1:])
    assert team.run("postgres", words)[0] == 0
    for role, database in (("postgres", "postgres"), ("fangcuan_app", "fangcuan"), ("airflow", "airflow")):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(
                host="127.0.0.1", port=team.database_port, dbname=database, user=role, password="postgres"
            ).close()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        team.sql("airflow", "fangcuan", "select 1")


def test_the_casebook_belongs_to_a_role_the_nights_do_not_have(migrated: Team) -> None:
    owners = migrated.sql(
        "fangcuan_owner", "fangcuan", "select distinct tableowner from pg_tables where schemaname = 'public'"
    )
    assert owners == [("fangcuan_owner",)]
    for statement in ("update event set body = body", "delete from event", "alter table event disable trigger all"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            migrated.sql("fangcuan_app", "fangcuan", statement)
    assert "password" not in (migrated.folder / "home" / "fangcuan.toml").read_text()


def test_a_night_needs_no_more_than_the_granted_rights(migrated: Team) -> None:
    world = migrated.folder / "world"
    (world / "master").mkdir(parents=True)
    (world / "feeds" / "trace_events").mkdir(parents=True)
    (world / "master" / "regions.csv").write_text("region_code,level\n320100,prefecture\n410100,prefecture\n")
    (world / "feeds" / "trace_events" / "2026-03-18.csv").write_text(
        "event_id,event_time,event_type,action,biz_step,epc,observer,region_code\n"
        "e1,2026-03-18T09:00:00+08:00,object,OBSERVE,,u1,consumer_scan,410100\n"
    )
    for _ in range(2):
        code, said = migrated.run("scheduler", ["fangcuan", "nightly", "--world", str(world), "--date", "2026-03-18"])
        assert code in {0, 10}, said
    assert migrated.sql("fangcuan_app", "fangcuan", "select state from run") == [("judged",)]
    assert migrated.run("scheduler", ["fangcuan", "audit", "verify"])[0] == 0


def test_airflow_runs_on_its_own_database_and_is_healthy(migrated: Team) -> None:
    commands = [SERVICES["airflow-init"]["command"]]
    if not ACCOUNTS:
        commands = [["airflow", "db", "migrate"], ["airflow", "pools", "import", str(migrated.folder / "pools.json")]]
    for words in commands * 2:
        code, said = migrated.run("airflow-init", words)
        assert code == 0, said
    pools = {row[0] for row in migrated.sql("airflow", "airflow", "select pool from slot_pool")}
    assert {"fangcuan_sources", "fangcuan_units", "fangcuan_casebook"} <= pools
    names = ("api-server", "scheduler", "dag-processor", "triggerer")
    running = {name: migrated.start(name) for name in names}
    try:
        for name in names:
            check = SERVICES[name]["healthcheck"]["test"][1:]
            end = time.monotonic() + 300
            while (done := migrated.run(name, check))[0] != 0:
                assert running[name].poll() is None, (migrated.folder / f"{name}.log").read_text()[-4000:]
                assert time.monotonic() < end, f"{name}: {done[1][-2000:]}"
        end = time.monotonic() + 200
        wanted = {path.stem for path in (ROOT / "dags").glob("*.py")}
        while (found := {row[0] for row in migrated.sql("airflow", "airflow", "select dag_id from dag")}) != wanted:
            assert time.monotonic() < end, (
                f"parsed {found}; {(migrated.folder / 'dag-processor.log').read_text()[-3000:]}"
            )
            time.sleep(1)
        assert migrated.sql("airflow", "airflow", "select stacktrace from import_error") == []
        if ACCOUNTS:
            password = (migrated.secrets / "admin_login").read_text()
            assert [login(migrated.api_port, given) for given in (password, "admin")] == [201, 401]
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
