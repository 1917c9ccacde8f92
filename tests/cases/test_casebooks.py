"""A database that a test has used is handed on as the migrations left it, or not at all."""

from __future__ import annotations

from typing import Any

import orders
import psycopg
import pytest
from casework_samples import file_night, make_finding
from sqlalchemy import text

from fangcuan.cases.history.verification import verify
from fangcuan.store import guards, migrations
from fangcuan.store.database import open_engine, read, write
from fangcuan.store.tables import METADATA

pytestmark = pytest.mark.postgres
SEQUENCES = "select sequencename, last_value from pg_sequences order by 1"


def contents(address: str) -> dict[str, list[Any]]:
    """Every row of every table, and where every sequence stands."""
    engine = open_engine(address)
    names = [*METADATA.tables, "alembic_version"]
    with read(engine) as connection:
        found = {name: list(connection.execute(text(f"select * from {name} as t order by t::text"))) for name in names}
        found["sequences"] = list(connection.execute(text(SEQUENCES)))
    engine.dispose()
    return found


@pytest.fixture
def name(casebooks: Any) -> Any:
    """A database of its own, which no other test gets."""
    made = type(casebooks)(casebooks.template)
    yield made.take(), made
    made.drop_all()


def test_what_a_test_wrote_is_gone_for_the_next_one(name: Any, tmp_path: Any) -> None:
    used, pool = name
    untouched = pool.take()
    empty = contents(pool.address_of(untouched))
    assert [len(rows) for key, rows in empty.items() if rows and key != "sequences"] == [1, 1], "head and version"
    engine = open_engine(pool.address_of(used))
    orders.three_cases(engine, tmp_path / "one")
    orders.correspond(engine, "FC-2026-000001")
    orders.bring(engine, "FC-2026-000002", "confirmed")
    first = verify(engine)
    assert first.exit_code == 0
    worked = contents(pool.address_of(used))
    assert sum(bool(rows) for rows in worked.values()) > 15

    pool.give_back(used)
    assert pool.take() == used, "it was not handed on"
    assert contents(pool.address_of(used)) == empty
    engine = open_engine(pool.address_of(used))
    with read(engine) as connection:
        assert guards.missing(connection) == ()
    assert migrations.difference(engine) == []
    # The guards are awake, and a night files as it does in a new database.
    file_night(engine, tmp_path / "two", [make_finding()])
    with pytest.raises(Exception, match="append-only"), write(engine) as connection:
        connection.exec_driver_sql("delete from event")
    with pytest.raises(Exception, match="foreign key"), write(engine) as connection:
        connection.exec_driver_sql("insert into case_finding values ('FC-1', 'x', false, '2026-01-01')")
    engine.dispose()


def test_a_transaction_that_a_test_left_open_holds_nobody_up(name: Any) -> None:
    used, pool = name
    left = psycopg.connect(pool.address_of(used))
    left.execute("insert into access_log select * from access_log")
    left.execute("lock table event_head in access exclusive mode")
    assert pool.emptied(used)
    with pytest.raises(psycopg.OperationalError):
        left.execute("select 1")


CHANGES = [
    "drop trigger event_no_change on event",
    "alter table event disable trigger event_no_change",
    "alter table event enable trigger event_no_change",
    "create or replace function fangcuan_refuse() returns trigger language plpgsql as 'begin return new; end'",
    "alter table decision drop constraint ck_decision_four_eyes",
    "drop index uq_case_file_one_open",
    "create index extra on case_file (status)",
    "create table extra (id integer)",
    "create view extra as select 1 as one",
    "create schema extra",
    "alter table case_link add column extra text",
    "alter table case_link alter column linked_night drop not null",
    "alter table case_link alter column kind set default 'x'",
    "alter table case_file drop constraint fk_case_file_predecessor_case_file",
    "grant select on event to pg_monitor",
    "alter table event enable row level security",
    "alter database {name} set work_mem = '1MB'",
    "alter default privileges grant select on tables to pg_monitor",
    "create extension pg_trgm",
    "create sequence extra",
    "drop table command_log",
]


def test_every_change_of_the_schema_is_seen(name: Any) -> None:
    used, pool = name
    with psycopg.connect(pool.address_of(used)) as connection:
        before = pool.schema(connection)
        for statement in CHANGES:
            connection.execute(statement.format(name=used).encode())
            assert pool.schema(connection) != before, statement
            connection.rollback()
            assert pool.schema(connection) == before, statement


def test_a_database_whose_schema_was_changed_is_not_handed_on(name: Any) -> None:
    used, pool = name
    with psycopg.connect(pool.address_of(used)) as connection:
        connection.execute("alter table event disable trigger event_no_change")
    pool.give_back(used)
    assert pool.take() != used
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(pool.address_of(used))


def test_guards_taken_down_and_put_back_are_no_change(name: Any) -> None:
    used, pool = name
    with psycopg.connect(pool.address_of(used)) as connection:
        connection.execute("alter table event disable trigger user")
        connection.execute("alter table event enable always trigger event_no_change")
        connection.execute("alter table event enable always trigger event_no_truncate")
    assert pool.emptied(used)
