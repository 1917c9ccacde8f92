"""Reading the event chain: every link recomputed from the stored bytes, and the Merkle root of its beginnings.

An event's hash, sha256(0x00 ‖ prev_hash ‖ body), is the leaf hash of RFC 6962 §2.1 over the entry `prev_hash ‖ body`. So the
tree over the events needs no hashes of its own for the leaves, and a proof that an event is in the tree starts at its body.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from fangcuan.cases.history.events import GENESIS
from fangcuan.cases.history.problems import Problem
from fangcuan.core.merkle import Accumulator
from fangcuan.store.casework import DIGEST

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
    """All events in order, or the first `upto`; a bounded number in memory, without row objects, for speed.

    The connection takes no other statement until the block ends.
    """
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
    columns = ["prev_hash", "hash", "body"]
    if any(driver.pgconn.parameter_status(side) != b"UTF8" for side in (b"server_encoding", b"client_encoding")):
        # Where both are UTF-8 the server sends what is stored, byte for byte, and without this a third faster.
        columns = [f"convert_to({column}, 'UTF8')" for column in columns]
    query = f"copy (select seq, {', '.join(columns)} from event{where} order by seq) to stdout (format binary)"
    # Begun by the cursor, so that it runs in the transaction, and so in the snapshot, of everything else.
    with driver.cursor() as cursor, cursor.copy(query):
        copied = _Copied(driver.pgconn)
        try:
            yield copied.rows()
        except BaseException:
            driver.cancel()
            copied.drain()
            raise
        if (failure := copied.drain()) is not None:
            raise failure


#: A row of COPY's binary form: number of fields, then each with its length before it; the body follows.
_ROW = struct.Struct("!hiqi64si64si")
_SHAPE = (4, 8, DIGEST, DIGEST)
#: Signature, flags and length of the extension, which come with the first row.
_HEADER_BYTES = 19
_END = b"\xff\xff"


class _Copied:
    """A COPY that was begun, read row by row without the driver's own layers: they take longer than the hashing.

    The server sends each row as one message, and goes on sending while the ones before are worked on.
    """

    def __init__(self, pgconn: Any) -> None:
        self._pgconn = pgconn
        self._ended = False

    def rows(self) -> Rows:
        get, unpack, size, shape = self._pgconn.get_copy_data, _ROW.unpack_from, _ROW.size, _SHAPE
        skip = _HEADER_BYTES
        while True:
            length, view = get(0)
            if length < 0:
                self._ended = True
                return
            data = bytes(view)
            if skip:
                data, skip = data[skip:], 0
            if len(data) >= size:
                count, one, seq, two, prev_hash, three, stored, four = unpack(data)
                if (count, one, two, three) == shape and four == len(data) - size:
                    yield seq, prev_hash, stored, data[size:]
                    continue
            if data != _END:
                yield _fields(data)

    def drain(self) -> Exception | None:
        """Read what is left, so that the connection takes the next statement; what the server says went wrong."""
        # Not at the top: who has SQLite does without the driver.
        from psycopg.errors import error_from_result
        from psycopg.pq import ExecStatus

        while not self._ended:
            self._ended = self._pgconn.get_copy_data(0)[0] < 0
        failure = None
        while (result := self._pgconn.get_result()) is not None:
            if result.status != ExecStatus.COMMAND_OK:
                failure = error_from_result(result)
        return failure


def _fields(data: bytes) -> tuple[Any, Any, Any, Any]:
    """A row of another shape than those we write, as it is: fields of any length, None for NULL."""
    fields: list[bytes | None] = []
    at = 2
    for _ in range(4):
        (length,) = struct.unpack_from("!i", data, at)
        at += 4
        fields.append(None if length < 0 else data[at : at + length])
        at += max(length, 0)
    seq, prev_hash, stored, body = fields
    return (None if seq is None else int.from_bytes(seq, "big", signed=True)), prev_hash, stored, body
