"""A rule's own tests: rows written in the rule file stand in for lake and casebook, everything else is the real path."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from fangcuan.content.shared_sql import custody_steps
from fangcuan.content.units import Rule, RuleTest
from fangcuan.core.canonical import digest, plain
from fangcuan.core.contract import DUCKDB_TYPES, Relation
from fangcuan.core.feeds import FEEDS
from fangcuan.core.masters import MASTERS
from fangcuan.detect.detectors import DetectorUnit
from fangcuan.detect.features import as_features
from fangcuan.detect.relations import Night, night_parameters
from fangcuan.detect.run import run_fact, run_unit
from fangcuan.detect.sql import parsed
from fangcuan.detect.units import AnyUnit, Unit, facts_of
from fangcuan.settings import Settings
from fangcuan.warehouse.custody import CUSTODY
from fangcuan.warehouse.engine import DuckEngine, quote
from fangcuan.warehouse.lake import row_key_sql


class GivenError(Exception):
    """Rows of a test do not fit the contract; the message names relation and column."""


class GivenRows:
    """Relation source over the `given` rows of a test."""

    def __init__(self, given: Mapping[str, list[dict[str, Any]]], night: dt.date, folder: Path):
        self._given = given
        self._night = night
        self._folder = folder
        self.facts: dict[str, list[tuple[dt.date, Path]]] = {}
        for name in given:
            if name not in FEEDS and name not in MASTERS:
                raise GivenError(f"given: {name!r} is neither a feed nor a master table")

    def open_raw(self, engine: DuckEngine, name: str) -> None:
        if name in FEEDS:
            self._events(engine, FEEDS[name])
        elif name in MASTERS:
            self._master(engine, MASTERS[name])
        else:
            self._events(engine, FEEDS["trace_events"])
            engine.view("batch_rows", "select * from lake_trace_events")
            sql = parsed(custody_steps()[name]).bind({})
            columns = ", ".join(quote(column) for column in CUSTODY[name][0])
            engine.table(f"steps_{name}", f"select {columns} from ({sql})")

    def open_fact(self, engine: DuckEngine, rule: Rule) -> None:
        parts = " union all ".join(
            f"select *, date '{night}' as fact_night from read_parquet('{path}')" for night, path in self.facts[rule.id]
        )
        engine.view(f"rows_{rule.relation}", parts)

    def _typed(self, engine: DuckEngine, relation: Relation, extra: Mapping[str, str]) -> str:
        columns = {**{c.name: DUCKDB_TYPES[c.kind] for c in relation.columns}, **extra}
        rows = self._given.get(relation.name, [])
        for row in rows:
            unknown = set(row) - set(columns)
            if unknown:
                raise GivenError(f"given.{relation.name}: no column {', '.join(sorted(unknown))} in the contract")
        defaults = {c.name: c.default for c in relation.columns if c.default is not None}
        texts = {
            name: pa.array([_text(row.get(name, defaults.get(name))) for row in rows], pa.string()) for name in columns
        }
        engine.register(f"given_{relation.name}", pa.table(texts))
        return ", ".join(f"cast({quote(name)} as {kind}) as {quote(name)}" for name, kind in columns.items())

    def _events(self, engine: DuckEngine, relation: Relation) -> None:
        casts = self._typed(engine, relation, {"arrived_on": "date"})
        if relation.name == "trace_events":
            casts = casts.replace(
                'cast("item_role" as varchar)',
                "coalesce(item_role, case when parent_epc is not null and event_type = 'aggregation' "
                "then 'child' else 'item' end)",
            )
        engine.table(
            f"lake_{relation.name}",
            f"select * replace (coalesce(arrived_on, date '{self._night}') as arrived_on), {row_key_sql(relation)} as row_key, "
            f"cast({relation.time} as date) as event_date from (select {casts} from given_{relation.name})",
        )

    def _master(self, engine: DuckEngine, relation: Relation) -> None:
        extra = {} if "recorded_at" in relation else {"recorded_at": "timestamptz"}
        casts = self._typed(engine, relation, extra)
        keys = [name for name in relation.key if name != "recorded_at"]
        parts = ", ".join(f"coalesce(cast({quote(name)} as varchar), '')" for name in keys)
        engine.table(
            f"recorded_{relation.name}",
            f"select *, concat_ws('|', {parts}) as business_key, "
            f"md5(cast(given_row as varchar)) as row_digest from (select {casts} from given_{relation.name}) given_row",
        )


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(value)
    return str(value)


@dataclass(frozen=True)
class TestOutcome:
    """One test of one rule: `problems` is empty when it holds."""

    __test__ = False

    unit_id: str
    name: str
    problems: tuple[str, ...]
    given: list[dict[str, Any]]


def run_rule_test(unit: AnyUnit, units: Mapping[str, AnyUnit], test: RuleTest, settings: Settings) -> TestOutcome:
    """Run one test through the real engine, facts first; compare each expected row column by column.

    Rows are findings; of a fact its own rows, of a detector the rows of its features.
    """
    night_date = dt.date.fromisoformat(test.night)
    since = dt.date.fromisoformat(test.since) if test.since else None
    facts = facts_of(units)
    with TemporaryDirectory() as folder, DuckEngine(settings) as engine:
        source = GivenRows({**unit.rule.background, **test.given}, night_date, Path(folder))
        night = Night(engine, source, facts, night_parameters(night_date, since, settings))
        for fact in _facts_below(unit, units):
            path = Path(folder) / f"{fact.id}.parquet"
            run_fact(night, fact, path)
            source.facts.setdefault(fact.id, []).append((night_date, path))
        if isinstance(unit, DetectorUnit):
            window = unit.scoring_window(night_date)
            sql = night.prepare(unit.query, {**unit.query_parameters(window), **test.parameters})
            got = [plain(row) for row in as_features(unit, engine.arrow(sql)).table.to_pylist()]
        elif isinstance(unit, Unit) and unit.rule.role == "fact":
            sql = night.prepare(unit.query, {**unit.parameters, **test.parameters})
            order = ", ".join(quote(column) for column in unit.rule.key)
            got = [plain(row) for row in engine.arrow(f"select * from ({sql}) order by {order}").to_pylist()]
        else:
            assert isinstance(unit, Unit)
            tuned = _with_parameters(unit, test.parameters)
            got = [_flat(finding.as_record()) for finding in run_unit(night, tuned, "test", settings).findings]
    return TestOutcome(unit.id, test.name, tuple(_compare(test.expect, got)), got)


def _with_parameters(unit: Unit, parameters: Mapping[str, Any]) -> Unit:
    if not parameters:
        return unit
    changed = {
        name: parameter.model_copy(update={"value": parameters.get(name, parameter.value)})
        for name, parameter in unit.rule.parameters.items()
    }
    rule = unit.rule.model_copy(update={"parameters": changed})
    return Unit(rule, unit.query, digest({"of": unit.digest, "with": dict(parameters)}), unit.reads, unit.reads_facts)


def _facts_below(unit: AnyUnit, units: Mapping[str, AnyUnit]) -> list[Unit]:
    rules = [item for item in units.values() if isinstance(item, Unit)]
    by_relation = {item.rule.relation: item for item in rules if item.rule.role == "fact"}
    ordered: list[Unit] = []

    def visit(item: AnyUnit) -> None:
        for relation in sorted(item.reads_facts):
            below = by_relation[relation]
            visit(below)
            if below not in ordered:
                ordered.append(below)

    visit(unit)
    return ordered


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    return {**record["explanation_params"], **{k: v for k, v in record.items() if k != "explanation_params"}}


def _compare(expected: list[dict[str, Any]], got: list[dict[str, Any]]) -> list[str]:
    problems = []
    if len(expected) != len(got):
        problems.append(f"expected {len(expected)} rows, got {len(got)}")
    left = list(got)
    for number, wanted in enumerate(expected, 1):
        match = next((row for row in left if all(_same(row.get(k), v) for k, v in wanted.items())), None)
        if match is not None:
            left.remove(match)
            continue
        nearest = max(left, key=lambda row: sum(_same(row.get(k), v) for k, v in wanted.items()), default=None)
        if nearest is None:
            problems.append(f"expected row {number} {wanted} is missing")
        else:
            wrong = {k: (v, nearest.get(k)) for k, v in wanted.items() if not _same(nearest.get(k), v)}
            problems.append(
                f"expected row {number}: " + ", ".join(f"{k} {v[0]!r}, got {v[1]!r}" for k, v in wrong.items())
            )
    return problems


def _same(got: Any, wanted: Any) -> bool:
    wanted = plain(wanted)
    if isinstance(wanted, int | float) and not isinstance(wanted, bool) and got is not None:
        try:
            return abs(float(got) - float(wanted)) <= 1e-6 * max(1.0, abs(float(wanted)))
        except (TypeError, ValueError):
            return False
    return bool(got == wanted)
