"""Migrated casebooks for each test: a copy of a SQLite file, and a database on a real PostgreSQL server.

Making and dropping a database costs half a second, emptying one a twentieth of that. So a process keeps the databases its
tests are done with, and hands them on empty, as long as their schema is as the migrations left it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql
from sqlalchemy.engine import make_url

from fangcuan.store import migrations

# How long an example takes says nothing about what is right, and much about what else the machine does.
settings.register_profile("fangcuan", deadline=None)
settings.load_profile("fangcuan")

SERVER = make_url(os.environ.get("FANGCUAN_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres"))
#: A database that has grown by more than this is dropped: its dead rows would cost every test after it.
MOST_GROWTH = 24 * 1024 * 1024

#: Everything the migrations made, and everything a test could have altered of it: rows of the system catalogues as they are,
#: but for what the server itself counts in them.
_SCHEMA = """
with mine as (
    select oid from pg_namespace where nspname <> 'information_schema' and nspname !~ '^pg_'
), relations as (
    select c.* from pg_class c join mine on mine.oid = c.relnamespace
)
select md5(coalesce(string_agg(what, e'\\n' order by what), '')) from (
    select 'namespace ' || n::text as what from pg_namespace n join mine using (oid)
    union all select 'class ' || (to_jsonb(c) - array[
        'relfilenode', 'relpages', 'reltuples', 'relallvisible', 'relfrozenxid', 'relminmxid'])::text from relations c
    union all select 'attribute ' || a::text from pg_attribute a join relations c on c.oid = a.attrelid
    union all select 'default ' || d::text from pg_attrdef d join relations c on c.oid = d.adrelid
    union all select 'index ' || i::text from pg_index i join relations c on c.oid = i.indexrelid
    union all select 'trigger ' || t::text from pg_trigger t join relations c on c.oid = t.tgrelid
    union all select 'rule ' || r::text from pg_rewrite r join relations c on c.oid = r.ev_class
    union all select 'policy ' || p::text from pg_policy p
    union all select 'constraint ' || k::text from pg_constraint k join mine on mine.oid = k.connamespace
    union all select 'function ' || p::text from pg_proc p join mine on mine.oid = p.pronamespace
    union all select 'type ' || t::text from pg_type t join mine on mine.oid = t.typnamespace
    union all select 'extension ' || e::text from pg_extension e
    union all select 'event trigger ' || e::text from pg_event_trigger e
    union all select 'default grant ' || g::text from pg_default_acl g
    union all select 'setting ' || s::text from pg_db_role_setting s
        join pg_database d on d.oid = s.setdatabase where d.datname = current_database()
    union all select 'grant on the database ' || coalesce(datacl::text, '') || datdba
        from pg_database where datname = current_database()
) as all_of_it
"""
_GUARDS = """
select p.oid::regprocedure::text, pg_get_functiondef(p.oid) from pg_proc p
where p.pronamespace = 'public'::regnamespace and p.prorettype = 'trigger'::regtype
"""
_SLEEPING = """
create or replace function {} returns trigger language plpgsql as 'begin return coalesce(new, old); end'
"""


def administer(*statements: str) -> None:
    with psycopg.connect(SERVER.render_as_string(hide_password=False), autocommit=True) as server:
        for statement in statements:
            server.execute(statement.encode())


def address(name: str) -> str:
    return SERVER.set(database=name).render_as_string(hide_password=False)


class Casebooks:
    """Migrated and empty databases: `take` gives the name of one, `give_back` wants it when nobody needs its rows."""

    def __init__(self, template: str) -> None:
        self.template = template
        self._free: list[str] = []
        self._schemas: dict[str, str] = {}
        with psycopg.connect(address(template)) as connection:
            self._guards = dict(connection.execute(_GUARDS).fetchall())
            named = "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
            self._tables = [sql.Identifier(name) for (name,) in connection.execute(named + " order by relname")]
            self._size = self._bytes(connection)
            self._clear = sql.SQL("").join(
                [sql.SQL("delete from {};").format(table) for table in self._tables]
                + [self._rows(connection, table) for table in self._tables]
                + [
                    sql.SQL("alter sequence {} restart;").format(sql.Identifier(name))
                    for (name,) in connection.execute(
                        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'S'"
                    )
                ]
            )

    def address_of(self, name: str) -> str:
        return address(name)

    def take(self) -> str:
        if self._free:
            return self._free.pop()
        name = f"fangcuan_test_{uuid.uuid4().hex[:12]}"
        # A server that dies loses the last moments of a test, and the test with it.
        administer(
            f"create database {name} template {self.template}",
            f"alter database {name} set synchronous_commit = off",
        )
        with psycopg.connect(address(name)) as connection:
            self._schemas[name] = self.schema(connection)
        return name

    def give_back(self, name: str) -> None:
        if self.emptied(name):
            self._free.append(name)
        else:
            self._drop(name)

    def emptied(self, name: str) -> bool:
        """Bring a database back to what the migrations left; False where it cannot be, and has to be made anew."""
        try:
            with psycopg.connect(address(name)) as connection:
                others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
                connection.execute(f"select pg_terminate_backend(pid, 5000) {others}".encode())
                if self.schema(connection) != self._schemas[name]:
                    return False
                if self._bytes(connection) > self._size + MOST_GROWTH:
                    return False
                connection.execute("set local lock_timeout = '5s'; set local session_replication_role = replica")
                for function in self._guards:
                    connection.execute(_SLEEPING.format(function).encode())
                connection.execute(self._clear)
                for definition in self._guards.values():
                    connection.execute(definition.encode())
        except psycopg.Error:
            return False
        return True

    def drop_all(self) -> None:
        for name in list(self._schemas):
            self._drop(name)

    def _drop(self, name: str) -> None:
        administer(f"drop database if exists {name} with (force)")
        self._schemas.pop(name, None)

    def schema(self, connection: psycopg.Connection) -> str:
        """A digest of everything in the database but the rows of its tables."""
        row = connection.execute(_SCHEMA).fetchone()
        assert row is not None
        return str(row[0])

    def _bytes(self, connection: psycopg.Connection) -> int:
        row = connection.execute("select pg_database_size(current_database())").fetchone()
        assert row is not None
        return int(row[0])

    def _rows(self, connection: psycopg.Connection, table: sql.Identifier) -> sql.Composable:
        """What puts back the rows that the migrations themselves wrote into a table."""
        row = connection.execute(sql.SQL("select json_agg(t)::text from {} t").format(table)).fetchone()
        if row is None or row[0] is None:
            return sql.SQL("")
        whole = "insert into {0} select * from json_populate_recordset(null::{0}, {1});"
        return sql.SQL(whole).format(table, sql.Literal(row[0]))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("casebook") / "template.db"
    migrations.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql_template() -> Iterator[str]:
    name = f"fangcuan_test_{uuid.uuid4().hex[:12]}"
    administer(f"create database {name}")
    try:
        migrations.upgrade(address(name))
        yield name
    finally:
        administer(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def casebooks(postgresql_template: str) -> Iterator[Casebooks]:
    made = Casebooks(postgresql_template)
    try:
        yield made
    finally:
        made.drop_all()


@pytest.fixture(scope="session")
def postgresql_copies(casebooks: Casebooks) -> Callable[[], tuple[str, Callable[[], None]]]:
    """Gives one more casebook on the server: its address, and what puts it away."""

    def make() -> tuple[str, Callable[[], None]]:
        name = casebooks.take()
        return address(name), lambda: casebooks.give_back(name)

    return make


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    path = tmp_path / "casebook.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(casebooks: Casebooks) -> Iterator[str]:
    name = casebooks.take()
    try:
        yield address(name)
    finally:
        casebooks.give_back(name)
