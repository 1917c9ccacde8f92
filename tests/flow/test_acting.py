"""Who acts on the command line, and the accounts an installation begins with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fangcuan.cases.history.verification import verify
from fangcuan.cases.people.access import Actor, persons
from fangcuan.cases.refusals import NotAuthorised, UnknownUser
from fangcuan.cli.main import app
from fangcuan.flow import accounts
from fangcuan.flow.accounts import acting
from fangcuan.flow.installation import Installation, initialise
from fangcuan.store.database import read

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def fangcuan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("FANGCUAN_USER", "FANGCUAN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FANGCUAN_HOME", str(tmp_path))
    monkeypatch.setattr(accounts, "os_user", lambda: "Root User")

    def run(*arguments: str, given: str | None = None) -> tuple[int, Any]:
        done = CliRunner().invoke(app, list(arguments), input=given)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, json.loads(done.stdout) if "--json" in arguments else done.output

    return run


@pytest.fixture
def place(tmp_path: Path, fangcuan: Run) -> Installation:
    made = initialise(tmp_path)
    assert accounts.first_admin(made) == "root-user"
    assert accounts.first_admin(made) is None
    assert fangcuan("users", "add", "ling", "--name", "Ling")[0] == 0
    assert fangcuan("users", "grant", "ling", "analyst", "--region", "41", "--until", "2099-01-01")[0] == 0
    return made


def test_accounts_by_commands(place: Installation, fangcuan: Run) -> None:
    code, said = fangcuan("users", "list", "--json")
    users = {item["user"]: item for item in said["items"]}
    assert code == 0
    assert users["root-user"]["os_user"] == "Root User"
    (role,) = users["ling"]["roles"]
    assert (role["role"], role["region"], role["until"]) == ("analyst", "41", "2098-12-31T16:00:00.000000Z")
    assert "analyst (region 41)" in fangcuan("users", "list")[1]
    assert fangcuan("users", "revoke", "ling", "analyst", "--json")[1]["grants"] == [role["grant"]]
    assert fangcuan("users", "password", "ling", "--stdin", given="a long enough one\n")[0] == 0
    assert fangcuan("users", "add", "ling2", "--name", "L", "--same-person-as", "ling", "--as", "root-user")[0] == 0
    assert fangcuan("users", "link", "ling2", "--same-person-as", "ling")[0] == 1
    assert fangcuan("users", "disable", "ling2")[0] == 0
    assert fangcuan("users", "revoke", "ling")[0] == 2
    assert fangcuan("users", "grant", "ling", "legal", "--from", "soon")[0] == 2
    code, said = fangcuan("users", "grant", "root-user", "supervisor")
    assert (code, "one person" in said) == (1, True)
    assert [one["target"] for one in fangcuan("users", "refusals", "--json")[1]["items"]] == ["root-user"]
    assert verify(place.engine).exit_code == 0


def test_the_name_given_goes_before_the_variable_and_that_before_the_terminal(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert acting(place) == Actor("user:root-user")
    assert acting(place, "ling") == Actor("user:ling", terminal="user:root-user")
    monkeypatch.setenv("FANGCUAN_USER", "ling")
    assert acting(place).name == "user:ling"
    assert acting(place, "root-user", role="admin") == Actor("user:root-user", frozenset({"admin"}))
    monkeypatch.delenv("FANGCUAN_USER")
    monkeypatch.setattr(accounts, "os_user", lambda: "somebody")
    with pytest.raises(UnknownUser, match="--as or FANGCUAN_USER"):
        acting(place)
    assert acting(place, "ling") == Actor("user:ling")


def test_a_token_proves_one_name_only(place: Installation, fangcuan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    token = fangcuan("users", "token", "ling", "--label", "laptop", "--as", "ling", "--json")[1]["token"]
    (shown,) = fangcuan("users", "tokens", "--json")[1]["items"]
    assert (shown["user_id"], shown["label"]) == ("ling", "laptop")
    assert token.rpartition("_")[2] not in str(shown)
    monkeypatch.setenv("FANGCUAN_TOKEN", token)
    proven = acting(place)
    assert (proven.name, proven.token, proven.terminal) == ("user:ling", shown["token_id"], None)
    with pytest.raises(NotAuthorised, match="not of root-user"):
        acting(place, "root-user")
    # It was issued at the administrator's terminal, so it stands for him as well.
    with read(place.engine) as connection:
        assert persons(connection, proven) == {"ling", "root-user"}
    assert fangcuan("users", "revoke-token", shown["token_id"])[0] == 0
    with pytest.raises(UnknownUser, match="not valid"):
        acting(place)


def test_a_sample_world_has_an_account_for_each_role(tmp_path: Path, fangcuan: Run) -> None:
    made = initialise(tmp_path)
    assert accounts.demo_accounts(made) == ["admin", *accounts.DEMO]
    assert accounts.demo_accounts(made) == []
    assert accounts.first_admin(made) is None
    assert acting(made, "ling") == Actor("user:ling")
    items = {item["user"]: item for item in fangcuan("users", "list", "--json")[1]["items"]}
    assert {user: [one["role"] for one in items[user]["roles"]] for user in accounts.DEMO} == {
        user: [role] for user, (_, role) in accounts.DEMO.items()
    }
    assert verify(made.engine).exit_code == 0


def test_init_names_the_first_administrator(tmp_path: Path, fangcuan: Run) -> None:
    code, said = fangcuan("init", "--home", str(tmp_path), "--admin", "ops")
    assert (code, "users        ops;" in said) == (0, True)
    (only,) = fangcuan("users", "list", "--json")[1]["items"]
    assert (only["user"], only["os_user"]) == ("ops", None)
    assert "as they were" in fangcuan("init", "--home", str(tmp_path), "--demo")[1]
