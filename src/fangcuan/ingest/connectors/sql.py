"""Databases: any SQLAlchemy URL, one table or query, read forward from a watermark and staged as JSON lines."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar

import sqlalchemy as sa
import sqlglot
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from sqlalchemy.pool import NullPool
from sqlglot import exp
from sqlglot.errors import SqlglotError

from fangcuan.ingest.base import FetchContext, RawChunk, RawDocument, SourceUnavailable
from fangcuan.ingest.connectors._text import read_jsonl
from fangcuan.ingest.secrets import SecretMissing, scrub

_LINE_LIMIT = 64 * 1024 * 1024


class SqlOptions(BaseModel):
    """Options of the `sql` connector.

    `url` is a SQLAlchemy URL without a password; `secret` names the password. Give `table` (with its schema, `sales.lines`) or
    `query` (one select). With `watermark`, a column that only grows, each fetch reads rows at or after the highest value read
    before: rows at that value come again, and loading knows them as duplicates. Without it all is read every time.
    `part_rows` bounds the rows of one document.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    secret: str | None = None
    table: str | None = None
    query: str | None = None
    watermark: str | None = None
    start: str | None = None
    part_rows: Annotated[int, Field(ge=1)] = 1_000_000
    fetch_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 5_000
    connect_timeout_seconds: Annotated[int, Field(ge=1)] = 15
    statement_timeout_seconds: Annotated[int, Field(ge=1)] = 3_600

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        try:
            url = sa.engine.make_url(value)
        except sa.exc.ArgumentError as error:
            raise ValueError(
                "not a SQLAlchemy URL; expected for example postgresql+psycopg://user@host/database"
            ) from error
        if url.password:
            raise ValueError("a password in the URL; name it in `secret` instead")
        return value

    @model_validator(mode="after")
    def _one_statement(self) -> SqlOptions:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either table or query")
        if self.start is not None and self.watermark is None:
            raise ValueError("start needs a watermark")
        if self.query is not None:
            _check_select(self.query, sa.engine.make_url(self.url).get_backend_name())
        return self


def _check_select(query: str, backend: str) -> None:
    dialect = {"postgresql": "postgres", "mariadb": "mysql", "mssql": "tsql"}.get(backend, backend)
    known = dialect if dialect in sqlglot.Dialect.classes else None
    try:
        statements = sqlglot.parse(query, read=known)
    except SqlglotError as error:
        raise ValueError(f"query: not SQL ({str(error).splitlines()[0]})") from error
    if len(statements) != 1 or not isinstance(statements[0], exp.Query):
        raise ValueError("query: expected a single select")
    if any(statements[0].find_all(exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock)):
        for node in statements[0].find_all(exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock):
            if not isinstance(node, exp.Query):
                raise ValueError(f"query: {type(node).__name__.lower()} is not allowed; expected a single select")


class SqlConnector:
    """See SqlOptions. State: `{"watermark": {"kind": ..., "value": ...}}`, the highest value read."""

    kind: ClassVar[str] = "sql"
    Options: ClassVar[type[BaseModel]] = SqlOptions

    def fetch(self, options: SqlOptions, context: FetchContext) -> Iterator[RawDocument]:
        """New rows in documents of at most `part_rows`; none where there is nothing new. Raises SourceUnavailable."""
        password = _password(options, context)
        url = sa.engine.make_url(options.url)
        engine = sa.create_engine(
            url.set(password=password) if password else url,
            poolclass=NullPool,
            connect_args=_connect_arguments(url, options),
        )
        try:
            with engine.connect() as connection:
                _read_only(connection, options)
                connection = connection.execution_options(stream_results=True, yield_per=options.fetch_rows)
                statement = _statement(options, _since(options, context.state))
                rows = connection.execute(statement).mappings()
                yield from _documents(rows, options, context)
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise SourceUnavailable(scrub(f"{url.render_as_string()}: {cause}".strip(), password)) from None
        finally:
            engine.dispose()

    def read(self, document: RawDocument, options: SqlOptions, chunk_rows: int) -> Iterator[RawChunk]:
        """Rows of one staged document: every value as text, exactly as the database holds it."""
        limit = max(document.size, 1)
        for table in read_jsonl(
            document.path, "rows.jsonl", encoding="utf-8", limit=limit, max_line=_LINE_LIMIT, chunk_rows=chunk_rows
        ):
            yield RawChunk(table)


def _password(options: SqlOptions, context: FetchContext) -> str:
    if options.secret is None:
        return ""
    try:
        return context.secrets(options.secret)
    except SecretMissing as error:
        raise SourceUnavailable(str(error)) from error


def _connect_arguments(url: sa.URL, options: SqlOptions) -> dict[str, Any]:
    driver = url.get_driver_name()
    if driver in ("psycopg", "psycopg2"):
        return {"connect_timeout": options.connect_timeout_seconds}
    if driver in ("pymysql", "mysqldb", "mysqlconnector", "mariadbconnector"):
        return {"connect_timeout": options.connect_timeout_seconds}
    return {}


def _read_only(connection: sa.Connection, options: SqlOptions) -> None:
    """The database itself refuses to write for us, where it can."""
    name = connection.dialect.name
    if name == "postgresql":
        connection.exec_driver_sql("set transaction read only")
        connection.exec_driver_sql(f"set local statement_timeout = {options.statement_timeout_seconds * 1000}")
    elif name == "sqlite":
        connection.exec_driver_sql("pragma query_only = on")
    elif name in ("mysql", "mariadb"):
        connection.exec_driver_sql("set session transaction read only")


def _statement(options: SqlOptions, since: Any) -> sa.Select[Any]:
    if options.table is not None:
        schema, _, name = options.table.rpartition(".")
        origin: Any = sa.table(name, schema=schema or None)
    else:
        origin = sa.text(str(options.query).rstrip().rstrip(";").replace(":", "\\:")).columns().subquery("q")
    statement: sa.Select[Any] = sa.select(sa.literal_column("*")).select_from(origin)
    if options.watermark is not None:
        column: Any = sa.column(options.watermark)
        if since is not None:
            # `>=`, not `>`: rows may have been written at the very same value after we read it.
            # Text goes without a type, so that the database reads it as the column's own.
            untyped = isinstance(since, str)
            bound = sa.bindparam("since", since, type_=sa.types.NullType()) if untyped else since
            statement = statement.where(column >= bound)
        statement = statement.order_by(column)
    return statement


def _since(options: SqlOptions, state: Mapping[str, Any]) -> Any:
    kept = state.get("watermark")
    if options.watermark is None:
        return None
    if not kept:
        return options.start
    kind, value = kept["kind"], kept["value"]
    if kind == "integer":
        return int(value)
    if kind == "decimal":
        return Decimal(value)
    if kind == "time":
        return dt.datetime.fromisoformat(value)
    return dt.date.fromisoformat(value) if kind == "date" else value


def _kept(value: Any) -> dict[str, str] | None:
    """A watermark value as the state keeps it."""
    if value is None:
        return None
    if isinstance(value, bool):
        raise SourceUnavailable("the watermark column is boolean; name a column that grows")
    if isinstance(value, int):
        return {"kind": "integer", "value": str(value)}
    if isinstance(value, Decimal | float):
        return {"kind": "decimal", "value": str(Decimal(str(value)))}
    if isinstance(value, dt.datetime):
        return {"kind": "time", "value": value.isoformat()}
    if isinstance(value, dt.date):
        return {"kind": "date", "value": value.isoformat()}
    return {"kind": "text", "value": str(value)}


def _documents(rows: Any, options: SqlOptions, context: FetchContext) -> Iterator[RawDocument]:
    iterator = iter(rows)
    before = _kept_before(options, context)
    for part in itertools.count(1):
        first = next(iterator, None)
        if first is None:
            return
        if options.watermark is not None and options.watermark not in first:
            raise SourceUnavailable(f"the watermark column {options.watermark!r} is not among the columns read")
        highest = before

        def lines(first: Mapping[str, Any] = first) -> Iterator[bytes]:
            nonlocal highest
            piece: list[str] = []
            for row in itertools.chain([first], itertools.islice(iterator, options.part_rows - 1)):
                piece.append(json.dumps({name: cell(value) for name, value in row.items()}, ensure_ascii=False))
                if options.watermark is not None:
                    highest = _kept(row[options.watermark]) or highest
                if len(piece) >= 1000:
                    yield ("\n".join(piece) + "\n").encode()
                    piece.clear()
            if piece:
                yield ("\n".join(piece) + "\n").encode()

        path, sha256, size = context.stage(lines())
        name = f"{options.table or 'query'}-{context.night.isoformat()}-{part:03d}.jsonl"
        context.progress(name)
        watermark = {"watermark": highest} if highest is not None else None
        before = highest
        yield RawDocument(context.source_id, name, path, sha256, size, context.night, watermark)


def _kept_before(options: SqlOptions, context: FetchContext) -> dict[str, str] | None:
    kept = context.state.get("watermark") if options.watermark is not None else None
    return dict(kept) if kept else None


def cell(value: Any) -> str | None:
    """A database value as exact text: decimals in full, floats so that they read back the same, times in ISO 8601."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        text = repr(value)
        return format(Decimal(text), "f") if "e" in text and 1e-30 < abs(value) < 1e30 else text
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=cell)
    return str(value)


__all__ = ["SqlConnector", "SqlOptions", "cell"]
