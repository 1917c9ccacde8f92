"""Proofs that leave the house: that an event is in a signed checkpoint, and that one checkpoint continues another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from sqlalchemy import Connection, Engine, select

from fangcuan.cases.history import notes
from fangcuan.cases.history.notes import VerifierKey
from fangcuan.core import merkle
from fangcuan.core.canonical import plain
from fangcuan.store.casework import body_field, checkpoint, checkpoint_anchor, event
from fangcuan.store.database import read

FORMAT = "fangcuan-proof/1"
#: Script of the standard library alone that verifies a proof; given away with it.
SCRIPT = "verify_proof.py"
_CASE = re.compile(r"FC-\d{4}-\d{6,}")


class NotProvable(Exception):
    """There is nothing to prove, or no checkpoint covers it yet; the message says what to do."""


def prove(engine: Engine, what: str, keys: Sequence[VerifierKey], since: bytes | None = None) -> dict[str, Any]:
    """Proof of one event (`what` is its number) or of all events of a case, in the newest checkpoint.

    {"format", "key", "checkpoint", "events": [{"seq", "prev_hash", "body", "path"}], "timestamps", "consistency"}; hashes are
    hex. `since` is an older checkpoint (its note): `consistency` then proves that the new one continues it. Events after the
    newest checkpoint are listed in `not_covered`. Raises NotProvable.
    """
    with read(engine) as connection:
        newest = connection.execute(select(checkpoint).order_by(checkpoint.c.size.desc()).limit(1)).one_or_none()
        if newest is None:
            raise NotProvable("there is no checkpoint yet; `fangcuan audit checkpoint` makes one")
        text, key = notes.open_note(newest.note.encode(), keys)
        signed = notes.parse_checkpoint(text)
        numbers = _numbers(connection, what)
        covered = [seq for seq in numbers if seq <= signed.size]
        if not covered:
            raise NotProvable(f"{what}: not in the newest checkpoint; `fangcuan audit checkpoint` makes a newer one")
        leaves = _leaves(connection, signed.size)
        if merkle.root(leaves) != signed.root:
            raise NotProvable("the events are not those that were signed; run `fangcuan audit verify`")
        rows = connection.execute(select(event).where(event.c.seq.in_(covered)).order_by(event.c.seq)).all()
        anchors = connection.execute(
            select(checkpoint_anchor).where(checkpoint_anchor.c.size == signed.size, checkpoint_anchor.c.kind == "tsa")
        ).all()
    return {
        "format": FORMAT,
        "key": str(key),
        "checkpoint": newest.note,
        "events": [
            {
                "seq": row.seq,
                "prev_hash": row.prev_hash,
                "body": row.body,
                "path": [node.hex() for node in merkle.inclusion_proof(leaves, row.seq - 1)],
            }
            for row in rows
        ],
        "not_covered": [seq for seq in numbers if seq > signed.size],
        "timestamps": [
            {"authority": one.place, "answer": one.receipt, "at": plain(one.anchored_at)} for one in anchors
        ],
        "consistency": None if since is None else _consistency(since, keys, leaves),
    }


def script() -> str:
    """The text of the script that verifies a proof without us."""
    return resources.files("fangcuan.cases.history").joinpath(SCRIPT).read_text(encoding="utf-8")


def _numbers(connection: Connection, what: str) -> list[int]:
    if _CASE.fullmatch(what):
        query = select(event.c.seq).where(body_field("case") == what).order_by(event.c.seq)
        numbers = list(connection.execute(query).scalars())
        if not numbers:
            raise NotProvable(f"{what}: no event is about it")
        return numbers
    if not re.fullmatch(r"[1-9]\d{0,17}", what):
        raise NotProvable(f"{what}: expected the number of a case or of an event")
    if connection.execute(select(event.c.seq).where(event.c.seq == int(what))).first() is None:
        raise NotProvable(f"there is no event {what}")
    return [int(what)]


def _leaves(connection: Connection, size: int) -> list[bytes]:
    rows = connection.execute(
        select(event.c.hash).where(event.c.seq <= size).order_by(event.c.seq), execution_options={"yield_per": 20_000}
    )
    leaves = [bytes.fromhex(text) for text in rows.scalars()]
    if len(leaves) != size:
        raise NotProvable("events are missing; run `fangcuan audit verify`")
    return leaves


def _consistency(since: bytes, keys: Sequence[VerifierKey], leaves: Sequence[bytes]) -> dict[str, Any]:
    older = notes.open_checkpoint(since, keys)
    if not 0 < older.size <= len(leaves):
        raise NotProvable(f"the given checkpoint covers {older.size} events, more than the newest one")
    proof = merkle.consistency_proof(leaves, older.size)
    if not merkle.verify_consistency(older.size, older.root, len(leaves), merkle.root(leaves), proof):
        raise NotProvable(
            "the history does not continue the given checkpoint; run `fangcuan audit verify --checkpoint FILE`"
        )
    return {"checkpoint": since.decode("utf-8"), "proof": [node.hex() for node in proof]}
