"""Who holds a case: claimed, assigned, released."""

from __future__ import annotations

from fangcuan.cases.commands import Done, Step
from fangcuan.cases.people.access import Actor, authorise
from fangcuan.cases.refusals import Conflict, GuardFailed, NotAuthorised, UnknownUser
from fangcuan.cases.workflow import Work


def hold(step: Step, work: Work) -> Done:
    """Raises Conflict for a claim of what somebody holds, GuardFailed for a wrong `to`."""
    after = {"assignee": _holder(step, work)}
    if work.assignee == "given" and step.case.attention is not None:
        # Whoever gives a case to somebody has attended to it.
        after["attention"] = None
    return step.update(after)


def _holder(step: Step, work: Work) -> str | None:
    case, command = step.case, step.command
    step.known(*{"given": ("to", "note")}.get(work.assignee, ("note",)))
    if work.assignee == "self":
        if case.assignee is not None:
            raise Conflict(f"{case.number} is held by {case.assignee}")
        return command.actor.name
    if work.assignee == "nobody":
        if case.assignee is None:
            raise GuardFailed(f"{case.number}: nobody holds it")
        return None
    to = str(command.params.get("to") or "")
    claiming = next(each for each in step.rules.work if each.assignee == "self")
    try:
        authorise(step.connection, Actor(to), claiming.command, claiming.roles, step.moment, step.area)
    except (NotAuthorised, UnknownUser) as error:
        raise GuardFailed(f"{work.command}: it cannot go to {to or 'nobody'}: {error}") from error
    if to == case.assignee:
        raise GuardFailed(f"{case.number}: {to} holds it already")
    return to
