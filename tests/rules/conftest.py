"""Fixtures for tests of the shipped rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from fangcuan.content.problem import ContentError
from fangcuan.detect.units import Unit, load_units
from fangcuan.settings import Settings


@pytest.fixture(scope="session")
def units() -> Mapping[str, Unit]:
    return load_units()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`rule_test` runs over every test of every rule; a corpus that does not load gives none and fails its own test."""
    if "rule_test" not in metafunc.fixturenames:
        return
    try:
        found = load_units()
    except ContentError:
        found = {}
    cases = [(unit.id, number) for unit in found.values() for number in range(len(unit.rule.tests))]
    names = [f"{unit_id}: {found[unit_id].rule.tests[number].name}" for unit_id, number in cases]
    metafunc.parametrize("rule_test", cases, ids=names)
