"""Cases as plain dictionaries for screens, exports and the command line. Nothing in them depends on when they are read."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, or_, select

from fangcuan.cases.auditing.reviews import reviews_of
from fangcuan.cases.comments import list_comments
from fangcuan.cases.evidence.attachments import attachments_of
from fangcuan.cases.evidence.store import EvidenceBackend, EvidenceDamaged, EvidenceMissing
from fangcuan.cases.filing.moves import moves_of
from fangcuan.cases.letters.correspondence import notices_of
from fangcuan.cases.overlays import asleep, holds_of
from fangcuan.cases.penalties.computation import penalties_of
from fangcuan.cases.proposals import proposals_of
from fangcuan.cases.refusals import UnknownCase
from fangcuan.cases.urgency import most_urgent_first
from fangcuan.core.canonical import plain
from fangcuan.store.casework import (
    body_field,
    case_file,
    case_finding,
    case_link,
    case_machine,
    event,
    finding,
    finding_occurrence,
)
from fangcuan.store.database import read
from fangcuan.store.decisions import decision

#: (explanation code, parameters, "zh" or "en") → a sentence.
Render = Callable[[str, Mapping[str, Any], str], str]
LANGUAGES = ("zh", "en")


@dataclass(frozen=True)
class CaseFilter:
    """All conditions that are given must hold. `limit` and `offset` page through the list.

    `asleep_at` and `awake_at` are moments at which a snooze lies over the case or none does; `proposed`: somebody has to decide.
    """

    status: str | None = None
    is_open: bool | None = None
    family: str | None = None
    subject_kind: str | None = None
    subject_id: str | None = None
    unit_id: str | None = None
    regressed: bool | None = None
    storm: bool | None = None
    assignee: str | None = None
    asleep_at: dt.datetime | None = None
    awake_at: dt.datetime | None = None
    proposed: bool | None = None
    limit: int | None = None
    offset: int = 0


def list_cases(engine: Engine, filters: CaseFilter | None = None) -> list[dict[str, Any]]:
    """Cases, most urgent first: priority, then the night last seen, then number."""
    wanted = filters or CaseFilter()
    query = _cases()
    for name in ("status", "is_open", "family", "subject_kind", "subject_id", "regressed", "storm", "assignee"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(case_file.c[name] == value)
    if wanted.unit_id is not None:
        of_unit = (
            select(case_finding.c.number)
            .join(finding, finding.c.finding_id == case_finding.c.finding_id)
            .where(finding.c.unit_id == wanted.unit_id)
        )
        query = query.where(case_file.c.number.in_(of_unit))
    if wanted.asleep_at is not None:
        query = query.where(asleep(wanted.asleep_at))
    if wanted.awake_at is not None:
        query = query.where(~asleep(wanted.awake_at))
    if wanted.proposed is not None:
        open_ones = select(decision.c.number).where(decision.c.verdict.is_(None))
        among = case_file.c.number.in_(open_ones)
        query = query.where(among if wanted.proposed else ~among)
    query = query.order_by(*most_urgent_first())
    with read(engine) as connection:
        rows = connection.execute(query.limit(wanted.limit).offset(wanted.offset or None)).all()
    return [_summary(row) for row in rows]


def show_case(
    engine: Engine, evidence_store: EvidenceBackend, number: str, render: Render, *, with_times: bool = False
) -> dict[str, Any]:
    """Everything known about one case. Raises UnknownCase.

    Findings stand with the highest score first, each with its exact evidence (`evidence.rows`, by value, as filed) or, where the
    store has lost it, `evidence.problem`. `with_times` adds wall-clock times to the timeline, which differ between runs.
    """
    with read(engine) as connection:
        row = connection.execute(_cases().where(case_file.c.number == number)).one_or_none()
        if row is None:
            raise UnknownCase(f"{number}: no such case")
        members = connection.execute(
            select(finding, case_finding.c.support, case_finding.c.attached_night)
            .join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
            .where(case_finding.c.number == number)
        ).all()
        seen = _occurrences(connection, number)
        links = _links(connection, number)
        comments = list_comments(connection, number)
        proposals = proposals_of(connection, number)
        attachments = attachments_of(connection, number)
        holds = holds_of(connection, number)
        notices = notices_of(connection, number)
        penalties = penalties_of(connection, number)
        audit_reviews = reviews_of(connection, number)
        moves = moves_of(connection, number)
        timeline = _timeline(connection, number, with_times)
    members = sorted(members, key=lambda member: (member.support, -member.score, member.finding_id))
    findings = [_finding(member, seen[member.finding_id], evidence_store, render) for member in members]
    return {
        **_summary(row),
        "grouping": row.grouping,
        "predecessor": row.predecessor,
        "decision": {
            "cutoff": plain(row.decision_cutoff),
            "evidence_root": row.decision_evidence_root,
        },
        "seen_after_decision": row.seen_after_decision,
        "explanation": findings[0]["explanation"] if findings else None,
        "object": findings[0]["object"] if findings else None,
        "findings_detail": findings,
        "links": links,
        "moves": moves,
        "comments": comments,
        "proposals": proposals,
        "attachments": attachments,
        "legal_holds": holds,
        "notices": notices,
        "penalties": penalties,
        "audit_reviews": audit_reviews,
        "timeline": timeline,
    }


def _cases() -> Any:
    machine = [column for column in case_machine.c if column.name != "number"]
    return select(case_file, *machine).join(case_machine, case_machine.c.number == case_file.c.number)


def _summary(row: Row[Any]) -> dict[str, Any]:
    return {
        "number": row.number,
        "family": row.family,
        "subject": {"kind": row.subject_kind, "id": row.subject_id},
        "product_line": row.product_line,
        "sku": row.sku,
        "period": row.period,
        "epoch": row.epoch,
        "status": row.status,
        "is_open": row.is_open,
        "outcome": row.outcome,
        "outcome_class": row.outcome_class,
        "merged_into": row.merged_into,
        "wording": row.wording,
        "allowed_action": row.allowed_action,
        "priority": row.priority,
        "severity": row.severity,
        "assignee": row.assignee,
        "attention": row.attention,
        "snooze": _snooze(row),
        "regressed": row.regressed,
        "storm": row.storm,
        "findings": row.findings,
        "occurrences": row.occurrences,
        "window": {"start": plain(row.window_start), "end": plain(row.window_end)},
        "opened_night": row.opened_night.isoformat(),
        "last_finding_night": row.last_finding_night.isoformat(),
        "evidence_root": row.evidence_root,
        "version": row.version,
    }


def _snooze(row: Row[Any]) -> dict[str, Any] | None:
    """What was set; whether it still lies over the case is a matter of when one looks."""
    if row.snoozed_until is None:
        return None
    return {"until": plain(row.snoozed_until), "condition": row.snooze_condition}


def _finding(
    row: Row[Any], occurrences: Sequence[Mapping[str, Any]], store: EvidenceBackend, render: Render
) -> dict[str, Any]:
    params = row.explanation_params
    sentences = {language: render(row.explanation_code, params, language) for language in LANGUAGES}
    return {
        "finding_id": row.finding_id,
        "reported_id": row.reported_id,
        "unit_id": row.unit_id,
        "unit_digest": row.unit_digest,
        "role": row.role,
        "support": row.support,
        "object": {name: getattr(row, name) for name in ("sku", "product_line", "region_code", "channel", "lot")},
        "window": {"start": plain(row.window_start), "end": plain(row.window_end)},
        "score": plain(row.score),
        **{name: plain(getattr(row, name)) for name in ("p_value", "log_e", "probability", "severity")},
        **{name: plain(getattr(row, name)) for name in ("quantity", "quantity_low", "quantity_high")},
        "money": plain(row.money),
        "currency": row.currency,
        "explanation": {"code": row.explanation_code, "params": params, **sentences},
        "evidence_root": row.evidence_root,
        "evidence_sha256": row.evidence_sha256,
        "evidence": _snapshot(store, row.evidence_sha256),
        "references": row.evidence,
        "observation_ids": row.observation_ids,
        "coverage_id": row.coverage_id,
        "first_seen": row.first_seen.isoformat(),
        "last_seen": row.last_seen.isoformat(),
        "attached_night": row.attached_night.isoformat(),
        "occurrences": list(occurrences),
    }


def _snapshot(store: EvidenceBackend, sha256: str) -> dict[str, Any]:
    try:
        snapshot: dict[str, Any] = json.loads(store.get(sha256))["snapshot"]
    except (EvidenceMissing, EvidenceDamaged) as error:
        return {"problem": str(error)}
    return snapshot


def _occurrences(connection: Connection, number: str) -> dict[str, list[dict[str, Any]]]:
    query = (
        select(finding_occurrence)
        .join(case_finding, case_finding.c.finding_id == finding_occurrence.c.finding_id)
        .where(case_finding.c.number == number)
        .order_by(finding_occurrence.c.night, finding_occurrence.c.reported_id)
    )
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.finding_id].append(
            {
                "night": row.night.isoformat(),
                "run_id": row.run_id,
                "reported_id": row.reported_id,
                "unit_digest": row.unit_digest,
                "score": plain(row.score),
                "evidence_root": row.evidence_root,
                "evidence_sha256": row.evidence_sha256,
                "coverage_id": row.coverage_id,
            }
        )
    return found


def _links(connection: Connection, number: str) -> list[dict[str, str]]:
    rows = connection.execute(select(case_link).where(or_(case_link.c.number == number, case_link.c.other == number)))
    links = [{"number": row.other if row.number == number else row.number, "kind": row.kind} for row in rows]
    return sorted(links, key=lambda link: (link["number"], link["kind"]))


def _timeline(connection: Connection, number: str, with_times: bool) -> list[dict[str, Any]]:
    query = select(event.c.seq, event.c.body).where(body_field("case") == number).order_by(event.c.seq)
    items = []
    for seq, text in connection.execute(query):
        body = json.loads(text)
        item = {"seq": seq, **{name: body[name] for name in ("kind", "actor", "night", "data")}}
        if with_times:
            item["recorded_at"] = body["recorded_at"]
        items.append(item)
    return items
