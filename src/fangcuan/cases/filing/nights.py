"""Filing a night: findings become cases, or join them, or wake them. A whole night is one transaction.

A run may do two things to cases: attach findings, and open or wake a case. What people decided it never overturns.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Engine, select

from fangcuan.cases import workflow as workflows
from fangcuan.cases.evidence.store import EvidenceBackend
from fangcuan.cases.filing import casebook, registry
from fangcuan.cases.filing.grouping import (
    Candidate,
    CaseKey,
    GroupingPolicy,
    KnownCase,
    Placement,
    UnitFiling,
    place,
    storm_limit,
    stormy_units,
    working_units,
)
from fangcuan.cases.filing.moves import gone_from
from fangcuan.cases.filing.prepared import (
    STORM,
    Evidence,
    Prepared,
    artefact,
    prepare,
    storm_finding,
    waiting_row,
    with_artefacts,
)
from fangcuan.cases.filing.splitting import following
from fangcuan.cases.filing.standing import latest_cases
from fangcuan.cases.filing.suppressions import in_force, suppressing
from fangcuan.cases.history.digests import night_digest
from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.cases.workflow import Workflow
from fangcuan.core import failpoints
from fangcuan.core.canonical import digest
from fangcuan.core.finding import Finding
from fangcuan.store.casework import filing_night, filing_unit_night
from fangcuan.store.database import read, write
from fangcuan.store.labels import suppression_hit

ACTOR = "service:filing"
#: Nights a unit's circuit breaker looks back.
HISTORY_NIGHTS = 14


@dataclass(frozen=True)
class FilingSummary:
    """What a night has done so far, the same however often it is filed.

    `cases_attached` counts open cases that got findings, `cases_seen_again` decided ones that were left as decided,
    `findings_waiting` those held back because their unit was over its limit, `storms` the units that were.
    """

    night: dt.date
    findings_new: int = 0
    findings_known: int = 0
    findings_waiting: int = 0
    cases_opened: int = 0
    cases_attached: int = 0
    cases_regressed: int = 0
    cases_seen_again: int = 0
    storms: int = 0


def file_findings(
    engine: Engine,
    evidence_store: EvidenceBackend,
    *,
    run_id: str,
    night: dt.date,
    findings: Sequence[Finding],
    evidence: Evidence,
    unit_settings: Mapping[str, UnitFiling],
    policy: GroupingPolicy,
    support: Sequence[Finding] = (),
    workflow: Workflow | None = None,
    now: dt.datetime | None = None,
) -> FilingSummary:
    """File one night. Filing it again, at once or after being killed, changes nothing and gives the same summary.

    `findings` of role `case` open cases; those of other roles are stored, facts are not. `support` joins open cases of the
    same family and subject and never opens one. `evidence` gives the snapshot of one finding (JSON values; the same for the
    same finding and night). Raises ValueError for a unit that may open cases and has no `unit_settings`.
    """
    prepared = prepare(findings, support, policy)
    missing = sorted({one.finding.unit_id for one in prepared if one.opens} - set(unit_settings))
    if missing:
        raise ValueError(f"unit_settings: nothing for {', '.join(missing)}; expected max_cases and owner of each")
    with read(engine) as connection:
        before = registry.filed_on(connection, night)
    pending = with_artefacts((one for one in prepared if one.reported_id not in before), evidence, evidence_store)
    failpoints.hit("file.evidence_stored")
    with write(engine) as connection:
        lock_head(connection)
        # Someone else may have filed this night in the meantime.
        done = registry.filed_on(connection, night)
        pending = [one for one in pending if one.reported_id not in done]
        summary = _night(connection, night)
        if pending or summary is None:
            filing = _Filing(
                connection, evidence_store, workflow or workflows.default(), policy, unit_settings, night, run_id, now
            )
            summary = filing.run(pending, summary)
        failpoints.hit("file.before_commit")
    failpoints.hit("file.after_commit")
    return summary


@dataclass
class _Group:
    """The findings of one case key that may open or wake, the latest case of that key, and where they go."""

    key: CaseKey
    members: list[Prepared]
    known: KnownCase | None
    placement: Placement = field(init=False)

    @property
    def candidates(self) -> list[Candidate]:
        return [member.candidate for member in self.members]


@dataclass
class _Filing:
    connection: Connection
    evidence_store: EvidenceBackend
    workflow: Workflow
    policy: GroupingPolicy
    unit_settings: Mapping[str, UnitFiling]
    night: dt.date
    run_id: str
    now: dt.datetime | None

    def run(self, reported: list[Prepared], earlier: FilingSummary | None) -> FilingSummary:
        self._ensure_night(earlier)
        reported, hidden = self._suppress(reported)
        reported = following(self.connection, reported)
        groups = self._groups([one for one in reported if one.opens])
        storms, limits = self._storms(groups)
        storm_groups = self._storm_groups(storms, limits, groups, reported)
        for group in groups:
            group.placement = place(group.known, group.candidates, self.policy, frozenset(storms))
        for group in storm_groups:
            group.placement = place(group.known, group.candidates, self.policy)
        storm_findings = [member for group in storm_groups for member in group.members]
        everything = sorted([*reported, *storm_findings], key=lambda one: one.reported_id)
        resolved, new_names = registry.match(self.connection, everything)

        moment = self.now or dt.datetime.now(dt.UTC)
        book = casebook.Casebook(self.connection, self.workflow, self.policy, self.night, ACTOR, moment)
        self._apply(book, sorted(groups + storm_groups, key=lambda group: group.key.order), resolved)
        self._attach_support(book, [one for one in reported if one.support], resolved)
        waiting = {resolved[i] for group in groups for i in group.placement.waiting}
        states = self._states(everything, resolved, book, waiting)
        new, known = registry.write_findings(
            self.connection, self.night, self.run_id, everything, resolved, new_names, states
        )
        failpoints.hit("file.findings_written")
        counts = book.write()
        failpoints.hit("file.cases_written")
        delta = FilingSummary(
            night=self.night,
            findings_new=len(new),
            findings_known=len(known),
            findings_waiting=len(waiting),
            cases_opened=counts["open"],
            cases_attached=counts["attach"],
            cases_regressed=counts["wake"],
            cases_seen_again=counts["silent"],
            storms=len(storm_findings),
        )
        units = self._count_units(groups, storms)
        total = self._add_up(earlier, delta)
        night = self._night_event(everything, delta, hidden, units)
        append(self.connection, [*book.events, night], recorded_at=moment)
        return total

    def _suppress(self, reported: list[Prepared]) -> tuple[list[Prepared], list[dict[str, Any]]]:
        """Findings that a suppression hides open and wake nothing, nor join what is open; what was hidden is written down."""
        rules = in_force(self.connection, self.night)
        left, hidden = [], []
        for one in reported:
            fits = suppressing(rules, one.finding, one.reported_id) if rules and one.opens else None
            if fits is not None:
                number, sampled = fits
                hidden.append({"reported_id": one.reported_id, "suppression_id": number, "sampled": sampled})
            left.append(replace(one, opens=False) if fits is not None and not fits[1] else one)
        if hidden:
            self.connection.execute(suppression_hit.insert(), [{"night": self.night, **row} for row in hidden])
        return left, hidden

    def _groups(self, opening: Sequence[Prepared]) -> list[_Group]:
        members: dict[str, list[Prepared]] = defaultdict(list)
        for one in opening:
            members[one.key.value].append(one)
        known = latest_cases(self.connection, self.workflow, members)
        return [_Group(group[0].key, group, known.get(value)) for value, group in members.items()]

    def _storms(self, groups: Sequence[_Group]) -> tuple[dict[str, int], dict[str, int]]:
        units = sorted({member.finding.unit_id for group in groups for member in group.members})
        history = self._history(units)
        limits = {unit: storm_limit(self.unit_settings[unit], history[unit], self.policy) for unit in units}
        rows = self.connection.execute(select(filing_unit_night).where(filing_unit_night.c.night == self.night))
        already = {row.unit_id: row.cases for row in rows}
        known = ((group.known, group.candidates) for group in groups)
        return stormy_units(known, limits, already, self.policy), limits

    def _history(self, units: Sequence[str]) -> dict[str, list[int]]:
        """Cases per recent filed night and unit: 0 where a unit brought none, nights of its storms left out."""
        since = self.night - dt.timedelta(days=HISTORY_NIGHTS)
        nights = self.connection.execute(
            select(filing_night.c.night).where(filing_night.c.night >= since, filing_night.c.night < self.night)
        ).scalars()
        counted = {
            (row.night, row.unit_id): row
            for row in self.connection.execute(
                select(filing_unit_night).where(
                    filing_unit_night.c.night >= since, filing_unit_night.c.night < self.night
                )
            )
        }
        history: dict[str, list[int]] = {unit: [] for unit in units}
        for night in sorted(nights):
            for unit in units:
                row = counted.get((night, unit))
                if row is None or not row.storm:
                    history[unit].append(row.cases if row else 0)
        return history

    def _storm_groups(
        self, storms: Mapping[str, int], limits: Mapping[str, int], groups: Sequence[_Group], reported: list[Prepared]
    ) -> list[_Group]:
        """One more group per stormy unit: the case for its owner, with the list of what waits as evidence."""
        made = []
        done = registry.filed_on(self.connection, self.night)
        for unit, count in storms.items():
            of_unit = [one for one in reported if one.opens and one.finding.unit_id == unit]
            unit_digest = min(one.finding.unit_digest for one in of_unit)
            found = storm_finding(unit, unit_digest, self.night, count, limits[unit])
            (prepared,) = prepare([found], [], self.policy)
            if prepared.reported_id in done:
                continue
            stored = self.evidence_store.put(artefact(prepared, {"rows": [waiting_row(one) for one in of_unit]}))
            made.append(replace(prepared, evidence_sha256=stored))
        return self._groups(made)

    def _apply(self, book: casebook.Casebook, groups: Sequence[_Group], resolved: Mapping[str, str]) -> None:
        """Hand every placed finding to the casebook; new cases get their numbers in the order of their keys."""
        for group in groups:
            placement = group.placement
            members = {member.reported_id: member for member in group.members}
            if placement.here and group.known is not None:
                here = [members[reported_id] for reported_id in placement.here]
                book.join(group.known.number, placement.action, here, resolved)
            if placement.fresh:
                fresh = [members[reported_id] for reported_id in placement.fresh]
                storm = fresh[0].finding.explanation_code == STORM
                assignee = self.unit_settings[fresh[0].finding.unit_id].owner if storm else None
                book.open(group.key, group.known, fresh, resolved, storm=storm, assignee=assignee)

    def _attach_support(
        self, book: casebook.Casebook, supporting: Sequence[Prepared], resolved: Mapping[str, str]
    ) -> None:
        numbers = book.open_numbers({one.key.subject for one in supporting})
        gone = gone_from(self.connection, {resolved[one.reported_id] for one in supporting})
        left = {(one.number, one.finding_id) for one in gone}
        for one in supporting:
            for number in numbers.get(one.key.subject, ()):
                if (number, resolved[one.reported_id]) not in left:
                    book.join(number, "attach", [one], resolved)

    def _states(
        self, everything: Sequence[Prepared], resolved: Mapping[str, str], book: casebook.Casebook, waiting: set[str]
    ) -> dict[str, str]:
        states = {resolved[one.reported_id]: "noted" for one in everything}
        states.update(dict.fromkeys(waiting, "waiting"))
        states.update(dict.fromkeys(book.attached_findings(), "filed"))
        return states

    def _ensure_night(self, earlier: FilingSummary | None) -> None:
        if earlier is None:
            self.connection.execute(filing_night.insert().values(asdict(FilingSummary(self.night))))

    def _count_units(self, groups: Sequence[_Group], storms: Mapping[str, int]) -> list[dict[str, Any]]:
        """Add to the counters of units; what was added, for the event."""
        cases: Counter[str] = Counter()
        held: Counter[str] = Counter()
        for group in groups:
            waiting = set(group.placement.waiting)
            held.update(member.finding.unit_id for member in group.members if member.reported_id in waiting)
            cases.update(working_units(group.known, group.candidates, group.placement))
        rows = self.connection.execute(select(filing_unit_night).where(filing_unit_night.c.night == self.night))
        before = {row.unit_id: row for row in rows}
        added: list[dict[str, Any]] = []
        for unit in sorted(set(cases) | set(held) | set(storms)):
            old = before.get(unit)
            values: dict[str, Any] = {"cases": cases[unit], "waiting": held[unit], "storm": unit in storms}
            added.append({"unit_id": unit, **values})
            if old is None:
                values |= {"night": self.night, "unit_id": unit}
                self.connection.execute(filing_unit_night.insert().values(values))
            else:
                values = {
                    "cases": old.cases + cases[unit],
                    "waiting": old.waiting + held[unit],
                    "storm": old.storm or unit in storms,
                }
                same = (filing_unit_night.c.night == self.night) & (filing_unit_night.c.unit_id == unit)
                self.connection.execute(filing_unit_night.update().where(same).values(values))
        return added

    def _add_up(self, earlier: FilingSummary | None, delta: FilingSummary) -> FilingSummary:
        before = asdict(earlier or FilingSummary(self.night))
        total = {name: value if name == "night" else before[name] + value for name, value in asdict(delta).items()}
        self.connection.execute(filing_night.update().where(filing_night.c.night == self.night).values(total))
        return FilingSummary(**total)

    def _night_event(
        self,
        everything: Sequence[Prepared],
        delta: FilingSummary,
        hidden: Sequence[Mapping[str, Any]],
        units: Sequence[Mapping[str, Any]],
    ) -> EventDraft:
        reported = [[o.reported_id, o.record["evidence_root"], o.evidence_sha256] for o in everything]
        data: dict[str, Any] = {"run_id": self.run_id, "counts": asdict(delta)}
        data |= {"findings": len(reported), "digest": digest(reported)}
        # All occurrences of the night so far, so that the last filing of a night speaks for the earlier ones as well.
        data["occurrences"] = night_digest(self.connection, self.night)
        data["units"] = list(units)
        if hidden:
            data["suppressed"] = list(hidden)
        return EventDraft("night.filed", ACTOR, data, night=self.night)


def _night(connection: Connection, night: dt.date) -> FilingSummary | None:
    row = connection.execute(select(filing_night).where(filing_night.c.night == night)).mappings().one_or_none()
    return FilingSummary(**row) if row is not None else None
