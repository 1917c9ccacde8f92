"""The SQL of units: one read-only select over named relations, checked before it runs; parameters become literals."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import cache, cached_property, lru_cache
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

#: Functions that return tables without reading anything.
_TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series"})
#: Functions that read the clock, chance, files or the session without DuckDB's catalogue saying so.
_FORBIDDEN = frozenset(
    {
        *("getenv", "query", "query_table", "glob", "sniff_csv", "which_secret", "read_text", "read_blob", "read_csv"),
        *("read_csv_auto", "read_json", "read_json_auto", "read_ndjson", "read_parquet", "parquet_scan", "age", "ago"),
        *("parquet_metadata", "parquet_schema", "rand", "random", "uuid", "now", "today", "version", "user"),
        *("current_timestamp", "current_date", "current_time", "current_user", "localtime", "localtimestamp"),
        *("current_localtime", "current_localtimestamp", "current_catalog", "current_role", "session_user"),
    }
)
_SESSION = ("current_", "inet_", "has_", "pg_", "session_", "txid_", "duckdb_", "write_")


@cache
def _unsteady() -> frozenset[str]:
    """Functions of DuckDB's own catalogue that are not a pure function of their arguments, tables and pragmas among them."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select distinct lower(function_name) from duckdb_functions() where function_type in "
            "('table', 'table_macro', 'pragma') or (function_type in ('scalar', 'aggregate') and stability <> 'CONSISTENT')"
        ).fetchall()
        pure = connection.execute(
            "select distinct lower(function_name) from duckdb_functions() where function_type in ('scalar', 'aggregate') "
            "and stability = 'CONSISTENT'"
        ).fetchall()
    names = frozenset(name for (name,) in rows) - frozenset(name for (name,) in pure)
    return names - _TABLE_FUNCTIONS


def _forbidden(name: str) -> bool:
    return name in _FORBIDDEN or name.startswith(_SESSION) or name in _unsteady()


#: Quoted text and names (left alone), or a parameter.
_PARAMETER = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$([A-Za-z_][A-Za-z0-9_]*)""")


_CALL = re.compile(r"\b([A-Za-z_][A-Za-z0-9_]*)\s*\(")


class SqlRefused(Exception):
    """A unit's SQL may not run. `line` counts from 1 inside the query."""

    def __init__(self, what: str, expected: str, todo: str, line: int = 1):
        super().__init__(f"{what}, {expected}, {todo}")
        self.what, self.expected, self.todo, self.line = what, expected, todo, line


class Query:
    """A parsed and checked select.

    Reading the clock or random numbers is refused: the same night must give the same bytes whenever it is judged.
    """

    def __init__(self, sql: str):
        try:
            statements = [tree for tree in sqlglot.parse(sql, read="duckdb") if tree is not None]
        except SqlglotError as error:
            details = getattr(error, "errors", None) or [{}]
            line = details[0].get("line") or 1
            message = details[0].get("description") or str(error)
            raise SqlRefused(f"SQL does not parse: {message}", "DuckDB SQL", "correct it", line) from error
        if len(statements) != 1 or not isinstance(statements[0], exp.Query):
            raise SqlRefused("not a single select", "one select, with named CTEs before it", "remove the rest")
        self.tree: exp.Query = statements[0]
        self._check()

    def _check(self) -> None:
        for node in self.tree.walk():
            if isinstance(node, exp.DML | exp.DDL | exp.Command) and not isinstance(node, exp.Query):
                raise SqlRefused(f"{node.key} statement", "a unit only reads", "remove it")
            if isinstance(node, exp.Into):
                raise SqlRefused("select into", "a unit only reads", "remove it")
            if isinstance(node, exp.Func):
                name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()
                if _forbidden(name):
                    raise SqlRefused(
                        f"function {name}()", "only the named relations and parameters", "use $night or a relation"
                    )
            if isinstance(node, exp.TableSample):
                raise SqlRefused("a random sample", "all rows of a relation", "remove the sample")
        # What the engine will be given counts, whatever the parser called it.
        for match in _CALL.finditer(_PARAMETER.sub("", self._text)):
            if _forbidden(match.group(1).lower()):
                raise SqlRefused(
                    f"function {match.group(1).lower()}()", "only the named relations and parameters", "use a parameter"
                )
        for table in self.tree.find_all(exp.Table):
            source = table.this
            if isinstance(source, exp.Identifier) or source is None:
                if table.args.get("db") or table.args.get("catalog") or not table.name.isidentifier():
                    raise SqlRefused(
                        f"table {table.sql('duckdb')}", "a relation of the contract by its bare name", "name one"
                    )
            else:
                name = (source.name if isinstance(source, exp.Anonymous) else source.sql_name()).lower()
                if name not in _TABLE_FUNCTIONS:
                    raise SqlRefused(f"table function {name}()", "relations only", "name a relation instead")

    @cached_property
    def relations(self) -> frozenset[str]:
        """Names read from outside the query."""
        own = {cte.alias for cte in self.tree.find_all(exp.CTE)}
        named = {table.name for table in self.tree.find_all(exp.Table) if isinstance(table.this, exp.Identifier)}
        return frozenset(named - own)

    @cached_property
    def parameters(self) -> frozenset[str]:
        return frozenset(str(node.this) for node in self.tree.find_all(exp.Placeholder) if node.this)

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """Names of the top-level CTEs in order."""
        return tuple(cte.alias for cte in self.tree.ctes)

    @cached_property
    def _text(self) -> str:
        return self.tree.sql("duckdb", comments=False)

    def bind(self, parameters: Mapping[str, Any], step: str | None = None) -> str:
        """DuckDB SQL with every `$name` replaced by its value; with `step`, the rows of that CTE."""
        text = self._text if step is None else self._step(step).sql("duckdb", comments=False)

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if name is None:
                return match.group()
            if name not in parameters:
                raise SqlRefused(f"parameter ${name}", "a declared parameter", "declare it under parameters:")
            return as_literal(parameters[name]).sql("duckdb")

        # The text was generated from the checked tree, so quotes are regular and a $name outside them is a parameter.
        return _PARAMETER.sub(value, text)

    def _step(self, step: str) -> exp.Query:
        if step not in self.steps:
            raise SqlRefused(f"no step {step!r}", f"one of {', '.join(self.steps)}", "name one of these")
        kept = self.steps[: self.steps.index(step) + 1]
        above = self.tree.args.get("with_") or self.tree.args["with"]
        selected = exp.select("*").from_(exp.to_table(step))
        ctes = [cte.copy() for cte in self.tree.ctes if cte.alias in kept]
        selected.set("with_", exp.With(expressions=ctes, recursive=bool(above.args.get("recursive"))))
        return selected


@lru_cache(maxsize=512)
def parsed(sql: str) -> Query:
    """The query of a text, parsed once per process. Raises SqlRefused."""
    return Query(sql)


def as_literal(value: Any) -> exp.Expression:
    """A Python value as a SQL literal of its own type."""
    if value is None:
        return exp.null()
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, dt.datetime):
        return exp.cast(exp.Literal.string(value.astimezone(dt.UTC).isoformat()), "timestamptz", dialect="duckdb")
    if isinstance(value, dt.date):
        return exp.cast(exp.Literal.string(value.isoformat()), "date")
    if isinstance(value, int | float | Decimal):
        return exp.Literal.number(str(value))
    if isinstance(value, list | tuple):
        return exp.Array(expressions=[as_literal(item) for item in value])
    return exp.Literal.string(str(value))
