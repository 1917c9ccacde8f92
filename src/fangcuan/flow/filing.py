"""The end of a night: decide over all findings at once, file them with their evidence, close the run."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import update

from fangcuan.cases.filing.grouping import GroupingPolicy
from fangcuan.cases.filing.nights import UnitFiling, file_findings
from fangcuan.core.canonical import digest
from fangcuan.core.failpoints import hit
from fangcuan.core.finding import Finding
from fangcuan.detect.decide import Decisions, decide
from fangcuan.detect.detectors import DetectorUnit
from fangcuan.detect.units import AnyUnit
from fangcuan.flow.approve import shadow_units
from fangcuan.flow.installation import Installation
from fangcuan.flow.night import NightFailed, OpenRun, evidence_of, findings_of, live_units, load_run, unit_results
from fangcuan.store.catalogue import Run
from fangcuan.store.database import write


def decide_run(installation: Installation, run_id: str) -> Decisions:
    """Decisions over all findings of a run. Raises NightFailed while a unit has not been run."""
    run = load_run(installation, run_id)
    units = live_units()
    done = {result["unit_id"] for result in unit_results(installation, run_id)}
    left = [unit_id for unit_id in (*run.plan["facts"], *run.plan["units"]) if unit_id not in done]
    if left:
        raise NightFailed(f"units not run yet: {', '.join(left)}; detect them before deciding")
    # What a model finds odd supports what a rule can show, and never opens a case by itself.
    supporting = frozenset(key for key, unit in units.items() if isinstance(unit, DetectorUnit))
    return decide(findings_of(installation, run_id), supporting, shadow_units(installation, units))


def snapshot(
    finding: Finding,
    unit: AnyUnit | None,
    rows: Mapping[tuple[str, str], Any],
    coverage: Mapping[str, Any],
    run: OpenRun,
) -> dict[str, Any]:
    """What the evidence artefact of a finding holds beside its record."""
    return {
        "rows": [
            {"relation": ref.relation, "key": ref.key, "digest": ref.digest, "row": rows[ref.relation, ref.key]}
            for ref in sorted(finding.evidence)
        ],
        "unit": {
            "id": finding.unit_id,
            "digest": finding.unit_digest,
            "query": unit.rule.query if unit else None,
            "parameters": unit.parameters if unit else {},
            "explanation": unit.rule.explanation.model_dump() if unit and unit.rule.explanation else None,
        },
        "coverage": coverage,
        "run": {"run_id": run.run_id, "night": run.night.isoformat()},
    }


def file_run(installation: Installation, run_id: str) -> dict[str, Any]:
    """File the run's decisions and mark the night as judged. Doing it again gives the same summary and changes nothing."""
    run = load_run(installation, run_id)
    decisions = decide_run(installation, run_id)
    units = live_units()
    results = unit_results(installation, run_id)
    coverage = {result["unit_id"]: result["coverage"] for result in results}
    rows = evidence_of(installation, run_id)

    def evidence(finding: Finding) -> Mapping[str, Any]:
        """Exactly what the finding rests on, by value: rows, master data in force, the unit's text, coverage."""
        return snapshot(finding, units.get(finding.unit_id), rows, coverage.get(finding.unit_id, {}), run)

    most = installation.settings.max_cases
    settings = {
        key: UnitFiling(max_cases=most or unit.rule.case.max_cases, owner=unit.rule.owner)
        for key, unit in units.items()
    }
    summary = file_findings(
        installation.engine,
        installation.evidence,
        run_id=run_id,
        night=run.night,
        findings=[*decisions.file, *decisions.keep],
        support=decisions.support,
        evidence=evidence,
        unit_settings=settings,
        policy=GroupingPolicy(),
    )
    hit("file.before_judged")
    everything = findings_of(installation, run_id)
    filed = {finding.finding_id for finding in (*decisions.file, *decisions.keep, *decisions.support)}
    counts = {
        **{name: value for name, value in asdict(summary).items() if name != "night"},
        "findings": len(decisions.file) + len(decisions.keep) + len(decisions.support),
        "findings_by_unit": dict(Counter(f.unit_id for f in (*decisions.file, *decisions.keep, *decisions.support))),
        # Units in shadow open no case, but whoever tries a rule wants to know what it would have said.
        "shadow_findings_by_unit": dict(Counter(f.unit_id for f in everything if f.finding_id not in filed)),
        "facts": sum(result["rows"] for result in results if result["unit_id"] in run.plan["facts"]),
        "failed_units": sorted(result["unit_id"] for result in results if result["state"] == "failed"),
        "not_looked": sorted(
            {source for result in results for source in result["coverage"].get("not_looked", ())}
            | {source for source, item in run.coverage["sources"].items() if item["state"] not in {"landed"}}
        ),
        "untrained_units": sorted(result["unit_id"] for result in results if result["state"] == "untrained"),
        "blind_units": sorted(result["unit_id"] for result in results if result["state"] == "not_looked"),
        "findings_digest": digest([finding.as_record() for finding in everything]),
    }
    with write(installation.engine) as connection:
        connection.execute(
            update(Run)
            .where(Run.run_id == run_id, Run.state == "open")
            .values(state="judged", counts=counts, judged_at=dt.datetime.now(dt.UTC))
        )
    return {"run_id": run_id, "night": run.night.isoformat(), "state": "judged", **counts}


def shadow_words(summaries: Iterable[Mapping[str, Any]]) -> str:
    """What units in shadow found in the nights of these summaries (of `file_run`), in words; empty where they found nothing."""
    found: Counter[str] = Counter()
    for summary in summaries:
        found.update(summary.get("shadow_findings_by_unit", {}))
    listed = ", ".join(f"{unit_id} {count}" for unit_id, count in sorted(found.items()))
    return f"found in shadow, opening no case: {found.total()} ({listed})" if found else ""
