"""What `config/airflow_local_settings.py` of a prepared Airflow home holds: its SQLite engine, and a warm scheduler.

Airflow imports it in each of its processes and takes the names of `__all__` over into `airflow.settings`.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from fangcuan.flow.airflow_home import PRELOAD

__all__ = ["create_async_metadata_engine", "create_metadata_engine"]

BUSY_TIMEOUT = 60.0


def create_metadata_engine(
    sql_alchemy_conn: str, *, engine_args: dict[str, Any], connect_args: dict[str, Any]
) -> Engine:
    """Airflow's engine, which waits for the writer before it and does not sync the disk at every commit.

    In WAL mode `synchronous=normal` may lose the last commits at a power cut but never corrupts; the state that matters
    is in the casebook.
    """
    if not sql_alchemy_conn.startswith("sqlite"):
        return create_engine(sql_alchemy_conn, connect_args=connect_args, **engine_args)
    engine = create_engine(sql_alchemy_conn, connect_args={**connect_args, "timeout": BUSY_TIMEOUT}, **engine_args)
    event.listen(engine, "connect", _tune)
    if "backfill" in sys.argv[1:2]:
        # This command reads and then writes in one transaction. SQLite refuses that at once, whatever the timeout, when
        # the scheduler wrote in between; a transaction that begins as a writer waits for its turn instead.
        event.listen(engine, "connect", _no_implicit_begin)
        event.listen(engine, "begin", _begin_writing)
    return engine


def create_async_metadata_engine(
    sql_alchemy_conn_async: str, *, connect_args: dict[str, Any], engine_args: dict[str, Any] | None = None
) -> AsyncEngine:
    """The same for the engine the API server uses."""
    if not sql_alchemy_conn_async.startswith("sqlite"):
        return create_async_engine(sql_alchemy_conn_async, connect_args=connect_args, **(engine_args or {}))
    engine = create_async_engine(
        sql_alchemy_conn_async, connect_args={**connect_args, "timeout": BUSY_TIMEOUT}, **(engine_args or {})
    )
    event.listen(engine.sync_engine, "connect", _tune)
    return engine


def _tune(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("pragma synchronous=normal")
    cursor.close()


def _no_implicit_begin(connection: Any, _record: Any) -> None:
    connection.isolation_level = None


def _begin_writing(connection: Any) -> None:
    connection.exec_driver_sql("begin immediate")


def _preload() -> None:
    """Import in the scheduler, before it forks its workers, what tasks would each import again."""
    for name in filter(None, os.environ.get(PRELOAD, "").split(",")):
        importlib.import_module(name)


_preload()
