"""Findings that left a case for another one, and those that came back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from fangcuan.cases.filing.registry import chunks
from fangcuan.core.canonical import plain
from fangcuan.store.casework import case_file, case_finding_move

#: How a case and what was split off it are linked.
LINK = "split_from"


class Gone(NamedTuple):
    """A finding that left case `number` and did not come back; the keys of that case and of the one it went to."""

    number: str
    finding_id: str
    move: int
    case_key: str
    epoch: int
    other: str
    other_key: str


def any_move(connection: Connection) -> bool:
    """Whether anything was ever split; most nights need not look further."""
    return connection.execute(select(case_finding_move.c.number).limit(1)).first() is not None


def gone_from(connection: Connection, finding_ids: Iterable[str]) -> list[Gone]:
    """Where these findings left and did not come back, in the order of case and finding."""
    if not any_move(connection):
        return []
    whence, whither = case_file.alias("whence"), case_file.alias("whither")
    columns = (case_finding_move.c.number, case_finding_move.c.finding_id, case_finding_move.c.move)
    query = (
        select(*columns, whence.c.case_key, whence.c.epoch, case_finding_move.c.other, whither.c.case_key)
        .join(whence, whence.c.number == case_finding_move.c.number)
        .join(whither, whither.c.number == case_finding_move.c.other)
        .order_by(*columns)
    )
    last: dict[tuple[str, str], Gone] = {}
    for part in chunks(sorted(finding_ids)):
        for row in connection.execute(query.where(case_finding_move.c.finding_id.in_(part))):
            last[row.number, row.finding_id] = Gone(*row)
    return [one for one in last.values() if one.move % 2]


def next_move(connection: Connection, number: str, finding_id: str) -> int:
    """The number of the next move of a finding out of a case (odd), or back into it (even)."""
    same = (case_finding_move.c.number == number) & (case_finding_move.c.finding_id == finding_id)
    return (connection.execute(select(func.max(case_finding_move.c.move)).where(same)).scalar() or 0) + 1


def gone_by(connection: Connection, until: dt.datetime | None = None) -> set[tuple[str, str]]:
    """(case, finding) of what had left its case at a moment, or has left it."""
    query = select(case_finding_move.c.number, case_finding_move.c.finding_id, func.max(case_finding_move.c.move))
    if until is not None:
        query = query.where(case_finding_move.c.moved_at <= until)
    grouped = query.group_by(case_finding_move.c.number, case_finding_move.c.finding_id)
    return {(number, finding_id) for number, finding_id, move in connection.execute(grouped) if move % 2}


def moves_of(connection: Connection, number: str) -> list[dict[str, Any]]:
    """What left a case, or came to it from a case it was split from, in the order it happened."""
    mine = (case_finding_move.c.number == number) | (case_finding_move.c.other == number)
    order = (case_finding_move.c.moved_at, case_finding_move.c.number, case_finding_move.c.finding_id)
    rows = connection.execute(select(case_finding_move).where(mine).order_by(*order)).mappings()
    # Who moved it when is told by the event.
    return [{name: plain(value) for name, value in row.items() if name != "moved_at"} for row in rows]
