"""Units ready to run: rules compiled, ordered by what they read, each with its digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from fangcuan.content.problem import Problem, complain, refuse
from fangcuan.content.roots import signature
from fangcuan.content.shared_sql import shared_views
from fangcuan.content.units import LoadedRule, Rule, UnitText, load_rules
from fangcuan.core.canonical import digest, sha256_hex
from fangcuan.detect.relations import base_relations, read_views
from fangcuan.detect.sql import Query, SqlRefused, parsed
from fangcuan.warehouse.canonical import canonical_names

#: Parameters the engine gives to every query.
BUILT_IN = frozenset({"night", "since", "night_end", "timezone", "currency", "default_vat_rate"})


class AnyUnit(Protocol):
    """What nights, filing and explanations ask of a unit, be it a rule or a detector."""

    @property
    def rule(self) -> UnitText: ...
    @property
    def query(self) -> Query: ...
    @property
    def digest(self) -> str: ...
    @property
    def reads(self) -> frozenset[str]: ...
    @property
    def reads_facts(self) -> frozenset[str]: ...
    @property
    def id(self) -> str: ...
    @property
    def parameters(self) -> dict[str, Any]: ...


class LoadedQuery(Protocol):
    """A unit's text with the place of its query, as far as compiling needs it."""

    @property
    def rule(self) -> UnitText: ...
    @property
    def path(self) -> Path: ...
    @property
    def query_line(self) -> int: ...


@dataclass(frozen=True)
class Unit:
    """A rule with its parsed query, its digest and what it rests on."""

    rule: Rule
    query: Query
    digest: str
    reads: frozenset[str]
    reads_facts: frozenset[str]

    @property
    def id(self) -> str:
        return self.rule.id

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: parameter.value for name, parameter in self.rule.parameters.items()}


def facts_of(units: Mapping[str, AnyUnit]) -> dict[str, Rule]:
    """The facts among units: what others read by relation."""
    rules = {key: unit.rule for key, unit in units.items()}
    return {key: rule for key, rule in rules.items() if isinstance(rule, Rule) and rule.role == "fact"}


def load_units(loaded: Mapping[str, LoadedRule] | None = None) -> dict[str, Unit]:
    """All units by id, those that others read first. Raises ContentError with every problem found."""
    if loaded is None:
        return dict(_shipped(signature("rules", "*/*.yml"), signature("sql", "views/*.sql")))
    return _units(loaded)


@lru_cache(maxsize=4)
def _shipped(_rules: tuple[Any, ...], _views: tuple[Any, ...]) -> dict[str, Unit]:
    return _units(load_rules())


def _units(rules: Mapping[str, LoadedRule]) -> dict[str, Unit]:
    facts = {rule_id: item.rule for rule_id, item in rules.items() if item.rule.role == "fact"}
    problems: list[Problem] = []
    queries: dict[str, Query] = {}
    for rule_id, item in rules.items():
        query, found = compile_query(item, facts, BUILT_IN)
        problems.extend(found)
        if query is not None:
            queries[rule_id] = query
    refuse(problems)
    return _ordered(rules, queries, facts)


def compile_query(
    item: LoadedQuery, facts: Mapping[str, Rule], built_in: frozenset[str]
) -> tuple[Query | None, list[Problem]]:
    """The checked query of a unit, and what is wrong with it. `built_in` are parameters that need no declaration."""

    def problem(what: str, expected: str, todo: str, line: int = 0) -> Problem:
        return complain(item.path, max(item.query_line + line, 1), what, expected, todo)

    try:
        query = parsed(item.rule.query)
    except SqlRefused as error:
        return None, [problem(error.what, error.expected, error.todo, error.line)]
    problems = []
    known = canonical_names() | set(shared_views()) | {rule.relation for rule in facts.values()}
    for name in sorted(query.relations - known):
        problems.append(
            problem(f"relation {name!r}", "a feed, master, custody relation, shared view or fact", "name one")
        )
    for name in sorted(known & set(query.steps)):
        problems.append(problem(f"step {name!r} hides the relation of that name", "a name of its own", "rename it"))
    for name in sorted(query.parameters - set(item.rule.parameters) - built_in):
        problems.append(problem(f"parameter ${name}", "a declared parameter", f"declare {name} under parameters:"))
    for name in sorted(set(item.rule.parameters) - query.parameters):
        problems.append(problem(f"parameter {name} is never used", "every parameter named in the query", "remove it"))
    return query, problems


def _ordered(
    rules: Mapping[str, LoadedRule], queries: Mapping[str, Query], facts: Mapping[str, Rule]
) -> dict[str, Unit]:
    by_relation = {rule.relation: rule_id for rule_id, rule in facts.items()}
    built: dict[str, Unit] = {}

    def build(rule_id: str, path: tuple[str, ...]) -> Unit:
        if rule_id in built:
            return built[rule_id]
        item, query = rules[rule_id], queries[rule_id]
        if rule_id in path:
            chain = " → ".join((*path, rule_id))
            refuse([complain(item.path, 1, f"facts read each other: {chain}", "no circle", "cut it")])
        views, read = read_views(query, facts)
        below = {relation: build(by_relation[relation], (*path, rule_id)).digest for relation in sorted(read)}
        unit_digest = digest(
            {
                "rule": sha256_hex(item.text.encode()),
                "parameters": {name: p.value for name, p in item.rule.parameters.items()},
                "views": {name: sha256_hex(shared_views()[name].encode()) for name in sorted(views)},
                "facts": below,
            }
        )
        built[rule_id] = Unit(item.rule, query, unit_digest, base_relations(query, facts), read)
        return built[rule_id]

    for rule_id in sorted(rules):
        build(rule_id, ())
    return built
