"""Labels: what a decision says about the findings it rests on. They teach thresholds and models, and measure units."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, select

from fangcuan.cases.commands import Done, Step
from fangcuan.cases.filing.moves import gone_by
from fangcuan.core.canonical import digest, plain
from fangcuan.store.casework import case_file, case_finding, finding
from fangcuan.store.database import read
from fangcuan.store.labels import label


def label_findings(step: Step, done: Done) -> Done:
    """Where a command decided the case, write a label for each of its findings; the event holds them as well.

    A case that only goes on from one decision to the next, or became part of another one, teaches nothing new.
    """
    rules, before = step.rules, str(step.case.status)
    if not rules.has(done.status, "decided") or rules.has(before, "decided") or rules.has(done.status, "joined"):
        return done
    now = step.connection.execute(select(case_file).where(case_file.c.number == step.number)).one()
    says = rules.label_of(now.outcome)
    members = step.connection.execute(
        select(
            finding.c.finding_id,
            finding.c.unit_id,
            finding.c.unit_digest,
            finding.c.evidence_root,
            case_finding.c.support,
        )
        .join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
        .where(case_finding.c.number == step.number)
        .order_by(finding.c.finding_id)
    )
    rows = [
        {
            "number": step.number,
            "case_version": done.version,
            "label": says.label,
            "outcome": now.outcome,
            "outcome_class": now.outcome_class,
            "route": says.route,
            "decided_by": step.command.actor.name,
            "decided_at": step.moment,
            **member,
        }
        for member in members.mappings()
    ]
    if rows:
        step.connection.execute(label.insert(), rows)
    # Who and when stand in the event itself.
    told = [{name: value for name, value in row.items() if name not in {"decided_by", "decided_at"}} for row in rows]
    return replace(done, draft=replace(done.draft, data={**done.draft.data, "labels": told}))


def latest_labels(connection: Connection, until: dt.datetime | None = None) -> list[dict[str, Any]]:
    """The label of each finding by the latest decision about its case, as known at `until`; sorted by finding and case.

    What was said of a finding while it belonged to a case it has since left says nothing any more.
    """
    query = select(label).order_by(label.c.finding_id, label.c.number, label.c.case_version)
    if until is not None:
        query = query.where(label.c.decided_at <= until)
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    gone = gone_by(connection, until)
    for row in connection.execute(query).mappings():
        if (row["number"], row["finding_id"]) in gone:
            continue
        latest[row["finding_id"], row["number"]] = {name: plain(value) for name, value in row.items()}
    return list(latest.values())


def frozen_labels(engine: Engine, until: dt.datetime) -> tuple[list[dict[str, Any]], str]:
    """Labels as known at a moment, and the sha256 over them: the same moment gives the same digest whenever it is asked."""
    with read(engine) as connection:
        rows = latest_labels(connection, until)
    return rows, digest(rows)
