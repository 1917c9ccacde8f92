"""Reading the event chain: every link recomputed from the stored bytes, and the Merkle root of its beginnings.

An event's hash, sha256(0x00 ‖ prev_hash ‖ body), is the leaf hash of RFC 6962 §2.1 over the entry `prev_hash ‖ body`. So the
tree over the events needs no hashes of its own for the leaves, and a proof that an event is in the tree starts at its body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from fangcuan.cases.events import GENESIS
from fangcuan.cases.problems import Problem
from fangcuan.core.merkle import Accumulator

#: Rows fetched at a time.
CHUNK = 20_000
#: (seq, prev_hash, hash, body) in order of seq; the last three as bytes.
Rows = Iterator[tuple[Any, Any, Any, Any]]


@dataclass(frozen=True)
class Walked:
    """`events` links hold and end in `head` (64 hex digits); `roots` has the Merkle root of each size asked for that was
    reached, and of all events. `problem` is the first link that does not hold.
    """

    events: int
    head: str
    roots: dict[int, bytes]
    problem: Problem | None = None


def walk(rows: Rows, sizes: Iterable[int] = ()) -> Walked:
    """Recompute every link in order. Stops at the first one that is wrong."""
    sha256 = hashlib.sha256
    wanted = sorted({size for size in sizes if size > 0}, reverse=True)
    roots: dict[int, bytes] = {}
    tree = Accumulator()
    leaves: list[bytes] = []
    digest = bytes.fromhex(GENESIS)
    previous = GENESIS.encode()
    expected = 0
    stop = min(wanted[-1] if wanted else CHUNK, CHUNK)
    kind = ""
    for seq, prev_hash, stored, body in rows:
        expected += 1
        if seq != expected:
            kind, at = ("event_missing", expected) if seq > expected else ("event_out_of_order", seq)
            break
        if prev_hash != previous:
            kind, at = "event_unlinked", seq
            break
        try:
            digest = sha256(b"\x00" + digest + body).digest()
        except TypeError:
            kind, at = "event_no_text", seq
            break
        following = digest.hex().encode()
        if following != stored:
            kind, at = "event_altered", seq
            break
        previous = following
        leaves.append(digest)
        if expected == stop:
            tree.extend(leaves)
            leaves = []
            if wanted and wanted[-1] == expected:
                roots[wanted.pop()] = tree.root()
            stop = min(wanted[-1] if wanted else expected + CHUNK, expected + CHUNK)
    else:
        tree.extend(leaves)
        roots[expected] = tree.root()
        return Walked(expected, previous.decode(), roots)
    return Walked(expected - 1, previous.decode(), roots, Problem(kind, {"seq": at}, seq=at))


@contextmanager
def stream(connection: Connection, upto: int | None = None) -> Iterator[Rows]:
    """All events in order, or the first `upto`; a bounded number in memory, without row objects, for speed."""
    driver: Any = connection.connection.driver_connection
    where = "" if upto is None else f" where seq <= {int(upto)}"
    if connection.dialect.name == "sqlite":
        before, driver.text_factory = driver.text_factory, bytes
        cursor = driver.cursor()
        try:
            cursor.arraysize = CHUNK
            yield cursor.execute(f"select seq, prev_hash, hash, body from event{where} order by seq")
        finally:
            cursor.close()
            driver.text_factory = before
        return
    with driver.cursor(name="audit", binary=True) as cursor:
        cursor.itersize = CHUNK
        cursor.execute(
            "select seq, convert_to(prev_hash, 'UTF8'), convert_to(hash, 'UTF8'), convert_to(body, 'UTF8')"
            f" from event{where} order by seq"
        )
        yield iter(cursor)
