"""Databases for the tests of the casebook's storage: an empty SQLite file, and a fresh database on a real PostgreSQL server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from fangcuan.store.database import open_engine

SERVER = make_url(os.environ.get("FANGCUAN_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'casebook.db'}"
        return
    name = f"fangcuan_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(SERVER.render_as_string(hide_password=False), autocommit=True) as server:
        server.execute(f"create database {name}")
        try:
            yield SERVER.set(database=name).render_as_string(hide_password=False)
        finally:
            server.execute(f"drop database {name} with (force)")


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    engine = open_engine(empty_url)
    yield engine
    engine.dispose()
