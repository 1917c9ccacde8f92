"""Transactions behave the same on both databases, and values come back exactly as they went in."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Column, Engine, Executable, Integer, MetaData, Table, insert, select, text, update
from sqlalchemy.exc import DatabaseError

from fangcuan.store.base import CanonicalJson, DecimalText, UtcDateTime
from fangcuan.store.database import DatabaseMissing, open_engine, read, write

METADATA = MetaData()
sample = Table(
    "sample",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime),
    Column("money", DecimalText),
    Column("more", CanonicalJson),
)


@pytest.fixture
def prepared(engine: Engine) -> Engine:
    with write(engine) as connection:
        METADATA.create_all(connection)
    return engine


def test_values_come_back_exactly(prepared: Engine) -> None:
    moment = dt.datetime(2026, 3, 14, 10, 5, 0, 123456, tzinfo=dt.timezone(dt.timedelta(hours=8)))
    money = Decimal("12345678901234567890.12345678901234567890")
    more = {"b": [Decimal("1.50"), 2**60, None, "底价"], "a": 0.1 + 0.2}
    with write(prepared) as connection:
        connection.execute(insert(sample), [{"id": 1, "at": moment, "money": money, "more": more}])
    with read(prepared) as connection:
        row = connection.execute(select(sample)).one()
        raw = connection.execute(text("select more from sample")).scalar_one()
    assert row.at == moment
    assert row.at.tzinfo is dt.UTC
    assert str(row.money) == "12345678901234567890.1234567890123456789"
    assert raw == '{"a":0.3,"b":["1.5","1152921504606846976",null,"底价"]}'
    assert row.more == {"a": 0.3, "b": ["1.5", "1152921504606846976", None, "底价"]}


def test_times_sort_and_compare_in_sql(prepared: Engine) -> None:
    start = dt.datetime(2026, 3, 14, tzinfo=dt.UTC)
    moments = [start + dt.timedelta(microseconds=step) for step in (5, 0, 999_999, 1_000_000)]
    with write(prepared) as connection:
        connection.execute(insert(sample), [{"id": n, "at": moment} for n, moment in enumerate(moments)])
    with read(prepared) as connection:
        ordered = connection.execute(select(sample.c.at).order_by(sample.c.at)).scalars().all()
        later = connection.execute(select(sample.c.id).where(sample.c.at > moments[0]).order_by(sample.c.id)).scalars()
        assert ordered == sorted(moments)
        assert list(later) == [2, 3]


def test_a_time_without_zone_is_refused(prepared: Engine) -> None:
    with pytest.raises(Exception, match="without a zone"), write(prepared) as connection:
        connection.execute(insert(sample), [{"id": 1, "at": dt.datetime(2026, 3, 14)}])


def execute_and_fail(engine: Engine, statement: Executable) -> None:
    with write(engine) as connection:
        connection.execute(statement)
        raise ZeroDivisionError


def test_a_failing_block_leaves_nothing(prepared: Engine) -> None:
    with pytest.raises(ZeroDivisionError):
        execute_and_fail(prepared, insert(sample).values(id=1))
    with read(prepared) as connection:
        assert connection.execute(select(sample)).all() == []


def test_ddl_is_rolled_back_too(prepared: Engine) -> None:
    with pytest.raises(ZeroDivisionError):
        execute_and_fail(prepared, text("create table other (id integer)"))
    with pytest.raises(DatabaseError), read(prepared) as connection:
        connection.execute(text("select * from other"))


def test_reading_transactions_cannot_write_and_the_next_writer_can(prepared: Engine) -> None:
    with pytest.raises(DatabaseError), read(prepared) as connection:
        connection.execute(insert(sample), [{"id": 1}])
    with write(prepared) as connection:
        connection.execute(insert(sample), [{"id": 1}])


def test_a_reader_keeps_its_snapshot(prepared: Engine) -> None:
    with read(prepared) as reader:
        assert reader.execute(select(sample)).all() == []
        with write(prepared) as writer:
            writer.execute(insert(sample), [{"id": 1}])
        assert reader.execute(select(sample)).all() == []


def test_writers_queue_instead_of_failing(prepared: Engine) -> None:
    """Read, then write, in six threads: on SQLite a deferred BEGIN would fail here with `database is locked`."""
    with write(prepared) as connection:
        connection.execute(insert(sample), [{"id": 1, "more": 0}])
    failures: list[BaseException] = []

    def add() -> None:
        try:
            for _ in range(10):
                with write(prepared) as connection:
                    row = connection.execute(select(sample.c.more).with_for_update()).scalar_one()
                    connection.execute(update(sample).values(more=row + 1))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with read(prepared) as connection:
        assert connection.execute(select(sample.c.more)).scalar_one() == 60


def test_sqlite_runs_with_write_ahead_log_and_foreign_keys(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'new' / 'casebook.db'}")
    with read(engine) as connection:
        assert connection.execute(text("pragma journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("pragma foreign_keys")).scalar_one() == 1
        assert connection.execute(text("pragma busy_timeout")).scalar_one() == 30_000


def test_postgresql_addresses_use_psycopg_3() -> None:
    assert open_engine("postgresql://someone@example/casebook").dialect.driver == "psycopg"
    with pytest.raises(ValueError, match="not supported"):
        open_engine("mysql://someone@example/casebook")


def test_a_missing_file_is_not_created_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "casebook.db"
    with pytest.raises(DatabaseMissing, match=r"casebook\.db"):
        open_engine(f"sqlite:///{path}", must_exist=True)
    assert not path.exists()


def test_the_store_imports_without_airflow() -> None:
    code = "import sys, fangcuan.store.tables, fangcuan.store.migrations, fangcuan.cases.filing.nights; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "fangcuan.store.casework" in loaded
    assert [name for name in loaded if name.split(".")[0] in {"airflow", "pandas", "duckdb", "sklearn"}] == []
