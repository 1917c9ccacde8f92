"""DuckDB, in process: bounded memory, spills to disk, one dialect class.

Only this module knows DuckDB's settings and its SQL for reading and writing files; units are written in its dialect and
other engines get them transpiled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from fangcuan.core.contract import DUCKDB_TYPES, Relation
from fangcuan.settings import Settings


class QueryRefused(Exception):
    """A query touched what it may not, or needed more memory or time than it is allowed; the message says which."""


def quote(name: str) -> str:
    """An identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text literal, quoted."""
    return "'" + value.replace("'", "''") + "'"


class DuckEngine:
    """One connection. Use as a context manager; not shared between threads.

    Results never depend on the number of threads: everything that is written or returned in order is ordered by its
    query, and sums run over decimals.
    """

    dialect = "duckdb"

    def __init__(self, settings: Settings):
        settings.spill_path.mkdir(parents=True, exist_ok=True)
        self._connection = duckdb.connect(
            config={
                "memory_limit": settings.memory_limit,
                "threads": settings.threads,
                "temp_directory": str(settings.spill_path / str(os.getpid())),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
            }
        )
        self._connection.execute("set TimeZone = 'UTC'")
        # Progress is shown by whoever was asked for it; the engine would write to standard output on its own.
        self._connection.execute("set enable_progress_bar = false")
        self._held: dict[str, frozenset[Path]] = {}
        #: What each name is, view or table: the engine replaces neither by the other.
        self._kinds: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def interrupt(self) -> None:
        """Stop the running query from another thread."""
        self._connection.interrupt()

    # -- what it may touch -------------------------------------------------------------------------------------------

    def confine(self, folders: Iterable[Path]) -> None:
        """From here on only files below `folders` can be read; cannot be undone on this connection."""
        allowed = ", ".join(literal(str(folder)) for folder in folders)
        self._connection.execute(f"set allowed_directories = [{allowed}]")
        self._connection.execute("set enable_external_access = false")
        self._connection.execute("set lock_configuration = true")

    # -- relations ---------------------------------------------------------------------------------------------------

    def register(self, name: str, table: pa.Table) -> None:
        self._connection.register(name, table)

    def view(self, name: str, sql: str) -> None:
        self._make(name, "view", sql)

    def table(self, name: str, sql: str) -> None:
        """Materialise `sql`; the table lives in memory or in the spill folder, never longer than the connection."""
        self._make(name, "table", sql)

    def _make(self, name: str, kind: str, sql: str) -> None:
        if self._kinds.get(name, kind) != kind:
            # What had no rows last night was a view over no files, and is a table now that it has some.
            self.execute(f"drop {self._kinds.pop(name)} {quote(name)}")
        self.execute(f"create or replace temp {kind} {quote(name)} as {sql}")
        self._kinds[name] = kind

    def numbered_table(self, name: str, number: str, sql: str) -> None:
        """Materialise `sql` with a whole number per row in the column `number`, for joins on this connection only."""
        self.table(f"{name}_rows", sql)
        self.view(name, f"select *, rowid as {quote(number)} from {quote(name + '_rows')}")

    def hold(self, name: str, files: Sequence[Path], select: Callable[[Sequence[Path]], str]) -> None:
        """Keep the rows of exactly `files` in the table `name`; `select` gives the SQL that reads some of them.

        What the table holds already is not read again, so nights judged one after the other read only what is new.
        """
        wanted, held = frozenset(files), self._held.get(name, frozenset())
        if not held or held - wanted:
            self.forget(name)
            self.table(name, select(files))
        elif wanted - held:
            self.execute(f"insert into {quote(name)} {select([path for path in files if path not in held])}")
        self._held[name] = wanted

    def forget(self, name: str) -> None:
        """Drop what `hold` keeps under `name`, if anything."""
        if self._held.pop(name, None) is not None:
            self.execute(f"drop table {quote(name)}")
            del self._kinds[name]

    def files_view(self, name: str, columns: Mapping[str, str], files: Sequence[Path | str]) -> None:
        """A view over Parquet files with exactly `columns` (name → DuckDB type); no files gives an empty relation."""
        self.view(name, files_sql(columns, files))

    # -- queries -----------------------------------------------------------------------------------------------------

    def execute(self, sql: str) -> duckdb.DuckDBPyConnection:
        with _refusals():
            return self._connection.execute(sql)

    def arrow(self, sql: str) -> pa.Table:
        with _refusals():
            return self._connection.sql(sql).to_arrow_table()

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """All rows as Python values; for results that are known to be small."""
        cursor = self.execute(sql)
        names = [item[0] for item in cursor.description or ()]
        with _refusals():
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def scalar(self, sql: str) -> Any:
        row = self.execute(sql).fetchone()
        return row[0] if row else None

    def write_parquet(self, sql: str, path: Path) -> None:
        """Write the rows of `sql`, in its order, to one file that exists whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self.execute(f"copy ({sql}) to {literal(str(partial))} (format parquet, compression zstd, compression_level 1)")
        publish(partial, path)


def files_sql(columns: Mapping[str, str], files: Sequence[Path | str]) -> str:
    """SQL of exactly `columns` (name → DuckDB type) of Parquet files."""
    if not files:
        empty = ", ".join(f"cast(null as {kind}) as {quote(column)}" for column, kind in columns.items())
        return f"select {empty} where false"
    listed = ", ".join(literal(str(path)) for path in files)
    wanted = ", ".join(quote(column) for column in columns)
    return f"select {wanted} from read_parquet([{listed}], hive_partitioning = false, union_by_name = false)"


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except duckdb.PermissionException as error:
        raise QueryRefused(f"not allowed: {error}") from error
    except duckdb.OutOfMemoryException as error:
        raise QueryRefused(
            f"more memory needed than memory_limit allows: {error}; raise memory_limit or narrow the window"
        ) from error
    except duckdb.Error as error:
        raise QueryRefused(f"the engine refused the query: {error}") from error


def publish(partial: Path, path: Path) -> None:
    """Flush `partial` and rename it to `path`."""
    with partial.open("rb") as handle:
        os.fsync(handle.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def publish_bytes(path: Path, data: bytes) -> None:
    """Write `data` to one file that exists whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    publish(partial, path)


def contract_types(relation: Relation) -> dict[str, str]:
    """DuckDB types of a relation's contract columns."""
    return {column.name: DUCKDB_TYPES[column.kind] for column in relation.columns}
