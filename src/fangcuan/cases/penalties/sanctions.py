"""What is done with a penalty that was agreed: it goes out, can be appealed against, is settled; and the partner is told."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Connection, Row, func, select

from fangcuan.cases.commands import Done, Step
from fangcuan.cases.letters.correspondence import MOST_ANSWERS, listed_files, sent
from fangcuan.cases.penalties.computation import changed, latest_penalty, money
from fangcuan.cases.refusals import GuardFailed
from fangcuan.cases.requirements import check
from fangcuan.cases.workflow import Sanction
from fangcuan.core.canonical import plain
from fangcuan.store.penalties import appeal, penalty


def sanction(step: Step, order: Sanction) -> Done:
    """Carry out a command on the penalty of a case. Raises GuardFailed, Blocked by the legal gate."""
    before = latest_penalty(step.connection, step.number)
    if before is None or before.status not in order.from_:
        raise GuardFailed(f"{order.command}: {step.number} has no penalty with which that can be done")
    match order.does:
        case "issue":
            return _issue(step, order, before)
        case "appeal":
            return take_appeal(step, order, before, by=step.command.actor.name)
        case "settle":
            return _settle(step, order, before)
        case "tell":
            step.known("language", "sha256")
            return step.beside(partner_notice=sent(step, "review", str(order.action)))


def take_appeal(step: Step, order: Sanction, before: Row[Any], *, by: str) -> Done:
    """Write an appeal down; it decides nothing, and stops nothing but the settling."""
    step.known("reason", "text", "files")
    check(step, order)
    if before.appeal_until is None or step.moment > before.appeal_until:
        raise GuardFailed(f"{order.command}: it could be appealed against until {plain(before.appeal_until)}")
    of_penalty = (appeal.c.number == before.number) & (appeal.c.penalty == before.penalty)
    count = step.connection.execute(select(func.count()).select_from(appeal).where(of_penalty)).scalar_one()
    if count >= MOST_ANSWERS:
        raise GuardFailed(f"{order.command}: there are {count} appeals already")
    said = {
        "number": before.number,
        "penalty": before.penalty,
        "appeal": count + 1,
        "reason": step.command.params["reason"],
        "text": step.text("text"),
        "files": listed_files(order.command, step.command.params.get("files") or []),
        "appealed_by": by,
        "appealed_at": step.moment,
    }
    step.connection.execute(appeal.insert().values(said))
    return step.beside(appeal=said, penalty=changed(step, before, {"status": order.to}))


def penalty_of_notice(connection: Connection, number: str, notice: int) -> Row[Any] | None:
    """The penalty that went out with a notice, or None for a notice of something else."""
    query = select(penalty).where(penalty.c.number == number, penalty.c.notice == notice)
    return connection.execute(query).one_or_none()


def _issue(step: Step, order: Sanction, before: Row[Any]) -> Done:
    step.known("language", "sha256", "link_id", "link_hash", "appeal_until")
    check(step, order)
    until = _until(step, order)
    notice = sent(step, "penalty", str(order.action), expires=until)
    after = {
        "status": order.to,
        "issued_at": step.moment,
        "notice": notice["notice"],
        "appeal_until": until,
    }
    return step.beside(partner_notice=notice, penalty=changed(step, before, after))


def _until(step: Step, order: Sanction) -> dt.datetime:
    """Until when it can be appealed against: as the letter says, and never less than the file gives."""
    least = step.moment + dt.timedelta(days=order.days)
    given = step.command.params.get("appeal_until")
    try:
        until = dt.datetime.fromisoformat(str(given)) if given else least
    except ValueError as error:
        raise GuardFailed(
            f"{order.command}: appeal_until {given!r}; expected a time such as 2026-12-01T00:00+08:00"
        ) from error
    if until.tzinfo is None or not least <= until <= least + dt.timedelta(days=order.days):
        raise GuardFailed(
            f"{order.command}: appeal_until {given}; expected a time with its zone, {order.days} to {2 * order.days} days ahead"
        )
    return until


def _settle(step: Step, order: Sanction, before: Row[Any]) -> Done:
    """`amount` was received; less than is due is a settlement, more is a mistake."""
    given = step.known("amount", "accepted", "note")
    check(step, order)
    amount = money(step, "amount")
    if amount > before.due:
        raise GuardFailed(
            f"{order.command}: amount {amount:f}; due are {before.due:f} {before.currency or ''}, expected no more"
        )
    appealed = step.connection.execute(
        select(appeal.c.appeal).where(appeal.c.number == before.number, appeal.c.penalty == before.penalty).limit(1)
    ).first()
    if step.moment <= before.appeal_until and appealed is None and not given.get("accepted"):
        raise GuardFailed(
            f"{order.command}: it can be appealed against until {plain(before.appeal_until)}; say `accepted` where the partner "
            f"accepted it in writing before"
        )
    after = {"status": order.to, "settled": amount, "ended_at": step.moment}
    return step.beside(penalty=changed(step, before, after))
