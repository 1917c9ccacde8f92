"""Files: CSV, JSON lines, Parquet and Excel from local folders or anything fsspec can open."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

import fsspec
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fangcuan.ingest.base import FetchContext, RawChunk, RawDocument, Refused, SourceUnavailable
from fangcuan.ingest.connectors import _tables, _text
from fangcuan.ingest.connectors._joined import Join, Register, bundled, unbundled
from fangcuan.ingest.secrets import SecretMissing, scrub

Format = Literal["csv", "jsonl", "parquet", "excel"]

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
}
_NIGHT = re.compile(r"\{night(?::([^}]*))?\}")
_DIRECTIVES = {"%Y": r"\d{4}", "%m": r"\d{2}", "%d": r"\d{2}", "%y": r"\d{2}", "%j": r"\d{3}"}
_MIB = 1024 * 1024
_PIECE = 4 * _MIB


class FilesOptions(BaseModel):
    """Options of the `files` connector.

    `path` is one pattern or several: a path below the source's folder, an absolute path or an fsspec URL; `*`, `?` and `**` match
    names, `{night:%Y-%m-%d}` matches a date. With `arrival: from_name` (the default where there is such a date) the date says
    when a file arrived, and files of all nights up to the one asked for are fetched; with `arrival: night` only the
    files of that very night. `join` names registers whose columns the rows get beside their own; a document then holds the
    registers as well. Sizes are in bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | tuple[str, ...]
    format: Literal["auto", "csv", "jsonl", "parquet", "excel"] = "auto"
    arrival: Literal["from_name", "night"] | None = None
    encoding: Literal["utf-8", "gb18030", "big5", "shift_jis", "cp1252", "utf-16"] = "utf-8"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    sheet: str | int | None = None
    header_row: Annotated[int, Field(ge=1)] = 1
    max_bytes: Annotated[int, Field(ge=1)] = 4 * 1024 * _MIB
    max_expanded_bytes: Annotated[int, Field(ge=1)] = 32 * 1024 * _MIB
    max_line_bytes: Annotated[int, Field(ge=1024)] = 4 * _MIB
    settle_seconds: Annotated[float, Field(ge=0)] = 0
    join: tuple[Join, ...] = ()
    storage: dict[str, Any] = {}
    secrets: dict[str, str] = {}

    @field_validator("path")
    @classmethod
    def _patterns(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for pattern in (value,) if isinstance(value, str) else value:
            if not pattern:
                raise ValueError("an empty path")
            formats = {match.group(1) or "%Y-%m-%d" for match in _NIGHT.finditer(pattern)}
            if len(formats) > 1:
                raise ValueError("{night} is written in two formats; use one")
            for directive in re.findall(r"%.", "".join(formats)):
                if directive not in _DIRECTIVES:
                    raise ValueError(f"{directive} is not a date directive; use {', '.join(_DIRECTIVES)}")
        return value

    @model_validator(mode="after")
    def _dated(self) -> FilesOptions:
        if self.arrival == "from_name" and not all(_NIGHT.search(pattern) for pattern in self.patterns):
            raise ValueError("arrival: from_name needs {night:%Y-%m-%d} in the path")
        return self

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path


@dataclass(frozen=True)
class _Found:
    arrived_on: dt.date
    name: str
    path: str
    mark: str
    system: Any


class FilesConnector:
    """See FilesOptions. State: `{"seen": {path: mark}}`, the mark being size and modification of the file when it was read."""

    kind: ClassVar[str] = "files"
    Options: ClassVar[type[BaseModel]] = FilesOptions

    def fetch(self, options: FilesOptions, context: FetchContext) -> Iterator[RawDocument]:
        """Files that arrived by `context.night` and are not yet in the state, in the order of arrival and name.

        A file larger than `max_bytes` is staged up to that limit and refused when it is read. Raises SourceUnavailable
        when the folder, or a file named without a pattern, is not there.
        """
        storage = {**options.storage, **_secrets(options, context)}
        seen = context.state.get("seen", {})
        found: list[_Found] = []
        for pattern in options.patterns:
            found += _found(pattern, options, context, storage)
        beside = [_register(join.path, options, context, storage) for join in options.join]
        for item in sorted(set(found), key=lambda item: (item.arrived_on, item.name, item.path)):
            # A register that changed makes another document of the same rows.
            mark = " ".join(each.mark for each in (item, *beside))
            if seen.get(item.path) == mark:
                continue
            context.progress(item.name)
            members = [(each.name, _bytes_of(each, options.max_bytes)) for each in (item, *beside)]
            try:
                path, sha256, size = context.stage(bundled(members) if beside else iter(members[0][1]))
            except OSError as error:
                raise SourceUnavailable(f"{item.name}: {scrub(str(error), *map(str, storage.values()))}") from error
            watermark = {"seen": {item.path: mark}}
            yield RawDocument(context.source_id, item.name, path, sha256, size, item.arrived_on, watermark)

    def read(self, document: RawDocument, options: FilesOptions, chunk_rows: int) -> Iterator[RawChunk]:
        """Rows in chunks of at most `chunk_rows`; at least one chunk, which may be empty. Raises Refused."""
        if document.size > options.max_bytes:
            raise Refused("too_large", f"more than {options.max_bytes} bytes; raise max_bytes if that is right")
        if not options.join:
            for table in _tables_of(document.path, document.name, options, chunk_rows):
                yield RawChunk(table)
            return
        with unbundled(document.path, 1 + len(options.join), options.max_bytes) as (rows, *others):
            beside = [
                Register(join, _register_rows(join, path)) for join, path in zip(options.join, others, strict=True)
            ]
            for table in _tables_of(rows, document.name, options, chunk_rows):
                for register in beside:
                    table = register.beside(table)
                yield RawChunk(table)


def _register_rows(join: Join, path: Path) -> Iterator[Any]:
    options = FilesOptions.model_validate({"path": join.path, "encoding": join.encoding, "delimiter": join.delimiter})
    yield from _tables_of(path, join.path, options, 1_000_000)


def format_of(name: str) -> Format | None:
    """Format by suffix, a final `.gz` aside; None where the suffix says nothing."""
    path = PurePosixPath(name.lower())
    suffix = PurePosixPath(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return _FORMATS.get(suffix)


def _tables_of(path: Path, name: str, options: FilesOptions, chunk_rows: int) -> Iterator[Any]:
    kind = format_of(name) if options.format == "auto" else options.format
    limit = options.max_expanded_bytes
    if kind == "csv":
        tabs = ".tsv" in PurePosixPath(name.lower()).suffixes
        delimiter = options.delimiter or ("\t" if tabs else ",")
        yield from _text.read_csv(
            path,
            name,
            encoding=options.encoding,
            delimiter=delimiter,
            limit=limit,
            max_line=options.max_line_bytes,
            chunk_rows=chunk_rows,
        )
    elif kind == "jsonl":
        yield from _text.read_jsonl(
            path, name, encoding=options.encoding, limit=limit, max_line=options.max_line_bytes, chunk_rows=chunk_rows
        )
    elif kind == "parquet":
        yield from _tables.read_parquet(path, limit=limit, chunk_rows=chunk_rows)
    elif kind == "excel":
        yield from _tables.read_excel(
            path, sheet=options.sheet, header_row=options.header_row, limit=limit, chunk_rows=chunk_rows
        )
    else:
        raise Refused("unknown_format", f"{PurePosixPath(name).name!r}: the suffix names no format; set `format`")


def _secrets(options: FilesOptions, context: FetchContext) -> dict[str, str]:
    try:
        return {option: context.secrets(name) for option, name in options.secrets.items()}
    except SecretMissing as error:
        raise SourceUnavailable(str(error)) from error


def _found(pattern: str, options: FilesOptions, context: FetchContext, storage: dict[str, Any]) -> list[_Found]:
    try:
        return _find(pattern, options, context, storage)
    except SourceUnavailable:
        raise
    except Exception as error:  # fsspec backends raise their own kinds
        message = scrub(str(error), *(str(value) for value in storage.values()))
        raise SourceUnavailable(f"{pattern}: {message or type(error).__name__}") from error


def _register(pattern: str, options: FilesOptions, context: FetchContext, storage: dict[str, Any]) -> _Found:
    """The newest file of a register's path."""
    found = sorted(_found(pattern, options, context, storage), key=lambda item: (item.arrived_on, item.path))
    if not found:
        raise SourceUnavailable(f"{pattern}: there is no such file")
    return found[-1]


def _bytes_of(item: _Found, limit: int) -> Iterator[bytes]:
    with item.system.open(item.path, "rb", compression=None) as stream:
        yield from _pieces(stream, limit)


def _find(pattern: str, options: FilesOptions, context: FetchContext, storage: dict[str, Any]) -> list[_Found]:
    dated = _NIGHT.search(pattern)
    from_name = bool(dated) and options.arrival != "night"
    if dated and not from_name:
        pattern = _NIGHT.sub(lambda match: context.night.strftime(match.group(1) or "%Y-%m-%d"), pattern)
    if "://" not in pattern and not Path(pattern).is_absolute():
        pattern = str(context.folder / pattern)
    system, rooted = fsspec.core.url_to_fs(pattern, **storage)
    # A star beside the date is part of the same wildcard: `**` would mean folders.
    wanted = re.sub(r"\*?\0\*?", "*", _NIGHT.sub("\0", rooted))
    base = _static_folder(wanted)
    if not any(sign in wanted for sign in "*?["):
        if not system.exists(wanted):
            raise SourceUnavailable(f"{pattern}: there is no such file")
        listed = {wanted: system.info(wanted)}
    else:
        if not system.exists(base or "/"):
            raise SourceUnavailable(f"{base}: there is no such folder")
        listed = system.glob(wanted, detail=True)
    matcher = _matcher(rooted) if from_name else None
    date_format = (dated.group(1) or "%Y-%m-%d") if dated else ""
    found = []
    for path, info in listed.items():
        if info.get("type") != "file" or _unsettled(info, options.settle_seconds):
            continue
        arrived_on: dt.date | None = context.night
        if matcher is not None:
            arrived_on = _arrival(matcher, path, date_format)
        if arrived_on is not None and arrived_on <= context.night:
            name = path[len(base) :].lstrip("/") if base else path
            found.append(_Found(arrived_on, name or PurePosixPath(path).name, path, _mark(info), system))
    return found


def _static_folder(pattern: str) -> str:
    """The part of a path before its first wildcard, up to the last slash."""
    cut = min((pattern.index(sign) for sign in "*?[" if sign in pattern), default=len(pattern))
    return pattern[: pattern.rfind("/", 0, cut)] if "/" in pattern[:cut] else ""


def _matcher(pattern: str) -> re.Pattern[str]:
    """Regular expression of a path pattern, the date in the group `night`."""
    parts, named, at = [], False, 0
    token = re.compile(r"\{night(?::[^}]*)?\}|\*\*/?|\*|\?|\[[^\]]*\]")
    for match in token.finditer(pattern):
        parts.append(re.escape(pattern[at : match.start()]))
        sign = match.group()
        if sign.startswith("{"):
            date_format = match.group()[7:-1] if ":" in sign else "%Y-%m-%d"
            body = re.sub(r"%.", lambda found: "\0" + found.group()[1], date_format)
            body = re.sub(
                "\0(.)", lambda found: _DIRECTIVES["%" + found.group(1)], re.escape(body).replace("\\\0", "\0")
            )
            parts.append("(?P=night)" if named else f"(?P<night>{body})")
            named = True
        else:
            parts.append({"*": "[^/]*", "?": "[^/]", "**/": "(?:.*/)?", "**": ".*"}.get(sign, sign.replace("[!", "[^")))
        at = match.end()
    parts.append(re.escape(pattern[at:]))
    return re.compile("".join(parts))


def _arrival(matcher: re.Pattern[str], path: str, date_format: str) -> dt.date | None:
    match = matcher.fullmatch(path)
    if match is None:
        return None
    try:
        return dt.datetime.strptime(match.group("night"), date_format).date()
    except ValueError:
        return None


def _unsettled(info: dict[str, Any], seconds: float) -> bool:
    modified = info.get("mtime")
    return (
        bool(seconds) and isinstance(modified, int | float) and dt.datetime.now(dt.UTC).timestamp() - modified < seconds
    )


def _mark(info: dict[str, Any]) -> str:
    changed = next(
        (info[key] for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created") if info.get(key)), ""
    )
    return f"{info.get('size')}:{changed}"


def _pieces(stream: Any, limit: int) -> Iterator[bytes]:
    """The bytes of a file, at most one more than `limit`."""
    left = limit + 1
    while left > 0:
        piece = stream.read(min(_PIECE, left))
        if not piece:
            return
        left -= len(piece)
        yield piece
