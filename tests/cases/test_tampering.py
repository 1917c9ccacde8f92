"""Attacks on the history and on what stands beside it, each named by `verify` with the exit code the manual promises."""

from __future__ import annotations

import base64
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from casework_samples import FIRST, employ, file_night, make_finding
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DatabaseError
from tampering import rewrite_history, tamper

from fangcuan.cases.executor import Actor, Command, execute
from fangcuan.cases.history import checkpoints, keys
from fangcuan.cases.history.chain import stream, walk
from fangcuan.cases.history.checkpoints import CheckpointRefused
from fangcuan.cases.history.notes import Checkpoint
from fangcuan.cases.history.verification import ExitCode, Given, Verification, verify
from fangcuan.cases.policies import approvals
from fangcuan.store import guards
from fangcuan.store.casework import checkpoint, event
from fangcuan.store.database import open_engine, read, write

SUPERVISOR = Actor("user:ling", frozenset({"supervisor"}))


@dataclass
class House:
    """A casebook with two checkpoints, and copies of them that were kept elsewhere."""

    engine: Engine
    key: keys.SigningKey
    kept: list[Given]

    def verify(self, *, kept: bool = True, **changes: Any) -> Verification:
        arguments = {"keys": [self.key.public], "given": self.kept if kept else []}
        return verify(self.engine, **{**arguments, **changes})

    def checkpoint(self) -> dict[str, Any] | None:
        return checkpoints.make(self.engine, self.key, keys=[self.key.public], given=self.kept)

    def statement(self, sql: str, **parameters: Any) -> None:
        tamper(self.engine, sql, parameters=parameters)


@pytest.fixture
def house(engine: Engine, folder: Path, tmp_path: Path) -> House:
    keys.generate(tmp_path / "audit.key", "example.com/house")
    made = House(engine, keys.load(tmp_path / "audit.key"), [])
    price = make_finding("P1", unit_id="price.below_floor", family="price")
    file_night(engine, folder, [make_finding("P1"), make_finding("P2"), price])
    author, approver = (
        Actor("user:author", frozenset({"rule_author"})),
        Actor("user:approver", frozenset({"rule_approver"})),
    )
    employ(engine, author, approver)
    approvals.propose(engine, author, unit_id="u", unit_digest="d" * 64, text="一", status="active")
    approvals.approve(engine, approver, unit_digest="d" * 64)
    made.kept.append(Given("mail", made.checkpoint()["note"].encode()))
    employ(engine, SUPERVISOR)
    execute(engine, Command("triage", "FC-2026-000001", SUPERVISOR, "1"))
    execute(engine, Command("dismiss", "FC-2026-000001", SUPERVISOR, "2", params={"reason": "low_impact"}))
    file_night(engine, folder, [make_finding("P1", month=4)], FIRST.replace(month=4))
    made.kept.append(Given("mail", made.checkpoint()["note"].encode()))
    execute(engine, Command("triage", "FC-2026-000002", SUPERVISOR, "3"))
    return made


def test_an_untouched_house_verifies(house: House) -> None:
    found = house.verify()
    assert (found.exit_code, found.problems, found.missing_guards) == (ExitCode.OK, (), ())
    assert found.checkpoints == 4, "two in the casebook, two kept elsewhere"
    assert found.rows > 12
    assert len(found.root) == 32
    with read(house.engine) as connection:
        kinds = connection.execute(text("select kind from checkpoint_anchor")).scalars().all()
    assert kinds == []


def test_a_checkpoint_is_made_once_and_again_when_something_happened(house: House) -> None:
    third = house.checkpoint()
    assert third is not None
    assert house.checkpoint() is None
    assert house.verify().checkpoints == 5
    assert [row["size"] for row in checkpoints.listed(house.engine)] == sorted(
        (row["size"] for row in checkpoints.listed(house.engine)), reverse=True
    )


def test_an_altered_event_is_1(house: House) -> None:
    house.statement("update event set body = replace(body, 'user:a', 'user:z') where body like '%user:a%'")
    found = house.verify()
    assert found.exit_code is ExitCode.ALTERED
    with read(house.engine) as connection:
        first = connection.execute(text("select min(seq) from event where body like '%user:z%'")).scalar()
    assert found.first_bad_seq == first


def test_rows_swapped_are_1(house: House) -> None:
    tamper(
        house.engine,
        "update event set seq = 1000 where seq = 4",
        "update event set seq = 4 where seq = 5",
        "update event set seq = 5 where seq = 1000",
    )
    assert (house.verify().exit_code, house.verify().first_bad_seq) == (ExitCode.ALTERED, 4)


def test_a_tail_cut_with_its_head_is_2_by_a_kept_checkpoint_alone(house: House) -> None:
    last = house.verify().events
    with read(house.engine) as connection:
        (first_size, second_size) = connection.execute(select(checkpoint.c.size).order_by(checkpoint.c.size)).scalars()
    keep = first_size + 1
    assert keep < second_size < last
    tamper(
        house.engine,
        f"delete from command_log where seq > {keep}",
        f"delete from event where seq > {keep}",
        f"delete from checkpoint where size > {keep}",
        f"update event_head set seq = {keep}, hash = (select hash from event where seq = {keep})",
    )
    chain = house.verify(kept=False, projected=False)
    assert chain.exit_code is ExitCode.OK, "the chain alone cannot show this"
    found = house.verify()
    assert (found.exit_code, found.first_bad_seq, found.events) == (ExitCode.TRUNCATED, keep + 1, keep)
    assert found.problems[0].kind == "rolled_back"


def test_a_cut_tail_is_2(house: House) -> None:
    tamper(house.engine, "delete from command_log where seq > 10", "delete from event where seq > 10")
    assert house.verify(kept=False).exit_code is ExitCode.TRUNCATED


def test_an_old_backup_put_back_is_2(house: House, tmp_path: Path, sqlite_template: Path, folder: Path) -> None:
    """The whole database, as it was at the first checkpoint: everything in it agrees with itself."""
    old = tmp_path / "old.db"
    shutil.copy(sqlite_template, old)
    engine = open_engine(f"sqlite:///{old}")
    before = House(engine, house.key, [])
    file_night(engine, folder, [make_finding("P1")])
    before.checkpoint()
    engine.dispose()
    backup = tmp_path / "backup.db"
    sqlite3.connect(old).execute("vacuum into ?", (str(backup),))
    engine = open_engine(f"sqlite:///{old}")
    now = House(engine, house.key, [])
    file_night(engine, folder, [make_finding("P3")], FIRST.replace(month=4))
    kept = Given("folder", now.checkpoint()["note"].encode())
    assert now.verify(given=[kept]).exit_code is ExitCode.OK
    engine.dispose()
    restored = House(open_engine(f"sqlite:///{backup}"), house.key, [kept])
    assert restored.verify(kept=False).exit_code is ExitCode.OK, "an old copy agrees with itself"
    found = restored.verify()
    assert (found.exit_code, found.problems[0].kind) == (ExitCode.TRUNCATED, "rolled_back")
    # What is done on top of the old copy is a second history, and is not signed.
    file_night(restored.engine, folder, [make_finding(f"P{n}") for n in range(4, 9)], FIRST.replace(month=5))
    found = restored.verify()
    assert (found.exit_code, found.problems[0].kind) == (ExitCode.REWRITTEN, "rewritten")
    with pytest.raises(CheckpointRefused, match="rewritten"):
        restored.checkpoint()


def test_a_history_rewritten_with_correct_hashes_is_3(house: House) -> None:
    assert rewrite_history(house.engine, "user:a", "user:z") > 0
    found = house.verify(projected=False)
    assert found.exit_code is ExitCode.REWRITTEN
    assert {one.params["source"] for one in found.problems} == {"casebook", "mail"}
    assert found.first_bad_seq == 1
    # Without the rows of the casebook, the checkpoints that left the house still say so.
    tamper(house.engine, "delete from checkpoint")
    assert house.verify(kept=False, projected=False).exit_code is ExitCode.OK, "the honest limit"
    assert house.verify(projected=False).exit_code is ExitCode.REWRITTEN
    with pytest.raises(CheckpointRefused, match="rewritten"):
        house.checkpoint()


def test_only_the_rewritten_part_is_named(house: House) -> None:
    with read(house.engine) as connection:
        sizes = connection.execute(select(checkpoint.c.size).order_by(checkpoint.c.size)).scalars().all()
    assert rewrite_history(house.engine, '"outcome":"low_impact"', '"outcome":"no_action"') > 0
    found = house.verify(projected=False)
    assert (found.exit_code, found.first_bad_seq) == (ExitCode.REWRITTEN, sizes[0] + 1)
    assert found.checkpoints == 2, "the first checkpoint still agrees"


def test_the_chain_compares_roots_even_without_a_key(house: House) -> None:
    rewrite_history(house.engine, "user:a", "user:z")
    assert verify(house.engine, projected=False).exit_code is ExitCode.REWRITTEN


def test_a_dropped_checkpoint_is_4(house: House) -> None:
    tamper(house.engine, "delete from checkpoint")
    found = house.verify()
    assert (found.exit_code, found.problems[0].kind) == (ExitCode.PROJECTION, "row_missing")
    assert found.problems[0].params["table"] == "checkpoint"


@pytest.mark.parametrize(
    "change",
    [
        "root = 'aa' || substr(root, 3)",
        "size = size + 1",
        "origin = 'example.com/other'",
        "note = replace(note, 'example.com/house', 'example.com/mouse')",
        "note = replace(note, '— example', '- example')",
        "note = 'nothing'",
    ],
)
def test_an_edited_checkpoint_is_1_or_5(house: House, change: str) -> None:
    """Wrong under a known key is an alteration; under a name nobody knows it cannot be verified, and is no checkpoint."""
    house.statement(f"update checkpoint set {change} where size = (select min(size) from checkpoint)")
    found = house.verify(projected=False)
    expected = ExitCode.CANNOT_VERIFY if "mouse" in change else ExitCode.ALTERED
    assert found.exit_code is expected
    assert house.verify().exit_code is (ExitCode.PROJECTION if expected is ExitCode.CANNOT_VERIFY else expected)


def test_a_checkpoint_signed_anew_by_another_key_is_5(house: House, tmp_path: Path) -> None:
    """Whoever owns the database and not the key can rewrite and sign for himself: nobody knows that key."""
    other_name = "example.com/house"
    keys.generate(tmp_path / "other.key", other_name)
    other = keys.load(tmp_path / "other.key")
    rewrite_history(house.engine, "user:a", "user:z")
    root = verify(house.engine, projected=False)
    with read(house.engine) as connection:
        (size,) = connection.execute(text("select min(size) from checkpoint")).one()
    forged = other.sign(Checkpoint(other_name, size, root.root).text())
    tamper(
        house.engine,
        f"delete from checkpoint where size > {size}",
        "update checkpoint set note = :note, root = :root",
        parameters={"note": forged, "root": root.root.hex()},
    )
    found = house.verify(kept=False, projected=False)
    assert (found.exit_code, found.problems[0].kind) == (ExitCode.CANNOT_VERIFY, "unknown_key")
    assert house.verify(projected=False).exit_code is ExitCode.REWRITTEN


@pytest.mark.parametrize(
    "spoil", [lambda n: n[:-30], lambda n: n.replace(b"\n7\n", b"\n8\n"), lambda n: b"", bytes.upper]
)
def test_a_given_checkpoint_that_is_none_is_5(house: House, spoil: Any) -> None:
    note = house.kept[0].note.replace(b"\n" + house.kept[0].note.split(b"\n")[1] + b"\n", b"\n7\n")
    found = house.verify(given=[Given("file", spoil(note))])
    assert (found.exit_code, found.problems[0].params["source"]) == (ExitCode.CANNOT_VERIFY, "file")


def test_a_checkpoint_fitted_to_a_rewritten_history_is_1(house: House) -> None:
    """Root and note say what the new events give; only the signature is still the old one."""
    rewrite_history(house.engine, "user:a", "user:z")
    with read(house.engine) as connection:
        kept = {row.size: row.note for row in connection.execute(select(checkpoint))}
        with stream(connection) as rows:
            roots = walk(rows, kept).roots
    for size, note in kept.items():
        lines = note.split("\n")
        lines[2] = base64.b64encode(roots[size]).decode()
        fitted = {"note": "\n".join(lines), "root": roots[size].hex(), "size": size}
        tamper(house.engine, "update checkpoint set note = :note, root = :root where size = :size", parameters=fitted)
    found = house.verify(kept=False, projected=False)
    assert (found.exit_code, found.problems[0].kind) == (ExitCode.ALTERED, "checkpoint_altered")
    assert "the note was altered" in found.message


def test_every_problem_is_told_in_both_languages(house: House) -> None:
    house.statement("update case_file set status = 'closed', is_open = (1 = 0) where number = 'FC-2026-000002'")
    record = house.verify().as_record()
    (status, is_open) = record["problems"]
    assert (status["code"], status["case"], status["field"]) == (4, "FC-2026-000002", "status")
    assert status["en"] == "case_file FC-2026-000002: status is closed, the events say triaging"
    assert status["zh"] == "case_file FC-2026-000002：status 为 closed，事件记录为 triaging"
    assert is_open["field"] == "is_open"
    assert record["exit_code"] == 4


def test_nothing_is_signed_over_an_altered_chain(house: House) -> None:
    house.statement("update event set body = replace(body, 'user:a', 'user:z')")
    with pytest.raises(CheckpointRefused, match="not what its hash says"):
        house.checkpoint()
    assert len(checkpoints.listed(house.engine)) == 2


def test_what_was_signed_cannot_be_changed_by_the_application(house: House) -> None:
    for statement in ("update checkpoint set root = 'x'", "delete from checkpoint"):
        with pytest.raises(DatabaseError, match="append-only"), write(house.engine) as connection:
            connection.execute(text(statement))
    with read(house.engine) as connection:
        bodies = connection.execute(select(event.c.body)).scalars().all()
    assert sum('"kind":"checkpoint.made"' in body for body in bodies) == 2
    assert "checkpoint" in guards.APPEND_ONLY
