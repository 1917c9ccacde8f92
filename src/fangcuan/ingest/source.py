"""`pipelines/<id>/source.yml`: where a source's data comes from and how it becomes contract rows.

`load_source` returns a SourceSpec that is valid by construction, or raises ContentError with every complaint, each
with its line. A source may feed several relations; docs/sources.md explains every key.
"""

from __future__ import annotations

import csv
import os
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from fangcuan.content.yaml_lines import ContentError, KeyPath, Problem, explain, line_of, load
from fangcuan.core.contract import Relation
from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import DECIDED, MASTERS
from fangcuan.ingest import connectors
from fangcuan.ingest.expressions import ExpressionError, check

FILE_NAME = "source.yml"
RELATIONS: Mapping[str, Relation] = {**FEEDS, **MASTERS}

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _scalar_text(value: Any) -> Any:
    """YAML numbers and booleans where text is meant: `quantity: 1` is the expression `1`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _expression(value: Any) -> Any:
    value = _scalar_text(value)
    if isinstance(value, str):
        check(value)
    return value


def _pattern(value: Any) -> Any:
    if isinstance(value, str):
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
    return value


def _zone(value: Any) -> Any:
    if isinstance(value, str):
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("not an IANA time zone; write one such as Asia/Shanghai") from error
    return value


Text = Annotated[str, BeforeValidator(_scalar_text)]
Expression = Annotated[str, BeforeValidator(_expression)]
Pattern = Annotated[str, BeforeValidator(_pattern)]
Zone = Annotated[str, BeforeValidator(_zone)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Title(_Strict):
    en: str
    zh: str


class ColumnExpect(_Strict):
    """What this source promises of one contract column, on top of the contract itself."""

    minimum: float | None = None
    maximum: float | None = None
    values: tuple[Text, ...] = ()
    pattern: Pattern | None = None

    @model_validator(mode="after")
    def _ordered(self) -> ColumnExpect:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class Expect(_Strict):
    """What a whole batch must look like; a batch that does not is held.

    `rows` bounds the rows read (either end may be null), `quarantine_pct` the share of rows quarantined in percent,
    `max_age_days` the age of the newest event at the end of the night.
    """

    rows: tuple[Annotated[int, Field(ge=0)] | None, Annotated[int, Field(ge=0)] | None] = (None, None)
    quarantine_pct: Annotated[float, Field(ge=0, le=100)] | None = None
    max_age_days: Annotated[int, Field(ge=0)] | None = None
    columns: dict[str, ColumnExpect] = {}

    @model_validator(mode="after")
    def _ordered(self) -> Expect:
        low, high = self.rows
        if low is not None and high is not None and low > high:
            raise ValueError(f"rows: minimum {low} is above maximum {high}")
        return self


class FeedSpec(_Strict):
    """How raw rows of a source become rows of one relation.

    `map` gives a DuckDB expression per contract column; without `map`, or with `identity: true`, a raw column of a
    contract column's own name maps itself. `lookups` replaces dirty values by canonical ones after the expression.
    """

    relation: str
    where: Expression | None = None
    map: dict[str, Expression] = {}
    identity: bool = False
    timezone: Zone | None = None
    ignore: tuple[Text, ...] = ()
    lookups: dict[str, dict[str, Text]] = {}
    expect: Expect = Expect()

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> FeedSpec:
        if not (info.context or {}).get("collecting"):
            for where, message in _feed_problems(self.model_dump()):
                raise ValueError(f"{'.'.join(str(part) for part in where)}: {message}")
        return self

    @property
    def maps_itself(self) -> bool:
        return self.identity or not self.map


class ConnectorSpec(BaseModel):
    """A connector kind with its validated options."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    kind: str
    options: BaseModel


class SourceSpec(_Strict):
    """One source. `folder` is where its source.yml stands; relative paths of its connector start there."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    title: Title
    owner: Annotated[str, Field(min_length=1)]
    schedule: Literal["nightly", "intraday"] = "nightly"
    connector: ConnectorSpec
    feeds: Annotated[tuple[FeedSpec, ...], Field(min_length=1)]
    folder: Path = Path()


class _SourceFile(_Strict):
    """The YAML itself, before the connector's own options are known."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    title: Title
    owner: Annotated[str, Field(min_length=1)]
    schedule: Literal["nightly", "intraday"] = "nightly"
    connector: dict[str, Any]
    feeds: Annotated[tuple[FeedSpec, ...], Field(min_length=1)]


def load_source(folder: Path, variables: Mapping[str, str] | None = None) -> SourceSpec:
    """The source in `folder`. `variables` answers `${NAME}` in connector options (the environment by default).

    Raises ContentError with every complaint, each as `path:line: what, expected, what to do`.
    """
    path = folder / FILE_NAME
    data, lines = load(path)
    if not isinstance(data, dict):
        what = "the file is empty" if data is None else "no keys"
        raise ContentError(
            [Problem(path, 1, f"{what}; expected id, title, owner, connector and feeds; see docs/sources.md")]
        )
    found: list[tuple[KeyPath, str]] = []
    data = _with_lookup_files(data, folder, found)
    for where, text in _texts({key: value for key, value in data.items() if key != "connector"}, ()):
        if _VARIABLE.search(text):
            found.append((where, "${...} is only replaced in connector options; write the value out"))
    if isinstance(data.get("id"), str) and data["id"] != folder.resolve().name:
        found.append(
            (("id",), f"{data['id']!r} is not the name of its folder {folder.resolve().name!r}; make them equal")
        )
    fed: dict[str, int] = {}
    for position, feed in _items(data.get("feeds")):
        name = feed.get("relation") if isinstance(feed, dict) else None
        if isinstance(name, str) and fed.setdefault(name, position) != position:
            # A batch is known by document, source and relation: a second feed of the same would pass for a repeat.
            found.append(
                (
                    ("feeds", position, "relation"),
                    f"{name} is already fed by feed {fed[name] + 1}; make one feed of them",
                )
            )
        if name in DECIDED:
            message = f"{name} is approved, not loaded; `fangcuan policies propose {name} FILE`"
            found.append((("feeds", position, "relation"), message))
        found.extend((("feeds", position, *where), message) for where, message in _feed_problems(feed))
    problems = [Problem(path, line_of(lines, where), f"{_dotted(where)}: {message}") for where, message in found]
    options: ConnectorSpec | None = None
    if isinstance(data.get("connector"), dict):
        try:
            options = _connector(data["connector"], variables if variables is not None else os.environ)
        except _Complaints as error:
            problems += [Problem(path, line_of(lines, where), message) for where, message in error.items]
        except _Invalid as error:
            problems += explain(error.error, path, lines, error.model, ("connector",))
    parsed: _SourceFile | None = None
    try:
        parsed = _SourceFile.model_validate(data, context={"collecting": True})
    except ValidationError as error:
        problems += explain(error, path, lines, _SourceFile)
    if problems or parsed is None or options is None:
        raise ContentError(sorted(problems, key=lambda problem: problem.line))
    fields = {name: getattr(parsed, name) for name in ("id", "title", "owner", "schedule", "feeds")}
    return SourceSpec(**fields, connector=options, folder=folder.resolve())


class _Complaints(Exception):
    def __init__(self, *items: tuple[KeyPath, str]):
        super().__init__(items)
        self.items = items


class _Invalid(Exception):
    def __init__(self, error: ValidationError, model: type[BaseModel]):
        super().__init__(str(error))
        self.error = error
        self.model = model


def _connector(raw: Mapping[str, Any], variables: Mapping[str, str]) -> ConnectorSpec:
    kind = raw.get("kind")
    known = connectors.kinds()
    if kind not in known:
        what = "connector.kind is missing" if kind is None else f"connector.kind: {kind!r} is not known"
        raise _Complaints((("connector", "kind"), f"{what}; expected one of {', '.join(known)}"))
    missing: list[tuple[KeyPath, str]] = []
    options = _interpolate(
        {key: value for key, value in raw.items() if key != "kind"}, variables, ("connector",), missing
    )
    if missing:
        raise _Complaints(*missing)
    model = connectors.get(str(kind)).Options
    try:
        return ConnectorSpec(kind=str(kind), options=model.model_validate(options))
    except ValidationError as error:
        raise _Invalid(error, model) from error


def _interpolate(value: Any, variables: Mapping[str, str], where: KeyPath, missing: list[tuple[KeyPath, str]]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolate(item, variables, (*where, key), missing) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolate(item, variables, (*where, at), missing) for at, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if not _VARIABLE_NAME.fullmatch(name) or name.upper().startswith("FANGCUAN_SECRET"):
            reason = (
                "is a secret; name it in the connector's secret option" if "SECRET" in name.upper() else "is not a name"
            )
            missing.append((where, f"${{{name}}} {reason}"))
        elif name not in variables:
            missing.append((where, f"${{{name}}} is not set; set the variable {name} or write the value out"))
        else:
            return variables[name]
        return match.group(0)

    return _VARIABLE.sub(replace, value)


def _with_lookup_files(data: dict[str, Any], folder: Path, found: list[tuple[KeyPath, str]]) -> dict[str, Any]:
    """`lookups: {sku: {file: skus.csv}}` with the file's pairs in place of its name."""
    feeds = []
    for position, feed in enumerate(data["feeds"]) if isinstance(data.get("feeds"), list) else ():
        if isinstance(feed, dict) and isinstance(feed.get("lookups"), dict):
            lookups = dict(feed["lookups"])
            for column, given in lookups.items():
                if isinstance(given, dict) and set(given) == {"file"}:
                    try:
                        lookups[column] = read_lookup(folder, str(given["file"]))
                    except ValueError as error:
                        found.append((("feeds", position, "lookups", column, "file"), str(error)))
                        lookups[column] = {}
            feed = {**feed, "lookups": lookups}
        feeds.append(feed)
    return {**data, "feeds": feeds} if feeds else data


def read_lookup(folder: Path, name: str) -> dict[str, str]:
    """Pairs of a lookup file: UTF-8 CSV with the header `value,canonical`, inside the source's folder. Raises
    ValueError."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} lies outside the source's folder; put the file beside {FILE_NAME}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name!r} cannot be read as UTF-8 CSV ({error})") from error
    if not rows or rows[0] != ["value", "canonical"]:
        raise ValueError(f"{name!r} must begin with the header value,canonical")
    pairs: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != 2:
            raise ValueError(f"{name!r} line {number}: {len(row)} fields; expected value,canonical")
        if pairs.setdefault(row[0], row[1]) != row[1]:
            raise ValueError(f"{name!r} line {number}: {row[0]!r} already stands for {pairs[row[0]]!r}")
    return pairs


def _feed_problems(feed: Any) -> Iterator[tuple[KeyPath, str]]:
    """What a model alone cannot see: names that must exist in the contract. Works on data that may be malformed."""
    if not isinstance(feed, Mapping) or not isinstance(feed.get("relation"), str):
        return
    relation = RELATIONS.get(feed["relation"])
    if relation is None:
        yield ("relation",), f"{feed['relation']!r} is not a relation; expected one of {', '.join(RELATIONS)}"
        return
    mapped = feed.get("map") or {}
    for key in ("map", "lookups"):
        for name in feed.get(key) or {}:
            if name not in relation:
                yield (key, name), f"{relation.name} has no column {name!r}; it has {', '.join(relation.column_names)}"
            elif key == "lookups" and relation[name].kind != "text":
                yield (key, name), f"{name} is {relation[name].kind}; a lookup replaces text"
    expect = feed.get("expect") or {}
    for name, promise in (expect.get("columns") or {}).items() if isinstance(expect, Mapping) else ():
        where = ("expect", "columns", name)
        if name not in relation:
            yield where, f"{relation.name} has no column {name!r}; it has {', '.join(relation.column_names)}"
        elif isinstance(promise, Mapping):
            kind = relation[name].kind
            if kind not in {"integer", "decimal", "rate", "double"} and (
                promise.get("minimum"),
                promise.get("maximum"),
            ) != (
                None,
                None,
            ):
                yield where, f"{name} is {kind}; minimum and maximum are for numbers"
            if kind != "text" and (promise.get("values") or promise.get("pattern")):
                yield where, f"{name} is {kind}; values and pattern are for text"
    if isinstance(mapped, Mapping) and mapped and not feed.get("identity"):
        # The event hash may be computed by the load; every other mandatory column must be mapped here.
        absent = [name for name in relation.required if name not in mapped]
        if absent:
            yield (
                ("map",),
                f"mandatory columns without an expression: {', '.join(absent)}; map them or set identity: true",
            )
    if relation.time is None and isinstance(expect, Mapping) and expect.get("max_age_days") is not None:
        yield ("expect", "max_age_days"), f"{relation.name} is master data and has no event time; remove it"


def _texts(value: Any, where: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield where, value
    for key, item in value.items() if isinstance(value, dict) else _items(value):
        yield from _texts(item, (*where, key))


def _items(value: Any) -> Iterator[tuple[int, Any]]:
    yield from enumerate(value) if isinstance(value, list) else ()


def _dotted(where: KeyPath) -> str:
    return ".".join(str(part) for part in where)


__all__ = [
    "RELATIONS",
    "ColumnExpect",
    "ConnectorSpec",
    "Expect",
    "ExpressionError",
    "FeedSpec",
    "SourceSpec",
    "Title",
    "load_source",
    "read_lookup",
]
