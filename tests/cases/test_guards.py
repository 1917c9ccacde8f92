"""Tables that only grow: both databases refuse to alter, remove or replace their rows, and say when a guard is gone."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import FIRST, employ, file_night, make_finding
from sqlalchemy import Engine, insert, make_url, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DatabaseError

from fangcuan.cases.executor import Actor, Command, execute
from fangcuan.cases.filing.suppressions import approve_suppression, propose_suppression
from fangcuan.cases.history.events import EventDraft, append
from fangcuan.cases.people.channels import choose_channels
from fangcuan.store import guards
from fangcuan.store.database import open_engine, read, write
from fangcuan.store.tables import METADATA

ROOT = Path(__file__).parents[2]


def filler(table: str) -> dict[str, Any]:
    """A row of the right types for a table that nothing here fills otherwise."""
    values: dict[type, Any] = {
        str: "x",
        int: 1,
        bool: True,
        float: 1.0,
        dt.date: dt.date(2026, 3, 14),
        dt.datetime: dt.datetime(2026, 3, 14, tzinfo=dt.UTC),
    }
    row: dict[str, Any] = {}
    for column in METADATA.tables[table].columns:
        if column.nullable:
            continue
        name = type(column.type).__name__
        kind = {"UtcDateTime": dt.datetime, "DecimalText": int, "CanonicalJson": str}.get(name)
        row[column.name] = values[kind or column.type.python_type]
    return row | {"receipt": {"state": "loaded"}, "outbox_attempt": {"result": "sent"}}.get(table, {})


@pytest.fixture
def filled(engine: Engine, folder: Path) -> Engine:
    """Every append-only table has a row."""
    price = make_finding(unit_id="price.below_floor", family="price")
    file_night(engine, folder, [make_finding(), price])
    analyst = Actor("user:x", frozenset({"analyst"}))
    employ(engine, analyst)
    execute(engine, Command("triage", "FC-2026-000001", analyst, "k"))
    execute(engine, Command("comment", "FC-2026-000001", analyst, "c", params={"text": "seen"}))
    photo = {"kind": "site_photo", "name": "shelf", "sha256": "a" * 64}
    execute(engine, Command("attach", "FC-2026-000001", analyst, "a", params=photo))
    execute(engine, Command("claim", "FC-2026-000001", analyst, "h"))
    choose_channels(engine, analyst, "x", ["mail"])
    with write(engine) as connection:
        append(connection, [EventDraft("case.due", "service:y", case="FC-2026-000001")])
    orders.staff(engine)
    orders.correspond(engine, "FC-2026-000001")
    orders.split(engine, "FC-2026-000001")
    execute(engine, Command("dismiss", "FC-2026-000001", analyst, "d", params={"reason": "low_impact"}))
    file_night(engine, folder, [make_finding("P5")])
    orders.bring(engine, "FC-2026-000003", "confirmed")
    orders.penalise(engine, "FC-2026-000003", "appealed")
    hidden = propose_suppression(
        engine,
        orders.ALL,
        {"family": "diversion", "subject_id": "P9"},
        reason="known",
        note="known",
        starts_on=FIRST,
        ends_on=FIRST + dt.timedelta(days=9),
    )
    approve_suppression(engine, orders.OTHER, hidden)
    orders.look_again(engine, "FC-2026-000001")
    file_night(engine, folder, [make_finding("P9")], FIRST + dt.timedelta(days=1))
    for table in guards.APPEND_ONLY:
        with write(engine) as connection:
            there = connection.execute(select(METADATA.tables[table])).first()
            if there is None:
                connection.execute(insert(METADATA.tables[table]).values(filler(table)))
    return engine


def contents(engine: Engine) -> dict[str, list[Any]]:
    with read(engine) as connection:
        return {name: connection.execute(text(f"select * from {name}")).all() for name in guards.APPEND_ONLY}


def test_no_row_is_altered_or_removed(filled: Engine) -> None:
    before = contents(filled)
    assert all(before.values()), "a table without a row proves nothing"
    for table in guards.APPEND_ONLY:
        column = METADATA.tables[table].columns.keys()[-1]
        statements = [f"update {table} set {column} = {column}", f"delete from {table}"]
        if filled.dialect.name == "postgresql":
            statements += [
                f"truncate {table} cascade",
                f"set session_replication_role = replica; delete from {table}",
                f"set session_replication_role = replica; update {table} set {column} = {column}",
            ]
        for statement in statements:
            with pytest.raises(DatabaseError, match="append-only"), write(filled) as connection:
                connection.exec_driver_sql(statement)
    assert contents(filled) == before


def test_sqlite_replaces_nothing(filled: Engine) -> None:
    if filled.dialect.name != "sqlite":
        return  # INSERT OR REPLACE is SQLite's own.
    before = contents(filled)
    for table in guards.APPEND_ONLY:
        columns = METADATA.tables[table].columns
        changed = next((c.name for c in columns if not c.primary_key and not c.foreign_keys), None)
        copied = ", ".join(f"'other' as {c.name}" if c.name == changed else c.name for c in columns)
        statement = f"insert or replace into {table} select {copied} from {table}"
        if table == "receipt" or table.startswith("master_"):
            with write(filled) as connection:
                connection.exec_driver_sql(statement)
        else:
            with pytest.raises(DatabaseError, match=r"append-only|continue the chain"), write(filled) as connection:
                connection.exec_driver_sql(statement)
    assert contents(filled) == before


def test_loads_still_skip_what_they_know(filled: Engine) -> None:
    from sqlalchemy.dialects import postgresql

    make = sqlite.insert if filled.dialect.name == "sqlite" else postgresql.insert
    table = METADATA.tables["master_regions"]
    with write(filled) as connection:
        known = dict(connection.execute(select(table)).mappings().one())
        statement = make(table).on_conflict_do_nothing().returning(table.c.row_digest)
        added = connection.execute(statement, [known, {**known, "row_digest": "y"}]).scalars().all()
    assert added == ["y"]


def test_every_guard_is_there_and_its_absence_seen(engine: Engine) -> None:
    wanted = guards.expected(engine.dialect.name)
    assert len(wanted) > 40
    with read(engine) as connection:
        assert guards.missing(connection) == ()
    sqlite_changes = {
        "case_link_no_update": ["drop trigger case_link_no_update"],
        "checkpoint_no_delete": [
            "drop trigger checkpoint_no_delete",
            "create trigger checkpoint_no_delete before delete on checkpoint begin select 1; end",
        ],
        "event_link": [
            "drop trigger event_link",
            "create trigger event_link before insert on event when new.seq < 0 begin select raise(abort, 'no'); end",
        ],
    }
    postgresql_changes = {
        "case_link_no_change": ["alter table case_link disable trigger case_link_no_change"],
        "checkpoint_no_change": ["alter table checkpoint enable trigger checkpoint_no_change"],
        "event_no_truncate": ["drop trigger event_no_truncate on event"],
    }
    changes = sqlite_changes if engine.dialect.name == "sqlite" else postgresql_changes
    for count, statements in enumerate(changes.values(), 1):
        with write(engine) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        with read(engine) as connection:
            assert set(guards.missing(connection)) == set(list(changes)[:count])


@pytest.mark.postgres
def test_a_function_that_refuses_nothing_is_seen(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    with write(engine) as connection:
        connection.exec_driver_sql(
            "create or replace function fangcuan_refuse() returns trigger language plpgsql as "
            "$$ begin return coalesce(new, old); end $$"
        )
    with read(engine) as connection:
        gone = guards.missing(connection)
    assert len(gone) == len(guards.expected("postgresql")) - len(guards.ONE_WAY)
    assert "event_no_change" in gone
    engine.dispose()


def test_the_grants_of_the_team_are_those_that_are_printed() -> None:
    assert (ROOT / "deploy" / "grants.sql").read_text(encoding="utf-8") == guards.grants()
    assert set(guards.APPEND_ONLY) < set(METADATA.tables)
    with pytest.raises(ValueError, match="plain name"):
        guards.grants("x; drop table event")


@pytest.mark.postgres
def test_a_role_with_these_grants_adds_and_never_alters(postgresql_url: str, folder: Path) -> None:
    role = f"fangcuan_app_{postgresql_url.rsplit('_', 1)[1]}"
    owner = open_engine(postgresql_url)
    with write(owner) as connection:
        connection.exec_driver_sql(f"create role {role} login")
        connection.exec_driver_sql(guards.grants(role))
        # Without the triggers, so that it is the grants alone that refuse.
        for table in guards.APPEND_ONLY:
            connection.exec_driver_sql(f"alter table {table} disable trigger all")
    application = open_engine(make_url(postgresql_url).set(username=role).render_as_string(hide_password=False))
    try:
        file_night(application, folder, [make_finding()])
        for table in guards.APPEND_ONLY:
            column = METADATA.tables[table].columns.keys()[-1]
            for statement in (
                f"update {table} set {column} = {column}",
                f"delete from {table}",
                f"truncate {table} cascade",
                f"alter table {table} disable trigger all",
                f"drop table {table} cascade",
            ):
                with pytest.raises(DatabaseError, match=r"permission denied|must be owner"), write(application) as c:
                    c.exec_driver_sql(statement)
        for statement in (
            "update alembic_version set version_num = 'x'",
            "insert into event_head (id, seq, hash) values (2, 1, 'x')",
            "create trigger t before insert on event execute function fangcuan_refuse()",
        ):
            with pytest.raises(DatabaseError, match="permission denied"), write(application) as connection:
                connection.exec_driver_sql(statement)
    finally:
        application.dispose()
        with write(owner) as connection:
            connection.exec_driver_sql(f"drop owned by {role}")
            connection.exec_driver_sql(f"drop role {role}")
        owner.dispose()
