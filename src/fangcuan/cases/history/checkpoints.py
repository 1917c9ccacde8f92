"""Making checkpoints: the Merkle root of all events, signed, recorded in the casebook and in the chain itself."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, select

from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.cases.history.keys import SigningKey
from fangcuan.cases.history.notes import Checkpoint, VerifierKey
from fangcuan.cases.history.problems import ExitCode, Problem
from fangcuan.cases.history.verification import Given, Verification, verify
from fangcuan.core import failpoints
from fangcuan.core.canonical import plain
from fangcuan.store.casework import checkpoint, checkpoint_anchor, event
from fangcuan.store.database import read, write

ACTOR = "service:audit"
KIND = "checkpoint.made"
#: Findings that forbid to sign: the new signature would cover up what the old ones show.
_FORBIDS = {ExitCode.ALTERED, ExitCode.TRUNCATED, ExitCode.REWRITTEN}


class CheckpointRefused(Exception):
    """Nothing was signed: the history does not verify. The message names the first problem."""


def make(
    engine: Engine,
    key: SigningKey,
    *,
    keys: Sequence[VerifierKey],
    given: Sequence[Given] = (),
    earlier: Sequence[Problem] = (),
    now: dt.datetime | None = None,
) -> dict[str, Any] | None:
    """Sign the history as it is now and record that. None where nothing has happened since the last checkpoint.

    The chain is verified first, against all checkpoints of the casebook and those `given`: a rewritten history is never signed
    (CheckpointRefused). The row and an event `checkpoint.made` are written in one transaction, after the events they cover.
    """
    found = verify(engine, keys=keys, given=given, earlier=earlier, projected=False)
    refusing = [one for one in found.problems if one.code in _FORBIDS]
    if refusing or not found.root:
        raise CheckpointRefused(refusing[0].text() if refusing else found.message)
    if not _anything_new(engine, found):
        return None
    moment = now or dt.datetime.now(dt.UTC)
    signed = Checkpoint(key.public.name, found.events, found.root)
    row = {"size": signed.size, "root": signed.root.hex(), "origin": signed.origin, "note": key.sign(signed.text())}
    with write(engine) as connection:
        lock_head(connection)
        if connection.execute(select(checkpoint.c.size).where(checkpoint.c.size == signed.size)).first():
            return None
        connection.execute(checkpoint.insert().values(**row, made_at=moment))
        failpoints.hit("checkpoint.recorded")
        append(connection, [EventDraft(KIND, ACTOR, row)], recorded_at=moment)
        failpoints.hit("checkpoint.before_commit")
    return {**row, "made_at": plain(moment)}


def listed(engine: Engine) -> list[dict[str, Any]]:
    """All checkpoints, newest first, each with the places it has reached."""
    with read(engine) as connection:
        rows = connection.execute(select(checkpoint).order_by(checkpoint.c.size.desc())).mappings().all()
        reached: dict[int, list[dict[str, Any]]] = {row["size"]: [] for row in rows}
        for anchor in _anchors(connection):
            reached[anchor["size"]].append({name: anchor[name] for name in ("place", "kind", "anchored_at")})
    return [{**{n: plain(v) for n, v in row.items()}, "anchors": reached[row["size"]]} for row in rows]


def anchors(engine: Engine) -> list[dict[str, Any]]:
    """Every place that every checkpoint has reached, with its receipt, by size and place."""
    with read(engine) as connection:
        return _anchors(connection)


def record_anchor(engine: Engine, size: int, place: str, kind: str, receipt: str) -> None:
    """Write down that a checkpoint has reached a place; a second time it changes nothing."""
    with write(engine) as connection:
        lock_head(connection)
        same = (checkpoint_anchor.c.size == size) & (checkpoint_anchor.c.place == place)
        if connection.execute(select(checkpoint_anchor.c.size).where(same)).first() is None:
            row = {
                "size": size,
                "place": place,
                "kind": kind,
                "receipt": receipt,
                "anchored_at": dt.datetime.now(dt.UTC),
            }
            connection.execute(checkpoint_anchor.insert().values(row))


def pending(rows: Sequence[dict[str, Any]], done: Sequence[dict[str, Any]], place: str) -> list[dict[str, Any]]:
    """Checkpoints that still have to go to a place, oldest first: those after the last it has; for a new place the newest.

    A checkpoint covers all events before it, so a place that was away for a week misses nothing that matters by this.
    """
    reached = [anchor["size"] for anchor in done if anchor["place"] == place]
    oldest_first = sorted(rows, key=lambda row: row["size"])
    if not reached:
        return oldest_first[-1:]
    return [row for row in oldest_first if row["size"] > max(reached)]


def _anchors(connection: Connection) -> list[dict[str, Any]]:
    query = select(checkpoint_anchor).order_by(checkpoint_anchor.c.size, checkpoint_anchor.c.place)
    return [{name: plain(value) for name, value in row.items()} for row in connection.execute(query).mappings()]


def _anything_new(engine: Engine, found: Verification) -> bool:
    """Events beside those that say that a checkpoint was made?"""
    with read(engine) as connection:
        last = connection.execute(select(checkpoint.c.size).order_by(checkpoint.c.size.desc()).limit(1)).scalar() or 0
        query = select(event.c.body).where(event.c.seq > last, event.c.seq <= found.events).limit(2)
        bodies = connection.execute(query).scalars().all()
    return any(json.loads(body)["kind"] != KIND for body in bodies)
