"""The outbox: notices written in the transaction of their event, then sent at least once by whoever claims them.

Its rows are derived and no part of the history: a row that is gone is a message that nobody got, and no fact that is lost.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, Row, Text, and_, cast, func, or_, select
from sqlalchemy.exc import IntegrityError

from fangcuan.cases.notifying import notifications
from fangcuan.cases.notifying.notifications import Notice
from fangcuan.cases.people.access import Area, covers, grants_in_force
from fangcuan.cases.people.areas import area_of
from fangcuan.cases.people.personal import Opened
from fangcuan.core import failpoints
from fangcuan.core.canonical import plain
from fangcuan.store.accounts import account
from fangcuan.store.casework import case_file
from fangcuan.store.database import read, write
from fangcuan.store.outbox import notification_choice, outbox, outbox_attempt

#: Attempts before a message is given up, and how long to wait after the first; four times as long after each further one.
MOST_ATTEMPTS = 6
FIRST_WAIT = dt.timedelta(minutes=1)
#: A channel that is away this long loses what is queued for it: a notice of last week helps nobody.
KEPT = dt.timedelta(days=3)
#: How long a sender may take over one message before another one takes it over.
CLAIM = dt.timedelta(minutes=5)


#: Stands where the name of a channel was that only an erased person had chosen; no channel has such a name.
ERASED = "(erased)"


class Reached(NamedTuple):
    """Somebody with the channels that reach him."""

    user_id: str
    language: str
    channels: Sequence[str]


class Written(NamedTuple):
    """An event that has its place in the chain, as far as notices look at it."""

    seq: int
    kind: str
    actor: str
    case: str | None
    data: Mapping[str, Any]


def announce(connection: Connection, events: Sequence[Written], moment: dt.datetime) -> None:
    """Queue what the events call for, in their transaction. Events that nobody is told of cost a look-up each."""
    known = notifications.default()
    kinds = {notice.event for notice in known.notices.values()}
    told = (event for event in events if event.kind in kinds)
    called = [(event, name) for event in told for name in known.of_event(event.kind, event.data)]
    reached = _reached(connection) if called else {}
    if not reached:
        return
    for event, name in called:
        case = connection.execute(select(case_file).where(case_file.c.number == event.case)).one_or_none()
        to = _recipients(connection, known.notices[name], event, case, sorted(reached), moment)
        chosen = [reached[user_id] for user_id in to]
        _queue(
            connection,
            f"event/{event.seq}/{name}",
            name,
            chosen,
            moment,
            seq=event.seq,
            number=case.number if case else None,
        )


def alarm(engine: Engine, name: str, occasion: str, *, now: dt.datetime | None = None) -> int:
    """Queue a notice that no event goes with; how many messages it makes. The same occasion is told once.

    The chain is not looked at: it may be what is broken.
    """
    moment = now or dt.datetime.now(dt.UTC)
    try:
        with write(engine) as connection:
            reached = _reached(connection)
            event = Written(0, "", "", None, {})
            to = _recipients(connection, notifications.default().notices[name], event, None, sorted(reached), moment)
            return _queue(connection, f"{name}/{occasion}", name, [reached[user_id] for user_id in to], moment)
    except IntegrityError:
        # Somebody else told it in this moment.
        return 0


def channels_due(engine: Engine, now: dt.datetime) -> list[str]:
    """Channels that have something to send now."""
    with read(engine) as connection:
        return list(
            connection.execute(select(outbox.c.channel).where(_due(now)).distinct().order_by("channel")).scalars()
        )


def claim(engine: Engine, channel: str, sender: str, now: dt.datetime) -> Row[Any] | None:
    """Take the message of a channel that has waited longest; None where none is due. Nobody else gets it before CLAIM ends.

    A message whose sender was killed too often is given up here.
    """
    while True:
        with write(engine) as connection:
            mine = and_(outbox.c.channel == channel, _due(now))
            # The lock is PostgreSQL's; SQLite lets one writer in at a time.
            first = select(outbox.c.entry).where(mine).order_by(outbox.c.due_at, outbox.c.entry).limit(1)
            entry = connection.execute(first.with_for_update(skip_locked=True)).scalar()
            if entry is None:
                return None
            this = and_(outbox.c.entry == entry, _due(now))
            tired = outbox.c.attempts_left == 0
            ended = {"state": "given_up", "claimed_by": None, "ended_at": now}
            if connection.execute(outbox.update().where(this, tired).values(ended).returning(outbox.c.entry)).first():
                continue
            taken = {"state": "claimed", "claimed_by": sender, "due_at": now + CLAIM}
            taken |= {"attempts": outbox.c.attempts + 1, "attempts_left": outbox.c.attempts_left - 1}
            row = connection.execute(outbox.update().where(this).values(taken).returning(*outbox.c)).one_or_none()
        if row is not None:
            failpoints.hit("notify.claimed")
            return row


def finish(engine: Engine, row: Row[Any], sender: str, now: dt.datetime, failure: str | None) -> str:
    """Write down what came of a claimed message (None: it was sent); its state afterwards, `lost` where the claim was.

    Whoever lost a claim, by standing still for longer than CLAIM, leaves the message to the one who has it.
    """
    with write(engine) as connection:
        mine = and_(outbox.c.entry == row.entry, outbox.c.claimed_by == sender, outbox.c.attempts == row.attempts)
        if failure is None:
            after: dict[str, Any] = {"state": "sent", "claimed_by": None, "ended_at": now}
        elif row.attempts_left == 0:
            after = {"state": "given_up", "claimed_by": None, "ended_at": now}
        else:
            wait = FIRST_WAIT * 4 ** (MOST_ATTEMPTS - row.attempts_left - 1)
            after = {"state": "queued", "claimed_by": None, "due_at": now + wait}
        if connection.execute(outbox.update().where(mine).values(after).returning(outbox.c.entry)).first() is None:
            return "lost"
        # The row names the channel; what is written here can never be taken back.
        message = (
            (failure or "")
            .replace(f"notify_{row.channel}", "notify_…")
            .replace(f"NOTIFY_{row.channel.upper()}", "NOTIFY_…")
        )
        said = {"result": "sent" if failure is None else "failed", "message": message}
        connection.execute(outbox_attempt.insert().values(entry=row.entry, attempt=row.attempts, at=now, **said))
    return str(after["state"])


def give_up_old(engine: Engine, channel: str, now: dt.datetime) -> int:
    """Give up what has been queued longer than KEPT for a channel that does not work; how many."""
    old = and_(outbox.c.channel == channel, outbox.c.state == "queued", outbox.c.written_at < now - KEPT)
    with write(engine) as connection:
        ended = outbox.update().where(old).values(state="given_up", ended_at=now).returning(outbox.c.entry)
        return len(connection.execute(ended).all())


def try_again(engine: Engine, now: dt.datetime) -> int:
    """Queue everything that was given up once more, as if it had just been written; how many."""
    fresh = {"state": "queued", "attempts_left": MOST_ATTEMPTS, "due_at": now, "written_at": now, "ended_at": None}
    with write(engine) as connection:
        lost = and_(outbox.c.state == "given_up", outbox.c.channel != ERASED)
        queued = outbox.update().where(lost).values(fresh).returning(outbox.c.entry)
        return len(connection.execute(queued).all())


def park(connection: Connection, user_ids: Collection[str], channels: Collection[str], moment: dt.datetime) -> int:
    """Give up what waits for people who are being erased, and take the names of their channels out of the outbox; how many.

    `channels` are those they had chosen. One that somebody else has chosen too keeps its name, and what it is to bring.
    """
    mine = outbox.c.user_id.in_(sorted(user_ids))
    named = {*channels, *connection.execute(select(outbox.c.channel).where(mine).distinct()).scalars()}
    shared = {name for each in _chosen(connection) if each.user_id not in user_ids for name in each.channels}
    gone = outbox.c.channel.in_(sorted(named - shared - {ERASED}))
    waits = outbox.c.state.in_(("queued", "claimed"))
    ended = outbox.update().where(gone, waits).values(state="given_up", claimed_by=None, ended_at=moment)
    parked = len(connection.execute(ended.returning(outbox.c.entry)).all())
    occasion = "erased/" + cast(outbox.c.entry, Text)
    connection.execute(outbox.update().where(gone).values(channel=ERASED, occasion=occasion))
    return parked


def state_counts(engine: Engine, since: dt.datetime | None = None) -> dict[str, int]:
    """Messages by state, of those written since a time."""
    query = select(outbox.c.state, func.count().label("messages")).group_by(outbox.c.state).order_by(outbox.c.state)
    with read(engine) as connection:
        rows = connection.execute(query if since is None else query.where(outbox.c.written_at >= since))
        return {row.state: row.messages for row in rows}


def list_messages(engine: Engine, *, state: str | None = None, limit: int | None = None) -> list[dict[str, Any]]:
    """The outbox, newest first, each with the last thing an attempt said."""
    of_entry = select(outbox_attempt.c.message).where(outbox_attempt.c.entry == outbox.c.entry)
    last = of_entry.order_by(outbox_attempt.c.attempt.desc()).limit(1).scalar_subquery()
    query = select(outbox, last.label("message")).order_by(outbox.c.entry.desc())
    if state is not None:
        query = query.where(outbox.c.state == state)
    with read(engine) as connection:
        rows = connection.execute(query.limit(limit)).mappings().all()
    return [{name: plain(value) for name, value in row.items()} for row in rows]


def _due(now: dt.datetime) -> ColumnElement[bool]:
    """Queued and its time has come, or claimed by somebody whose time is over."""
    return and_(or_(outbox.c.state == "queued", outbox.c.state == "claimed"), outbox.c.due_at <= now)


def _reached(connection: Connection) -> dict[str, Reached]:
    """Choices of open accounts that name a channel, by user."""
    return {each.user_id: each for each in _chosen(connection, account.c.active) if each.channels}


def _chosen(connection: Connection, *conditions: ColumnElement[bool]) -> list[Reached]:
    rows = connection.execute(select(notification_choice).join(account).where(*conditions)).all()
    if not rows:
        return []
    opened = Opened(connection)
    return [Reached(row.user_id, row.language, opened.names(row.channels)) for row in rows]


def _recipients(
    connection: Connection,
    notice: Notice,
    event: Written,
    case: Row[Any] | None,
    reached: Sequence[str],
    moment: dt.datetime,
) -> list[str]:
    """Users the notice goes to, of those that can be reached; without whoever did it."""
    named: set[str] = set()
    area = area_of(connection, case) if case is not None else Area()
    for each in notice.to:
        kind, _, rest = each.partition(".")
        if kind == "role":
            grants = grants_in_force(connection, reached, moment)
            named |= {f"user:{grant.user_id}" for grant in grants if grant.role == rest and covers(grant, area)}
        elif kind == "event":
            named.add(str(notifications.at(event.data, rest)))
        elif case is not None and case.assignee is not None:
            named.add(case.assignee)
    return [user_id for user_id in reached if f"user:{user_id}" in named - {event.actor}]


def _queue(
    connection: Connection,
    occasion: str,
    name: str,
    chosen: Sequence[Reached],
    moment: dt.datetime,
    *,
    seq: int | None = None,
    number: str | None = None,
) -> int:
    """One row per channel and language, in the name of the first who shares it; none for an occasion that was told."""
    rows: dict[str, dict[str, Any]] = {}
    for choice in chosen:
        for channel in choice.channels:
            row: dict[str, Any] = {"occasion": f"{occasion}/{channel}/{choice.language}", "notice": name}
            row |= {"seq": seq, "number": number}
            row |= {"user_id": choice.user_id, "channel": channel, "language": choice.language}
            row |= {"written_at": moment, "due_at": moment, "state": "queued", "attempts": 0}
            row |= {"attempts_left": MOST_ATTEMPTS}
            rows.setdefault(str(row["occasion"]), row)
    told = select(outbox.c.occasion).where(outbox.c.occasion.in_(sorted(rows)))
    left = [rows[key] for key in sorted(set(rows) - set(connection.execute(told).scalars()))]
    if left:
        connection.execute(outbox.insert(), left)
    return len(left)
