"""Engines and transactions: the same two verbs, `write` and `read`, on SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError

#: How long a writer waits for another one before it gives up, in seconds.
BUSY_SECONDS = 30
#: How long the rewriting of a table waits for those who read it, in seconds.
LOCK_SECONDS = 5
_BEGIN = "fangcuan_begin"


class DatabaseMissing(Exception):
    """There is no database at the address; the message names the address, without a password."""


def open_engine(url: str, *, must_exist: bool = False) -> Engine:
    """An engine for `sqlite:///path` or `postgresql://user@host/name` (psycopg 3).

    SQLite: write-ahead log, foreign keys, 30 s wait for a lock, and every transaction begun by us with the right BEGIN.
    `must_exist` refuses (DatabaseMissing) to create a SQLite file that is not there; its folder is created otherwise.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        return _sqlite(address, must_exist)
    if address.drivername in {"postgresql", "postgres"}:
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() != "postgresql":
        raise ValueError(f"database_url: {address.drivername!r} is not supported; use sqlite:/// or postgresql://")
    return create_engine(address, pool_pre_ping=True, connect_args={"options": "-c timezone=UTC"})


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """One write transaction: committed when the block ends, rolled back when it raises.

    On SQLite the write lock is taken at once (BEGIN IMMEDIATE), so that two writers queue instead of failing half-way.
    """
    with engine.connect() as connection:
        connection = connection.execution_options(**{_BEGIN: "immediate"})
        with connection.begin():
            yield connection


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """One read transaction over one consistent snapshot; writing in it is refused by the database."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        else:
            connection = connection.execution_options(**{_BEGIN: "deferred"})
        with connection.begin():
            yield connection


def overwrite_freed(connection: Connection) -> None:
    """From now on this connection leaves nothing readable of what it removes; SQLite only, which is asked for it."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("pragma secure_delete = on")


def rewrite_table(engine: Engine, table: str) -> bool:
    """See to it that the files hold no older versions of a small table's rows; whether that could be done at once.

    SQLite: the write-ahead log is emptied, which needs everybody to have read on (what rows held is zeroed beforehand, see
    `overwrite_freed`). PostgreSQL: the table is written anew, which takes its owner and a moment in which nobody reads it.
    """
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            driver: Any = connection.connection.driver_connection
            busy, _, _ = driver.execute("pragma wal_checkpoint(truncate)").fetchone()
            return not busy
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        where = f"select pg_relation_filenode('{table}')"
        before = connection.exec_driver_sql(where).scalar()
        try:
            connection.exec_driver_sql(f"set lock_timeout = '{LOCK_SECONDS}s'")
            connection.exec_driver_sql(f"vacuum (full) {table}")
        except OperationalError:
            return False
        finally:
            connection.exec_driver_sql("reset lock_timeout")
        # Without being the owner it is skipped with a warning.
        return bool(connection.exec_driver_sql(where).scalar() != before)


def _sqlite(address: URL, must_exist: bool) -> Engine:
    if address.database and address.database != ":memory:" and not address.database.startswith("file:"):
        path = Path(address.database)
        if must_exist and not path.is_file():
            raise DatabaseMissing(f"{path}: no such database")
        path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(address, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions itself: it would begin late and deferred, and DDL would commit by itself.
    connection.isolation_level = None
    connection.execute("pragma foreign_keys = on")
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("pragma journal_mode").fetchone()[0] == "delete":
        try:
            # Two processes that open a new file together: SQLite does not wait for this lock by itself.
            connection.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _begin_sqlite(connection: Connection) -> None:
    deferred = connection.get_execution_options().get(_BEGIN) == "deferred"
    connection.exec_driver_sql(f"pragma query_only = {'on' if deferred else 'off'}")
    connection.exec_driver_sql("begin deferred" if deferred else "begin immediate")
