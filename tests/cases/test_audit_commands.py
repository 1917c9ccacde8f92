"""`fangcuan audit …` on an installation: key, checkpoints, places, timestamps, verification and proofs, as a user has them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from authority import running
from casework_samples import FIRST, file_night, make_finding
from tampering import rewrite_history, tamper
from typer.testing import CliRunner

from fangcuan import flow
from fangcuan.cases.history import keys
from fangcuan.flow.installation import Installation, initialise
from fangcuan.store.database import write

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path) -> Path:
    """An installation with one filed night and a drop folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "casebook.db")
    place = initialise(folder, audit_places=[str(tmp_path / "drop")])
    file_night(place.engine, folder / "evidence", [make_finding("P1"), make_finding("P2")])
    return folder


@pytest.fixture
def ask(home: Path) -> Ask:
    """Runs `fangcuan audit …` on the home; its exit code and what it printed, as an object where it is one."""

    def run(*arguments: str) -> tuple[int, Any]:
        from fangcuan.cli.main import app

        done = CliRunner().invoke(app, ["audit", *arguments, "--home", str(home)])
        try:
            return done.exit_code, json.loads(done.stdout)
        except ValueError:
            return done.exit_code, done.output

    return run


def place_of(home: Path) -> Installation:
    from fangcuan.flow.installation import open_installation

    return open_installation(home)


def later(home: Path, month: int) -> None:
    night = FIRST.replace(month=month)
    file_night(place_of(home).engine, home / "evidence", [make_finding("P1", month)], night)


def test_without_a_key_nothing_is_signed_and_that_is_said(
    ask: Ask, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, made = ask("checkpoint", "--json")
    assert (code, made["state"]) == (1, "no key")
    assert "fangcuan audit key" in made["message"]
    monkeypatch.setenv("FANGCUAN_HOME", str(home))
    assert flow.audit_checkpoint()["state"] == "no key"
    assert ask("checkpoints", "--json") == (0, {"items": []})
    assert ask("verify", "--json")[0] == 0


def test_from_the_key_to_the_proof(ask: Ask, home: Path, tmp_path: Path) -> None:
    code, key = ask("key", "--name", "example.com/house", "--json")
    assert (code, key["state"]) == (0, "made")
    assert (home / "audit.key").stat().st_mode & 0o777 == 0o600
    assert ask("key", "--json")[1] == {**key, "state": "there"}
    code, first = ask("checkpoint", "--json")
    assert (code, first["state"], [one["state"] for one in first["anchors"]]) == (0, "made", ["anchored"])
    assert ask("checkpoint", "--json")[1]["state"] == "unchanged"
    later(home, 4)
    assert ask("checkpoint", "--json")[1]["size"] > first["size"]
    dropped = sorted((tmp_path / "drop").glob("*.checkpoint"))
    assert dropped[0].name == f"example.com_house-{first['size']:012d}.checkpoint"
    code, listed = ask("checkpoints", "--json")
    assert [len(item["anchors"]) for item in listed["items"]] == [1, 1]
    assert listed["items"][1]["note"].encode() == dropped[0].read_bytes()
    code, found = ask("verify", "--json")
    assert (code, found["checkpoints"], found["problems"]) == (0, 4, [])
    code, found = ask("verify", "--json", "--checkpoint", str(dropped[0]), "--key", key["public"])
    assert (code, found["checkpoints"]) == (0, 5)
    code, said = ask("prove", "FC-2026-000001", "--since", str(dropped[0]), "--out", str(tmp_path / "proof"))
    assert code == 0, said
    from fangcuan.cases.history import verify_proof

    proof = json.loads((tmp_path / "proof" / "proof.json").read_text(encoding="utf-8"))
    assert "continues the older" in verify_proof.main(proof, key["public"])
    assert (tmp_path / "proof" / "verify_proof.py").read_text() == Path(verify_proof.__file__).read_text()


@pytest.fixture
def signed(ask: Ask, home: Path) -> Path:
    """The home with two checkpoints in its drop folder."""
    ask("key", "--name", "example.com/house")
    assert ask("checkpoint")[0] == 0
    later(home, 4)
    assert ask("checkpoint")[0] == 0
    return home


def without_events(engine: Any) -> None:
    with write(engine) as connection:
        connection.exec_driver_sql("drop table event")


def test_every_exit_code(ask: Ask, signed: Path, tmp_path: Path) -> None:
    casebook, whole = signed / "casebook.db", tmp_path / "whole.db"

    def restored(change: Callable[[Any], object]) -> tuple[int, str, str]:
        engine = place_of(signed).engine
        change(engine)
        engine.dispose()
        code, found = ask("verify", "--json")
        shown, text = ask("verify")
        assert shown == code == found["exit_code"]
        assert f"NOT OK  {found['events']:,} events; {found['problems'][0]['en']}" in text
        assert found["problems"][0]["zh"] in text
        for suffix in ("", "-wal", "-shm"):
            Path(f"{casebook}{suffix}").unlink(missing_ok=True)
        shutil.copy(whole, casebook)
        return code, found["problems"][0]["kind"], found["problems"][0]["en"]

    sqlite3.connect(casebook).execute("vacuum into ?", (str(whole),))
    edit = "update event set body = replace(body, 'service:filing', 'service:fishing') where seq = 3"
    assert restored(lambda e: tamper(e, edit)) == (1, "event_altered", "event 3 is not what its hash says")
    cut = (
        "delete from event where seq > 6",
        "update event_head set seq = 6, hash = (select hash from event where seq = 6)",
    )
    code, kind, _ = restored(lambda e: tamper(e, "delete from checkpoint_anchor", "delete from checkpoint", *cut))
    assert (code, kind) == (2, "rolled_back")
    code, kind, said = restored(lambda e: rewrite_history(e, "service:filing", "service:fishing"))
    assert (code, kind) == (3, "rewritten")
    assert "rewritten between 1 and" in said
    code, kind, said = restored(lambda e: tamper(e, "update case_file set priority = 'low' where serial = 2"))
    assert (code, kind) == (4, "row_differs")
    assert said == "case_file FC-2026-000002: priority is low, the events say medium"
    assert restored(without_events)[:2] == (5, "unreadable")
    assert ask("verify")[0] == 0


def test_anchors_that_were_touched_are_5(ask: Ask, signed: Path, tmp_path: Path) -> None:
    first, second = sorted((tmp_path / "drop").glob("*.checkpoint"))
    whole = first.read_bytes()
    first.chmod(0o644)
    first.write_bytes(whole.replace(b"example.com/house\n", b"example.com/mouse\n", 1))
    code, found = ask("verify", "--json")
    assert (code, found["problems"][0]["kind"]) == (5, "unknown_key")
    assert first.name in found["problems"][0]["en"]
    first.write_bytes(whole)
    second.unlink()
    code, found = ask("verify", "--json")
    assert (code, found["problems"][0]["kind"]) == (5, "anchor_gone")
    (tmp_path / "drop").rename(tmp_path / "away")
    assert ask("verify", "--json")[1]["problems"][0]["kind"] == "place_unreadable"
    assert ask("verify", "--checkpoint", str(tmp_path / "none"))[0] == 5


def test_another_installation_in_the_same_folder_is_passed_over(ask: Ask, signed: Path, tmp_path: Path) -> None:
    keys.generate(tmp_path / "k", "example.org/neighbour")
    from fangcuan.cases.history.notes import Checkpoint

    note = keys.load(tmp_path / "k").sign(Checkpoint("example.org/neighbour", 3, bytes(32)).text())
    (tmp_path / "drop" / "example.org_neighbour-000000000003.checkpoint").write_text(note)
    assert ask("verify", "--json")[0] == 0


def test_a_renewed_key_verifies_what_the_old_one_signed(ask: Ask, signed: Path) -> None:
    old = ask("key", "--json")[1]["public"]
    new = ask("key", "--renew", "--json")[1]
    assert (new["state"], new["earlier"]) == ("made", [old])
    later(signed, 5)
    assert ask("checkpoint", "--json")[1]["state"] == "made"
    assert ask("verify", "--json")[1]["checkpoints"] == 6
    assert ask("verify", "--key", old)[0] == 5, "the newest checkpoint is not signed by the old key"
    assert ask("verify", "--key", "nonsense")[0] == 1


def test_a_passphrase_comes_from_a_secret(ask: Ask, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANGCUAN_SECRET_AUDIT_KEY_PASSPHRASE", "correct horse")
    assert ask("key")[0] == 0
    assert b"ENCRYPTED" in (home / "audit.key").read_bytes()
    assert ask("checkpoint")[0] == 0
    monkeypatch.delenv("FANGCUAN_SECRET_AUDIT_KEY_PASSPHRASE")
    later(home, 4)
    code, said = ask("checkpoint")
    assert code == 1
    assert "audit_key_passphrase" in said
    assert ask("verify")[0] == 0, "verifying needs the public half only"


def test_a_place_that_is_away_gets_its_checkpoints_later(
    ask: Ask, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("key")
    assert ask("checkpoint")[0] == 0
    (tmp_path / "drop").rename(tmp_path / "away")
    (tmp_path / "drop").write_text("no folder")
    for month in (4, 5):
        later(home, month)
        code, made = ask("checkpoint", "--json")
        assert (code, made["state"], made["anchors"][0]["state"]) == (1, "made", "failed")
        assert "not reached" in made["message"]
    monkeypatch.setenv("FANGCUAN_HOME", str(home))
    with pytest.raises(flow.Retryable, match="drop"):
        flow.audit_checkpoint()
    (tmp_path / "drop").unlink()
    (tmp_path / "away").rename(tmp_path / "drop")
    code, made = ask("checkpoint", "--json")
    assert (code, [one["state"] for one in made["anchors"]]) == (0, ["anchored", "anchored"])
    assert len(list((tmp_path / "drop").glob("*.checkpoint"))) == 3
    assert flow.audit_verify()["checkpoints"] == 6


def test_timestamps_travel_with_the_checkpoint_and_are_verified(
    ask: Ask, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "authority") as authority:
        monkeypatch.setenv("FANGCUAN_AUDIT_TSA", authority.url)
        monkeypatch.setenv("FANGCUAN_AUDIT_TSA_ROOTS", str(authority.roots))
        ask("key")
        assert ask("checkpoint")[0] == 0
        authority.unsorted = True
        later(home, 4)
        assert ask("checkpoint")[0] == 0
        assert len(authority.asked) == 2
        authority.status = 500
        later(home, 5)
        code, made = ask("checkpoint", "--json")
        assert (code, made["state"]) == (1, "made")
        assert "answered 500" in made["message"]
        authority.status = 200
        assert ask("checkpoint")[0] == 0
    assert len(list((tmp_path / "drop").glob("*.tsr"))) == 2, "the third went to the folder before its timestamp came"
    code, found = ask("verify", "--json")
    assert (code, found["problems"]) == (0, [])
    proof = ask("prove", "1")[1]
    assert [one["authority"] for one in proof["timestamps"]] == [authority.url]
    tamper(
        place_of(home).engine,
        "update checkpoint_anchor set receipt = (select max(receipt) from checkpoint_anchor where kind = 'tsa')"
        " where kind = 'tsa'",
    )
    code, found = ask("verify", "--json")
    assert code == 1
    assert {one["kind"] for one in found["problems"]} == {"timestamp_altered"}
    assert len(found["problems"]) == 2
