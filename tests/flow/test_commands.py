"""What the commands answer about judged nights: a case with all it rests on, bad rows by their place, an exit code for the
history. Everything through `fangcuan … --json`, as a script would ask."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fangcuan.core.canonical import canonical_json, digest, sha256_hex
from fangcuan.flow.installation import initialise, open_installation
from fangcuan.flow.policies import approve_shipped_policies

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="session")
def judged(judged_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of an installation that has judged the small world; whoever changes something copies it first."""
    return Path(shutil.copytree(judged_once, tmp_path_factory.mktemp("judged") / "home"))


@pytest.fixture
def ask() -> Ask:
    """Runs one command on a home; gives its exit code and the object it printed."""

    def run(home: Path, *arguments: str) -> tuple[int, Any]:
        from fangcuan.cli.main import app

        done = CliRunner().invoke(app, [*arguments, "--home", str(home), "--json"])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, json.loads(done.stdout)

    return run


def _delivered(world: Path) -> dict[str, dict[str, str]]:
    """Rows of the trace feed as their files have them, by the row key of the contract."""
    found = {}
    for path in sorted((world / "feeds" / "trace_events").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                found[row["event_id"], row["epc"]] = row
    return found


def test_a_case_is_shown_with_all_it_rests_on(judged: Path, small_world: Path, ask: Ask) -> None:
    code, listed = ask(judged, "cases", "list")
    assert code == 0
    (number,) = [case["number"] for case in listed["items"]]
    code, case = ask(judged, "cases", "show", number)
    assert code == 0
    assert case["number"] == number
    assert case["subject"] == {"kind": "partner", "id": "D1"}
    everything = {"sku": None, "product_line": "baijiu", "region_code": "410100", "channel": None, "lot": None}
    assert case["object"] == everything
    # March in Shanghai, in UTC.
    assert case["window"] == {"start": "2026-02-28T16:00:00.000000Z", "end": "2026-03-31T16:00:00.000000Z"}
    assert "5 cartons of D1" in case["explanation"]["en"]
    assert "5 箱" in case["explanation"]["zh"]
    assert not any("{" in case["explanation"][language] for language in ("en", "zh"))

    (finding,) = case["findings_detail"]
    assert (finding["object"], finding["window"]) == (everything, case["window"])
    assert finding["explanation"] == case["explanation"]
    _, rules = ask(judged, "rules", "list")
    digests = {rule["id"]: rule["digest"] for rule in rules["items"]}
    assert finding["unit_digest"] == finding["evidence"]["unit"]["digest"]
    assert finding["unit_digest"].startswith(digests[finding["unit_id"]])

    # Exactly the scans of the five cartons abroad and their five shipments, with the values that were delivered.
    delivered = _delivered(small_world)
    rows = finding["evidence"]["rows"]
    for item in rows:
        row = item["row"]
        told = delivered[row["event_id"], row["epc"]]
        for name, value in told.items():
            if name != "event_time":
                assert (row[name] or "") == value, (item["key"], name)
        assert item["digest"] == sha256_hex(canonical_json(row)), item["key"]
    abroad = {key for key, row in delivered.items() if row["region_code"] == "410100" and key[0].startswith("cD1")}
    shipped = {key for key in delivered if key[0] in {f"sD1{carton}" for carton in range(5)}}
    assert {(item["row"]["event_id"], item["row"]["epc"]) for item in rows} == abroad | shipped
    assert (len(abroad), len(shipped), len(rows)) == (20, 5, 25)

    references = sorted([item["relation"], item["key"], item["digest"]] for item in rows)
    assert finding["evidence_root"] == digest(references)
    assert len(case["evidence_root"]) == 64
    coverage = finding["evidence"]["coverage"]
    assert coverage["looked"] is True
    assert coverage["not_looked"] == []
    assert coverage["sources"] == {"world_trace_events": "landed"}
    assert finding["coverage_id"] == digest(coverage)


@pytest.mark.parametrize(
    ("change", "code", "event"),
    [
        ((), 0, None),
        (("update event set body = replace(body, 'service:', 'user:') where seq = :last",), 1, "last"),
        (("delete from event where seq = :last",), 2, "last"),
        (("delete from event where seq > 2",), 2, 3),
        (
            (
                "update event set seq = -1 where seq = 2",
                "update event set seq = 2 where seq = 3",
                "update event set seq = 3 where seq = -1",
            ),
            1,
            2,
        ),
    ],
    ids=["untouched", "an edited event", "the last event cut off", "a tail cut off", "two rows swapped"],
)
def test_the_history_is_verified_by_exit_code(
    judged: Path, tmp_path: Path, ask: Ask, change: tuple[str, ...], code: int, event: Any
) -> None:
    home = tmp_path / "home"
    shutil.copytree(judged, home)
    raw = sqlite3.connect(next(home.rglob("*.db")))
    (last,) = raw.execute("select max(seq) from event").fetchone()
    assert last > 3
    # What the owner of the file can do: take the guards down, change, put them back.
    guards = dict(raw.execute("select name, sql from sqlite_master where type = 'trigger'").fetchall())
    for name in guards:
        raw.execute(f"drop trigger {name}")
    for statement in change:
        assert raw.execute(statement.replace(":last", str(last))).rowcount > 0, statement
    for guard in guards.values():
        raw.execute(guard)
    raw.commit()
    raw.close()
    ended, told = ask(home, "audit", "verify")
    assert (ended, told["exit_code"], told["first_bad_seq"]) == (code, code, last if event == "last" else event)


#: A bad value of every kind the gate knows: column, value, and the reason it is quarantined for.
BAD = {
    "missing": ("epc", "", "missing"),
    "no time": ("event_time", "32 March", "unparseable"),
    "no number": ("latitude", "north", "unparseable"),
    "out of range": ("latitude", "123.4", "out_of_range"),
    "unknown product": ("sku", "NO-SUCH-SKU", "unknown_reference"),
    "unknown region": ("region_code", "999999", "unknown_reference"),
    "unknown partner": ("destination_partner_id", "NOBODY", "unknown_reference"),
    "outside the vocabulary": ("event_type", "teleportation", "not_in_vocabulary"),
    "in the future": ("event_time", "2030-01-01T00:00:00+08:00", "in_the_future"),
}


def test_every_bad_row_is_named_by_file_row_column_and_reason(
    tmp_path: Path, flow_tools: dict[str, Any], ask: Ask
) -> None:
    world = flow_tools["build_world"](tmp_path / "world")
    night = flow_tools["nights"][0]
    path = world / "feeds" / "trace_events" / f"{night}.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [{"latitude": "", **row} for row in csv.DictReader(stream)]
    expected = set()
    for at, (column, value, reason) in enumerate(BAD.values(), start=3):
        rows[at][column] = value
        # Row 1 of the file is its header.
        expected.add((path.name, f"row {at + 2}", column, reason))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    home = initialise(tmp_path / "home", memory_limit="1GB").settings.home
    code, _ = ask(home, "ingest", "--world", str(world), "--date", str(night))
    assert code in {0, 20}
    _, quarantined = ask(home, "quarantine", "list", "--rows", "100")
    named = {
        (Path(batch["document_name"]).name, row["position"], reason["column"], reason["reason"])
        for batch in quarantined["items"]
        for row in batch["examples"]
        for reason in row["reasons"]
    }
    assert named == expected
    _, receipts = ask(home, "receipts", "--source", "world_trace_events")
    (receipt,) = receipts["items"]
    assert (receipt["rows_quarantined"], receipt["rows_loaded"]) == (len(BAD), len(rows) - len(BAD))


def test_what_may_be_done_about_a_case_is_said_with_its_row(judged: Path, tmp_path: Path, ask: Ask) -> None:
    from fangcuan.cli.main import app

    home = tmp_path / "home"
    shutil.copytree(judged, home)
    number = ask(home, "cases", "list")[1]["items"][0]["number"]
    items = ask(home, "cases", "gate", number)[1]["items"]
    assert [item["action"] for item in items if item["allowed"]] == ["observe"], "no gate was ever approved here"
    installation = open_installation(home)
    assert approve_shipped_policies(installation) == {"legal_gate": 64}
    installation.engine.dispose()
    items = ask(home, "cases", "gate", number)[1]["items"]
    assert {item["jurisdiction"] for item in items} == {"CN"}, "410100 is a code of GB/T 2260"
    assert {item["row"]: item["allowed"] for item in items} == {
        f"CN|diversion|{action}": True for action in ("observe", "notify", "request_explanation", "propose_penalty")
    }
    assert ask(home, "cases", "gate", number)[1]["items"] == items
    for command, said in (("gate", "CN|diversion|propose_penalty"), ("notice", "prescribes no text")):
        done = CliRunner().invoke(app, ["cases", command, number, "--home", str(home)])
        assert (done.exit_code, said in done.output) == (int(command == "notice"), True), done.output
    done = CliRunner().invoke(app, ["cases", "gate", "FC-2026-999999", "--home", str(home)])
    assert (done.exit_code, "no such case" in done.output) == (1, True)
