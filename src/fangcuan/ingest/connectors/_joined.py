"""Files with columns from other files beside them: a register of shops, terminals, stations that the rows only name by number.

What was received is the rows *and* the registers, so both go into one document (a ZIP archive without compression): its
digest says which state of a register a row was read with, and reading it again gives the same rows.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fangcuan.ingest.base import POSITION, PROBLEMS, Refused
from fangcuan.ingest.expressions import ExpressionError, check, quote
from fangcuan.ingest.sandbox import query

_PIECE = 4 * 1024 * 1024
#: Every member gets the same time, so that the same files give the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MEMORY = "2GB"


def _expression(text: str) -> str:
    try:
        check(text)
    except ExpressionError as error:
        raise ValueError(str(error)) from error
    return text


class Join(BaseModel):
    """One register: its rows whose `equals` is what `key` gives for a row lend it `columns` (new name → column of the register).

    Both are DuckDB expressions, compared as text. A row without a match gets nulls. Where several rows of the register match, a
    column counts only as far as they agree: of a station that moved the city is known, its position is not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    key: Annotated[str, AfterValidator(_expression)]
    equals: Annotated[str, AfterValidator(_expression)]
    columns: Annotated[dict[str, str], Field(min_length=1)]
    encoding: str = "utf-8"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None


def bundled(members: Sequence[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    """The bytes of an archive of `members` (name, bytes): the rows first, then the registers."""
    with tempfile.TemporaryFile() as archive:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as bundle:
            for at, (name, pieces) in enumerate(members):
                member = zipfile.ZipInfo(f"{at}-{PurePosixPath(name).name}", _EPOCH)
                with bundle.open(member, "w", force_zip64=True) as target:
                    for piece in pieces:
                        target.write(piece)
        archive.seek(0)
        while piece := archive.read(_PIECE):
            yield piece


@contextmanager
def unbundled(document: Path, count: int, limit: int) -> Iterator[list[Path]]:
    """The files of a bundle, in their order, for as long as they are read. Raises Refused."""
    with tempfile.TemporaryDirectory(prefix="fangcuan-") as folder:
        paths = []
        try:
            with zipfile.ZipFile(document) as bundle:
                members = bundle.infolist()
                if len(members) != count:
                    raise Refused("unreadable", f"{len(members)} files in the bundle; expected {count}")
                for at, member in enumerate(members):
                    if member.file_size > limit:
                        raise Refused("too_large", f"{member.filename}: more than {limit} bytes")
                    target = Path(folder) / f"{at}"
                    with bundle.open(member) as source, target.open("wb") as out:
                        while piece := source.read(_PIECE):
                            out.write(piece)
                    paths.append(target)
        except (zipfile.BadZipFile, OSError) as error:
            raise Refused("unreadable", f"not a whole bundle of rows and registers ({error})") from error
        yield paths


class Register:
    """One register, read and indexed."""

    def __init__(self, join: Join, tables: Iterable[pa.Table]):
        self._join = join
        table = pa.concat_tables(list(tables))
        names = {name.lower(): name for name in table.column_names}
        for wanted in (*check(join.equals), *join.columns.values()):
            if wanted.lower() not in names:
                where = PurePosixPath(join.path).name
                raise Refused("missing_column", f"column {wanted!r} is not in {where}", column=wanted)
        agreed = ", ".join(
            f"case when count({column}) = count(*) and count(distinct {column}) = 1 then min({column}) end as {quote(new)}"
            for new, column in ((new, quote(names[old.lower()])) for new, old in join.columns.items())
        )
        sql = f"""
            select "_key", {agreed}
            from (select cast((\n{join.equals}\n) as varchar) as "_key", * from _register)
            where "_key" is not null
            group by "_key"
            order by "_key"
        """
        found = _asked({"_register": _without(table, POSITION, PROBLEMS)}, sql, "equals")
        self._keys = found.column("_key").combine_chunks()
        self._values = found.drop_columns(["_key"]).combine_chunks()

    def beside(self, chunk: pa.Table) -> pa.Table:
        """`chunk` with the columns of the register. Raises Refused."""
        names = {name.lower() for name in chunk.column_names}
        for wanted in check(self._join.key):
            if wanted.lower() not in names:
                raise Refused(
                    "missing_column", f"column {wanted!r}, the key of a join, is not in the file", column=wanted
                )
        for new in self._join.columns:
            if new.lower() in names:
                raise Refused("duplicate_column", f"a join adds {new!r}, which the file has already", column=new)
        sql = f'select cast((\n{self._join.key}\n) as varchar) as "_key" from _raw'
        keys = _asked({"_raw": chunk}, sql, "key").column("_key").combine_chunks()
        at = pc.index_in(keys, value_set=self._keys, skip_nulls=True)
        taken = self._values.take(at)
        for name in taken.column_names:
            chunk = chunk.append_column(name, taken.column(name))
        return chunk


def _asked(tables: dict[str, pa.Table], sql: str, what: str) -> pa.Table:
    try:
        return query(_MEMORY, tables, sql)
    except duckdb.Error as error:
        raise Refused("mapping_failed", f"join, {what}: {str(error).strip().splitlines()[0]}") from error


def _without(table: pa.Table, *names: str) -> pa.Table:
    return table.drop_columns([name for name in names if name in table.column_names])


__all__ = ["Join", "Register", "bundled", "unbundled"]
