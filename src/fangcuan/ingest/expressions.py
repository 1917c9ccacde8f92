"""SQL that a source.yml may contain: one scalar DuckDB expression over the raw columns, and nothing else.

Checked when the source is loaded, on the parsed expression: no subqueries, no tables, no functions that read files, settings or
other rows. What the check lets through still runs on a connection that can reach neither files nor the network.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

MAX_LENGTH = 4_000

#: The largest count of functions such as repeat.
MAX_GROWTH = 1_000
_GROWING = frozenset({"repeat", "pad", "lpad", "rpad", "list_resize", "array_resize", "bar", "space"})

#: Node types that reach beyond one row's values.
_FORBIDDEN: tuple[type, ...] = (
    exp.Query,
    exp.Subquery,
    exp.Table,
    exp.From,
    exp.DML,
    exp.DDL,
    exp.Command,
    exp.Set,
    exp.Pragma,
    exp.Attach,
    exp.Detach,
    exp.Copy,
    exp.Use,
    exp.Star,
    exp.Window,
    exp.AggFunc,
    exp.UDTF,
    exp.Exists,
    exp.Placeholder,
    exp.Parameter,
    exp.SessionParameter,
    exp.Rand,
    exp.Uuid,
    exp.CurrentDate,
    exp.CurrentTime,
    exp.CurrentTimestamp,
    exp.CurrentUser,
    exp.SessionUser,
    exp.Localtime,
    exp.Localtimestamp,
    exp.GenerateSeries,
)

#: Scalar functions that DuckDB calls consistent and that still look beyond the row, by name or prefix.
_FORBIDDEN_NAMES = re.compile(
    r"(getenv|getvariable|setseed|query|query_table|columns|version|write_log|sleep_ms|current_.*|in_search_path|txid_.*"
    r"|json_execute.*|json_serialize_sql|json_deserialize_sql|nextval|currval|has_.*_privilege|pg_.*|read_.*|.*_scan|which_secret|generate_series|range)"
)


@cache
def _functions() -> frozenset[str]:
    """Functions of this DuckDB that are plain: one row in, one value out, the same value each time."""
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            """
            select lower(function_name)
            from duckdb_functions()
            group by all
            having bool_and(function_type in ('scalar', 'macro')) and bool_and(coalesce(stability, 'CONSISTENT') = 'CONSISTENT')
            """
        ).fetchall()
    return frozenset(name for (name,) in rows)


class ExpressionError(ValueError):
    """The expression is not allowed; the message says why and what to write instead."""


@lru_cache(maxsize=4096)
def check(text: str) -> tuple[str, ...]:
    """Names of the raw columns a scalar expression reads, in order of appearance. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"{len(text)} characters; expected at most {MAX_LENGTH}")
    try:
        statements = sqlglot.parse(f"select {text}", read="duckdb")
    except (SqlglotError, RecursionError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ExpressionError(f"not a DuckDB expression ({reason})") from error
    try:
        # What runs is DuckDB's own reading of the text, which must agree that it is one expression.
        parsed = duckdb.extract_statements(f"select (\n{text}\n)")
    except duckdb.Error as error:
        reason = str(error).split("\n", 1)[0]
        raise ExpressionError(f"not a DuckDB expression ({reason}); names that are SQL words need quotes") from error
    if len(statements) != 1 or len(parsed) != 1 or not isinstance(statements[0], exp.Select):
        raise ExpressionError("more than one statement; expected a single expression")
    select = statements[0]
    extra = [name for name, value in select.args.items() if name not in {"expressions", "kind"} and value]
    if extra or len(select.expressions) != 1 or select.args.get("kind"):
        raise ExpressionError("expected a single expression without from, where, commas or other clauses")
    expression = select.expressions[0]
    if isinstance(expression, exp.Alias):
        raise ExpressionError("an alias; write the expression only, its name is the key")
    columns: dict[str, None] = {}
    for node in expression.walk():
        _check_node(node)
        if isinstance(node, exp.Column):
            columns[node.parts[0].name] = None
    for lambda_ in expression.find_all(exp.Lambda):
        for parameter in lambda_.expressions:
            columns.pop(parameter.name, None)
    return tuple(columns)


def _check_node(node: exp.Expression) -> None:
    if isinstance(node, _FORBIDDEN):
        raise ExpressionError(f"{type(node).__name__.lower()} is not allowed; use only values of the same row")
    if isinstance(node, exp.Columns):
        raise ExpressionError("columns() is not allowed; name the column")
    if not isinstance(node, exp.Func):
        return
    _check_growth(node)
    names = {node.name.lower()} if isinstance(node, exp.Anonymous) else {name.lower() for name in node.sql_names()}
    for name in sorted(names):
        if _FORBIDDEN_NAMES.fullmatch(name):
            raise ExpressionError(f"function {name} is not allowed; use only values of the same row")
    if isinstance(node, exp.Anonymous) and not names <= _functions():
        name = next(iter(names))
        raise ExpressionError(f"function {name} is not a scalar function of DuckDB that always gives the same value")


def _check_growth(node: exp.Func) -> None:
    """Functions that can make a value of any length must say how long, and not absurdly so."""
    name = node.name.lower() if isinstance(node, exp.Anonymous) else node.sql_names()[0].lower()
    if name in _GROWING:
        counts = [argument for argument in node.iter_expressions() if not isinstance(argument, exp.Column)]
        numbers = [argument for argument in counts if isinstance(argument, exp.Literal) and not argument.is_string]
        if (
            not numbers
            or any(not float(number.this) <= MAX_GROWTH for number in numbers)
            or any(not isinstance(argument, exp.Literal) for argument in counts)
        ):
            raise ExpressionError(f"function {name} needs a written count of at most {MAX_GROWTH}")
    if name in ("printf", "format"):
        first = next(iter(node.iter_expressions()), None)
        if not (isinstance(first, exp.Literal) and first.is_string) or re.search(
            r"\d{4}|\*|\{[^}]*\{", str(first.this)
        ):
            raise ExpressionError(f"function {name} needs a written format with widths below 1000")


def quote(name: str) -> str:
    """A column name as a DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'
