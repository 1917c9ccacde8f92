"""An overlay folder of one's own, a few rows to judge, and the command line in this process."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

NIGHT = "2026-03-18"

RULE = """\
id: diversion.overlay_visits
title: {en: Seen by an inspector, zh: 被巡查员看到}
role: case
status: active
owner: tests
subject: partner
parameters:
  least: {value: 2, unit: codes, about: Codes read in one visit.}
query: |
  select
      partner_id as subject_id,
      date '2026-03-01' as window_start,
      date '2026-04-01' as window_end,
      count(*) as score,
      count(*) as codes,
      list(row_key order by row_key) as evidence_inspections
  from inspections
  where partner_id is not null and epc is not null
  group by partner_id
  having count(*) >= $least
explanation:
  en: "{codes} codes of {subject_id} were read by inspectors."
  zh: "巡查员读到 {subject_id} 的 {codes} 个码。"
triage: {en: Ask the inspector., zh: 询问巡查员。}
innocent_readings: [{en: A routine visit., zh: 例行巡查。}]
known_gaps: [{en: Shops nobody visits., zh: 无人巡查的门店。}]
tests:
  - name: two codes of one partner fire
    given:
      inspections:
        - {visit_id: v1, visited_at: "2026-03-18T09:00:00+08:00", kind: code_read, partner_id: D1, epc: u1}
        - {visit_id: v2, visited_at: "2026-03-18T10:00:00+08:00", kind: code_read, partner_id: D1, epc: u2}
    expect:
      - {subject_id: D1, codes: 2}
  - name: one code is not enough
    given:
      inspections:
        - {visit_id: v1, visited_at: "2026-03-18T09:00:00+08:00", kind: code_read, partner_id: D1, epc: u1}
    expect: []
"""

VISIT = {"inspector_ref": "I1", "shop_ref": "shop 1", "region_code": "320100", "kind": "code_read", "partner_id": "D1"}


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """One dealer, and two codes of his that an inspector read on NIGHT."""
    folder = tmp_path / "world"
    write_csv(folder / "master/regions.csv", [{"region_code": "320100", "level": "prefecture"}])
    write_csv(
        folder / "master/partners.csv",
        [{"partner_id": "D1", "name": "Dealer", "kind": "dealer", "region_code": "320100"}],
    )
    visits = [{**VISIT, "visit_id": f"v{n}", "visited_at": f"{NIGHT}T0{n}:00:00+08:00", "epc": f"u{n}"} for n in (1, 2)]
    write_csv(folder / f"feeds/inspections/{NIGHT}.csv", visits)
    return folder


@pytest.fixture
def overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty private content folder that FANGCUAN_CONTENT names."""
    folder = tmp_path / "overlay"
    folder.mkdir()
    monkeypatch.setenv("FANGCUAN_CONTENT", str(folder))
    return folder


@pytest.fixture
def fangcuan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """Runs one command; gives its exit code and what it said: JSON where it was asked for, else text."""
    monkeypatch.setenv("FANGCUAN_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> tuple[int, Any]:
        from fangcuan.cli.main import app

        done = CliRunner().invoke(app, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, json.loads(done.stdout) if "--json" in arguments else done.output

    return run


@pytest.fixture
def home(tmp_path: Path, fangcuan: Callable[..., tuple[int, Any]]) -> Path:
    """An installation in which the shipped units are approved."""
    code, said = fangcuan("init", "--home", str(tmp_path / "home"))
    assert code == 0, said
    return tmp_path / "home"


@pytest.fixture
def approved(
    home: Path, fangcuan: Callable[..., tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Proposes and approves a unit by two people with terminals of their own; gives what the approval said."""
    from fangcuan.flow import accounts

    for user, role in (("ling", "rule_author"), ("wei", "rule_approver")):
        assert fangcuan("users", "add", user, "--name", user, "--os-user", f"os-{user}")[0] == 0
        assert fangcuan("users", "grant", user, role)[0] == 0

    def approve(unit: str) -> str:
        for user, command in (("ling", "propose"), ("wei", "approve")):
            with monkeypatch.context() as at_his_terminal:
                at_his_terminal.setattr(accounts, "os_user", lambda user=user: f"os-{user}")
                code, said = fangcuan("rules", command, unit)
                assert code == 0, said
        return str(said)

    return approve


@pytest.fixture
def rule_text() -> str:
    return RULE


@pytest.fixture
def night() -> str:
    return NIGHT
