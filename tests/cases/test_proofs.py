"""Proofs verify outside, by a script of the standard library alone; nothing that was changed in them does."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from casework_samples import FIRST, employ, file_night, make_finding
from sqlalchemy import Engine
from tampering import tamper

from fangcuan.cases.executor import Actor, Command, execute
from fangcuan.cases.history import checkpoints, keys, proofs, verify_proof
from fangcuan.cases.history.notes import NoteError
from fangcuan.cases.history.proofs import NotProvable


@pytest.fixture
def key(tmp_path: Path) -> keys.SigningKey:
    keys.generate(tmp_path / "audit.key", "example.com/house")
    return keys.load(tmp_path / "audit.key")


@pytest.fixture
def notes(engine: Engine, folder: Path, key: keys.SigningKey) -> list[bytes]:
    """Three checkpoints over a growing history, as the auditor keeps them."""
    kept = []
    for month in (3, 4, 5):
        night = FIRST.replace(month=month)
        file_night(engine, folder, [make_finding(f"P{n}", month) for n in range(month)], night)
        made = checkpoints.make(engine, key, keys=[key.public])
        assert made is not None
        kept.append(made["note"].encode())
    return kept


def test_a_case_is_proven_and_the_proof_verifies_alone(
    engine: Engine, notes: list[bytes], key: keys.SigningKey, tmp_path: Path
) -> None:
    actor = Actor("user:x", frozenset({"analyst"}))
    employ(engine, actor)
    execute(engine, Command("triage", "FC-2026-000001", actor, "k"))
    proof = proofs.prove(engine, "FC-2026-000001", [key.public], since=notes[0])
    assert [json.loads(one["body"])["kind"] for one in proof["events"]] == [
        "case.opened",
        *["case.findings"] * 3,
    ]
    assert len(proof["not_covered"]) == 1
    (tmp_path / "proof.json").write_text(json.dumps(proof, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "verify_proof.py").write_text(proofs.script(), encoding="utf-8")
    # -I and -S: no installed package can be found, so it is the standard library alone.
    command = [sys.executable, "-I", "-S", "verify_proof.py", "proof.json"]
    for options, text, code in (([], str(key.public), 0), (["-O"], str(key.public), 0)):
        done = subprocess.run(
            [command[0], *options, *command[1:], text], cwd=tmp_path, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout[:16]) == (code, b"ok: 4 events are"), done
    proof["events"][0]["body"] = proof["events"][0]["body"].replace("P0", "P9")
    (tmp_path / "proof.json").write_text(json.dumps(proof, ensure_ascii=False), encoding="utf-8")
    done = subprocess.run(
        [*command[:1], "-O", *command[1:], str(key.public)], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"is not what was signed" in done.stderr


def test_every_event_and_every_older_checkpoint_is_proven(
    engine: Engine, notes: list[bytes], key: keys.SigningKey
) -> None:
    size = checkpoints.listed(engine)[0]["size"]
    assert size > 20
    for seq in range(1, size + 1):
        proof = proofs.prove(engine, str(seq), [key.public], since=notes[seq % 3])
        assert "continues the older" in verify_proof.main(proof, str(key.public))


def changes(proof: dict[str, Any]) -> list[tuple[str, Any]]:
    """(what was changed, proof) for every field that a forger could change."""
    found = []

    def changed(name: str, change: Any) -> None:
        other = copy.deepcopy(proof)
        change(other)
        assert other != proof, name
        found.append((name, other))

    def flipped(text: str) -> str:
        return ("0" if text[0] != "0" else "1") + text[1:]

    event = proof["events"][0]
    for at in range(0, len(event["body"]), 11):
        letter = chr(ord(event["body"][at]) ^ 1)
        changed(
            "body",
            lambda p, at=at, x=letter: p["events"][0].update(body=event["body"][:at] + x + event["body"][at + 1 :]),
        )
    for at in range(len(event["path"])):
        changed("path", lambda p, at=at: p["events"][0]["path"].__setitem__(at, flipped(event["path"][at])))
    changed("path cut", lambda p: p["events"][0]["path"].pop())
    changed("path longer", lambda p: p["events"][0]["path"].append("00" * 32))
    changed("prev_hash", lambda p: p["events"][0].update(prev_hash=flipped(event["prev_hash"])))
    for seq in (0, -1, event["seq"] + 1, event["seq"] + 10_000):
        changed("seq", lambda p, seq=seq: p["events"][0].update(seq=seq))
    for at in range(0, len(proof["checkpoint"]), 3):
        letter = chr(ord(proof["checkpoint"][at]) ^ 1)
        changed(
            "note", lambda p, at=at, x=letter: p.update(checkpoint=p["checkpoint"][:at] + x + p["checkpoint"][at + 1 :])
        )
    for at in range(len(proof["consistency"]["proof"])):
        changed("consistency", lambda p, at=at: p["consistency"]["proof"].__setitem__(at, "11" * 32))
    changed("consistency cut", lambda p: p["consistency"]["proof"].pop())
    changed("swapped", lambda p: p.update(checkpoint=p["consistency"]["checkpoint"]))
    return found


def test_nothing_changed_in_a_proof_verifies(engine: Engine, notes: list[bytes], key: keys.SigningKey) -> None:
    proof = proofs.prove(engine, "5", [key.public], since=notes[0])
    assert verify_proof.main(proof, str(key.public)).startswith("ok")
    forged = changes(proof)
    assert len(forged) > 60
    for name, other in forged:
        with pytest.raises(Exception):  # noqa: B017 - the script refuses what it cannot read in any way
            pytest.fail(f"{name}: {verify_proof.main(other, str(key.public))}")


def test_another_key_verifies_nothing(engine: Engine, notes: list[bytes], key: keys.SigningKey, tmp_path: Path) -> None:
    proof = proofs.prove(engine, "1", [key.public])
    other = keys.generate(tmp_path / "other.key", "example.com/house")
    with pytest.raises(ValueError, match="not signed by the given key"):
        verify_proof.main(proof, str(other))
    with pytest.raises(NoteError, match="no key is known"):
        proofs.prove(engine, "1", [other])


def test_what_cannot_be_proven(engine: Engine, key: keys.SigningKey, folder: Path) -> None:
    with pytest.raises(NotProvable, match="no checkpoint yet"):
        proofs.prove(engine, "1", [key.public])
    file_night(engine, folder, [make_finding("P1")])
    checkpoints.make(engine, key, keys=[key.public])
    size = checkpoints.listed(engine)[0]["size"]
    for what, said in (
        (str(size + 1), "newer one"),
        ("9999", "there is no event"),
        ("FC-2026-000099", "no event is about it"),
        ("x; drop table event", "expected the number"),
    ):
        with pytest.raises(NotProvable, match=said):
            proofs.prove(engine, what, [key.public])
    tamper(engine, "update event set hash = 'aa' || substr(hash, 3) where seq = 1")
    with pytest.raises(NotProvable, match="not those that were signed"):
        proofs.prove(engine, "2", [key.public])


def test_the_script_is_short_and_needs_nothing() -> None:
    text = proofs.script()
    assert len(text.splitlines()) <= 105
    names = [line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert set(names) <= set(sys.stdlib_module_names)
