"""A split: findings that are about something else leave their case for a new one, and what left is written down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Row, select

from fangcuan.cases.commands import Step
from fangcuan.cases.filing.casebook import fresh_case, last_serial, severest
from fangcuan.cases.filing.moves import LINK, Gone, any_move, gone_from, next_move
from fangcuan.cases.filing.prepared import Prepared
from fangcuan.cases.filing.registry import chunks, match
from fangcuan.cases.history.events import EventDraft
from fangcuan.core.canonical import digest, sha256_hex
from fangcuan.store.casework import (
    case_file,
    case_finding,
    case_finding_move,
    case_link,
    case_machine,
    filed_finding,
    finding,
    finding_occurrence,
)
from fangcuan.store.decisions import legal_hold
from fangcuan.store.jsontext import canonical_text


@dataclass(frozen=True)
class Split:
    """What a split does besides its verdict: columns of the old case, data of the event, and events of the new case."""

    after: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[EventDraft, ...] = ()


def split(step: Step, proposal: Row[Any]) -> Split:
    """Carry out an approved proposal that names findings; nothing for one that names none.

    The new case is of the same family and subject, and begins as every case does; who holds the old one holds it, and what
    legal holds lie over the old one lie over it. Findings that only support go with both, as they would when filed.
    """
    names = proposal.params.get("finding_id")
    if not names:
        return Split()
    old, connection = step.case, step.connection
    members = _members(connection, old.number)
    going = [row for row in members if row.finding_id in names]
    staying = [row for row in members if row.finding_id not in names]
    joining = going + [row for row in staying if row.support]
    seen = _occurrences(connection, members)

    opened = _new_case(step, proposal, going)
    number = opened["number"]
    machine = _machine(joining, seen)
    rest = _machine(staying, seen) | {
        "seen_after_decision": step.connection.execute(_seen_after(old.number)).scalar_one()
    }
    moves = [_move(step, proposal, row.finding_id, number) for row in going]
    first, second = sorted((old.number, number))
    link = {"number": first, "other": second, "kind": LINK, "linked_night": step.moment.date()}
    holds = _holds(connection, old.number, number)
    attached = [
        {name: getattr(row, name) for name in ("finding_id", "support", "attached_night")} | {"number": number}
        for row in joining
    ]
    connection.execute(case_file.insert().values(opened))
    connection.execute(case_machine.insert().values(number=number, **machine))
    connection.execute(filed_finding.insert(), attached)
    connection.execute(case_finding_move.insert(), [{**move, "moved_at": step.moment} for move in moves])
    connection.execute(case_machine.update().where(case_machine.c.number == old.number).values(rest))
    connection.execute(case_link.insert().values(link))
    if holds:
        connection.execute(legal_hold.insert(), holds)

    after = {}
    if old.snooze_evidence_root == old.evidence_root:
        # What left is no news about what stays: the snooze goes on.
        after["snooze_evidence_root"] = rest["evidence_root"]
    whence = {"number": old.number, "proposal": proposal.proposal}
    events = [
        EventDraft("case.opened", step.command.actor.name, {"case": opened, "links": [], LINK: whence}, case=number),
        _findings_event(step, number, joining, seen, machine),
    ]
    events += [EventDraft("case.hold", step.command.actor.name, {"legal_hold": row}, case=number) for row in holds]
    return Split(after, {"moves": moves, "machine": rest, "link": link}, tuple(events))


def following(connection: Connection, reported: Sequence[Prepared]) -> list[Prepared]:
    """What a night reported, with the case key under which each finding now lives: that of the case it was moved to."""
    if not any_move(connection):
        return list(reported)
    resolved, _ = match(connection, reported)
    gone: dict[str, list[Gone]] = defaultdict(list)
    for one in gone_from(connection, {resolved[each.reported_id] for each in reported if each.opens}):
        gone[one.finding_id].append(one)
    return [_follow(one, gone.get(resolved[one.reported_id], ())) if one.opens else one for one in reported]


def _follow(one: Prepared, gone: Sequence[Gone]) -> Prepared:
    """Of several epochs of a key that a finding left, the latest says where it went; a loop ends where it comes round."""
    value, seen = one.key.value, set[str]()
    while value not in seen:
        seen.add(value)
        left = [each for each in gone if each.case_key == value]
        if not left:
            break
        value = max(left, key=lambda each: each.epoch).other_key
    if value == one.key.value:
        return one
    key = replace(one.key, value=value, order=canonical_text([one.key.order.decode(), value]))
    return replace(one, key=key)


def _members(connection: Connection, number: str) -> list[Row[Any]]:
    """Findings that a case has, in the order of their ids."""
    columns = (finding.c.finding_id, finding.c.severity, finding.c.evidence_root)
    query = select(*columns, case_finding.c.support, case_finding.c.attached_night)
    joined = query.join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
    return list(connection.execute(joined.where(case_finding.c.number == number).order_by(finding.c.finding_id)))


def _occurrences(connection: Connection, members: Sequence[Row[Any]]) -> dict[str, list[Row[Any]]]:
    """Occurrences of each finding since it came to the case, in the order of the nights."""
    since = {row.finding_id: row.attached_night for row in members}
    found: dict[str, list[Row[Any]]] = {finding_id: [] for finding_id in since}
    for part in chunks(sorted(since)):
        query = select(finding_occurrence).where(finding_occurrence.c.finding_id.in_(part))
        for row in connection.execute(query.order_by(finding_occurrence.c.night, finding_occurrence.c.reported_id)):
            if row.night >= since[row.finding_id]:
                found[row.finding_id].append(row)
    return found


def _machine(members: Sequence[Row[Any]], seen: Mapping[str, Sequence[Row[Any]]]) -> dict[str, Any]:
    """The machine columns of a case with these findings, as filing them one after the other would have left them."""
    rows = [row for member in members for row in seen[member.finding_id]]
    return {
        "severity": severest(member.severity for member in members),
        "findings": len(members),
        "occurrences": len(rows),
        "seen_after_decision": 0,
        "window_start": min(row.window_start for row in rows),
        "window_end": max(row.window_end for row in rows),
        "last_finding_night": max(row.night for row in rows),
        "evidence_root": digest(sorted((member.finding_id, member.evidence_root) for member in members)),
    }


def _seen_after(number: str) -> Any:
    return select(case_machine.c.seen_after_decision).where(case_machine.c.number == number)


def _new_case(step: Step, proposal: Row[Any], going: Sequence[Row[Any]]) -> dict[str, Any]:
    old, day = step.case, step.moment.date()
    serial = last_serial(step.connection, day.year) + 1
    kept = ("family", "subject_kind", "subject_id", "product_line", "sku", "period", "grouping", "grouping_version")
    return fresh_case(
        step.rules,
        day,
        serial,
        case_key=split_key(old.case_key, old.number, proposal.proposal),
        epoch=1,
        **{name: getattr(old, name) for name in kept},
        predecessor=None,
        storm=False,
        priority=severest(row.severity for row in going),
        assignee=old.assignee,
    )


def split_key(case_key: str, number: str, proposal: int) -> str:
    """The key of what a proposal split off: of the old key and the proposal, so that no other case ever has it."""
    return f"split:{sha256_hex(canonical_text([case_key, number, proposal]))}"


def _move(step: Step, proposal: Row[Any], finding_id: str, other: str) -> dict[str, Any]:
    number = step.number
    move = next_move(step.connection, number, finding_id)
    return {"number": number, "finding_id": finding_id, "move": move, "other": other, "proposal": proposal.proposal}


def _holds(connection: Connection, old: str, number: str) -> list[dict[str, Any]]:
    """The legal holds that lie over the old case, for the new one: nobody gets rid of one by a split."""
    lying = legal_hold.c.lifted_at.is_(None) & (legal_hold.c.number == old)
    rows = connection.execute(select(legal_hold).where(lying).order_by(legal_hold.c.hold)).mappings()
    return [{**row, "number": number, "hold": at} for at, row in enumerate(rows, 1)]


def _findings_event(
    step: Step,
    number: str,
    joining: Sequence[Row[Any]],
    seen: Mapping[str, Sequence[Row[Any]]],
    machine: dict[str, Any],
) -> EventDraft:
    """What the new case has, every occurrence of it, in the form in which filing says it."""
    told = [
        {
            "finding_id": member.finding_id,
            "reported_id": row.reported_id,
            "evidence_root": row.evidence_root,
            "evidence_sha256": row.evidence_sha256,
            "fresh": True,
            "support": member.support,
            "attached_night": member.attached_night,
        }
        for member in joining
        for row in seen[member.finding_id]
    ]
    data = {"action": "split", "findings": told, "after": machine}
    return EventDraft("case.findings", step.command.actor.name, data, case=number)
