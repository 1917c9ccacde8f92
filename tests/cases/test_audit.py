"""Tampering with the event chain is refused by the database, or named by `verify` with the right code and event."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from casework_samples import employ, file_night, make_finding
from sqlalchemy import Engine, make_url, select, text
from sqlalchemy.exc import DatabaseError
from tampering import take_down, tamper

from fangcuan.cases.executor import Actor, Command, execute
from fangcuan.cases.history.events import GENESIS, EventDraft, append, link
from fangcuan.cases.history.verification import ExitCode, verify
from fangcuan.store import guards
from fangcuan.store.casework import event
from fangcuan.store.database import open_engine, read, write

LENGTH = 12


@pytest.fixture
def chain(engine: Engine) -> Engine:
    """A casebook with LENGTH events."""
    for number in range(LENGTH):
        with write(engine) as connection:
            append(
                connection, [EventDraft("case.note", "user:ling", {"n": number, "note": "底价"}, case=f"FC-{number}")]
            )
    assert verify(engine).exit_code is ExitCode.OK
    return engine


def test_an_empty_and_a_whole_chain_verify(engine: Engine) -> None:
    empty = verify(engine)
    assert (empty.exit_code, empty.events, empty.head) == (0, 0, GENESIS)
    with write(engine) as connection:
        assert append(connection, [EventDraft("a", "user:x"), EventDraft("b", "user:x")]) == range(1, 3)
    whole = verify(engine)
    assert (whole.exit_code, whole.events, whole.first_bad_seq, whole.missing_guards) == (0, 2, None, ())
    with read(engine) as connection:
        first, second = connection.execute(select(event).order_by(event.c.seq)).all()
    assert first.prev_hash == GENESIS
    assert first.hash == link(GENESIS, first.body.encode())
    assert second.hash == link(first.hash, second.body.encode()) == whole.head


@pytest.mark.parametrize(
    "statement",
    [
        "update event set body = body where seq = 3",
        "update event set hash = 'x'",
        "delete from event where seq = 12",
        "delete from event_head",
        "update event_head set seq = 3",
        "update event_head set seq = 13",
        "update event_head set hash = 'x'",
        "update event_head set id = 2",
        "insert into event_head (id, seq, hash) values (2, 1, 'x')",
    ],
)
def test_the_database_refuses_changes(chain: Engine, statement: str) -> None:
    with pytest.raises(DatabaseError), write(chain) as connection:
        connection.execute(text(statement))
    assert verify(chain).exit_code is ExitCode.OK


def test_sqlite_refuses_to_replace(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    with write(engine) as connection:
        append(connection, [EventDraft("note", "user:x", {"n": number}) for number in range(3)])
    with read(engine) as connection:
        last = connection.execute(select(event).order_by(event.c.seq.desc())).first()
    assert last is not None
    following = link(last.hash, b"{}")
    attempts = [
        (2, GENESIS, following, "{}"),
        (3, last.prev_hash, last.hash, "{}"),
        (4, last.hash, last.hash, "{}"),
        (4, last.prev_hash, following, "{}"),
        (5, last.hash, following, "{}"),
    ]
    for attempt in attempts:
        for verb in ("insert or replace", "insert or ignore", "insert"):
            with pytest.raises(DatabaseError), write(engine) as connection:
                connection.exec_driver_sql(f"{verb} into event values (?, ?, ?, ?)", attempt)
    for head in ((1, 0, GENESIS), (2, 0, GENESIS)):
        with pytest.raises(DatabaseError), write(engine) as connection:
            connection.exec_driver_sql("insert or replace into event_head values (?, ?, ?)", head)
    assert verify(engine).exit_code is ExitCode.OK


@pytest.mark.postgres
@pytest.mark.parametrize(
    "statement",
    [
        "truncate event cascade",
        "truncate event_head",
        "set session_replication_role = replica; delete from event where seq = 12",
        "insert into event select * from event where seq = 3 on conflict (seq) do update set body = 'x'",
        "insert into event select 99, prev_hash, 'x', body from event where seq = 3",
        "insert into event select 99, 'x', hash, body from event where seq = 3",
    ],
)
def test_postgresql_refuses_truncate_replica_mode_and_forks(postgresql_url: str, statement: str) -> None:
    engine = open_engine(postgresql_url)
    with write(engine) as connection:
        append(connection, [EventDraft("note", "user:x", {"n": number}) for number in range(12)])
    with pytest.raises(DatabaseError), write(engine) as connection:
        connection.exec_driver_sql(statement)
    assert verify(engine).exit_code is ExitCode.OK
    engine.dispose()


def test_an_edited_body_is_named(chain: Engine) -> None:
    tamper(chain, "update event set body = replace(body, 'user:ling', 'user:lang') where seq = 5")
    found = verify(chain)
    assert (found.exit_code, found.first_bad_seq, found.events) == (ExitCode.ALTERED, 5, 4)
    assert found.missing_guards == ()


def test_a_guard_that_is_gone_is_named_even_when_nothing_was_changed(chain: Engine) -> None:
    with write(chain) as connection:
        take_down(connection)
    found = verify(chain)
    assert found.exit_code is ExitCode.OK
    expected = guards.expected(chain.dialect.name)
    assert set(found.missing_guards) == set(expected)
    assert "guards missing or off" in found.message


def test_a_row_cut_out_of_the_middle_is_named(chain: Engine) -> None:
    tamper(chain, "delete from event where seq = 7")
    found = verify(chain)
    assert (found.exit_code, found.first_bad_seq) == (ExitCode.ALTERED, 7)
    # Closing the gap does not help.
    tamper(chain, "update event set seq = seq - 1 where seq > 7")
    found = verify(chain)
    assert (found.exit_code, found.first_bad_seq) == (ExitCode.ALTERED, 7)


def test_the_first_event_cut_off_is_named(chain: Engine) -> None:
    tamper(chain, "delete from event where seq = 1")
    assert verify(chain).first_bad_seq == 1
    assert verify(chain).exit_code is ExitCode.ALTERED


def test_swapped_rows_are_named(chain: Engine) -> None:
    tamper(
        chain,
        "update event set seq = 100 where seq = 4",
        "update event set seq = 4 where seq = 6",
        "update event set seq = 6 where seq = 100",
    )
    found = verify(chain)
    assert (found.exit_code, found.first_bad_seq) == (ExitCode.ALTERED, 4)


def test_swapped_bodies_are_named(chain: Engine) -> None:
    with read(chain) as connection:
        bodies = {row.seq: row.body for row in connection.execute(select(event))}
    statement = "update event set body = case seq when 4 then :six else :four end where seq in (4, 6)"
    tamper(chain, statement, parameters={"four": bodies[4], "six": bodies[6]})
    assert verify(chain).first_bad_seq == 4


def test_a_cut_tail_is_truncation(chain: Engine) -> None:
    tamper(chain, "delete from event where seq > 9")
    found = verify(chain)
    assert (found.exit_code, found.first_bad_seq, found.events) == (ExitCode.TRUNCATED, 10, 9)
    tamper(chain, "delete from event")
    assert verify(chain).exit_code is ExitCode.TRUNCATED


def test_a_head_rolled_back_or_gone_is_truncation(chain: Engine) -> None:
    tamper(chain, "update event_head set seq = 9, hash = (select hash from event where seq = 9)")
    found = verify(chain)
    assert (found.exit_code, found.first_bad_seq) == (ExitCode.TRUNCATED, 10)
    tamper(chain, "update event_head set seq = 12, hash = (select hash from event where seq = 11)")
    assert verify(chain).exit_code is ExitCode.TRUNCATED
    tamper(chain, "delete from event_head")
    assert verify(chain).exit_code is ExitCode.TRUNCATED
    with pytest.raises(Exception, match="audit verify"), write(chain) as connection:
        append(connection, [EventDraft("note", "user:x")])


def test_a_rewritten_event_with_a_correct_hash_breaks_the_next_link(chain: Engine) -> None:
    with read(chain) as connection:
        row = connection.execute(select(event).where(event.c.seq == 6)).one()
    body = row.body.replace("user:ling", "user:lang")
    tamper(
        chain,
        "update event set body = :body, hash = :hash where seq = 6",
        parameters={"body": body, "hash": link(row.prev_hash, body.encode())},
    )
    found = verify(chain)
    assert (found.exit_code, found.first_bad_seq) == (ExitCode.ALTERED, 7)


def test_every_flipped_bit_of_every_field_is_found(sqlite_url: str) -> None:
    """Real events of a filed night; each field of one row, one bit in every byte, on the file as an attacker would."""
    path = sqlite_url.removeprefix("sqlite:///")
    engine = open_engine(sqlite_url)
    file_night(engine, Path(path).parent / "evidence", [make_finding("P1"), make_finding("P2")])
    assert verify(engine).exit_code is ExitCode.OK
    raw = sqlite3.connect(path)
    for name in guards.expected("sqlite"):
        raw.execute(f"drop trigger {name}")
    # The index over the body would refuse what is no JSON; an attacker is not stopped by it, so it is out of the way.
    raw.execute("drop index ix_event_case")
    raw.commit()
    target = 3
    tried = 0
    for column in ("prev_hash", "hash", "body"):
        (value,) = raw.execute(f"select cast({column} as blob) from event where seq = ?", (target,)).fetchone()
        for position in range(len(value)):
            flipped = bytearray(value)
            flipped[position] ^= 1 << (position % 8)
            change = f"update event set {column} = cast(? as text) where seq = ?"
            raw.execute(change, (bytes(flipped), target))
            raw.commit()
            found = verify(engine)
            assert found.exit_code is ExitCode.ALTERED, (column, position)
            assert found.first_bad_seq == target, (column, position)
            raw.execute(change, (value, target))
            raw.commit()
            tried += 1
    for seq in (target ^ (1 << bit) for bit in range(8)):
        raw.execute("update event set seq = -1 where seq = ?", (seq,))
        raw.execute("update event set seq = ? where seq = ?", (seq, target))
        raw.commit()
        assert verify(engine).exit_code is ExitCode.ALTERED
        raw.execute("update event set seq = ? where seq = ?", (target, seq))
        raw.execute("update event set seq = ? where seq = -1", (seq,))
        raw.commit()
    assert verify(engine).exit_code is ExitCode.OK
    assert tried > 500


@pytest.mark.parametrize("value", ["null", "x'00ff'", "42"])
def test_a_body_of_another_type_is_altered(sqlite_url: str, value: str) -> None:
    engine = open_engine(sqlite_url)
    with write(engine) as connection:
        append(connection, [EventDraft("note", "user:x", {"n": number}) for number in range(3)])
        connection.execute(text("pragma ignore_check_constraints = on"))
    tamper(
        engine,
        "drop index ix_event_case",
        "create table copy (seq integer primary key, prev_hash text, hash text, body)",
        f"insert into copy select seq, prev_hash, hash, case seq when 2 then {value} else body end from event",
        "drop table event",
        "alter table copy rename to event",
    )
    found = verify(engine)
    assert (found.exit_code, found.first_bad_seq) == (ExitCode.ALTERED, 2)


def test_what_cannot_be_read_cannot_be_verified(tmp_path: Path, postgresql_template: str) -> None:
    nothing = verify(open_engine(f"sqlite:///{tmp_path / 'empty.db'}"))
    assert nothing.exit_code is ExitCode.CANNOT_VERIFY
    assert "no event table" in nothing.message
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database at all " * 500)
    assert verify(open_engine(f"sqlite:///{garbage}")).exit_code is ExitCode.CANNOT_VERIFY
    away = verify(open_engine("postgresql://postgres@127.0.0.1:1/none"))
    assert away.exit_code is ExitCode.CANNOT_VERIFY
    assert away.message


def test_a_damaged_file_is_never_reported_as_whole(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    engine = open_engine(sqlite_url)
    with write(engine) as connection:
        append(connection, [EventDraft("note", "user:x", {"n": number, "pad": "x" * 500}) for number in range(300)])
    engine.dispose()
    raw = sqlite3.connect(path)
    raw.execute("pragma wal_checkpoint(truncate)")
    (page,) = raw.execute("select rootpage from sqlite_master where name = 'event'").fetchone()
    raw.close()
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    data[(page - 1) * size : page * size] = b"\x07" * size
    path.write_bytes(data)
    assert verify(open_engine(sqlite_url)).exit_code in {ExitCode.ALTERED, ExitCode.CANNOT_VERIFY}


def test_bodies_are_canonical_and_carry_money_as_text(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, [make_finding()])
    with read(engine) as connection:
        bodies = connection.execute(select(event.c.body).order_by(event.c.seq)).scalars().all()
    import rfc8785

    for body in bodies:
        value = json.loads(body)
        assert rfc8785.dumps(value).decode() == body
        assert len(value["recorded_at"]) == 27
        assert set(value) == {"v", "kind", "actor", "case", "night", "recorded_at", "data"}


@pytest.mark.slow
def test_verification_keeps_up_with_long_chains(engine: Engine) -> None:
    """A floor far below what is measured on a quiet machine (≈ 400 k events/s), so that a busy one passes."""
    with write(engine) as connection:
        drafts = [EventDraft("case.note", "service:filing", {"n": n}, case="FC-2026-000001") for n in range(100_000)]
        append(connection, drafts)
    rate: Callable[[float], float] = lambda seconds: 100_000 / seconds  # noqa: E731
    best = 0.0
    for _ in range(3):
        start = time.perf_counter()
        assert verify(engine, projected=False).events == 100_000
        best = max(best, rate(time.perf_counter() - start))
    assert best > 60_000


@pytest.mark.postgres
def test_an_application_role_files_and_commands_and_cannot_touch_the_past(postgresql_url: str, folder: Path) -> None:
    """What `fangcuan db roles` prints is enough for all casework."""
    role = f"fangcuan_app_{postgresql_url.rsplit('_', 1)[1]}"
    owner = open_engine(postgresql_url)
    with write(owner) as connection:
        connection.exec_driver_sql(f"create role {role} login")
        connection.exec_driver_sql(guards.grants(role))
    application = open_engine(make_url(postgresql_url).set(username=role).render_as_string(hide_password=False))
    try:
        file_night(application, folder, [make_finding()])
        actor = Actor("user:x", frozenset({"supervisor"}))
        employ(application, actor)
        execute(application, Command("triage", "FC-2026-000001", actor, "k"))
        assert verify(application).exit_code is ExitCode.OK
        for statement in (
            "update event set body = 'x'",
            "delete from event",
            "truncate event cascade",
            "alter table event disable trigger all",
            "delete from finding_occurrence",
            "drop table event cascade",
        ):
            with pytest.raises(DatabaseError), write(application) as connection:
                connection.exec_driver_sql(statement)
    finally:
        application.dispose()
        with write(owner) as connection:
            connection.exec_driver_sql(f"drop owned by {role}")
            connection.exec_driver_sql(f"drop role {role}")
        owner.dispose()
