"""The one way a person changes a case: every command runs through `execute`, in one transaction with its event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from fangcuan.cases import workflow as workflows
from fangcuan.cases.commands import Command, CommandResult, Done, Step, change
from fangcuan.cases.evidence.attachments import write_beside
from fangcuan.cases.filing.labels import label_findings
from fangcuan.cases.history.events import append, lock_head
from fangcuan.cases.holding import hold
from fangcuan.cases.letters.correspondence import find_link, linked_actor, take_answer, write_letter
from fangcuan.cases.overlays import lay
from fangcuan.cases.penalties.computation import latest_penalty
from fangcuan.cases.penalties.sanctions import penalty_of_notice, sanction, take_appeal
from fangcuan.cases.people.access import Actor, authorise, grants_for
from fangcuan.cases.people.areas import area_of
from fangcuan.cases.people.scopes import within
from fangcuan.cases.proposals import decide, open_proposal, propose
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
from fangcuan.cases.requirements import check, demand
from fangcuan.cases.urgency import unclaimed
from fangcuan.cases.workflow import (
    PROPOSE,
    Letter,
    Order,
    Overlay,
    Proposal,
    Remark,
    Sanction,
    Transition,
    Verdict,
    Work,
    Workflow,
)
from fangcuan.core import failpoints
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
    "answer_by_link",
    "claim_next",
    "execute",
]


def execute(
    engine: Engine, command: Command, *, workflow: Workflow | None = None, now: dt.datetime | None = None
) -> CommandResult:
    """Carry out one command. Raises a CommandRefused, and then nothing has changed; one about rights is in the access log.

    Order: idempotency key → load → what the command means here → authorise → guards → conditional update on version and
    status → event.
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
            reached = within(connection, grants_for(connection, actor, claim.roles, moment))
            for number in unclaimed(connection, statuses, moment, reached):
                try:
                    return _apply(connection, Command(claim.command, number, actor, key), asked, rules, moment)
                except NotAuthorised:
                    # Beside his region or brand after all: the next one may be his.
                    continue
            return None
    except CommandRefused as refusal:
        log_refusal(engine, refusal, actor=actor.name, command=claim.command, target=None, now=moment)
        raise


def answer_by_link(
    engine: Engine, link: str, params: Mapping[str, Any], key: str, *, now: dt.datetime | None = None
) -> CommandResult:
    """Take what whoever holds the link of a notice says about that one case; nothing else can be done with it.

    To a question it is an answer, to a penalty an appeal. Raises CommandRefused: for a link that is none or has expired, and for
    what neither may hold.
    """
    moment, rules = now or dt.datetime.now(dt.UTC), workflows.default()
    with write(engine) as connection:
        lock_head(connection)
        notice = find_link(connection, link, moment)
        penalty = penalty_of_notice(connection, notice.number, notice.notice)
        sanctioning = next(each for each in rules.sanctions if each.does == "appeal")
        answering = next(each for each in rules.letters if each.does == "answer")
        order = sanctioning if penalty is not None else answering
        actor = linked_actor(notice)
        command = Command(order.command, notice.number, actor, key, None, params)
        earlier = _answered(connection, command)
        if earlier is not None:
            return earlier
        case = _load(connection, notice.number)
        details = {"role": order.roles[0], "via": {"link": notice.link_id}}
        step = Step(connection, rules, command, case, area_of(connection, case), moment, details)
        if penalty is None:
            return _record(step, take_answer(step, answered_by=actor.name, notice=notice.notice), command)
        if penalty.status not in sanctioning.from_:
            raise NotOffered(f"{order.command}: not possible with a penalty that is {penalty.status}")
        return _record(step, take_appeal(step, sanctioning, penalty, by=actor.name), command)


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
    case = _load(connection, command.case)
    proposed = open_proposal(connection, command.case)
    penalty = latest_penalty(connection, command.case)
    order = _order(rules, command, case.status, proposed is not None, penalty.status if penalty is not None else None)
    actor, area = command.actor, area_of(connection, case)
    roles = _roles(rules, order, case, actor, proposed)
    role = authorise(connection, actor, command.name, roles, moment, area)
    if command.version is not None and command.version != case.version:
        raise Conflict(f"{command.case} is at version {case.version}, not {command.version}; load it again")
    details = {"role": role, **({"via": via} if (via := actor.via()) else {})}
    step = Step(connection, rules, command, case, area, moment, details)
    done = _do(step, order, proposed)
    return _record(step, label_findings(step, done), asked)


def _record(step: Step, done: Done, asked: Command) -> CommandResult:
    """Append the event, and answer the key of what was asked."""
    connection, moment = step.connection, step.moment
    failpoints.hit("command.case_updated")
    seq = append(connection, [done.draft, *done.also], recorded_at=moment)[0]
    result = CommandResult(step.number, done.status, done.version, seq)
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


def _do(step: Step, order: Order, proposed: Row[Any] | None) -> Done:
    match order:
        case Transition():
            demand(step, order)
            draft = change(
                step.connection,
                step.case,
                order,
                step.rules,
                actor=step.command.actor.name,
                params=step.command.params,
                details=step.details,
            )
            return Done(draft, order.to, step.case.version + 1)
        case Proposal():
            return propose(step, order)
        case Verdict():
            assert proposed is not None
            return decide(step, order, proposed)
        case Work():
            return hold(step, order)
        case Overlay():
            check(step, order)
            return lay(step, order)
        case Letter():
            return write_letter(step, order)
        case Sanction():
            return sanction(step, order)
        case Remark():
            return write_beside(step, order)


def _roles(rules: Workflow, order: Order, case: Row[Any], actor: Actor, proposed: Row[Any] | None) -> tuple[str, ...]:
    if isinstance(order, Verdict):
        assert proposed is not None
        kind = rules.proposal(proposed.kind)
        return kind.roles if order.own else kind.approvers
    if isinstance(order, Work) and case.assignee == actor.name:
        return (*order.roles, *order.own)
    return order.roles


def _load(connection: Connection, number: str) -> Row[Any]:
    machine = (case_machine.c.severity, case_machine.c.window_end, case_machine.c.evidence_root)
    case = connection.execute(
        select(case_file, *machine)
        .join(case_machine, case_machine.c.number == case_file.c.number)
        .where(case_file.c.number == number)
    ).one_or_none()
    if case is None:
        raise UnknownCase(f"{number}: no such case")
    return case


def _answered(connection: Connection, command: Command) -> CommandResult | None:
    row = connection.execute(select(command_log).where(command_log.c.key == command.key)).one_or_none()
    if row is None:
        return None
    if row.command_digest != command.digest():
        raise KeyReused(f"key {command.key!r} was used for another command; use a new key for a new intention")
    case = row.result.get("case", command.case)
    return CommandResult(case, row.result["status"], row.result["version"], row.seq, replayed=True)


def _order(rules: Workflow, command: Command, status: str, proposed: bool, penalty: str | None) -> Order:
    """What the command means here. Only later evidence wakes a case; nobody gives that as a command."""
    kind = command.params.get("kind") if command.name == PROPOSE else None
    order = rules.find(command.name, status, kind=kind, proposed=proposed, penalty=penalty)
    if order is None:
        said = command.name if kind is None else f"{command.name} {kind}"
        possible = ", ".join(rules.offered(status, proposed=proposed, penalty=penalty)) or "nothing"
        with_it = f", with a penalty that is {penalty}" if penalty else ""
        raise NotOffered(f"{said}: not possible while {command.case} is {status}{with_it}; possible: {possible}")
    return order
