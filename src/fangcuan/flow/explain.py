"""Sentences from explanation templates, and what a rule's steps give on one night."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from fangcuan.cases.filing.prepared import STORM
from fangcuan.core.canonical import plain
from fangcuan.detect.detectors import DetectorUnit, all_units
from fangcuan.detect.relations import Night, night_parameters
from fangcuan.detect.sources import CatalogueRows
from fangcuan.detect.units import facts_of
from fangcuan.flow.installation import Installation
from fangcuan.store.catalogue import Run
from fangcuan.store.database import read
from fangcuan.warehouse.engine import DuckEngine

#: What filing says itself; no unit stands behind these codes.
_FILING: Mapping[str, Mapping[str, str]] = {
    STORM: {
        "en": "On {night} {unit_id} would have opened or woken {cases} cases; its limit is {limit}. It opened none: what it "
        "found joins cases that are open, and the rest waits until a calmer night reports it again or the limit (max_cases) is "
        "raised. Consistent with data or parameters that changed, or with a first night over a long history.",
        "zh": "{night} 当晚 {unit_id} 将新立或重新开启 {cases} 个案件，超过其上限 {limit}，因此未予立案：其发现已并入在办案件，"
        "其余留待较平稳的夜晚再次报告，或待上限（max_cases）调高后立案。与数据或参数有变、或首晚处理长期历史数据相符。",
    }
}


class _Shown(dict[str, Any]):
    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


def render(code: str, params: Mapping[str, Any], language: str) -> str:
    """The sentence of an explanation code in `zh` or `en`; a unit that is gone leaves its code and parameters."""
    unit = all_units().get(code)
    if code in _FILING:
        template = _FILING[code]["zh" if language == "zh" else "en"]
    elif unit is None or unit.rule.explanation is None:
        listed = ", ".join(f"{name} {value}" for name, value in params.items())
        return f"{code}: {listed}"
    else:
        template = unit.rule.explanation.zh if language == "zh" else unit.rule.explanation.en
    shown = _Shown({name: "–" if value is None else value for name, value in params.items()})
    return " ".join(template.format_map(shown).split())


def unit_steps(
    installation: Installation, unit_id: str, night: dt.date, step: str | None = None, rows: int = 20
) -> dict[str, Any]:
    """A unit's named steps and the rows of one of them (its result when `step` is None) on a night: for looking, not filing."""
    units = all_units()
    unit = units[unit_id]
    with read(installation.engine) as connection:
        since = (
            connection.execute(select(Run.since).where(Run.night == night).order_by(Run.opened_at)).scalars().first()
        )
    source = CatalogueRows(installation.settings, installation.engine, night, {k: u.digest for k, u in units.items()})
    parameters = unit.parameters
    if isinstance(unit, DetectorUnit):
        parameters = unit.query_parameters(unit.scoring_window(night))
    with DuckEngine(installation.settings) as engine:
        engine.confine([installation.settings.lake_path, installation.settings.spill_path])
        opened = Night(engine, source, facts_of(units), night_parameters(night, since, installation.settings))
        sql = opened.prepare(unit.query, parameters, step)
        table = engine.arrow(f"select * from ({sql}) limit {int(rows)}")
        total = engine.scalar(f"select count(*) from ({sql})")
    return {
        "unit_id": unit_id,
        "digest": unit.digest,
        "steps": list(unit.query.steps),
        "step": step,
        "total": total,
        "rows": [{name: _shown(value) for name, value in row.items()} for row in table.to_pylist()],
        "sql": sql,
    }


def _shown(value: Any) -> Any:
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        return value.isoformat()
    return plain(value)
