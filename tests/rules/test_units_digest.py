"""The digest pins everything a unit's verdict rests on, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from fangcuan.content.shared_sql import shared_views
from fangcuan.content.units import LoadedRule, load_rules
from fangcuan.detect import relations
from fangcuan.detect import units as units_module
from fangcuan.detect.units import Unit, load_units

ID = "code_integrity.impossible_travel"


def _with_parameter(loaded: Mapping[str, LoadedRule], rule_id: str, name: str, value: float) -> dict[str, LoadedRule]:
    item = loaded[rule_id]
    parameter = item.rule.parameters[name].model_copy(update={"value": value})
    rule = item.rule.model_copy(update={"parameters": {**item.rule.parameters, name: parameter}})
    return {**loaded, rule_id: item.model_copy(update={"rule": rule})}


def _changed(before: Mapping[str, Unit], after: Mapping[str, Unit]) -> set[str]:
    return {unit_id for unit_id in before if before[unit_id].digest != after[unit_id].digest}


def _view_changed(monkeypatch: pytest.MonkeyPatch, name: str) -> dict[str, Unit]:
    altered = {**shared_views(), name: shared_views()[name] + "\n-- changed"}
    for module in (units_module, relations):
        monkeypatch.setattr(module, "shared_views", lambda: altered)
    return load_units(load_rules())


def test_same_content_same_digest(units: Mapping[str, Unit]) -> None:
    assert not _changed(units, load_units(load_rules()))


def test_a_parameter_changes_its_unit_only(units: Mapping[str, Unit]) -> None:
    after = load_units(_with_parameter(load_rules(), ID, "max_speed_kmh", 901))
    assert _changed(units, after) == {ID}


def test_the_text_of_a_rule_changes_its_unit(units: Mapping[str, Unit]) -> None:
    loaded = load_rules()
    item = loaded[ID]
    after = load_units({**loaded, ID: item.model_copy(update={"text": item.text + "# seen\n"})})
    assert _changed(units, after) == {ID}


def test_a_shared_view_changes_the_units_that_read_it(
    units: Mapping[str, Unit], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = _changed(units, _view_changed(monkeypatch, "scanned_codes"))
    assert {
        "code_integrity.impossible_travel",
        "code_integrity.reappeared_after_end",
        "code_integrity.unknown_serial",
    } == changed


def test_a_view_below_a_view_counts(units: Mapping[str, Unit], monkeypatch: pytest.MonkeyPatch) -> None:
    changed = _changed(units, _view_changed(monkeypatch, "touched_things"))
    assert changed == {"diversion.custody_break"}


def test_a_fact_changes_the_units_that_read_it(units: Mapping[str, Unit]) -> None:
    after = load_units(_with_parameter(load_rules(), "diversion.out_of_territory", "border_buffer_km", 6))
    assert _changed(units, after) >= {"diversion.out_of_territory", "diversion.repeated_destination"}
    assert ID not in _changed(units, after)


def test_the_digest_does_not_depend_on_the_order_of_files(units: Mapping[str, Unit]) -> None:
    loaded = load_rules()
    assert not _changed(units, load_units(dict(reversed(list(loaded.items())))))


def test_the_digest_does_not_depend_on_where_the_rules_lie(units: Mapping[str, Unit]) -> None:
    loaded = load_rules()
    moved = {k: item.model_copy(update={"path": Path("elsewhere") / item.path}) for k, item in loaded.items()}
    assert not _changed(units, load_units(moved))
