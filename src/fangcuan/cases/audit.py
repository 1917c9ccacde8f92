"""`verify`: is the event chain what was once appended? Reads every event once and hashes the bytes that are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sqlalchemy import Connection, Engine, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from fangcuan.cases.events import GENESIS
from fangcuan.store import guards
from fangcuan.store.casework import event_head
from fangcuan.store.database import read

#: Rows fetched at a time.
CHUNK = 20_000


class ExitCode(IntEnum):
    """Exit codes of `fangcuan audit verify`."""

    OK = 0
    ALTERED = 1
    TRUNCATED = 2
    CANNOT_VERIFY = 5


@dataclass(frozen=True)
class Verification:
    """`events` is the number of events whose link holds, `head` the hash of the last one of them (64 hex digits).

    `missing_guards` names triggers that should protect the chain and are absent or switched off; that alone is no
    alteration, but says that someone prepared one.
    """

    exit_code: ExitCode
    first_bad_seq: int | None
    message: str
    events: int
    head: str
    missing_guards: tuple[str, ...] = ()


def verify(engine: Engine) -> Verification:
    """Recompute the chain from the stored bytes, then compare its end with the head row. Never raises for bad data."""
    try:
        with read(engine) as connection:
            if not {"event", "event_head"} <= set(inspect(connection).get_table_names()):
                return _cannot("there is no event table; run `fangcuan init` or check database_url")
            heads = connection.execute(select(event_head.c.seq, event_head.c.hash)).all()
            missing = guards.missing(connection)
            with _stream(connection) as rows:
                walked = _walk(rows)
            return _judge(walked, [tuple(row) for row in heads], missing)
    except (SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        return _cannot(f"the event table cannot be read: {str(cause).strip().splitlines()[0]}")
    except _driver_error(engine) as error:
        return _cannot(f"the event table cannot be read: {str(error).strip().splitlines()[0]}")


@dataclass(frozen=True)
class _Walked:
    events: int
    head: str
    bad_seq: int | None = None
    problem: str = ""


def _walk(rows: Iterator[tuple[Any, Any, Any, Any]]) -> _Walked:
    """`rows` are (seq, prev_hash, hash, body) in order of seq; the last three as bytes."""
    sha256 = hashlib.sha256
    digest = bytes.fromhex(GENESIS)
    previous = GENESIS.encode()
    expected = 0
    for seq, prev_hash, stored, body in rows:
        expected += 1
        if seq != expected:
            problem = f"event {expected} is missing" if seq > expected else f"event {seq} is out of order"
            return _Walked(expected - 1, previous.decode(), expected, problem)
        if prev_hash != previous:
            return _Walked(expected - 1, previous.decode(), seq, f"event {seq} does not link to the one before it")
        try:
            computed = sha256(b"\x00" + digest + body)
        except TypeError:
            return _Walked(expected - 1, previous.decode(), seq, f"the body of event {seq} is not text")
        digest = computed.digest()
        following = digest.hex().encode()
        if following != stored:
            return _Walked(expected - 1, previous.decode(), seq, f"event {seq} is not what its hash says")
        previous = following
    return _Walked(expected, previous.decode())


def _judge(walked: _Walked, heads: list[tuple[Any, ...]], missing: tuple[str, ...]) -> Verification:
    def result(code: ExitCode, bad: int | None, message: str) -> Verification:
        if missing:
            message += f"; guards missing or off: {', '.join(missing)}"
        return Verification(code, bad, message, walked.events, walked.head, missing)

    if walked.bad_seq is not None:
        return result(ExitCode.ALTERED, walked.bad_seq, walked.problem)
    if len(heads) != 1:
        return result(ExitCode.TRUNCATED, walked.events + 1, f"event_head has {len(heads)} rows instead of one")
    head_seq, head_hash = heads[0]
    if head_seq != walked.events:
        what = "events are cut off after" if head_seq > walked.events else "the head was rolled back behind"
        at = min(int(head_seq), walked.events) + 1
        return result(ExitCode.TRUNCATED, at, f"{what} {walked.events}: the head says {head_seq}")
    if head_hash != walked.head:
        return result(ExitCode.TRUNCATED, walked.events or 1, "the head's hash is not the last event's")
    return result(ExitCode.OK, None, f"{walked.events} events, head {walked.head}")


def _cannot(message: str) -> Verification:
    return Verification(ExitCode.CANNOT_VERIFY, None, message, 0, GENESIS)


@contextmanager
def _stream(connection: Connection) -> Iterator[Iterator[tuple[Any, Any, Any, Any]]]:
    """All events in order, hashes and body as bytes, a bounded number in memory; without row objects, for speed."""
    driver = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        before, driver.text_factory = driver.text_factory, bytes  # type: ignore[union-attr]
        cursor = driver.cursor()  # type: ignore[union-attr]
        try:
            cursor.arraysize = CHUNK
            yield cursor.execute("select seq, prev_hash, hash, body from event order by seq")
        finally:
            cursor.close()
            driver.text_factory = before  # type: ignore[union-attr]
        return
    with driver.cursor(name="audit", binary=True) as cursor:  # type: ignore[union-attr]
        cursor.itersize = CHUNK
        cursor.execute(
            "select seq, convert_to(prev_hash, 'UTF8'), convert_to(hash, 'UTF8'), convert_to(body, 'UTF8')"
            " from event order by seq"
        )
        yield iter(cursor)


def _driver_error(engine: Engine) -> type[BaseException]:
    return engine.dialect.loaded_dbapi.Error
