"""Policies from files: read, checked by the contract with every problem at once, proposed; and what the package ships."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from fangcuan.cases.policies import versions as policies
from fangcuan.cases.policies.rows import PolicyInvalid, RowProblem, problems_of, proposable
from fangcuan.cases.refusals import GuardFailed
from fangcuan.core.canonical import sha256_hex
from fangcuan.core.contract import Relation
from fangcuan.core.masters import BY_APPROVAL, MASTERS
from fangcuan.detect.relations import night_end
from fangcuan.flow.accounts import acting
from fangcuan.flow.installation import Installation
from fangcuan.flow.pulling import References
from fangcuan.ingest.base import POSITION, PROBLEMS, RawDocument, Refused
from fangcuan.ingest.connectors.files import FilesConnector, FilesOptions
from fangcuan.ingest.gate import Gate
from fangcuan.ingest.mapping import Mapper
from fangcuan.ingest.source import FeedSpec

_FORMATS = (".csv", ".jsonl", ".ndjson", ".yml", ".yaml")
#: A file of policies is written by people; a larger one is something else.
_MOST_BYTES = 16 * 1024 * 1024
#: Kinds of policy the package brings rows of.
SHIPPED = ("legal_gate",)


def propose_file(
    installation: Installation, kind: str, path: Path, *, actor: str | None = None, note: str | None = None
) -> int:
    """Propose the rows of a CSV, JSON lines or YAML file in the contract's columns; the number of the proposal.

    Raises CommandRefused; PolicyInvalid has every problem of every row, and then nothing is stored.
    """
    policies.check_kind(kind)
    rows, positions = read_rows(installation, kind, path)
    who = acting(installation, actor)
    return policies.propose(installation.engine, who, kind, rows, note=note, positions=positions)


def approve_shipped_policies(installation: Installation) -> dict[str, int]:
    """Approve what the package ships and nobody decided about; kind → rows that are new."""
    found = {}
    for kind in SHIPPED:
        found[kind] = len(policies.approve_shipped(installation.engine, kind, shipped_rows(kind)))
    return found


def shipped_rows(kind: str) -> list[dict[str, Any]]:
    """Typed rows that the package brings; every column of such a kind is text, yes or no."""
    relation = proposable(MASTERS[kind])
    text = (resources.files("fangcuan.cases.policies") / "shipped" / f"{kind}.csv").read_text(encoding="utf-8")
    yes_or_no = {column.name for column in relation.columns if column.kind == "boolean"}
    return [
        {
            name: row.get(name) == "true" if name in yes_or_no else row.get(name) or None
            for name in relation.column_names
        }
        for row in csv.DictReader(text.splitlines())
    ]


def today(installation: Installation) -> dt.date:
    """The date in the brand's time zone."""
    return dt.datetime.now(installation.settings.zone).date()


def read_rows(installation: Installation, kind: str, path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Typed rows of a file and where each stands in it (`row 3`).

    Raises PolicyInvalid with every problem, GuardFailed for a file that cannot be read at all.
    """
    relation = proposable(MASTERS[kind])
    if path.suffix.lower() not in _FORMATS:
        raise GuardFailed(f"{path.name}: expected a file ending in {', '.join(_FORMATS)}")
    try:
        table = pa.concat_tables(_tables(path), promote_options="permissive")
        given = [name for name in table.column_names if name not in (POSITION, PROBLEMS)]
        wrong = _wrong_columns(relation, given)
        if wrong:
            raise PolicyInvalid(kind, wrong)
        zone = installation.settings.timezone
        mapped = Mapper(relation, FeedSpec(relation=kind), zone).apply(table)
    except Refused as error:
        where = "; ".join(part for part in (error.position, error.column and f"column {error.column}") if part)
        raise GuardFailed(f"{path.name}: {error.message}" + (f" ({where})" if where else "")) from error
    except OSError as error:
        raise GuardFailed(f"{path}: {error.strerror or error}") from error
    end = night_end(today(installation), installation.settings)
    result = Gate(relation, references=References(installation).of(relation), night_end=end).check(mapped)
    problems = [problem for row in result.bad.to_pylist() for problem in _problems(row)]
    bad = set(result.bad.column("position").to_pylist())
    positions = [at for at in mapped.table.column(POSITION).to_pylist() if at not in bad]
    rows = result.good.to_pylist()
    problems += problems_of(kind, rows, positions)
    if problems:
        raise PolicyInvalid(kind, sorted(problems, key=lambda one: _order(one.position)))
    return rows, positions


def _tables(path: Path) -> Iterator[pa.Table]:
    """Raw rows of a file with their positions, values as text."""
    data = path.read_bytes()
    if len(data) > _MOST_BYTES:
        raise Refused("too_large", f"{len(data)} bytes; a file of policies has at most {_MOST_BYTES}")
    if path.suffix.lower() in (".yml", ".yaml"):
        yield _yaml(data)
        return
    document = RawDocument("policies", path.name, path, sha256_hex(data), len(data), dt.date.today())
    for chunk in FilesConnector().read(document, FilesOptions(path=str(path)), policies.MOST_ROWS):
        yield chunk.table


def _yaml(data: bytes) -> pa.Table:
    """A YAML list of mappings. Every scalar stays text: 12.50 is money, and no date is guessed."""
    try:
        rows = yaml.load(data.decode("utf-8"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refused("unreadable", f"not YAML in UTF-8: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refused("unreadable", "expected a list of rows, each `- column: value`")
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    columns = {name: pa.array([_text(row.get(name)) for row in rows], pa.string()) for name in names}
    return pa.table({**columns, POSITION: pa.array([f"row {at}" for at in range(1, len(rows) + 1)], pa.string())})


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _wrong_columns(relation: Relation, given: list[str]) -> list[RowProblem]:
    found = []
    for name in given:
        if name in BY_APPROVAL:
            found.append(RowProblem("header", name, "is filled in by the approval; leave it out"))
        elif name not in relation:
            has = ", ".join(relation.column_names)
            found.append(RowProblem("header", name, f"{relation.name} has no such column; it has {has}"))
    missing = [name for name in relation.required if name not in given]
    return found + [RowProblem("header", name, "is missing") for name in missing]


def _problems(row: dict[str, Any]) -> Iterator[RowProblem]:
    for reason in json.loads(row["reasons"]):
        shown = "" if reason.get("value") is None else f"{reason['value']!r}; "
        yield RowProblem(row["position"], reason.get("column") or "", f"{shown}expected {reason['expected']}")


def _order(position: str) -> tuple[int, str]:
    digits = "".join(letter for letter in position if letter.isdigit())
    return (int(digits) if digits else 0, position)
