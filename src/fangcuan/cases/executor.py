"""The one way a person changes a case: every command runs through `execute`, in one transaction with its event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from fangcuan.cases import workflow as workflows
from fangcuan.cases.access import Actor, Area, authorise
from fangcuan.cases.areas import area_of
from fangcuan.cases.comments import write_comment
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
from fangcuan.cases.urgency import unclaimed
from fangcuan.cases.workflow import Transition, Work, Workflow
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
    "claim_next",
    "execute",
]


@dataclass(frozen=True)
class Command:
    """`key` identifies one intention: given twice, the command is carried out once and answered twice.

    `version` is the version of the case the actor looked at; None means whatever it is now.
    `params` may hold `reason`, `outcome`, `note`, `to` (an actor's name), `text`, `comment`.
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


def claim_next(
    engine: Engine, actor: Actor, key: str, *, workflow: Workflow | None = None, now: dt.datetime | None = None
) -> CommandResult | None:
    """Claim the most urgent case that nobody holds and the actor's role reaches; None where there is none.

    One transaction: of two who ask at once, each gets a case of his own. Raises CommandRefused without such a role at all.
    """
    rules, moment = workflow or workflows.default(), now or dt.datetime.now(dt.UTC)
    asked = Command("claim_next", "", actor, key)
    claim = next(each for each in rules.work if each.assignee == "self")
    statuses = [name for name in rules.statuses if rules.has(name, claim.while_)]
    try:
        with write(engine) as connection:
            lock_head(connection)
            earlier = _answered(connection, asked)
            if earlier is not None:
                return earlier
            authorise(connection, actor, claim.command, claim.roles, moment)
            for number in unclaimed(connection, statuses):
                try:
                    return _apply(connection, Command(claim.command, number, actor, key), asked, rules, moment)
                except NotAuthorised:
                    # Somebody else's region or brand: the next one may be his.
                    continue
            return None
    except CommandRefused as refusal:
        log_refusal(engine, refusal, actor=actor.name, command=claim.command, target=None, now=moment)
        raise


def _carry_out(engine: Engine, command: Command, rules: Workflow, moment: dt.datetime) -> CommandResult:
    with write(engine) as connection:
        lock_head(connection)
        earlier = _answered(connection, command)
        if earlier is not None:
            return earlier
        result = _apply(connection, command, command, rules, moment)
    failpoints.hit("command.after_commit")
    return result


def _apply(
    connection: Connection, command: Command, asked: Command, rules: Workflow, moment: dt.datetime
) -> CommandResult:
    """Load the case and do what the command says; `asked` is the command whose key is answered by it."""
    case = connection.execute(
        select(case_file, case_machine.c.window_end, case_machine.c.evidence_root)
        .join(case_machine, case_machine.c.number == case_file.c.number)
        .where(case_file.c.number == command.case)
    ).one_or_none()
    if case is None:
        raise UnknownCase(f"{command.case}: no such case")
    actor, area = command.actor, area_of(connection, case)
    work, remark = rules.working(command.name, case.status), rules.remark(command.name)
    transition = _transition(rules, command, case.status) if work is None and remark is None else None
    step = work or remark or transition
    assert step is not None
    roles = (*step.roles, *step.own) if isinstance(step, Work) and case.assignee == actor.name else step.roles
    role = authorise(connection, actor, command.name, roles, moment, area)
    details = {"role": role, **({"via": via} if (via := actor.via()) else {})}
    if transition is not None:
        _check_guards(transition, command)
    holder = _new_holder(connection, work, command, case, area, rules, moment) if work is not None else None
    if command.version is not None and command.version != case.version:
        raise Conflict(f"{command.case} is at version {case.version}, not {command.version}; load it again")
    if transition is not None:
        draft = change(connection, case, transition, rules, actor=actor.name, params=command.params, details=details)
    elif remark is not None:
        # Beside the case: its version stays, and nobody who looked at it has to look again.
        beside = write_comment(
            connection, case.number, actor.name, command.params, amending=remark.amends, moment=moment
        )
        draft = EventDraft(f"case.{command.name}", actor.name, {"comment": beside, **details}, case=case.number)
    else:
        after = {"assignee": holder}
        draft = _update(connection, case, command.name, after, actor=actor.name, params=command.params, details=details)
    failpoints.hit("command.case_updated")
    (seq,) = append(connection, [draft], recorded_at=moment)
    status = transition.to if transition is not None else case.status
    result = CommandResult(command.case, status, case.version + (remark is None), seq)
    connection.execute(
        command_log.insert().values(
            key=asked.key,
            command_digest=asked.digest(),
            seq=seq,
            result={"status": result.status, "version": result.version, "case": result.case},
            recorded_at=moment,
        )
    )
    failpoints.hit("command.before_commit")
    return result


def _new_holder(
    connection: Connection,
    work: Work,
    command: Command,
    case: Row[Any],
    area: Area,
    rules: Workflow,
    moment: dt.datetime,
) -> str | None:
    """Who holds the case afterwards. Raises Conflict for a claim of what somebody holds, GuardFailed for a wrong `to`."""
    known = {"given": {"to", "note"}}.get(work.assignee, {"note"})
    unknown = sorted(set(command.params) - known)
    if unknown:
        raise GuardFailed(f"{work.command}: unknown parameter {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    if work.assignee == "self":
        if case.assignee is not None:
            raise Conflict(f"{case.number} is held by {case.assignee}")
        return command.actor.name
    if work.assignee == "nobody":
        if case.assignee is None:
            raise GuardFailed(f"{case.number}: nobody holds it")
        return None
    to = str(command.params.get("to") or "")
    claiming = next(each for each in rules.work if each.assignee == "self")
    try:
        authorise(connection, Actor(to), claiming.command, claiming.roles, moment, area)
    except (NotAuthorised, UnknownUser) as error:
        raise GuardFailed(f"{work.command}: it cannot go to {to or 'nobody'}: {error}") from error
    if to == case.assignee:
        raise GuardFailed(f"{case.number}: {to} holds it already")
    return to


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
    return _update(
        connection, case, transition.command, after, actor=actor, params=params, night=night, details=details
    )


def _update(
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
        "after": after,
        "version": case.version + 1,
        "evidence_root": case.evidence_root,
        "params": dict(params),
        **(details or {}),
    }
    return EventDraft(f"case.{command}", actor, data, case=case.number, night=night)


def _answered(connection: Connection, command: Command) -> CommandResult | None:
    row = connection.execute(select(command_log).where(command_log.c.key == command.key)).one_or_none()
    if row is None:
        return None
    if row.command_digest != command.digest():
        raise KeyReused(f"key {command.key!r} was used for another command; use a new key for a new intention")
    case = row.result.get("case", command.case)
    return CommandResult(case, row.result["status"], row.result["version"], row.seq, replayed=True)


def _transition(rules: Workflow, command: Command, status: str) -> Transition:
    transition = rules.transition(command.name, status)
    # Only later evidence wakes a case; nobody gives that as a command.
    if transition is None or transition.wake:
        possible = ", ".join(rules.offered(status)) or "nothing"
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
