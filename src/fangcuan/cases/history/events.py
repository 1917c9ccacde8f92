"""The one history: appending events to the hash chain. Whoever changes a case appends in the same transaction."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from fangcuan.cases.notifying import outbox
from fangcuan.cases.notifying.outbox import Written
from fangcuan.core.canonical import utc_text
from fangcuan.store.casework import event, event_head
from fangcuan.store.jsontext import canonical_text

#: `prev_hash` of the first event.
GENESIS = "0" * 64
BODY_VERSION = 1


class ChainHeadMissing(Exception):
    """The head row of the event chain is gone: nothing may be appended until `audit verify` has been looked at."""


@dataclass(frozen=True)
class EventDraft:
    """An event before it has a place in the chain. `data` may hold anything that has a canonical form."""

    kind: str
    actor: str
    data: Mapping[str, Any] = field(default_factory=dict)
    case: str | None = None
    night: dt.date | None = None

    def body(self, recorded_at: dt.datetime) -> bytes:
        return canonical_text(
            {
                "v": BODY_VERSION,
                "kind": self.kind,
                "actor": self.actor,
                "case": self.case,
                "night": self.night,
                "recorded_at": utc_text(recorded_at),
                "data": self.data,
            }
        )


@dataclass(frozen=True)
class Head:
    """Sequence number and hash of the last event; 0 and GENESIS for an empty chain."""

    seq: int
    hash: str


def link(prev_hash: str, body: bytes) -> str:
    """sha256(0x00 ‖ prev_hash ‖ body) in hex; the leading zero byte keeps a link apart from a Merkle node."""
    return hashlib.sha256(b"\x00" + bytes.fromhex(prev_hash) + body).hexdigest()


def lock_head(connection: Connection) -> Head:
    """The head of the chain, locked until the transaction ends. Every casework write takes this lock first.

    SQLite's write transaction is the lock; PostgreSQL locks the row. (Locking the last event instead lets two appends
    read the same tail and fork the chain.)
    """
    row = connection.execute(select(event_head.c.seq, event_head.c.hash).with_for_update()).one_or_none()
    if row is None:
        raise ChainHeadMissing("event_head is empty; run `fangcuan audit verify`")
    return Head(row.seq, row.hash)


def append(connection: Connection, drafts: Sequence[EventDraft], *, recorded_at: dt.datetime | None = None) -> range:
    """Append events in the order given; the sequence numbers they got. Runs in the caller's write transaction.

    Whoever is to be told of one gets a row in the outbox, in the same transaction.
    """
    head = lock_head(connection)
    moment = recorded_at or dt.datetime.now(dt.UTC)
    rows = []
    seq, tail = head.seq, head.hash
    for draft in drafts:
        body = draft.body(moment)
        seq += 1
        following = link(tail, body)
        rows.append({"seq": seq, "prev_hash": tail, "hash": following, "body": body.decode("utf-8")})
        tail = following
    if rows:
        connection.execute(event.insert(), rows)
        connection.execute(event_head.update().values(seq=seq, hash=tail))
        numbered = enumerate(drafts, head.seq + 1)
        outbox.announce(connection, [Written(n, d.kind, d.actor, d.case, d.data) for n, d in numbered], moment)
    return range(head.seq + 1, seq + 1)
