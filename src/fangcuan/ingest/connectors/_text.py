"""Readers of text rows: CSV and JSON lines. Every value stays text exactly as the source wrote it."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from fangcuan.ingest.base import POSITION, PROBLEMS, Refused
from fangcuan.ingest.connectors._bounded import open_bounded

#: A problem's value is cut to this many characters.
VALUE_LIMIT = 200
#: A chunk ends early when its rows weigh this much.
CHUNK_BYTES = 128 * 1024 * 1024


class NumberText(str):
    """A JSON number as it was written."""

    __slots__ = ()


def positions(prefix: str, numbers: pa.Array) -> pa.Array:
    """`row 17` for every number."""
    return pc.binary_join_element_wise(prefix, pc.cast(numbers, pa.string()), " ")


def check_header(names: list[str]) -> list[str]:
    """Column names, blanks named by position. Raises Refused for a name that stands twice (also in another case)."""
    seen: dict[str, str] = {}
    named = [name.strip() or f"column_{at}" for at, name in enumerate(names, start=1)]
    for name in named:
        if name.lower() in seen:
            raise Refused(
                "duplicate_column", f"column {name!r} stands twice in the header", column=name, position="row 1"
            )
        if name in (POSITION, PROBLEMS):
            raise Refused("reserved_column", f"column name {name!r} is reserved", column=name, position="row 1")
        seen[name.lower()] = name
    return named


# ---------------------------------------------------------------------------------------------------------------- CSV


def read_csv(
    path: Path, name: str, *, encoding: str, delimiter: str, limit: int, max_line: int, chunk_rows: int
) -> Iterator[pa.Table]:
    """Chunks of a CSV file (RFC 4180, header in the first row). A row with too many or too few fields becomes a row of
    nulls with a problem; empty fields are null. Raises Refused."""
    wide = encoding.startswith("utf-16")
    names, skip = _csv_header(path, name, encoding, delimiter, limit, max_line)
    invalid: list[arrow_csv.InvalidRow] = []

    def keep(row: arrow_csv.InvalidRow) -> str:
        invalid.append(row)
        return "skip"

    stream = open_bounded(path, name, limit, quote=b"" if wide else b'"', refuse_nul=not wide)
    try:
        reader = arrow_csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            # Row numbers of invalid rows are only known when one thread parses.
            read_options=arrow_csv.ReadOptions(
                use_threads=False,
                block_size=max_line,
                column_names=names,
                skip_rows=skip,
                encoding=_arrow_encoding(encoding),
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=keep
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=[""],
            ),
        )
        tail: list[str] = []
        yield from _csv_chunks(reader, names, skip, invalid, chunk_rows, tail)
        if stream.quotes % 2 and (stream.last not in (b"\n", b"\r") or any("\n" in value for value in tail)):
            # What follows the open quote was read as one value up to the end of the file.
            raise Refused("truncated", "the file ends inside a quoted value", position=f"byte {stream.count}")
    except Refused:
        raise
    except UnicodeDecodeError as error:
        raise _encoding_refused(path, name, encoding, limit) from error
    except (pa.ArrowInvalid, UnicodeError) as error:
        message = str(error)
        if "UTF8" in message or isinstance(error, UnicodeError):
            raise _encoding_refused(path, name, encoding, limit) from error
        if "straddling" in message:
            raise Refused(
                "line_too_long", f"a row is longer than {max_line} bytes, or a quoted value is not closed"
            ) from error
        raise Refused("unreadable", f"not CSV: {message}") from error
    finally:
        stream.close()


def _csv_header(
    path: Path, name: str, encoding: str, delimiter: str, limit: int, max_line: int
) -> tuple[list[str], int]:
    """Column names and the number of lines the header takes."""
    with open_bounded(path, name, limit, refuse_nul=not encoding.startswith("utf-16")) as stream:
        head = stream.read(max_line)
        complete = len(head) < max_line
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
    try:
        text = decoder.decode(head, final=complete)
    except UnicodeDecodeError as error:
        raise _encoding_refused(path, name, encoding, limit) from error
    if not text.strip():
        raise Refused("empty", "the file is empty; expected a header row")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        names = next(row for row in reader if row)
    except (csv.Error, StopIteration) as error:
        raise Refused("unreadable", f"no header row ({error})", position="row 1") from error
    return check_header(names), reader.line_num


def _csv_chunks(
    reader: Any, names: list[str], skip: int, invalid: list[arrow_csv.InvalidRow], chunk_rows: int, tail: list[str]
) -> Iterator[pa.Table]:
    """Chunks of at most `chunk_rows` good rows; `tail` ends up with the values of the last rows read."""
    schema = pa.schema([(name, pa.string()) for name in names])
    pending: list[pa.RecordBatch] = []
    rows = size = 0
    next_number = skip + 1  # the number pyarrow gives the first row after the header

    def chunk() -> pa.Table:
        nonlocal next_number, pending, rows, size
        table = pa.Table.from_batches(pending, schema)
        numbers, next_number = _row_numbers(table.num_rows, next_number, invalid)
        bad = [row for row in invalid if row.number < next_number]
        del invalid[: len(bad)]
        tail.extend(row.text or "" for row in bad[-1:])
        pending, rows, size = [], 0, 0
        return _with_invalid(table, numbers, bad, len(names))

    yielded = False
    for batch in reader:
        if batch.num_rows:
            tail[:] = [value or "" for value in batch.slice(batch.num_rows - 1).to_pylist()[0].values()]
        while batch.num_rows:
            part = batch.slice(0, chunk_rows - rows)
            pending.append(part)
            rows += part.num_rows
            size += part.nbytes
            batch = batch.slice(part.num_rows)
            if rows >= chunk_rows or size >= CHUNK_BYTES:
                yielded = True
                yield chunk()
    table = chunk()
    if invalid:  # rows after the last good one
        tail.extend(row.text or "" for row in invalid[-1:])
        table = pa.concat_tables(
            [table, _with_invalid(schema.empty_table(), pa.array([], pa.int64()), invalid, len(names))]
        )
    if table.num_rows or not yielded:
        yield table


def _row_numbers(count: int, start: int, invalid: list[arrow_csv.InvalidRow]) -> tuple[pa.Array, int]:
    """Numbers of the next `count` good rows from `start`, leaving out those of invalid rows; and the number after."""
    if not invalid:
        return pa.array(range(start, start + count), pa.int64()), start + count
    numbers: list[int] = []
    number, at = start, 0
    while len(numbers) < count:
        if at < len(invalid) and invalid[at].number == number:
            at += 1
        else:
            numbers.append(number)
        number += 1
    while at < len(invalid) and invalid[at].number == number:
        at += 1
        number += 1
    return pa.array(numbers, pa.int64()), number


def _with_invalid(table: pa.Table, numbers: pa.Array, bad: list[arrow_csv.InvalidRow], fields: int) -> pa.Table:
    table = table.append_column(POSITION, positions("row", numbers))
    table = table.append_column(PROBLEMS, pa.nulls(table.num_rows, pa.string()))
    if not bad:
        return table
    columns = {name: pa.nulls(len(bad), pa.string()) for name in table.column_names[:-2]}
    columns[POSITION] = positions("row", pa.array([row.number for row in bad], pa.int64()))
    columns[PROBLEMS] = pa.array(
        [
            json.dumps(
                [
                    {
                        "reason": "wrong_number_of_fields",
                        "column": None,
                        "value": (row.text or "")[:VALUE_LIMIT],
                        "expected": f"{fields} fields, found {row.actual_columns}",
                    }
                ],
                ensure_ascii=False,
            )
            for row in bad
        ],
        pa.string(),
    )
    return pa.concat_tables([table, pa.table(columns)])


def _arrow_encoding(encoding: str) -> str:
    return "utf8" if encoding == "utf-8" else encoding


def _encoding_refused(path: Path, name: str, encoding: str, limit: int) -> Refused:
    """Where the first wrong byte stands, found by reading the file once more."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with open_bounded(path, name, limit) as stream:
        while True:
            start = stream.count - len(decoder.getstate()[0])
            data = stream.read(1 << 20)
            try:
                line += decoder.decode(data, final=not data).count("\n")
            except UnicodeDecodeError as error:
                line += error.object[: error.start].count(b"\n")
                where = f"line {line}, byte {start + error.start}"
                return Refused(
                    "wrong_encoding", f"not {encoding} text; set `encoding` to what the file is in", position=where
                )
            if not data:
                return Refused("wrong_encoding", f"not {encoding} text; set `encoding` to what the file is in")


# --------------------------------------------------------------------------------------------------------- JSON lines


def read_jsonl(
    path: Path, name: str, *, encoding: str, limit: int, max_line: int, chunk_rows: int
) -> Iterator[pa.Table]:
    """Chunks of a JSON lines file: one object per line. Numbers stay as written; lists and objects become JSON text.
    Raises Refused for a line that is not a JSON object."""
    columns: dict[str, None] = {}
    rows: list[dict[str, str | None]] = []
    numbers: list[int] = []
    yielded = False
    with open_bounded(path, name, limit, refuse_nul=True) as stream:
        number = size = 0
        buffered = io.BufferedReader(stream, 1 << 20)
        while True:
            line = buffered.readline(max_line + 1)
            if not line:
                break
            number += 1
            if len(line) > max_line:
                raise Refused("line_too_long", f"a line is longer than {max_line} bytes", position=f"line {number}")
            text = _decoded(line, encoding, number)
            if not text.strip():
                continue
            rows.append(_json_row(text, number, complete=line.endswith(b"\n")))
            numbers.append(number)
            size += len(line)
            if len(rows) >= chunk_rows or size >= CHUNK_BYTES:
                yielded = True
                yield _json_chunk(rows, numbers, columns)
                rows, numbers, size = [], [], 0
    if rows or not yielded:
        yield _json_chunk(rows, numbers, columns)


def _decoded(line: bytes, encoding: str, number: int) -> str:
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError as error:
        where = f"line {number}, byte {error.start}"
        raise Refused("wrong_encoding", f"not {encoding} text", position=where) from error
    return text.removeprefix("\ufeff") if number == 1 else text


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


_DECODER = json.JSONDecoder(parse_float=NumberText, parse_int=NumberText, parse_constant=_no_constant)


def parse_json(text: str) -> Any:
    """A JSON value whose numbers are NumberText. Raises ValueError (also for values nested too deeply)."""
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _json_row(text: str, number: int, *, complete: bool) -> dict[str, str | None]:
    try:
        value = parse_json(text)
    except ValueError as error:
        reason = "unreadable" if complete else "truncated"
        raise Refused(reason, f"not JSON: {error}", position=f"line {number}") from error
    if not isinstance(value, dict):
        raise Refused("unreadable", "expected a JSON object", position=f"line {number}")
    return {key: json_cell(item) for key, item in value.items()}


def json_cell(value: Any) -> str | None:
    """A JSON value as the text of a raw cell."""
    if value is None or type(value) is str:
        return value
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, NumberText):
        return _plain_number(value)
    return json_text(value)


def json_text(value: Any) -> str:
    """JSON text of a value from `parse_json`, numbers as they were written."""
    if isinstance(value, NumberText):
        return str(value)
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{json_text(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(json_text(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def _plain_number(value: str) -> str:
    """1.5e-3 as 0.0015: the same number without exponent, where that is not absurdly long."""
    if "e" not in value and "E" not in value:
        return str(value)
    try:
        number = Decimal(value)
    except InvalidOperation:
        return str(value)
    return format(number, "f") if abs(number.adjusted()) <= 30 else str(value)


def _json_chunk(rows: list[dict[str, str | None]], numbers: list[int], columns: dict[str, None]) -> pa.Table:
    for row in rows:
        columns.update(dict.fromkeys(row))
    names = list(columns)
    check_header(names)
    arrays = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}
    arrays[POSITION] = positions("line", pa.array(numbers, pa.int64()))
    return pa.table(arrays)
