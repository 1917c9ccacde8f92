"""Detectors ready to run: features compiled as rules are, each with its digest; and all units of a night together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from fangcuan.content.detectors_yaml import (
    ALWAYS_TOLD,
    ENGINE_NAMES,
    Detector,
    LoadedDetector,
    detectors_signature,
    load_detectors,
)
from fangcuan.content.problem import Problem, complain, refuse
from fangcuan.content.roots import signature
from fangcuan.content.shared_sql import shared_views
from fangcuan.content.units import load_rules
from fangcuan.core.canonical import digest, sha256_hex
from fangcuan.detect.relations import base_relations, read_views
from fangcuan.detect.sql import Query
from fangcuan.detect.units import BUILT_IN, AnyUnit, Unit, compile_query, load_units

#: Parameters the engine gives to features.sql beside those of every query: windows that start in [first_day, end_day).
WINDOW_PARAMETERS = frozenset({"first_day", "end_day"})
#: Columns that say whose features a row holds, in the order rows are sorted by.
ROW_KEY = ("subject_id", "sku", "product_line", "region_code", "channel", "lot", "window_start")


@dataclass(frozen=True)
class DetectorUnit:
    """A detector with its parsed query, its digest and what it rests on. `rule` is its text, as for every unit."""

    loaded: LoadedDetector
    query: Query
    digest: str
    reads: frozenset[str]
    reads_facts: frozenset[str]

    @property
    def rule(self) -> Detector:
        return self.loaded.rule

    @property
    def id(self) -> str:
        return self.loaded.rule.id

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: parameter.value for name, parameter in self.rule.parameters.items()}

    @cached_property
    def hyper_parameters(self) -> dict[str, Any]:
        return {name: parameter.value for name, parameter in self.rule.hyper_parameters.items()}

    def query_parameters(self, window: tuple[dt.date, dt.date]) -> dict[str, Any]:
        """What features.sql names: the detector's own parameters and the windows to give rows for."""
        return {**self.parameters, "first_day": window[0], "end_day": window[1]}

    def training_window(self, night: dt.date) -> tuple[dt.date, dt.date]:
        """First day and end of the whole windows that are over by `night`, as many as the detector learns from."""
        end = window_floor(night + dt.timedelta(days=1), self.rule.window)
        return earlier_window(end, self.rule.window, self.rule.training.windows), end

    def scoring_window(self, night: dt.date) -> tuple[dt.date, dt.date]:
        """First day and end of the windows that are judged on `night`: the current one and those just before it."""
        current = window_floor(night, self.rule.window)
        return (
            earlier_window(current, self.rule.window, self.rule.score_windows - 1),
            next_window(current, self.rule.window),
        )


def window_floor(day: dt.date, window: str) -> dt.date:
    """First day of the calendar week (Monday) or month that holds `day`."""
    return day - dt.timedelta(days=day.weekday()) if window == "week" else day.replace(day=1)


def next_window(first: dt.date, window: str) -> dt.date:
    if window == "week":
        return first + dt.timedelta(days=7)
    return (first + dt.timedelta(days=31)).replace(day=1)


def earlier_window(first: dt.date, window: str, count: int) -> dt.date:
    """First day of the window that starts `count` windows before the one that starts on `first`."""
    for _ in range(count):
        first = window_floor(first - dt.timedelta(days=1), window)
    return first


def load_detector_units() -> dict[str, DetectorUnit]:
    """All detectors by id. Raises ContentError with every problem found in them or in the rules they read."""
    key = (signature("rules", "*/*.yml"), signature("sql", "views/*.sql"), detectors_signature())
    return dict(_detector_units(*key))


@lru_cache(maxsize=4)
def _detector_units(_rules: Any, _views: Any, _detectors: Any) -> dict[str, DetectorUnit]:
    rules, units = load_rules(), load_units()
    facts = {rule_id: item.rule for rule_id, item in rules.items() if item.rule.role == "fact"}
    problems: list[Problem] = []
    built: dict[str, DetectorUnit] = {}
    for detector_id, loaded in sorted(load_detectors().items()):
        query, found = compile_query(loaded, facts, BUILT_IN | WINDOW_PARAMETERS)
        problems.extend(found)
        if detector_id in units:
            problems.append(complain(loaded.path, 1, f"id {detector_id}", "an id that no rule has", "rename one"))
        if query is None:
            continue
        problems.extend(_unlike_its_yaml(loaded, query))
        built[detector_id] = _unit(loaded, query, units)
    refuse(problems)
    return built


def _unlike_its_yaml(loaded: LoadedDetector, query: Query) -> list[Problem]:
    problems = []
    shown = loaded.path.parent / "detector.yml"
    if set(loaded.rule.reads) != query.relations:
        expected = ", ".join(sorted(query.relations))
        what = f"reads: {', '.join(loaded.rule.reads)}"
        problems.append(complain(shown, 1, what, f"what features.sql reads: {expected}", "correct reads"))
    for name in sorted(WINDOW_PARAMETERS - query.parameters):
        what = f"${name} is never used"
        problems.append(complain(loaded.path, 1, what, "windows that start in [$first_day, $end_day)", "add it"))
    columns = set(query.tree.named_selects)
    needed = {"subject_id", "window_start", "window_end", *loaded.rule.feature_names, *loaded.rule.fingerprint}
    needed |= set(loaded.rule.explanation_names) - {*ENGINE_NAMES, *ALWAYS_TOLD}
    for name in sorted(needed - columns - {"subject"}):
        problems.append(complain(loaded.path, 1, f"no column {name}", "a column of that name", "add it to the select"))
    return problems


def _unit(loaded: LoadedDetector, query: Query, units: Mapping[str, Unit]) -> DetectorUnit:
    facts = {unit_id: unit.rule for unit_id, unit in units.items() if unit.rule.role == "fact"}
    by_relation = {rule.relation: rule_id for rule_id, rule in facts.items()}
    views, read = read_views(query, facts)
    unit_digest = digest(
        {
            "detector": sha256_hex(loaded.yaml_text.encode()),
            "features": sha256_hex(loaded.text.encode()),
            "model": sha256_hex(loaded.model_text.encode()),
            "views": {name: sha256_hex(shared_views()[name].encode()) for name in sorted(views)},
            "facts": {relation: units[by_relation[relation]].digest for relation in sorted(read)},
        }
    )
    return DetectorUnit(loaded, query, unit_digest, base_relations(query, facts), read)


def all_units() -> dict[str, AnyUnit]:
    """Rules and detectors by id, those that others read first. Raises ContentError with every problem found."""
    return {**load_units(), **load_detector_units()}


def unit_text(unit_id: str) -> str:
    """The exact text of a unit, all files of a detector: what an approval is about."""
    rules = load_rules()
    if unit_id in rules:
        return rules[unit_id].text
    loaded = load_detectors()[unit_id]
    return "\n".join([loaded.yaml_text, loaded.text, loaded.model_text])
