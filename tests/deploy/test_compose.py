"""What docker-compose.yml promises, checked without a container engine."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if str(service["image"]).startswith("fangcuan")}
#: Keys of the compose specification that are used here; a misspelt one would be ignored or refused only at the start.
SERVICE_KEYS = {
    *(
        "build",
        "cap_drop",
        "command",
        "depends_on",
        "entrypoint",
        "environment",
        "healthcheck",
        "image",
        "init",
        "ports",
    ),
    *("read_only", "restart", "secrets", "security_opt", "tmpfs", "volumes"),
}
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period"}


def test_the_services_are_these() -> None:
    assert list(SERVICES) == [
        "postgres",
        "migrate",
        "grants",
        "airflow-init",
        "api-server",
        "scheduler",
        "dag-processor",
        "triggerer",
    ]


def test_keys_are_those_of_the_specification() -> None:
    assert {key for key in COMPOSE if not key.startswith("x-")} == {"name", "services", "volumes", "secrets"}
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("healthcheck", {})) <= HEALTH_KEYS, name
        for key in ("command", "entrypoint"):
            assert isinstance(service.get(key, []), list), f"{name}.{key}: a list needs no shell"
        for value in service.get("environment", {}).values():
            assert isinstance(value, str), f"{name}: {value!r} is no text"
        for condition in service.get("depends_on", {}).values():
            assert condition["condition"] in {"service_healthy", "service_completed_successfully"}


def test_what_is_named_is_declared() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).is_file(), f"{name}: {volume}"
        if "build" in service:
            dockerfile = (ROOT / service["build"]["dockerfile"]).read_text(encoding="utf-8")
            assert f" AS {service['build']['target']}\n" in dockerfile, name
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])


def test_who_waits_for_health_waits_for_something_that_has_it() -> None:
    for name, service in SERVICES.items():
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} → {other}"
            else:
                assert SERVICES[other]["restart"] == "no", f"{name} → {other}: it never completes"
    long_running = {name for name, service in SERVICES.items() if service["restart"] != "no"}
    assert all("healthcheck" in SERVICES[name] for name in long_running)


def test_no_password_stands_in_the_file_and_none_has_a_default() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|FERNET|TOKEN", key):
                assert key.endswith(("_FILE", "_CMD")), f"{name}: {key}"
                assert "/run/secrets/" in value, f"{name}: {key}"
            assert not re.search(r"://[^/@]*:[^/@]*@", value), f"{name}: {key} holds a password"
    assert "${" not in TEXT, "a variable with a default could be one"
    assert all(secret.keys() == {"file"} for secret in COMPOSE["secrets"].values())
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", "deploy/secrets/x"], cwd=ROOT, check=False, capture_output=True
    )
    assert ignored.returncode == 0, "deploy/secrets could be committed"


def test_a_service_holds_only_the_secrets_it_uses() -> None:
    assert SERVICES["migrate"]["secrets"] == ["fangcuan_owner_password"]
    for name in ("scheduler", "dag-processor", "triggerer", "api-server", "airflow-init"):
        assert "fangcuan_owner_password" not in SERVICES[name]["secrets"], f"{name} could rewrite history"
        assert "postgres_password" not in SERVICES[name]["secrets"]
    assert "fangcuan_app_password" not in SERVICES["api-server"]["secrets"]


def test_our_containers_may_do_little() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert dockerfile.count("USER 10001:10001") == 2
    assert [port for service in SERVICES.values() for port in service.get("ports", [])] == ["127.0.0.1:8080:8080"]


def test_the_images_are_built_from_locks_with_hashes() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    instructions = dockerfile.replace("\\\n", " ").splitlines()
    for line in instructions:
        if re.search(r"(uv|bin)/pip install|uv pip install", line):
            assert "--require-hashes" in line or "--no-deps" in line, line
        if line.startswith("COPY ") and "--from" not in line:
            *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
            for source in sources:
                assert (ROOT / source).exists() or source == "detectors", source
    pins = {}
    for lock in ("all", "engine", "accounts"):
        text = (ROOT / "requirements" / f"{lock}.lock").read_text(encoding="utf-8")
        pins[lock] = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.M))
        assert not re.search(r"https?://|file:", text), f"{lock}.lock names a host or path"
    for name in ("apache-airflow", "apache-airflow-core", "apache-airflow-task-sdk", "psycopg"):
        assert len({found[name] for found in pins.values()}) == 1, f"{name} differs between the locks; run `make lock`"
    assert pins["engine"].items() <= pins["all"].items()
    assert "apache-airflow-providers-fab" in pins["accounts"]
    assert "pytest" not in pins["engine"]


def test_secrets_are_made_once_at_random_and_none_is_guessable(tmp_path: Path) -> None:
    def make() -> dict[str, str]:
        subprocess.run([ROOT / "deploy" / "secrets.sh", tmp_path / "secrets"], check=True, capture_output=True)
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    first = make()
    assert set(first) == set(COMPOSE["secrets"])
    assert len(set(first.values())) == len(first)
    assert all(re.fullmatch(r"[A-Za-z0-9_\-=]{44}", value) for value in first.values())
    assert make() == first
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["entrypoint.sh", "airflow-init.sh", "secrets.sh", "postgres-init.sh"])
def test_scripts_are_executable_and_parse(name: str) -> None:
    path = ROOT / "deploy" / name
    assert path.stat().st_mode & stat.S_IXUSR
    assert path.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", path], check=True)


def test_the_entrypoint_hands_passwords_to_the_database_client_only(tmp_path: Path) -> None:
    (tmp_path / "reader_password").write_text("a:b\\c")
    done = subprocess.run(
        [
            ROOT / "deploy" / "entrypoint.sh",
            "sh",
            "-c",
            'env; printf "file: "; cat "$PGPASSFILE"; stat -c %a "$PGPASSFILE"',
        ],
        env={"PATH": "/usr/bin:/bin", "SECRETS_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    environment, _, file = done.stdout.partition("file: ")
    assert "a:b" not in environment
    assert file.splitlines() == ["*:*:*:reader:a\\:b\\\\c", "600"]
