"""Migrations add up to the declared tables, on both databases, up, down and up again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DatabaseError

from fangcuan.store import migrations
from fangcuan.store.database import read, write
from fangcuan.store.tables import METADATA

FOLDER = Path(migrations.__file__).parent / "versions"
REVISIONS = sorted(path.name[:4] for path in FOLDER.glob("0*.py"))
HEAD = REVISIONS[-1]


def test_migrations_equal_the_declared_tables(engine: Engine) -> None:
    assert len(METADATA.tables) > 30, "the tables were not loaded"
    migrations.upgrade(engine)
    assert migrations.current(engine) == HEAD
    assert migrations.difference(engine) == []
    with read(engine) as connection:
        assert set(inspect(connection).get_table_names()) == {*METADATA.tables, "alembic_version"}


def test_a_difference_is_seen(engine: Engine) -> None:
    migrations.upgrade(engine)
    with write(engine) as connection:
        connection.execute(text("alter table case_link add column extra text"))
        connection.execute(text("drop table command_log"))
    assert len(migrations.difference(engine)) >= 2


def test_up_down_up(engine: Engine) -> None:
    migrations.upgrade(engine)
    migrations.downgrade(engine)
    assert migrations.current(engine) is None
    with read(engine) as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    migrations.upgrade(engine)
    migrations.upgrade(engine)
    assert migrations.difference(engine) == []
    with pytest.raises(DatabaseError), write(engine) as connection:
        connection.execute(text("delete from event_head"))


def test_step_by_step(engine: Engine) -> None:
    for revision in REVISIONS:
        migrations.upgrade(engine, revision)
        assert migrations.current(engine) == revision
    for revision in reversed(REVISIONS[:-1]):
        migrations.downgrade(engine, revision)
        assert migrations.current(engine) == revision


def test_a_failing_migration_leaves_the_old_schema(engine: Engine) -> None:
    migrations.upgrade(engine, "0003")
    with write(engine) as connection:
        # In the way of revision 0004, and met late in it.
        connection.execute(text("create table finding_occurrence (id integer)"))
    with pytest.raises(DatabaseError):
        migrations.upgrade(engine)
    assert migrations.current(engine) == "0003"
    with read(engine) as connection:
        assert "case_file" not in inspect(connection).get_table_names()


def test_two_processes_migrate_at_once(empty_url: str) -> None:
    code = "import sys; from fangcuan.store import migrations; migrations.upgrade(sys.argv[1])"
    processes = [subprocess.Popen([sys.executable, "-c", code, empty_url]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert migrations.current(empty_url) == HEAD
    assert migrations.difference(empty_url) == []
