"""A command, what it gives back, and the step of a case that its handlers are handed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row

from fangcuan.cases.history.events import EventDraft
from fangcuan.cases.people.access import Actor, Area
from fangcuan.cases.refusals import Conflict, GuardFailed
from fangcuan.cases.workflow import Transition, Workflow
from fangcuan.core.canonical import digest
from fangcuan.store.casework import case_file


@dataclass(frozen=True)
class Command:
    """`key` identifies one intention: given twice, the command is carried out once and answered twice.

    `version` is the version of the case the actor looked at; None means whatever it is now. `params` hold what the command
    asks for: `reason`, `outcome`, `note`, `to` (an actor's name), `kind`, `text`, …
    """

    name: str
    case: str
    actor: Actor
    key: str
    version: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def digest(self) -> str:
        return digest([self.name, self.case, self.actor.name, self.version, dict(self.params)])


@dataclass(frozen=True)
class CommandResult:
    """State of the case after the command; `seq` is its event, `replayed` whether the key had been answered before."""

    case: str
    status: str
    version: int
    seq: int
    replayed: bool = False


@dataclass(frozen=True)
class Step:
    """One command on one case, authorised, inside its transaction.

    `case` is a row of `case_file` with the machine columns `severity`, `window_end` and `evidence_root`; `details` (in which
    role, and how) go into the event.
    """

    connection: Connection
    rules: Workflow
    command: Command
    case: Row[Any]
    area: Area
    moment: dt.datetime
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def number(self) -> str:
        return str(self.case.number)

    def known(self, *names: str) -> dict[str, Any]:
        """The parameters that were given. Raises GuardFailed for one that is not among `names`."""
        if unknown := sorted(set(self.command.params) - set(names)):
            told = ", ".join(sorted(names)) or "none"
            raise GuardFailed(f"{self.command.name}: unknown parameter {', '.join(unknown)}; known: {told}")
        return {name: value for name, value in self.command.params.items() if value is not None}

    def text(self, name: str, *, longest: int = 10_000) -> str:
        """A parameter that has to be there as text. Raises GuardFailed."""
        value = str(self.command.params.get(name) or "").strip()
        if not value:
            raise GuardFailed(f"{self.command.name}: a {name} is needed")
        if len(value) > longest:
            raise GuardFailed(f"{self.command.name}: {name} has {len(value)} characters; at most {longest}")
        return value

    def update(self, after: Mapping[str, Any], **data: Any) -> Done:
        """Set columns of the case and raise its version; the event says what they were and are, and `data`."""
        draft = update_case(
            self.connection,
            self.case,
            self.command.name,
            after,
            actor=self.command.actor.name,
            params=self.command.params,
            details={**self.details, **data},
        )
        return Done(draft, str(after.get("status", self.case.status)), self.case.version + 1)

    def beside(self, **data: Any) -> Done:
        """Leave the case as it is: nobody who looked at it has to look again. The event holds `data`."""
        draft = EventDraft(
            f"case.{self.command.name}", self.command.actor.name, {**data, **self.details}, case=self.number
        )
        return Done(draft, str(self.case.status), self.case.version)


@dataclass(frozen=True)
class Done:
    """What a handler leaves: the event to append, and status and version of the case from now on.

    `also` are events about other cases, which follow it.
    """

    draft: EventDraft
    status: str
    version: int
    also: tuple[EventDraft, ...] = ()


def change(
    connection: Connection,
    case: Row[Any],
    transition: Transition,
    rules: Workflow,
    *,
    actor: str,
    params: Mapping[str, Any],
    night: dt.date | None = None,
    details: Mapping[str, Any] | None = None,
) -> EventDraft:
    """Move a case along a transition, if it still is as loaded, and give the event that says so. Filing uses it too."""
    after = entering(case, transition.to, rules, params) | {"regressed": transition.wake or case.regressed}
    if rules.has(transition.to, "decided"):
        after["regressed"] = False
    return update_case(
        connection, case, transition.command, after, actor=actor, params=params, night=night, details=details
    )


def entering(case: Row[Any], status: str, rules: Workflow, params: Mapping[str, Any]) -> dict[str, Any]:
    """What entering a status does to the columns of a case: a decision fixes the evidence and lifts what lay over it."""
    after: dict[str, Any] = {
        "status": status,
        "is_open": rules.has(status, "open"),
        "outcome": params.get("outcome") or params.get("reason"),
    }
    decided = rules.has(status, "decided")
    if decided and rules.has(case.status, "decided"):
        # From one decision on to the next, what was decided stays unless it is said anew.
        after["outcome"] = after["outcome"] or case.outcome
    elif case.outcome_class is not None:
        after["outcome_class"] = None
    if decided:
        after |= {"regressed": False, "decision_cutoff": case.window_end, "decision_evidence_root": case.evidence_root}
        if case.attention is not None:
            after["attention"] = None
        if case.snoozed_until is not None:
            after |= AWAKE
    return after


#: Columns of a case over which no snooze lies.
AWAKE: Mapping[str, Any] = {"snoozed_until": None, "snooze_condition": None, "snooze_evidence_root": None}


def update_case(
    connection: Connection,
    case: Row[Any],
    command: str,
    after: Mapping[str, Any],
    *,
    actor: str,
    params: Mapping[str, Any],
    night: dt.date | None = None,
    details: Mapping[str, Any] | None = None,
) -> EventDraft:
    """Set columns of a case that still is as loaded; the event that says so. Raises Conflict where it is not."""
    before = {name: getattr(case, name) for name in after}
    updated = connection.execute(
        case_file.update()
        .where(
            case_file.c.number == case.number,
            case_file.c.version == case.version,
            case_file.c.status == case.status,
        )
        .values(version=case.version + 1, **after)
        .returning(case_file.c.number)
    ).all()
    if len(updated) != 1:
        raise Conflict(f"{case.number} was changed by someone else; load it again")
    data = {
        "before": before,
        "after": dict(after),
        "version": case.version + 1,
        "evidence_root": case.evidence_root,
        "params": dict(params),
        **(details or {}),
    }
    return EventDraft(f"case.{command}", actor, data, case=case.number, night=night)
