"""Suppressions: what is known to be innocent opens no case until a day that is written down, and a share of it does all the same.

Proposed by one person, approved by another one, never longer than a year. Suppressed findings are stored as every other one is.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select

from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.accounts import administering
from fangcuan.cases.people.four_eyes import persons_behind, refuse_own
from fangcuan.cases.refusals import GuardFailed
from fangcuan.core.canonical import plain, sha256_hex
from fangcuan.core.finding import FAMILIES, Finding
from fangcuan.store.database import read
from fangcuan.store.labels import suppression, suppression_hit

#: What a matcher may name; a finding fits where every value is its own.
MATCHED = ("family", "unit_id", "subject_kind", "subject_id", "sku", "product_line", "region_code", "channel", "lot")
LONGEST = dt.timedelta(days=366)
#: Between these shares of what is hidden comes into the queue, so that it is known how often hiding is wrong.
SAMPLED = (Decimal("0.02"), Decimal("0.05"))


def propose_suppression(
    engine: Engine,
    actor: Actor,
    matcher: Mapping[str, str],
    *,
    reason: str,
    note: str,
    starts_on: dt.date,
    ends_on: dt.date,
    sampled_share: Decimal = SAMPLED[1],
    now: dt.datetime | None = None,
) -> int:
    """Propose that findings like these open no case for a time; its number. Raises CommandRefused."""
    _check(matcher, reason, note, starts_on, ends_on, sampled_share)
    with administering(engine, actor, "propose_suppression", None, now) as (connection, moment, record):
        number = int(connection.execute(select(func.max(suppression.c.suppression_id))).scalar() or 0) + 1
        persons = persons_behind(connection, actor)
        row = {
            "suppression_id": number,
            "matcher": dict(matcher),
            "reason": reason,
            "note": note.strip(),
            "starts_on": starts_on,
            "ends_on": ends_on,
            "sampled_share": sampled_share,
            "proposed_by": actor.name,
            "proposed_person": persons[0],
            "proposed_persons": list(persons),
            "proposed_at": moment,
            **dict.fromkeys(("approved_by", "approved_person", "approved_at", "ended_by", "ended_at")),
        }
        connection.execute(suppression.insert().values(row))
        record("suppression.proposed", {"suppression": row})
    return number


def approve_suppression(engine: Engine, actor: Actor, number: int, *, now: dt.datetime | None = None) -> None:
    """Let a proposed suppression hold. Raises CommandRefused, also for one's own."""
    with administering(engine, actor, "approve_suppression", str(number), now) as (connection, moment, record):
        row = _load(connection, number)
        if row.approved_by is not None or row.ended_by is not None:
            raise GuardFailed(f"suppression {number} was approved or ended before")
        persons = refuse_own(connection, actor, "approve_suppression", row.proposed_persons)
        after = {"approved_by": actor.name, "approved_person": persons[0], "approved_at": moment}
        connection.execute(suppression.update().where(suppression.c.suppression_id == number).values(after))
        record("suppression.approved", {"suppression": {"suppression_id": number, **after}})


def end_suppression(engine: Engine, actor: Actor, number: int, *, now: dt.datetime | None = None) -> None:
    """End a suppression before its time, or take back a proposed one. Raises CommandRefused."""
    with administering(engine, actor, "end_suppression", str(number), now) as (connection, moment, record):
        row = _load(connection, number)
        if row.ended_by is not None:
            raise GuardFailed(f"suppression {number} was ended before")
        after = {"ended_by": actor.name, "ended_at": moment}
        connection.execute(suppression.update().where(suppression.c.suppression_id == number).values(after))
        record("suppression.ended", {"suppression": {"suppression_id": number, **after}})


def list_suppressions(engine: Engine) -> list[dict[str, Any]]:
    """All suppressions with what they hid so far: `hidden`, and `sampled` of that into the queue."""
    with read(engine) as connection:
        rows = connection.execute(select(suppression).order_by(suppression.c.suppression_id)).mappings().all()
        hits = connection.execute(
            select(suppression_hit.c.suppression_id, suppression_hit.c.sampled, func.count()).group_by(
                suppression_hit.c.suppression_id, suppression_hit.c.sampled
            )
        ).all()
    counted = {(number, sampled): count for number, sampled, count in hits}
    return [
        {
            **{name: plain(value) for name, value in row.items() if name != "proposed_persons"},
            "hidden": counted.get((row["suppression_id"], False), 0),
            "sampled": counted.get((row["suppression_id"], True), 0),
        }
        for row in rows
    ]


def in_force(connection: Connection, night: dt.date) -> list[Row[Any]]:
    """Suppressions that hold on a night, in the order they were proposed."""
    query = select(suppression).where(
        suppression.c.approved_by.is_not(None),
        suppression.c.ended_by.is_(None),
        suppression.c.starts_on <= night,
        suppression.c.ends_on > night,
    )
    return list(connection.execute(query.order_by(suppression.c.suppression_id)))


def suppressing(rules: Sequence[Row[Any]], finding: Finding, reported_id: str) -> tuple[int, bool] | None:
    """The suppression that a finding fits and whether it is sampled all the same; None where it fits none.

    What is sampled depends on the finding alone: judging the night again draws the same.
    """
    for rule in rules:
        if all(getattr(finding, name) == value for name, value in rule.matcher.items()):
            drawn = int(sha256_hex(f"sample {rule.suppression_id} {reported_id}".encode())[:8], 16) / 2**32
            return rule.suppression_id, drawn < rule.sampled_share
    return None


def _load(connection: Connection, number: int) -> Row[Any]:
    row = connection.execute(select(suppression).where(suppression.c.suppression_id == number)).one_or_none()
    if row is None:
        raise GuardFailed(f"suppression {number}: there is none; `fangcuan suppressions list` shows them")
    return row


def _check(
    matcher: Mapping[str, str], reason: str, note: str, starts_on: dt.date, ends_on: dt.date, share: Decimal
) -> None:
    if unknown := sorted(set(matcher) - set(MATCHED)):
        raise GuardFailed(f"matcher: unknown {', '.join(unknown)}; known: {', '.join(MATCHED)}")
    if matcher.get("family") not in FAMILIES or len(matcher) < 2:
        raise GuardFailed(f"matcher: name the family ({', '.join(FAMILIES)}) and at least one thing more")
    if not reason.strip() or not note.strip():
        raise GuardFailed("a suppression needs a reason and a note")
    if not starts_on < ends_on <= starts_on + LONGEST:
        raise GuardFailed(f"a suppression ends after it starts, and at most {LONGEST.days} days later")
    if not SAMPLED[0] <= share <= SAMPLED[1]:
        raise GuardFailed(f"sampled share {share}; expected {SAMPLED[0]} to {SAMPLED[1]}")
