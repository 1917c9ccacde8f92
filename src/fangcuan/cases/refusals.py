"""What a command can be refused for. A refusal is told, changes nothing, and where it was a matter of rights it is logged."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Engine, select

from fangcuan.core.canonical import plain
from fangcuan.store.accounts import access_log
from fangcuan.store.database import read, write


class CommandRefused(Exception):
    """The command was not carried out and nothing was changed; the message says why."""


class UnknownCase(CommandRefused):
    """There is no case with this number."""


class UnknownUser(CommandRefused):
    """There is no such account, or it was closed."""


class NotOffered(CommandRefused):
    """The workflow has no such command, or not in the status the case is in."""


class NotAuthorised(CommandRefused):
    """None of the actor's roles may give this command, or not for this case; the message says which role is missing."""


class GuardFailed(CommandRefused):
    """Something the command demands is missing or not on its list."""


class Conflict(CommandRefused):
    """Someone else changed the case first: load it again and decide anew."""


class KeyReused(CommandRefused):
    """The idempotency key was used for a different command."""


#: Refusals that say something about who tried, not only about what.
_LOGGED = (NotAuthorised, UnknownUser)


def log_refusal(
    engine: Engine, refusal: CommandRefused, *, actor: str, command: str, target: str | None, now: dt.datetime
) -> None:
    """Record a refusal of rights in the access log, in a transaction of its own: the refused one is rolled back."""
    if not isinstance(refusal, _LOGGED):
        return
    with write(engine) as connection:
        entry = {"at": now, "actor": actor, "command": command, "target": target}
        entry |= {"refusal": type(refusal).__name__, "message": str(refusal)}
        connection.execute(access_log.insert().values(entry))


def list_refusals(engine: Engine, limit: int | None = None) -> list[dict[str, Any]]:
    """The access log, newest first."""
    with read(engine) as connection:
        rows = connection.execute(select(access_log).order_by(access_log.c.entry.desc()).limit(limit)).mappings().all()
    return [{name: plain(value) for name, value in row.items()} for row in rows]
