"""Erasing somebody by the command line: lists, bundles and the terminal know him before and not afterwards."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from export_home import NUMBER, bundle
from typer.testing import CliRunner, Result

from fangcuan.cases.people.personal import placeholder
from fangcuan.cli.main import app
from fangcuan.flow import accounts
from fangcuan.flow.installation import open_installation

NAME, TERMINAL = "Zebediah Quill", "zquill"
Run = Callable[..., Result]


@pytest.fixture
def run(judged_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A home with a case, in which u017 has commented."""
    shutil.copytree(judged_once, tmp_path / "home")
    monkeypatch.setenv("FANGCUAN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(accounts, "os_user", lambda: "somebody")

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result

    home = open_installation(tmp_path / "home")
    accounts.demo_accounts(home)
    home.engine.dispose()
    invoke("users", "add", "u017", "--name", NAME, "--os-user", TERMINAL, "--as", "admin")
    invoke("users", "grant", "u017", "analyst", "--as", "admin")
    with monkeypatch.context() as at_his_terminal:
        at_his_terminal.setattr(accounts, "os_user", lambda: TERMINAL)
        invoke("cases", "comment", NUMBER, "looked at the photo")
    return invoke


def test_somebody_is_erased(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert NAME in run("users", "list").output
    refused = run("users", "erase", "u017", "--note", "request 7", "--as", "admin", code=1)
    assert "fangcuan users disable u017" in refused.output
    run("users", "disable", "u017", "--as", "admin")
    done = json.loads(run("users", "erase", "u017", "--note", "request 7", "--as", "admin", "--json").stdout)
    assert (done["user_ids"], done["clear_events"], done["freed"]) == (["u017"], [], True)

    shown = run("users", "list", "--json").output
    assert placeholder("u017") in shown
    with monkeypatch.context() as at_his_terminal:
        at_his_terminal.setattr(accounts, "os_user", lambda: TERMINAL)
        assert "has no account" in run("cases", "next", code=1).output
    assert run("audit", "verify").exit_code == 0
    home = open_installation(tmp_path / "home")
    for profile in ("auditor", "court", "dealer"):
        bundle(home, tmp_path / profile, profile)
    home.engine.dispose()
    told = re.compile(rb"zebediah|quill", re.IGNORECASE)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 50
    # The refusal of a terminal without an account is told and written nowhere.
    assert [path for path in files if told.search(path.read_bytes())] == []
    assert "user:u017" in (tmp_path / "auditor" / "data" / "timeline.jsonl").read_text(encoding="utf-8")
    assert told.search(shown.encode()) is None


def test_an_id_that_names_somebody_is_told(run: Run) -> None:
    said = run("users", "add", "quill", "--name", NAME, "--as", "admin")
    assert "an id is never erased" in said.stderr
    assert "an id is never erased" not in run("users", "add", "u018", "--name", NAME, "--as", "admin").stderr
