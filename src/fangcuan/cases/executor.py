"""The one way a person changes a case: every command runs through `execute`, in one transaction with its event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from fangcuan.cases import workflow as workflows
from fangcuan.cases.access import Actor, authorise
from fangcuan.cases.areas import area_of
from fangcuan.cases.events import EventDraft, append, lock_head
from fangcuan.cases.refusals import (
    CommandRefused,
    Conflict,
    GuardFailed,
    KeyReused,
    NotAuthorised,
    NotOffered,
    UnknownCase,
    UnknownUser,
    log_refusal,
)
from fangcuan.cases.workflow import Transition, Workflow
from fangcuan.core import failpoints
from fangcuan.core.canonical import digest
from fangcuan.store.casework import case_file, case_machine, command_log
from fangcuan.store.database import write

__all__ = [
    "Actor",
    "Command",
    "CommandRefused",
    "CommandResult",
    "Conflict",
    "GuardFailed",
    "KeyReused",
    "NotAuthorised",
    "NotOffered",
    "UnknownCase",
    "UnknownUser",
    "change",
    "execute",
]


@dataclass(frozen=True)
class Command:
    """`key` identifies one intention: given twice, the command is carried out once and answered twice.

    `version` is the version of the case the actor looked at; None means whatever it is now.
    `params` may hold `reason`, `outcome` and `note`.
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


def execute(
    engine: Engine, command: Command, *, workflow: Workflow | None = None, now: dt.datetime | None = None
) -> CommandResult:
    """Carry out one command. Raises a CommandRefused, and then nothing has changed; one about rights is in the access log.

    Order: idempotency key → load → transition → authorise → guards → conditional update on version and status → event.
    """
    moment = now or dt.datetime.now(dt.UTC)
    try:
        return _carry_out(engine, command, workflow or workflows.default(), moment)
    except CommandRefused as refusal:
        log_refusal(engine, refusal, actor=command.actor.name, command=command.name, target=command.case, now=moment)
        raise


def _carry_out(engine: Engine, command: Command, rules: Workflow, moment: dt.datetime) -> CommandResult:
    with write(engine) as connection:
        lock_head(connection)
        earlier = _answered(connection, command)
        if earlier is not None:
            return earlier
        case = connection.execute(
            select(case_file, case_machine.c.window_end, case_machine.c.evidence_root)
            .join(case_machine, case_machine.c.number == case_file.c.number)
            .where(case_file.c.number == command.case)
        ).one_or_none()
        if case is None:
            raise UnknownCase(f"{command.case}: no such case")
        transition = _transition(rules, command, case.status)
        role = authorise(connection, command.actor, command.name, transition.roles, moment, area_of(connection, case))
        _check_guards(transition, command)
        if command.version is not None and command.version != case.version:
            raise Conflict(f"{command.case} is at version {case.version}, not {command.version}; load it again")
        draft = change(
            connection,
            case,
            transition,
            rules,
            actor=command.actor.name,
            params=command.params,
            details={"role": role, **({"via": via} if (via := command.actor.via()) else {})},
        )
        failpoints.hit("command.case_updated")
        (seq,) = append(connection, [draft], recorded_at=moment)
        result = CommandResult(command.case, transition.to, case.version + 1, seq)
        connection.execute(
            command_log.insert().values(
                key=command.key,
                command_digest=command.digest(),
                seq=seq,
                result={"status": result.status, "version": result.version},
                recorded_at=moment,
            )
        )
        failpoints.hit("command.before_commit")
    failpoints.hit("command.after_commit")
    return result


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
    """Move a case along a transition, if it still is as loaded, and give the event that says so. Filing uses it too.

    `case` is a row of `case_file` with `window_end` and `evidence_root` of its `case_machine`.
    """
    after: dict[str, Any] = {
        "status": transition.to,
        "is_open": rules.has(transition.to, "open"),
        "outcome": params.get("outcome") or params.get("reason"),
        "regressed": transition.wake or case.regressed,
    }
    if rules.has(transition.to, "decided"):
        after |= {
            "regressed": False,
            "decision_cutoff": case.window_end,
            "decision_evidence_root": case.evidence_root,
        }
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
        "after": after,
        "version": case.version + 1,
        "evidence_root": case.evidence_root,
        "params": dict(params),
        **(details or {}),
    }
    return EventDraft(f"case.{transition.command}", actor, data, case=case.number, night=night)


def _answered(connection: Connection, command: Command) -> CommandResult | None:
    row = connection.execute(select(command_log).where(command_log.c.key == command.key)).one_or_none()
    if row is None:
        return None
    if row.command_digest != command.digest():
        raise KeyReused(f"key {command.key!r} was used for another command; use a new key for a new intention")
    return CommandResult(command.case, row.result["status"], row.result["version"], row.seq, replayed=True)


def _transition(rules: Workflow, command: Command, status: str) -> Transition:
    transition = rules.transition(command.name, status)
    # Only later evidence wakes a case; nobody gives that as a command.
    if transition is None or transition.wake:
        offered = sorted({t.command for t in rules.transitions if status in t.from_ and not t.wake})
        possible = ", ".join(offered) or "nothing"
        raise NotOffered(f"{command.name}: not possible while {command.case} is {status}; possible: {possible}")
    return transition


def _check_guards(transition: Transition, command: Command) -> None:
    lists = {"reason": transition.reasons, "outcome": transition.outcomes}
    for guard in transition.guards:
        given = command.params.get(guard)
        if guard in lists and given not in lists[guard]:
            raise GuardFailed(f"{command.name}: {guard} {given!r}; expected one of {', '.join(lists[guard])}")
        if not str(given or "").strip():
            raise GuardFailed(f"{command.name}: a {guard} is needed")
    unknown = sorted(set(command.params) - {"reason", "outcome", "note"})
    if unknown:
        raise GuardFailed(f"{command.name}: unknown parameter {', '.join(unknown)}; known: reason, outcome, note")
