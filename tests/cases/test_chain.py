"""Reading the chain: the bytes as they are stored, in one snapshot, and a connection that goes on afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.engine import make_url
from tampering import tamper

from fangcuan.cases.history.chain import stream, walk
from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.store.casework import event
from fangcuan.store.database import open_engine, read, write

BODIES = ["", "底价 𠮷 ￥", "\\n\\t\\\\N \\. \x7f", "x" * 100_000, "ß\u200b\u00a0"]


@pytest.fixture
def written(engine: Engine) -> Engine:
    with write(engine) as connection:
        lock_head(connection)
        append(connection, [EventDraft("test", "user:a", {"text": body}) for body in BODIES * 40])
    return engine


def test_what_is_read_is_what_is_stored(written: Engine) -> None:
    with read(written) as connection:
        stored = connection.execute(select(event).order_by(event.c.seq)).all()
        with stream(connection) as rows:
            found = list(rows)
        with stream(connection, upto=7) as rows:
            first = list(rows)
        assert found == [(row.seq, *(part.encode() for part in (row.prev_hash, row.hash, row.body))) for row in stored]
        assert first == found[:7]
        with stream(connection) as rows:
            assert walk(rows).problem is None
    with write(written) as connection:
        lock_head(connection)


def test_an_empty_chain_is_read(engine: Engine) -> None:
    with read(engine) as connection, stream(connection) as rows:
        assert list(rows) == []


def test_whoever_stops_early_or_fails_leaves_a_connection_that_goes_on(written: Engine) -> None:
    with read(written) as connection:
        for count in (0, 1, 3):
            with stream(connection) as rows:
                assert [row[0] for row in itertools.islice(rows, count)] == list(range(1, count + 1))
            assert connection.execute(text("select count(*) from event")).scalar() == len(BODIES) * 40

    def fail() -> None:
        with read(written) as connection, stream(connection) as rows:
            raise KeyError(next(iter(rows)))

    for _ in range(3):
        with pytest.raises(KeyError):
            fail()
    with read(written) as connection, stream(connection) as rows:
        assert walk(rows).events == len(BODIES) * 40


def test_one_snapshot_holds_for_all_of_it(written: Engine) -> None:
    before = len(BODIES) * 40
    with read(written) as connection:
        with stream(connection) as rows:
            next(iter(rows))
            with write(written) as other:
                lock_head(other)
                append(other, [EventDraft("test", "user:a")])
            assert len(list(rows)) == before - 1
        with stream(connection) as rows:
            assert len(list(rows)) == before
    with read(written) as connection, stream(connection) as rows:
        assert len(list(rows)) == before + 1


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("update event set prev_hash = '' where seq = 9", "event_unlinked"),
        ("update event set hash = 'short' where seq = 9", "event_altered"),
        ("update event set hash = substr(hash, 1, 63) where seq = 9", "event_altered"),
        ("update event set body = '0' where seq = 9", "event_altered"),
        ("update event set seq = -5 where seq = 9", "event_out_of_order"),
        ("delete from event where seq = 9", "event_missing"),
    ],
)
def test_rows_of_another_shape_are_read_and_named(written: Engine, statement: str, kind: str) -> None:
    tamper(written, statement)
    with read(written) as connection, stream(connection) as rows:
        problem = walk(rows).problem
    assert problem is not None
    assert problem.kind == kind


@pytest.mark.postgres
def test_nothing_where_text_should_be_is_named(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    with write(engine) as connection:
        lock_head(connection)
        append(connection, [EventDraft("test", "user:a"), EventDraft("test", "user:a")])
        connection.exec_driver_sql("alter table event alter body drop not null, alter prev_hash drop not null")
    for column, kind in (("body", "event_no_text"), ("prev_hash", "event_unlinked")):
        tamper(engine, f"update event set {column} = null where seq = 2")
        with read(engine) as connection, stream(connection) as rows:
            problem = walk(rows).problem
        assert problem is not None
        assert problem.kind == kind
    engine.dispose()


@contextmanager
def latin(url: str) -> Iterator[Engine]:
    """The same casebook by a client that asks for another encoding."""
    address = make_url(url).update_query_dict({"client_encoding": "latin1"})
    engine = open_engine(address.render_as_string(hide_password=False))
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.mark.postgres
def test_another_encoding_of_the_client_changes_no_byte(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    with write(engine) as connection:
        lock_head(connection)
        append(connection, [EventDraft("test", "user:a", {"text": "ß 底价"})])
    with latin(postgresql_url) as other, read(other) as connection:
        assert connection.exec_driver_sql("show client_encoding").scalar() == "LATIN1"
        with stream(connection) as rows:
            assert walk(rows).problem is None
    engine.dispose()


@pytest.mark.postgres
def test_a_server_that_fails_half_way_is_told(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    with write(engine) as connection:
        lock_head(connection)
        append(connection, [EventDraft("test", "user:a", {"text": "x" * 1000})] * 5000)

    def cancelled() -> None:
        with read(engine) as connection, stream(connection) as rows:
            next(iter(rows))
            connection.connection.driver_connection.cancel()
            list(rows)

    with pytest.raises(psycopg.errors.QueryCanceled):
        cancelled()
    engine.dispose()
