"""Every rule's own tests, through the engine that judges nights, and what all rules have in common."""

from __future__ import annotations

import string
from collections.abc import Mapping

import pytest

from fangcuan.content.units import Rule
from fangcuan.core.finding import FAMILIES
from fangcuan.detect.given import run_rule_test
from fangcuan.detect.units import Unit
from fangcuan.settings import Settings

EXPECTED = {
    "diversion.out_of_territory",
    "diversion.repeated_destination",
    "diversion.custody_break",
    "code_integrity.unknown_serial",
    "code_integrity.impossible_travel",
    "code_integrity.reappeared_after_end",
    "loading.period_end_orders",
    "loading.grey_inflow",
}


def test_the_corpus_is_there(units: Mapping[str, Unit]) -> None:
    """Without this, a corpus that could not be read would pass every parametrised test below."""
    assert set(units) >= EXPECTED
    assert {unit.rule.family for unit in units.values()} <= set(FAMILIES)
    assert sum(len(unit.rule.tests) for unit in units.values()) >= 90


def test_rule_holds(rule_test: tuple[str, int], units: Mapping[str, Unit], settings: Settings) -> None:
    unit_id, number = rule_test
    unit = units[unit_id]
    test = unit.rule.tests[number]
    outcome = run_rule_test(unit, units, test, settings)
    problems = "\n".join(f"{unit_id} | {test.name} | {problem}" for problem in outcome.problems)
    assert not outcome.problems, problems


def test_a_rule_test_can_fail(units: Mapping[str, Unit], settings: Settings) -> None:
    """A wrong expectation is told with the column, what was wanted and what came."""
    unit = units["code_integrity.impossible_travel"]
    fires = next(test for test in unit.rule.tests if test.expect)
    wrong = fires.model_copy(update={"expect": [{**fires.expect[0], "pairs": 99}]})
    assert any("pairs 99, got 1" in problem for problem in run_rule_test(unit, units, wrong, settings).problems)
    silent = fires.model_copy(update={"expect": []})
    assert run_rule_test(unit, units, silent, settings).problems == ("expected 0 rows, got 1",)


def _names(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def _problems(rule: Rule) -> list[str]:
    problems = []
    if rule.explanation is not None and _names(rule.explanation.en) != _names(rule.explanation.zh):
        problems.append("the English and the Chinese explanation name different columns")
    for kind in ("innocent_readings", "known_gaps"):
        texts = getattr(rule, kind)
        if not texts:
            problems.append(f"{kind} is empty")
    texts = [rule.title, rule.triage, *rule.innocent_readings, *rule.known_gaps]
    for text in [*texts, *([rule.explanation] if rule.explanation else [])]:
        if not any("一" <= letter <= "鿿" for letter in text.zh):
            problems.append(f"not Chinese: {text.zh}")
        if any("一" <= letter <= "鿿" for letter in text.en):
            problems.append(f"not English: {text.en}")
    names = [test.name for test in rule.tests]
    if len(names) != len(set(names)):
        problems.append("two tests have the same name")
    return problems


@pytest.mark.parametrize("unit_id", sorted(EXPECTED))
def test_rule_speaks_two_languages(unit_id: str, units: Mapping[str, Unit]) -> None:
    problems = _problems(units[unit_id].rule)
    assert not problems, "\n".join(f"{unit_id} | {problem}" for problem in problems)
