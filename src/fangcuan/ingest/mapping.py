"""Raw rows to contract rows: a source's expressions, lookups and exact parsing, over Arrow chunks.

Per chunk: rows that fail `where` are skipped, expressions give one value per contract column, lookups replace dirty
values, and text is parsed into the contract's types. What cannot be parsed is a problem of the row, kept for the gate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from fangcuan.core.contract import DUCKDB_TYPES, Column, Relation
from fangcuan.ingest.base import POSITION, PROBLEMS, Refused
from fangcuan.ingest.expressions import check, quote
from fangcuan.ingest.parsing import EXPECTED, localise, parse
from fangcuan.ingest.sandbox import query
from fangcuan.ingest.source import FeedSpec

VALUE_LIMIT = 200

_ARROW = {
    "varchar": pa.string(),
    "bigint": pa.int64(),
    "decimal(18,4)": pa.decimal128(18, 4),
    "decimal(18,8)": pa.decimal128(18, 8),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamptz": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}


def arrow_schema(relation: Relation) -> pa.Schema:
    """Arrow schema of a relation: exactly its columns, in its order."""
    return pa.schema([(column.name, _ARROW[DUCKDB_TYPES[column.kind]]) for column in relation.columns])


@dataclass(frozen=True)
class Issue:
    """Something worth telling that stops nothing: an unused raw column, an optional column that is not there."""

    kind: str
    column: str
    message: str


@dataclass(frozen=True)
class MappedChunk:
    """`table` has the contract's columns plus `_position` and `_problems` (JSON list or null); `raw` the rows it came from,
    in the same order. `skipped` rows did not meet `where`: rows read = table rows + skipped."""

    table: pa.Table
    raw: pa.Table
    skipped: int
    issues: tuple[Issue, ...]


class Mapper:
    """Maps the chunks of one document. Not shared between threads."""

    def __init__(
        self, relation: Relation, feed: FeedSpec, settings_timezone: str | None = None, *, memory: str = "2GB"
    ):
        self._relation = relation
        self._feed = feed
        self._zone = feed.timezone or settings_timezone
        self._memory = memory
        self._reported: set[tuple[str, str]] = set()
        self._offsets = {c.name + "_offset": c.name for c in relation.columns if c.name + "_offset" in relation}

    def apply(self, chunk: pa.Table) -> MappedChunk:
        """Contract rows of one raw chunk. Raises Refused (`missing_column`, `mapping_failed`)."""
        issues: list[Issue] = []
        plan = self._plan(chunk.schema, issues)
        raw_rows = chunk.num_rows
        if self._feed.where is not None:
            chunk = self._filtered(chunk)
        chunk = _without_position(chunk)
        given, errors = self._evaluated(chunk, plan)
        for name, pairs in self._feed.lookups.items():
            if name in given:
                given[name] = _looked_up(given[name], pairs)
        table, texts = self._parsed(given, chunk)
        problems = self._problems(chunk, table, texts, errors)
        table = table.append_column(POSITION, _column_or_null(chunk, POSITION)).append_column(PROBLEMS, problems)
        fresh = [issue for issue in issues if (issue.kind, issue.column) not in self._reported]
        self._reported.update((issue.kind, issue.column) for issue in fresh)
        return MappedChunk(table, chunk, raw_rows - chunk.num_rows, tuple(fresh))

    # ------------------------------------------------------------------------------------------- which columns, from what

    def _plan(self, schema: pa.Schema, issues: list[Issue]) -> dict[str, str]:
        """Contract column → expression, for the columns this chunk can fill."""
        raw = {name.lower(): name for name in schema.names}
        plan: dict[str, str] = {}
        used: set[str] = set()
        for column in self._relation.columns:
            expression = self._feed.map.get(column.name)
            if expression is None:
                if self._feed.maps_itself and column.name in schema.names:
                    plan[column.name] = quote(column.name)
                    used.add(column.name)
                elif column.required and column.default is None:
                    raise _missing(column.name, f"mandatory column {column.name!r} is not in the file")
                continue
            reads = check(expression)
            absent = [name for name in reads if name.lower() not in raw]
            used.update(raw[name.lower()] for name in reads if name.lower() in raw)
            if not absent:
                plan[column.name] = expression
            elif column.required and column.default is None:
                message = f"column {absent[0]!r}, which gives the mandatory {column.name!r}, is not in the file"
                raise _missing(absent[0], message)
            else:
                text = f"column {absent[0]!r}, which gives {column.name!r}, is not in the file"
                issues.append(Issue("absent_column", absent[0], text))
        for name in check(self._feed.where) if self._feed.where else ():
            if name.lower() not in raw:
                raise _missing(name, f"column {name!r}, which `where` reads, is not in the file")
            used.add(raw[name.lower()])
        known = used | {name.lower() for name in self._feed.ignore} | {POSITION, PROBLEMS}
        for name in schema.names:
            if name not in known and name.lower() not in known:
                text = f"raw column {name!r} is neither mapped nor named in `ignore`"
                issues.append(Issue("unmapped_column", name, text))
        return plan

    # ----------------------------------------------------------------------------------------------- the source's own SQL

    def _filtered(self, chunk: pa.Table) -> pa.Table:
        try:
            found = query(
                self._memory,
                {"_raw": chunk},
                f"select coalesce((\n{self._feed.where}\n)::boolean, false) as keep from _raw",
            )
        except duckdb.Error as error:
            raise Refused("mapping_failed", f"where: {_first_line(error)}") from error
        return chunk.filter(found.column("keep"))

    def _evaluated(
        self, chunk: pa.Table, plan: Mapping[str, str]
    ) -> tuple[dict[str, pa.ChunkedArray], dict[str, pa.Array]]:
        """Values of every planned column, and for columns whose expression failed which rows made it fail."""
        simple = {name for name, expression in plan.items() if expression == quote(name)}
        given = {name: chunk.column(name) for name in simple}
        computed = {name: expression for name, expression in plan.items() if name not in simple}
        errors: dict[str, pa.Array] = {}
        if computed:
            selected = ", ".join(f"(\n{expression}\n) as {quote(name)}" for name, expression in computed.items())
            try:
                found = query(self._memory, {"_raw": chunk}, f"select {selected} from _raw")
                given |= {name: found.column(name) for name in computed}
            except duckdb.Error:
                for name, expression in computed.items():
                    given[name], failed = self._one_by_one(chunk, name, expression)
                    if failed is not None:
                        errors[name] = failed
        return given, errors

    def _one_by_one(self, chunk: pa.Table, name: str, expression: str) -> tuple[pa.ChunkedArray, pa.Array | None]:
        """One column whose expression may fail on some rows: those become problems, the rest keep their value."""
        try:
            return query(self._memory, {"_raw": chunk}, f"select (\n{expression}\n) as v from _raw").column("v"), None
        except duckdb.Error as error:
            first = error
        try:
            values = query(self._memory, {"_raw": chunk}, f"select try((\n{expression}\n)) as v from _raw").column("v")
        except duckdb.Error:
            raise Refused("mapping_failed", f"{name}: {_first_line(first)}", column=name) from first
        # try() gives null where the expression fails, and also where it is rightly null; only rows it read
        # nothing from are surely the latter.
        failed = pc.is_null(values)
        reads = [column for column in chunk.column_names if column.lower() in {r.lower() for r in check(expression)}]
        if reads:
            something = pc.is_valid(chunk.column(reads[0]))
            for column in reads[1:]:
                something = pc.or_(something, pc.is_valid(chunk.column(column)))
            failed = pc.and_(failed, something)
        return values, _combined(failed)

    # ------------------------------------------------------------------------------------------------- text to types

    def _parsed(self, given: dict[str, pa.ChunkedArray], chunk: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The typed table, and the values it was parsed from."""
        target = arrow_schema(self._relation)
        ready: dict[str, pa.ChunkedArray] = {}
        sources: dict[str, pa.ChunkedArray] = {}
        for column in self._relation.columns:
            values = given.get(column.name)
            if values is None:
                continue
            values = _trimmed(values) if _is_text(values) else values
            if column.kind == "text" and _is_text(values) and not pc.any(pc.match_substring(values, "\0")).as_py():
                ready[column.name] = pc.cast(values, pa.string())
            elif column.kind not in ("text", "json", "double") and values.type == target.field(column.name).type:
                ready[column.name] = values
            else:
                sources[column.name] = values
        source_table = pa.table(sources) if sources else pa.table({"_none": pa.nulls(chunk.num_rows)})
        if sources:
            for name, values in self._parsed_texts(source_table).items():
                # An offset the source gives itself beside a time in UTC says more than the Z of that time.
                ready[name] = pc.coalesce(ready[name], values) if name in ready else values
        for name, main in self._offsets.items():
            if name not in given and name not in ready and main in ready:
                ready[name] = _constant("+00:00", pc.is_valid(ready[main]))
        columns = []
        for column in self._relation.columns:
            values = ready.get(column.name)
            kind = target.field(column.name).type
            values = pa.chunked_array([pa.nulls(chunk.num_rows, kind)]) if values is None else pc.cast(values, kind)
            columns.append(self._defaulted(column, values, given.get(column.name), ready))
        return pa.table(columns, schema=target), source_table

    def _parsed_texts(self, sources: pa.Table) -> dict[str, pa.ChunkedArray]:
        """Columns that need parsing, with the offsets of their times."""
        plans = {
            name: parse(self._relation[name], quote(name), _duckdb_type(sources.schema.field(name).type))
            for name in sources.column_names
        }
        selected: dict[str, str] = {}
        for name, plan in plans.items():
            selected[name] = plan.value
            if plan.offset is not None and name + "_offset" in self._relation and name + "_offset" not in plans:
                selected[name + "_offset"] = plan.offset
            if plan.local is not None and self._zone is not None:
                selected[name + " local"] = plan.local
        try:
            found = query(
                self._memory,
                {"_given": sources},
                f"select {', '.join(f'{sql} as {quote(name)}' for name, sql in selected.items())} from _given",
            )
        except duckdb.Error as error:
            raise Refused("mapping_failed", f"cannot be parsed: {_first_line(error)}") from error
        ready = {name: found.column(name) for name in selected}
        for name in plans:
            local = ready.pop(name + " local", None)
            if local is None or local.null_count == len(local):
                continue
            moments, offsets = localise(local, str(self._zone))
            ready[name] = pc.coalesce(ready[name], moments)
            if name + "_offset" in selected:
                ready[name + "_offset"] = pc.coalesce(ready[name + "_offset"], offsets)
        return ready

    def _defaulted(
        self,
        column: Column,
        values: pa.ChunkedArray,
        given: pa.ChunkedArray | None,
        ready: Mapping[str, pa.ChunkedArray],
    ) -> pa.ChunkedArray:
        """Absent values replaced by the contract's default; a value that could not be parsed is not absent."""
        if column.default is None and not (self._relation.name == "trace_events" and column.name == "item_role"):
            return values
        if given is None:
            absent = pc.is_null(values)
        else:
            given = _trimmed(given) if _is_text(given) else given
            absent = pc.is_null(given)
        if not pc.any(absent).as_py():
            return values
        if column.default is not None:
            default = pa.scalar(column.default, pa.string()).cast(values.type)
            return pc.if_else(absent, default, values)
        parent, event_type = ready.get("parent_epc"), ready.get("event_type")
        if parent is None or event_type is None:
            return pc.if_else(absent, pa.scalar("item"), values)
        is_child = pc.fill_null(pc.and_(pc.is_valid(parent), pc.equal(event_type, "aggregation")), False)
        return pc.if_else(absent, pc.if_else(is_child, "child", "item"), values)

    # ---------------------------------------------------------------------------------------------------- what went wrong

    def _problems(
        self, chunk: pa.Table, table: pa.Table, texts: pa.Table, errors: Mapping[str, pa.Array]
    ) -> pa.ChunkedArray:
        found: dict[int, list[dict[str, str | None]]] = {}
        if PROBLEMS in chunk.column_names:
            known = chunk.column(PROBLEMS)
            if known.null_count < len(known):
                for at, text in enumerate(known.to_pylist()):
                    if text:
                        found.setdefault(at, []).extend(json.loads(text))
        for name in texts.column_names:
            if name not in self._relation:
                continue
            failed = pc.and_(pc.is_valid(texts.column(name)), pc.is_null(table.column(name)))
            self._note(found, name, failed, texts.column(name))
        for name, failed in errors.items():
            self._note(found, name, failed, None)
        if not found:
            return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
        texts_out: list[str | None] = [None] * table.num_rows
        for at, problems in found.items():
            texts_out[at] = json.dumps(problems, ensure_ascii=False)
        return pa.chunked_array([pa.array(texts_out, pa.string())])

    def _note(self, found: dict, name: str, failed: pa.Array | pa.ChunkedArray, values: pa.ChunkedArray | None) -> None:
        if not pc.any(failed).as_py():
            return
        rows = pc.indices_nonzero(failed)
        shown = [None] * len(rows) if values is None else pc.cast(values.take(rows), pa.string()).to_pylist()
        for at, value in zip(rows.to_pylist(), shown, strict=True):
            already = found.setdefault(at, [])
            if any(problem.get("column") == name for problem in already):
                continue
            already.append(
                {
                    "reason": "unparseable" if values is not None else "mapping_failed",
                    "column": name,
                    "value": None if value is None else value[:VALUE_LIMIT],
                    "expected": self._expected(name),
                }
            )

    def _expected(self, name: str) -> str:
        kind = self._relation[name].kind
        if kind == "timestamp" and self._zone:
            return f"ISO 8601 time with zone, or a local time that exists in {self._zone}"
        return EXPECTED[kind]

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of `MappedChunk.table`."""
        return (
            arrow_schema(self._relation).append(pa.field(POSITION, pa.string())).append(pa.field(PROBLEMS, pa.string()))
        )


def _missing(column: str, message: str) -> Refused:
    return Refused("missing_column", message, column=column)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _without_position(chunk: pa.Table) -> pa.Table:
    return chunk.combine_chunks() if chunk.num_columns else chunk


def _column_or_null(chunk: pa.Table, name: str) -> pa.ChunkedArray:
    if name in chunk.column_names:
        return pc.cast(chunk.column(name), pa.string())
    return pa.chunked_array([pa.nulls(chunk.num_rows, pa.string())])


def _combined(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _constant(value: str, where: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(where, pa.scalar(value), pa.scalar(None, pa.string()))


def _trimmed(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without spaces around it; empty text is null."""
    if values.null_count == len(values):
        return values
    values = pc.utf8_trim_whitespace(values)
    empty = pc.equal(values, "")
    return pc.if_else(empty, pa.scalar(None, values.type), values) if pc.any(empty).as_py() else values


def _is_text(values: pa.ChunkedArray) -> bool:
    return pa.types.is_string(values.type) or pa.types.is_large_string(values.type)


def _looked_up(values: pa.ChunkedArray, pairs: Mapping[str, str]) -> pa.ChunkedArray:
    """Values with those in `pairs` replaced."""
    if not pairs or not _is_text(values):
        return values
    values = pc.cast(_trimmed(values), pa.string())
    at = pc.index_in(values, value_set=pa.array(list(pairs), pa.string()))
    return pc.coalesce(pa.array(list(pairs.values()), pa.string()).take(_combined(at)), values)


def _duckdb_type(kind: pa.DataType) -> str:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "VARCHAR"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP WITH TIME ZONE" if kind.tz else "TIMESTAMP"
    if pa.types.is_decimal(kind):
        return "DECIMAL"
    if pa.types.is_floating(kind):
        return "DOUBLE"
    if pa.types.is_date(kind):
        return "DATE"
    return "BOOLEAN" if pa.types.is_boolean(kind) else "BIGINT" if pa.types.is_integer(kind) else str(kind).upper()
