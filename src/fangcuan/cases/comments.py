"""What people write beside a case. Nothing written is altered: an amendment stands beside the text it amends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from fangcuan.cases.refusals import GuardFailed, NotAuthorised
from fangcuan.core.canonical import plain
from fangcuan.store.casework import case_comment

#: Characters of one comment; a longer text is a document, and evidence.
LONGEST = 10_000


def write_comment(
    connection: Connection, number: str, author: str, params: Mapping[str, Any], *, amending: bool, moment: dt.datetime
) -> dict[str, Any]:
    """Insert a comment (`text`), or the amendment of one of one's own (`text`, `comment`); the row as its event has it.

    Runs in the executor's transaction. Raises GuardFailed, and NotAuthorised for somebody else's comment.
    """
    known = {"text", "comment"} if amending else {"text"}
    if unknown := sorted(set(params) - known):
        raise GuardFailed(f"unknown parameter {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    text = str(params.get("text") or "").strip()
    if not 0 < len(text) <= LONGEST:
        raise GuardFailed(f"a comment has 1 to {LONGEST} characters, this one {len(text)}")
    amends = _amendable(connection, number, author, params.get("comment")) if amending else None
    last = connection.execute(select(func.max(case_comment.c.comment)).where(case_comment.c.number == number)).scalar()
    row = {"number": number, "comment": (last or 0) + 1, "text": text, "amends": amends}
    connection.execute(case_comment.insert().values(**row, author=author, written_at=moment))
    return row


def list_comments(connection: Connection, number: str) -> list[dict[str, Any]]:
    """Comments of a case in the order they were written, amended ones too; `amended_by` names what replaced one."""
    query = select(case_comment).where(case_comment.c.number == number).order_by(case_comment.c.comment)
    rows = connection.execute(query).all()
    later = {row.amends: row.comment for row in rows if row.amends is not None}
    shown = ("comment", "author", "text", "amends")
    return [
        {**{name: plain(getattr(row, name)) for name in shown}, "amended_by": later.get(row.comment)} for row in rows
    ]


def _amendable(connection: Connection, number: str, author: str, wanted: Any) -> int:
    of_case = case_comment.c.number == number
    row = None
    if isinstance(wanted, int):
        row = connection.execute(select(case_comment).where(of_case, case_comment.c.comment == wanted)).one_or_none()
    if row is None:
        raise GuardFailed(f"{number} has no comment {wanted}")
    if row.author != author:
        raise NotAuthorised(f"amend: comment {row.comment} is of {row.author}; {author} amends his own only")
    by = connection.execute(select(case_comment.c.comment).where(of_case, case_comment.c.amends == wanted)).scalar()
    if by is not None:
        raise GuardFailed(f"comment {row.comment} was amended by comment {by}; amend that one")
    return int(row.comment)
