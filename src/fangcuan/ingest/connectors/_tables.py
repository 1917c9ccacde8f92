"""Readers of typed tables: Parquet and Excel."""

from __future__ import annotations

import datetime as dt
import json
import zipfile
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fangcuan.ingest.base import POSITION, PROBLEMS, Refused
from fangcuan.ingest.connectors._text import check_header, positions

# ------------------------------------------------------------------------------------------------------------ Parquet


def read_parquet(path: Path, *, limit: int, chunk_rows: int) -> Iterator[pa.Table]:
    """Chunks of a Parquet file; columns keep their types, dictionaries are unpacked, lists and structs become JSON text."""
    try:
        with pq.ParquetFile(path, memory_map=False) as file:
            metadata = file.metadata
            expanded = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
            if expanded > limit:
                raise Refused("too_large", f"{expanded} bytes when unpacked; at most {limit}")
            check_header(list(file.schema_arrow.names))
            first = 1
            for batch in file.iter_batches(batch_size=chunk_rows):
                table = pa.Table.from_batches([batch])
                numbers = pa.array(range(first, first + table.num_rows), pa.int64())
                first += table.num_rows
                yield _plain(table).append_column(POSITION, positions("row", numbers))
            if first == 1:
                yield _plain(file.schema_arrow.empty_table()).append_column(POSITION, pa.array([], pa.string()))
    except (pa.ArrowInvalid, OSError) as error:
        message = str(error).split("\n", 1)[0]
        cut = any(
            word in message
            for word in ("magic bytes", "file size is", "footer", "Unexpected end", "too small", "truncated", "EOF")
        )
        raise Refused("truncated" if cut else "unreadable", f"not a whole Parquet file ({message})") from error
    except pa.ArrowException as error:
        raise Refused("unreadable", f"not a Parquet file that can be read ({str(error).splitlines()[0]})") from error


def _plain(table: pa.Table) -> pa.Table:
    for at, column in enumerate(table.schema):
        kind = column.type
        if pa.types.is_dictionary(kind):
            table = table.set_column(at, column.name, pc.cast(table.column(at), kind.value_type))
        elif pa.types.is_nested(kind):
            values = [
                None if value is None else json.dumps(value, ensure_ascii=False, default=str)
                for value in table.column(at).to_pylist()
            ]
            table = table.set_column(at, column.name, pa.array(values, pa.string()))
        elif pa.types.is_null(kind):
            table = table.set_column(at, column.name, pc.cast(table.column(at), pa.string()))
    return table


# -------------------------------------------------------------------------------------------------------------- Excel


#: What openpyxl raises for archives and XML that are not as they should be.
_DAMAGED = (zipfile.BadZipFile, KeyError, ValueError, OSError, SyntaxError, EOFError, TypeError, zlib.error)


def read_excel(
    path: Path, *, sheet: str | int | None, header_row: int, limit: int, chunk_rows: int
) -> Iterator[pa.Table]:
    """Chunks of one sheet of an .xlsx workbook as text: dates in ISO 8601, numbers without exponent, formulas by the value
    that was saved. A cell with an error such as #N/A is null with a problem. Raises Refused."""
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    _check_archive(path, limit)
    with path.open("rb") as stream:  # openpyxl judges a path by its suffix, which staged documents have not
        try:
            workbook = openpyxl.load_workbook(stream, read_only=True, data_only=True)
        except (InvalidFileException, *_DAMAGED) as error:
            raise Refused("unreadable", f"not an Excel workbook ({error})") from error
        try:
            worksheet = _worksheet(workbook, sheet)
            # A writer may record the wrong extent of a sheet; what counts is which rows are there.
            worksheet.reset_dimensions()
            rows = worksheet.iter_rows(min_row=header_row)
            names = _header(next(rows, ()))
            if not names:
                raise Refused("empty", f"sheet {worksheet.title!r} has no header in row {header_row}")
            yield from _sheet_chunks(rows, names, worksheet.title, header_row, chunk_rows)
        except _DAMAGED as error:
            raise Refused("unreadable", f"damaged Excel workbook ({error})") from error
        finally:
            workbook.close()


def _header(row: Any) -> list[str]:
    cells = ["" if cell.value is None else str(cell.value) for cell in row]
    while cells and not cells[-1].strip():
        cells.pop()
    return check_header(cells)


def _check_archive(path: Path, limit: int) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            expanded = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise Refused("truncated", f"not a whole Excel workbook ({error}); only .xlsx is read") from error
    if expanded > limit:
        raise Refused("too_large", f"{expanded} bytes when unpacked; at most {limit}")


def _worksheet(workbook: Any, sheet: str | int | None) -> Any:
    if isinstance(sheet, str):
        if sheet not in workbook.sheetnames:
            raise Refused("missing_sheet", f"no sheet {sheet!r}; there are {', '.join(workbook.sheetnames)}")
        return workbook[sheet]
    at = (sheet or 1) - 1
    if not 0 <= at < len(workbook.worksheets):
        raise Refused("missing_sheet", f"no sheet number {sheet}; there are {len(workbook.worksheets)}")
    return workbook.worksheets[at]


def _sheet_chunks(rows: Any, names: list[str], title: str, header_row: int, chunk_rows: int) -> Iterator[pa.Table]:
    values: list[list[str | None]] = []
    numbers: list[int] = []
    problems: list[str | None] = []

    def chunk() -> pa.Table:
        columns = {name: pa.array([row[at] for row in values], pa.string()) for at, name in enumerate(names)}
        columns[POSITION] = positions(f"sheet {title} row", pa.array(numbers, pa.int64()))
        columns[PROBLEMS] = pa.array(problems, pa.string())
        return pa.table(columns)

    yielded = False
    for number, row in enumerate(rows, start=header_row + 1):
        cells = list(row[: len(names)])
        extra = [cell for cell in row[len(names) :] if cell.value is not None]
        if all(cell.value is None for cell in cells) and not extra:
            continue
        found: list[dict[str, str | None]] = [
            {"reason": "spreadsheet_error", "column": name, "value": str(cell.value), "expected": "a value"}
            for name, cell in zip(names, cells, strict=False)
            if getattr(cell, "data_type", None) == "e"
        ]
        if extra:
            expected = f"{len(names)} cells, as many as the header has"
            found.append(
                {"reason": "wrong_number_of_fields", "column": None, "value": str(extra[0].value), "expected": expected}
            )
        texts = [None if getattr(cell, "data_type", None) == "e" else _cell_text(cell) for cell in cells]
        values.append(texts + [None] * (len(names) - len(texts)))
        numbers.append(number)
        problems.append(json.dumps(found, ensure_ascii=False) if found else None)
        if len(values) >= chunk_rows:
            yielded = True
            yield chunk()
            values, numbers, problems = [], [], []
    if values or not yielded:
        yield chunk()


def _cell_text(cell: Any) -> str | None:
    value = cell.value
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # What a spreadsheet shows: 24.0 is 24, and 0.1 + 0.2 is not 0.30000000000000004.
        return format(Decimal(f"{value:.15g}"), "f") if abs(value) < 1e30 else repr(value)
    if isinstance(value, dt.datetime):
        shows_time = any(letter in (cell.number_format or "").lower() for letter in "hs")
        return value.date().isoformat() if value.time() == dt.time() and not shows_time else value.isoformat()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)
