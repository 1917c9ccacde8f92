"""What lies over the status of a case and changes none: attention, snooze, legal hold."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Connection, func, select

from fangcuan.cases.commands import AWAKE, Done, Step
from fangcuan.cases.refusals import GuardFailed
from fangcuan.cases.workflow import Overlay
from fangcuan.core.canonical import plain
from fangcuan.store.casework import case_file, case_machine
from fangcuan.store.decisions import legal_hold

#: What ends a snooze before its time: evidence that came after it, or an answer of the partner.
CONDITIONS = ("new_evidence", "answer")


def lay(step: Step, overlay: Overlay) -> Done:
    """Lay an overlay or lift it. Raises GuardFailed where it lies there already, or does not."""
    match overlay.lays, overlay.lifts:
        case ("attention", _):
            step.known("note")
            _absent(step, step.case.attention)
            return step.update({"attention": overlay.command})
        case (_, "attention"):
            step.known("note")
            _present(step, step.case.attention)
            return step.update({"attention": None})
        case ("snooze", _):
            return step.update(_snoozed(step, overlay))
        case (_, "snooze"):
            step.known("note")
            _present(step, step.case.snoozed_until)
            return step.update(AWAKE)
        case ("hold", _):
            return _place_hold(step)
        case _:
            return _lift_hold(step)


def asleep(moment: dt.datetime) -> Any:
    """SQL condition over `case_file` joined with `case_machine`: a snooze lies over the case and nothing has ended it."""
    changed = case_file.c.snooze_evidence_root != case_machine.c.evidence_root
    awake = (case_file.c.snooze_condition == CONDITIONS[0]) & changed
    return case_file.c.snoozed_until.is_not(None) & (case_file.c.snoozed_until > moment) & ~func.coalesce(awake, False)


def holds_of(connection: Connection, number: str) -> list[dict[str, Any]]:
    """Legal holds of a case in the order they were placed, lifted ones too."""
    rows = connection.execute(select(legal_hold).where(legal_hold.c.number == number).order_by(legal_hold.c.hold))
    return [{name: plain(value) for name, value in row.items()} for row in rows.mappings()]


def _snoozed(step: Step, overlay: Overlay) -> dict[str, Any]:
    given = step.known("until", "condition", "note")
    condition = given.get("condition")
    if condition is not None and condition not in CONDITIONS:
        raise GuardFailed(f"snooze: condition {condition!r}; expected one of {', '.join(CONDITIONS)}, or none")
    until = _moment(step.text("until"))
    latest = step.moment + dt.timedelta(days=overlay.days or 90)
    if not step.moment < until <= latest:
        raise GuardFailed(
            f"snooze: until {plain(until)}; expected a time after now and at most {overlay.days or 90} days ahead"
        )
    root = step.case.evidence_root
    return {"snoozed_until": until, "snooze_condition": condition, "snooze_evidence_root": root}


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise GuardFailed(
            f"snooze: until {text!r}; expected a day such as 2026-12-01 or a time with its zone"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _place_hold(step: Step) -> Done:
    step.known("note")
    last = select(func.max(legal_hold.c.hold)).where(legal_hold.c.number == step.number)
    row = {"number": step.number, "hold": (step.connection.execute(last).scalar() or 0) + 1, "note": step.text("note")}
    row |= {"placed_by": step.command.actor.name, "placed_at": step.moment, "lifted_by": None, "lifted_at": None}
    step.connection.execute(legal_hold.insert().values(row))
    return step.update({}, legal_hold=row)


def _lift_hold(step: Step) -> Done:
    given = step.known("note", "hold")
    lying = [each for each in holds_of(step.connection, step.number) if each["lifted_at"] is None]
    chosen = [each for each in lying if each["hold"] == given.get("hold", each["hold"])]
    if len(chosen) != 1:
        numbers = ", ".join(str(each["hold"]) for each in lying) or "none"
        raise GuardFailed(f"{step.number}: say which hold is lifted (hold); in force: {numbers}")
    lifted = {"lifted_by": step.command.actor.name, "lifted_at": step.moment}
    step.connection.execute(
        legal_hold.update()
        .where(legal_hold.c.number == step.number, legal_hold.c.hold == chosen[0]["hold"])
        .values(lifted)
    )
    return step.update({}, legal_hold={**chosen[0], **lifted})


def _absent(step: Step, value: Any) -> None:
    if value is not None:
        raise GuardFailed(f"{step.command.name}: {step.number} is so already")


def _present(step: Step, value: Any) -> None:
    if value is None:
        raise GuardFailed(f"{step.command.name}: {step.number} is not so")
