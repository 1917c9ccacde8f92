"""In which order cases are worked on: the list, and whoever asks for the next one, read the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, select

from fangcuan.cases.overlays import asleep
from fangcuan.core.finding import SEVERITIES
from fangcuan.store.casework import case_file, case_machine

_CHUNK = 200


def most_urgent_first() -> tuple[ColumnElement[Any], ...]:
    """What was escalated first, then priority, the night last seen, number; over `case_file` joined with `case_machine`."""
    attention = case((case_file.c.attention.is_not(None), 0), else_=1)
    rank = case({name: place for place, name in enumerate(SEVERITIES)}, value=case_file.c.priority)
    return (attention.asc(), rank.desc(), case_machine.c.last_finding_night.desc(), case_file.c.number.asc())


def unclaimed(
    connection: Connection, statuses: Sequence[str], moment: dt.datetime, reached: ColumnElement[bool]
) -> Iterator[str]:
    """Numbers of the cases in these statuses that nobody holds and no snooze lies over, most urgent first.

    `reached` is a condition over `case_file` that they fulfil as well.
    """
    query = (
        select(case_file.c.number)
        .join(case_machine, case_machine.c.number == case_file.c.number)
        .where(case_file.c.assignee.is_(None), case_file.c.status.in_(list(statuses)), ~asleep(moment))
        .where(reached)
        .order_by(*most_urgent_first())
    )
    offset = 0
    while numbers := connection.execute(query.limit(_CHUNK).offset(offset)).scalars().all():
        yield from numbers
        offset += _CHUNK
