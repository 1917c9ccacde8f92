"""What a night does to cases, collected and then written in bulk: openings, wakings, findings attached, links, events."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select

from fangcuan.cases.commands import AWAKE, change
from fangcuan.cases.filing.grouping import Action, CaseKey, GroupingPolicy, KnownCase
from fangcuan.cases.filing.moves import Gone, gone_from
from fangcuan.cases.filing.prepared import Prepared
from fangcuan.cases.filing.registry import chunks
from fangcuan.cases.history.events import EventDraft
from fangcuan.cases.workflow import Workflow
from fangcuan.core.canonical import digest, plain
from fangcuan.core.finding import SEVERITIES
from fangcuan.store.casework import (
    case_file,
    case_finding,
    case_finding_move,
    case_link,
    case_machine,
    filed_finding,
    finding,
)
from fangcuan.store.decisions import decision

Subject = tuple[str, str, str]


def last_serial(connection: Connection, year: int) -> int:
    """The serial number of the latest case of a year; 0 where it has none."""
    return connection.execute(select(func.max(case_file.c.serial)).where(case_file.c.year == year)).scalar() or 0


def fresh_case(workflow: Workflow, day: dt.date, serial: int, **values: Any) -> dict[str, Any]:
    """The row of a case that opens on a day: number, the initial status, nothing decided, and `values`."""
    status = workflow.initial
    undecided = ("outcome", "outcome_class", "merged_into", "attention", "decision_cutoff", "decision_evidence_root")
    return {
        "number": f"FC-{day.year}-{serial:06d}",
        "year": day.year,
        "serial": serial,
        "opened_night": day,
        "status": status,
        "is_open": workflow.has(status, "open"),
        "wording": "signal",
        "allowed_action": "observe",
        "regressed": False,
        **dict.fromkeys((*undecided, *AWAKE)),
        "version": 1,
        **values,
    }


@dataclass
class _Touched:
    """One case of this night: what is done to it and which findings (finding_id → reported) it gets."""

    number: str
    action: Action
    opened: dict[str, Any] | None = None
    reported: list[tuple[str, Prepared]] = field(default_factory=list)
    #: Findings that had left this case and come back to it: rows of `case_finding_move` without their time.
    back: list[dict[str, Any]] = field(default_factory=list)


class Casebook:
    """Collects with `open` and `join`, writes with `write`; `events` then holds what has to be appended."""

    def __init__(
        self,
        connection: Connection,
        workflow: Workflow,
        policy: GroupingPolicy,
        night: dt.date,
        actor: str,
        moment: dt.datetime,
    ) -> None:
        self.connection = connection
        self.workflow = workflow
        self.policy = policy
        self.night = night
        self.actor = actor
        self.moment = moment
        self.events: list[EventDraft] = []
        self._touched: dict[str, _Touched] = {}
        self._serial = last_serial(connection, night.year)

    def open(
        self,
        key: CaseKey,
        previous: KnownCase | None,
        reported: Sequence[Prepared],
        resolved: Mapping[str, str],
        *,
        storm: bool,
        assignee: str | None,
    ) -> str:
        """A new case for `key`, its number the next of the night's year; the epoch follows `previous`."""
        self._serial += 1
        parts = {name: _text(key.grouping.get(name)) for name in ("product_line", "sku", "period")}
        opened = fresh_case(
            self.workflow,
            self.night,
            self._serial,
            case_key=key.value,
            epoch=previous.epoch + 1 if previous else 1,
            family=key.family,
            subject_kind=key.subject_kind,
            subject_id=key.subject_id,
            **parts,
            grouping=plain(key.grouping),
            grouping_version=self.policy.version,
            predecessor=previous.number if previous else None,
            storm=storm,
            priority=severest(one.finding.severity for one in reported),
            assignee=assignee,
        )
        number = str(opened["number"])
        self._touched[number] = _Touched(number, "open", opened)
        self._add(number, reported, resolved)
        return number

    def join(self, number: str, action: Action, reported: Sequence[Prepared], resolved: Mapping[str, str]) -> None:
        """Findings for a case there is: attached to an open one, waking a decided one, or silently beside its decision."""
        touched = self._touched.setdefault(number, _Touched(number, action))
        if action == "wake" and touched.action == "silent":
            # Two keys of one case, one of them merged into it: what wakes it for one wakes it.
            touched.action = action
        self._add(number, reported, resolved)

    def open_numbers(self, subjects: Iterable[Subject]) -> dict[Subject, list[str]]:
        """Cases that are open once this night is written, by family and subject."""
        wanted = set(subjects)
        found: dict[Subject, set[str]] = defaultdict(set)
        for row in self._by_subject({subject[2] for subject in wanted}):
            woken = row.number in self._touched and self._touched[row.number].action == "wake"
            subject = (row.family, row.subject_kind, row.subject_id)
            if subject in wanted and (row.is_open or woken):
                found[subject].add(row.number)
        for touched in self._touched.values():
            if touched.opened:
                opened = touched.opened
                found[(opened["family"], opened["subject_kind"], opened["subject_id"])].add(touched.number)
        return {subject: sorted(numbers) for subject, numbers in found.items() if subject in wanted}

    def attached_findings(self) -> set[str]:
        return {finding_id for touched in self._touched.values() for finding_id, _ in touched.reported}

    def write(self) -> Counter[str]:
        """Write everything collected; how many cases were opened, attached to, woken and silently added to."""
        touched = [self._touched[number] for number in sorted(self._touched)]
        rows = self._load([one.number for one in touched if one.opened is None])
        opened = [one.opened for one in touched if one.opened]
        if opened:
            self.connection.execute(case_file.insert(), opened)
        fresh = self._attach(touched)
        links = self._link(opened)
        roots = self._evidence_roots([one.number for one in touched])
        proposed = self._proposed(list(rows))
        inserts, updates = [], []
        for one in touched:
            machine = self._machine(one, rows.get(one.number), len(fresh[one.number]), roots[one.number])
            if one.opened:
                inserts.append(machine)
                data = {"case": one.opened, "links": links.get(one.number, [])}
                self.events.append(EventDraft("case.opened", self.actor, data, case=one.number, night=self.night))
            else:
                updates.append({"key": one.number, **{k: v for k, v in machine.items() if k != "number"}})
                if one.action == "wake":
                    self.events.append(self._wake(rows[one.number], one))
            self.events.append(self._findings_event(one, fresh[one.number], machine))
            if one.number in rows:
                self.events += self._stale(rows[one.number], proposed.get(one.number), machine["evidence_root"])
        if inserts:
            self.connection.execute(case_machine.insert(), inserts)
        if updates:
            values = {name: bindparam(name, type_=case_machine.c[name].type) for name in updates[0] if name != "key"}
            statement = case_machine.update().where(case_machine.c.number == bindparam("key")).values(values)
            self.connection.execute(statement, updates)
        return Counter(one.action for one in touched)

    def _add(self, number: str, reported: Sequence[Prepared], resolved: Mapping[str, str]) -> None:
        self._touched[number].reported += [(resolved[one.reported_id], one) for one in reported]

    def _load(self, numbers: Sequence[str]) -> dict[str, Row[Any]]:
        machine = [column for column in case_machine.c if column.name != "number"]
        found: dict[str, Row[Any]] = {}
        for part in chunks(numbers):
            query = select(case_file, *machine).join(case_machine, case_machine.c.number == case_file.c.number)
            found.update(
                (row.number, row) for row in self.connection.execute(query.where(case_file.c.number.in_(part)))
            )
        return found

    def _attach(self, touched: Sequence[_Touched]) -> dict[str, set[str]]:
        """Record which findings belong to which case; gives those that are new to their case."""
        members = self._members([one.number for one in touched if one.opened is None])
        left = self._left(touched)
        fresh: dict[str, set[str]] = {}
        rows = []
        for one in touched:
            supporting: dict[str, bool] = {}
            for finding_id, prepared in one.reported:
                supporting[finding_id] = supporting.get(finding_id, True) and prepared.support
            fresh[one.number] = supporting.keys() - members.get(one.number, {}).keys()
            gone = left.get(one.number, {})
            one.back = [_back(gone[finding_id]) for finding_id in sorted(fresh[one.number] & gone.keys())]
            rows += [
                {
                    "number": one.number,
                    "finding_id": finding_id,
                    "support": supporting[finding_id],
                    "attached_night": self.night,
                }
                for finding_id in sorted(fresh[one.number] - gone.keys())
            ]
        if rows:
            self.connection.execute(filed_finding.insert(), rows)
        back = [{**move, "moved_at": self.moment} for one in touched for move in one.back]
        if back:
            self.connection.execute(case_finding_move.insert(), back)
        return fresh

    def _left(self, touched: Sequence[_Touched]) -> dict[str, dict[str, Gone]]:
        """Findings of this night that left one of its cases; what joins that case all the same comes back to it."""
        found: dict[str, dict[str, Gone]] = defaultdict(dict)
        for gone in gone_from(self.connection, {finding_id for one in touched for finding_id, _ in one.reported}):
            found[gone.number][gone.finding_id] = gone
        return found

    def _members(self, numbers: Sequence[str]) -> dict[str, dict[str, str]]:
        """case number → finding_id → its latest evidence root."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for part in chunks(numbers):
            query = (
                select(case_finding.c.number, case_finding.c.finding_id, finding.c.evidence_root)
                .join(finding, finding.c.finding_id == case_finding.c.finding_id)
                .where(case_finding.c.number.in_(part))
            )
            for number, finding_id, root in self.connection.execute(query):
                found[number][finding_id] = root
        return found

    def _evidence_roots(self, numbers: Sequence[str]) -> dict[str, str]:
        members = self._members(numbers)
        return {number: digest(sorted(members[number].items())) for number in numbers}

    def _machine(self, one: _Touched, row: Row[Any] | None, fresh: int, evidence_root: str) -> dict[str, Any]:
        starts = [prepared.finding.window_start for _, prepared in one.reported]
        ends = [prepared.finding.window_end for _, prepared in one.reported]
        severities = [prepared.finding.severity for _, prepared in one.reported]
        machine: dict[str, Any] = {
            "number": one.number,
            "severity": severest(severities + ([row.severity] if row else [])),
            "findings": fresh + (row.findings if row else 0),
            "occurrences": len(one.reported) + (row.occurrences if row else 0),
            "seen_after_decision": row.seen_after_decision if row else 0,
            "window_start": min(starts + ([row.window_start] if row else [])),
            "window_end": max(ends + ([row.window_end] if row else [])),
            "last_finding_night": max(self.night, row.last_finding_night) if row else self.night,
            "evidence_root": evidence_root,
        }
        if one.action == "silent":
            machine["seen_after_decision"] += len(one.reported)
        return machine

    def _wake(self, row: Row[Any], one: _Touched) -> EventDraft:
        details = {"cutoff": row.decision_cutoff, "findings": sorted({finding_id for finding_id, _ in one.reported})}
        return change(
            self.connection,
            row,
            self.workflow.wake,
            self.workflow,
            actor=self.actor,
            params={},
            night=self.night,
            details=details,
        )

    def _proposed(self, numbers: Sequence[str]) -> dict[str, Row[Any]]:
        """Open proposals of cases that were there before this night."""
        found: dict[str, Row[Any]] = {}
        for part in chunks(numbers):
            query = select(decision).where(decision.c.number.in_(part), decision.c.verdict.is_(None))
            found.update((row.number, row) for row in self.connection.execute(query))
        return found

    def _stale(self, row: Row[Any], proposed: Row[Any] | None, root: str) -> list[EventDraft]:
        """Said once: at the first evidence that comes after an open proposal was made."""
        if proposed is None or root == proposed.evidence_root or row.evidence_root != proposed.evidence_root:
            return []
        data = {"proposal": proposed.proposal, "proposed_by": proposed.proposed_by, "evidence_root": root}
        return [EventDraft("case.proposal_stale", self.actor, data, case=row.number, night=self.night)]

    def _findings_event(self, one: _Touched, fresh: set[str], machine: Mapping[str, Any]) -> EventDraft:
        returned = {move["finding_id"] for move in one.back}
        reported = [
            {
                "finding_id": finding_id,
                "reported_id": prepared.reported_id,
                "evidence_root": prepared.record["evidence_root"],
                "evidence_sha256": prepared.evidence_sha256,
                "fresh": finding_id in fresh and finding_id not in returned,
                "support": prepared.support,
            }
            for finding_id, prepared in sorted(one.reported, key=lambda item: item[1].reported_id)
        ]
        after = {name: value for name, value in machine.items() if name != "number"}
        data: dict[str, Any] = {"action": one.action, "findings": reported, "after": after}
        if one.back:
            data["moves"] = one.back
        return EventDraft("case.findings", self.actor, data, case=one.number, night=self.night)

    def _link(self, opened: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
        """Link new cases with open cases of other families about the same subject: price beside diversion and loading."""
        links: dict[str, list[str]] = defaultdict(list)
        pairs = set()
        by_subject: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
        for row in self._by_subject({case["subject_id"] for case in opened}):
            if row.is_open:
                by_subject[(row.subject_kind, row.subject_id)].append(row)
        for case in opened:
            for row in by_subject[(case["subject_kind"], case["subject_id"])]:
                if row.family != case["family"]:
                    pairs.add(tuple(sorted((case["number"], row.number))))
        for number, other in sorted(pairs):
            links[number].append(other)
            links[other].append(number)
        rows = [{"number": a, "other": b, "kind": "same_subject", "linked_night": self.night} for a, b in sorted(pairs)]
        if rows:
            self.connection.execute(case_link.insert(), rows)
        return links

    def _by_subject(self, subject_ids: Iterable[str]) -> list[Row[Any]]:
        columns = (
            case_file.c.number,
            case_file.c.family,
            case_file.c.subject_kind,
            case_file.c.subject_id,
            case_file.c.is_open,
        )
        found: list[Any] = []
        for part in chunks(sorted(subject_ids)):
            found += self.connection.execute(select(*columns).where(case_file.c.subject_id.in_(part))).all()
        return found


def severest(severities: Iterable[str]) -> str:
    """The gravest of them. Raises ValueError for none."""
    return max(severities, key=SEVERITIES.index)


def _back(gone: Gone) -> dict[str, Any]:
    """The move with which a finding comes back to the case that it left; no proposal says so."""
    row = {"number": gone.number, "finding_id": gone.finding_id, "move": gone.move + 1}
    return {**row, "other": gone.other, "proposal": None}


def _text(value: Any) -> str | None:
    return None if value is None else str(plain(value))
