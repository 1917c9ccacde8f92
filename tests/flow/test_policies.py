"""Policies from files through the commands: every problem at once, two people, what holds on a day; what sources may not load."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from fangcuan.flow import accounts
from fangcuan.flow.installation import open_installation
from fangcuan.flow.policies import approve_shipped_policies, shipped_rows
from fangcuan.store.accounts import account
from fangcuan.store.database import write

Ask = Callable[..., tuple[int, Any]]

HEADER = "policy_id,scope,mode,floor,ceiling,currency,jurisdiction,legal_basis,valid_from,valid_to\n"
GOOD = HEADER + "P1,all,band,100.00,,CNY,CN,contract,2026-03-01,\nP2,S1,band,50,60,CNY,CN,contract,2026-03-01,\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with a person for every role, none of whom sits at this terminal."""
    monkeypatch.setenv("FANGCUAN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(accounts, "os_user", lambda: "nobody-here")
    done = CliRunner().invoke(app(), ["init", "--home", str(tmp_path / "home"), "--demo"])
    assert done.exit_code == 0, done.output
    assert "64 rows newly approved" in done.output
    for user in ("legal2",):
        assert CliRunner().invoke(app(), ["users", "add", user, "--name", user, "--as", "admin"]).exit_code == 0
        assert CliRunner().invoke(app(), ["users", "grant", user, "legal", "--as", "admin"]).exit_code == 0
    return tmp_path / "home"


def app() -> Any:
    from fangcuan.cli.main import app

    return app


@pytest.fixture
def ask(home: Path) -> Ask:
    def run(*arguments: str) -> tuple[int, Any]:
        done = CliRunner().invoke(app(), list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, json.loads(done.stdout) if "--json" in arguments else done.output

    return run


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_a_file_is_proposed_approved_and_holds(home: Path, ask: Ask, tmp_path: Path) -> None:
    path = written(tmp_path, "prices.csv", GOOD)
    code, said = ask("policies", "propose", "price_policies", path, "--as", "ling", "--note", "spring prices")
    assert code == 0, said
    assert "added    P1|2026-03-01" in said
    assert "floor: 100" in said
    number = ask("policies", "list", "price_policies", "--undecided", "--json")[1]["items"][0]["proposal"]
    assert ask("policies", "approve", str(number), "--as", "ling")[0] == 1
    assert ask("policies", "in-force", "price_policies", "--on", "2026-03-02", "--json")[1] == {"items": []}
    code, decided = ask("policies", "approve", str(number), "--as", "wang", "--json")
    assert (code, decided["keys"]) == (0, ["P1|2026-03-01", "P2|2026-03-01"])
    listed = ask("policies", "in-force", "price_policies", "--on", "2026-03-02", "--json")[1]["items"]
    assert [(one["policy_id"], one["floor"], one["approved_by"]) for one in listed] == [
        ("P1", "100", "user:wang"),
        ("P2", "50", "user:wang"),
    ]
    assert ask("policies", "in-force", "price_policies", "--on", "2026-02-28", "--json")[1] == {"items": []}
    known = ("--on", "2026-03-02", "--known", "2026-03-02", "--json")
    assert ask("policies", "in-force", "price_policies", *known)[1] == {"items": []}, "it was not known then"
    again = ask("policies", "in-force", "price_policies", "--on", "2026-03-02", "--json")[1]["items"]
    assert again == listed
    # The end of a policy is a version like any other.
    ending = written(tmp_path, "end.csv", HEADER + "P1,all,band,100,,CNY,CN,contract,2026-03-01,2026-04-01\n")
    code, said = ask("policies", "propose", "price_policies", ending, "--as", "ling")
    assert (code, "valid_to: – → 2026-04-01" in said) == (0, True)
    assert ask("audit", "verify")[0] == 0


def test_every_problem_of_a_file_is_told_with_row_and_column(home: Path, ask: Ask, tmp_path: Path) -> None:
    rows = [
        "P1,all,sideways,1oo,,CNY,CN,contract,2026-03-01,",
        ",all,band,100,90,CNY,CN,contract,01.03.2026,",
        "P3,all,band,100,90,CNY,CN,contract,2026-03-01,2026-02-01",
    ]
    path = written(tmp_path, "prices.csv", HEADER + "\n".join(rows) + "\n")
    code, said = ask("policies", "propose", "price_policies", path, "--as", "ling")
    assert code == 1
    told = {tuple(line.strip().split(":")[0].split(", column ")) for line in said.splitlines()[1:]}
    places = {place for place, _ in (one for one in told if len(one) == 2)}
    assert len(places) == 3, said
    assert {column for _, column in (one for one in told if len(one) == 2)} == {
        *("mode", "floor", "policy_id", "valid_from", "ceiling", "valid_to")
    }
    assert ask("policies", "list", "price_policies", "--json")[1] == {"items": []}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.csv", "policy_id,approved_by\nP1,me\n", "filled in by the approval"),
        ("p.csv", "policy_id,colour\nP1,red\n", "no such column"),
        ("p.csv", "policy_id\nP1\n", "column floor: is missing"),
        ("p.yml", "policy_id: P1\n", "expected a list of rows"),
        ("p.yml", "- {policy_id: [\n", "not YAML"),
        ("p.docx", "x", "expected a file ending in"),
        ("p.csv", "", "prices.csv"),
    ],
)
def test_files_that_are_no_policies(home: Path, ask: Ask, tmp_path: Path, name: str, text: str, said: str) -> None:
    code, output = ask("policies", "propose", "price_policies", written(tmp_path, name, text), "--as", "ling")
    assert code == 1
    assert said in output or not text
    assert ask("policies", "list", "price_policies", "--json")[1] == {"items": []}


def test_a_file_that_is_not_there(home: Path, ask: Ask, tmp_path: Path) -> None:
    code, said = ask("policies", "propose", "price_policies", str(tmp_path / "nothing.csv"), "--as", "ling")
    assert code == 1
    assert "No such file" in said
    assert ask("policies", "propose", "partners", str(tmp_path / "nothing.csv"), "--as", "ling")[0] == 1


def test_yaml_and_json_lines_say_the_same_as_csv(home: Path, ask: Ask, tmp_path: Path) -> None:
    row = {"plan_id": "R1", "period": "quarter", "period_start": "2026-01-01", "period_end": "2026-04-01"}
    listed = (
        "- {"
        + ", ".join(f"{name}: {value}" for name, value in row.items())
        + ", thresholds: [100, 200], rates: [0.01, 0.02]}\n"
    )
    lines = json.dumps({**row, "thresholds": "[100, 200]", "rates": "[0.01, 0.02]"}) + "\n"
    digests = set()
    for name, text in (("plans.yml", listed), ("plans.jsonl", lines)):
        code, said = ask("policies", "propose", "rebate_plans", written(tmp_path, name, text), "--as", "ling", "--json")
        assert code == 0, said
        digests.add(said["changes"][0]["row"]["period_end"])
        rates = json.loads(said["changes"][0]["row"]["rates"])
        assert [float(rate) for rate in rates] == [0.01, 0.02]
        assert ask("policies", "withdraw", str(said["proposal"]), "--as", "ling")[0] == 0
    assert digests == {"2026-04-01"}


def test_what_a_team_decided_stays_whatever_the_package_says(home: Path, ask: Ask, tmp_path: Path) -> None:
    place = open_installation(home)
    assert approve_shipped_policies(place) == {"legal_gate": 0}
    gate = written(
        tmp_path,
        "gate.csv",
        "jurisdiction,family,action,allowed,legal_basis\nCN,price,notify,true,share below 5 % and RMB 100 million\n",
    )
    assert ask("policies", "propose", "legal_gate", gate, "--as", "ling")[0] == 1
    code, said = ask("policies", "propose", "legal_gate", gate, "--as", "zhao", "--json")
    assert (code, said["changes"][0]["change"]) == (0, "amends")
    number = str(said["proposal"])
    for other in ("zhao", "wang", "admin"):
        assert ask("policies", "approve", number, "--as", other)[0] == 1
    assert ask("policies", "approve", number, "--as", "legal2")[0] == 0
    assert approve_shipped_policies(place) == {"legal_gate": 0}
    listed = ask("policies", "in-force", "legal_gate", "--json")[1]["items"]
    (row,) = (one for one in listed if (one["jurisdiction"], one["family"], one["action"]) == ("CN", "price", "notify"))
    assert (row["allowed"], row["approved_by"]) == (True, "user:legal2")
    assert len(listed) == len(shipped_rows("legal_gate")) == 64
    assert ask("audit", "verify")[0] == 0
    # At the terminal of whoever proposed it nobody approves it either.
    with write(place.engine) as connection:
        connection.execute(update(account).where(account.c.user_id == "zhao").values(os_user="nobody-here"))
    back = gate_text(gate, "true", "false")
    number = str(ask("policies", "propose", "legal_gate", back, "--as", "zhao", "--json")[1]["proposal"])
    code, said = ask("policies", "approve", number, "--as", "legal2")
    assert code == 1
    assert "somebody else" in said


def gate_text(path: str, old: str, new: str) -> str:
    text = Path(path).read_text(encoding="utf-8").replace(old, new)
    return written(Path(path).parent, "other.csv", text)


def test_no_source_loads_what_is_approved(home: Path, ask: Ask, tmp_path: Path) -> None:
    master = tmp_path / "world" / "master"
    master.mkdir(parents=True)
    written(
        master,
        "legal_gate.csv",
        "jurisdiction,family,action,allowed,legal_basis,approved_by\nCN,price,propose_penalty,true,none,me\n",
    )
    (tmp_path / "world" / "feeds").mkdir()
    code, said = ask("ingest", "--world", str(tmp_path / "world"))
    assert code == 1
    assert "approved, not loaded" in said
    listed = ask("policies", "in-force", "legal_gate", "--json")[1]["items"]
    assert not [one for one in listed if one["approved_by"] == "me"]
    assert ask("audit", "verify")[0] == 0
