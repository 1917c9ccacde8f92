"""DuckDB for other people's expressions: no files, no network, no extensions, no settings that can be changed."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import duckdb
import pyarrow as pa

from fangcuan.ingest.base import Refused

#: Seconds one statement over one chunk may take.
TIME_LIMIT = 300.0

_local = threading.local()


def query(memory: str, tables: Mapping[str, pa.Table], sql: str) -> pa.Table:
    """Rows of `sql` over Arrow tables, in their order. `memory` is DuckDB's limit, e.g. `2GB`.

    Raises duckdb.Error, and Refused (`mapping_failed`) for a statement that takes longer than TIME_LIMIT.
    """
    connection = _connection(memory)
    alarm = threading.Timer(TIME_LIMIT, connection.interrupt)
    alarm.daemon = True
    alarm.start()
    try:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.sql(sql).to_arrow_table()
    except duckdb.InterruptException as error:
        raise Refused("mapping_failed", f"an expression took longer than {TIME_LIMIT:g} s on one chunk") from error
    finally:
        alarm.cancel()
        for name in tables:
            connection.unregister(name)


def _connection(memory: str) -> duckdb.DuckDBPyConnection:
    """This thread's connection with that memory limit."""
    kept: dict[str, duckdb.DuckDBPyConnection] = _local.__dict__.setdefault("connections", {})
    if memory not in kept:
        config: dict[str, str | bool | int | float | list[str]] = {
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "memory_limit": memory,
            "threads": "2",
        }
        connection = duckdb.connect(":memory:", config=config)
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set preserve_insertion_order = true")
        connection.execute("set lock_configuration = true")
        kept[memory] = connection
    return kept[memory]
