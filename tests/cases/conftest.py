"""Migrated casebooks for each test: a copy of a SQLite file, and a copy of a template on a real PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from fangcuan.store import migrations
from fangcuan.store.database import open_engine

sys.path.insert(0, str(Path(__file__).parent))

SERVER = make_url(os.environ.get("FANGCUAN_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres"))


def _administer(*statements: str) -> None:
    with psycopg.connect(SERVER.render_as_string(hide_password=False), autocommit=True) as server:
        for statement in statements:
            server.execute(statement.encode())


def _address(name: str) -> str:
    return SERVER.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("casebook") / "template.db"
    migrations.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgresql_template() -> Iterator[str]:
    name = f"fangcuan_test_{uuid.uuid4().hex[:12]}"
    _administer(f"create database {name}")
    try:
        migrations.upgrade(_address(name))
        yield name
    finally:
        _administer(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def postgresql_copies(postgresql_template: str) -> Callable[[], tuple[str, Callable[[], None]]]:
    """Makes one more casebook on the server: its address, and what removes it."""

    def make() -> tuple[str, Callable[[], None]]:
        name = f"fangcuan_test_{uuid.uuid4().hex[:12]}"
        _administer(f"create database {name} template {postgresql_template}")
        return _address(name), lambda: _administer(f"drop database {name} with (force)")

    return make


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    path = tmp_path / "casebook.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql_template: str) -> Iterator[str]:
    name = f"fangcuan_test_{uuid.uuid4().hex[:12]}"
    _administer(f"create database {name} template {postgresql_template}")
    try:
        yield _address(name)
    finally:
        _administer(f"drop database {name} with (force)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """Address of an empty, migrated casebook."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the evidence store of a test lies."""
    return tmp_path / "evidence"
