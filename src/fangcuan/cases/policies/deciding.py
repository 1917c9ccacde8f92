"""Proposals and decisions beside cases, about units and policies: each in one transaction with its event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine

from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.cases.people.access import Actor
from fangcuan.cases.refusals import CommandRefused, log_refusal
from fangcuan.store.database import write

#: Who stands behind content that came with the package, before a team says otherwise. Neither is an account.
SHIPPER, DEFAULT_APPROVER = "package:fangcuan", "system:embedded-default"

Record = Callable[[str, Mapping[str, Any]], None]


@contextmanager
def deciding(
    engine: Engine, actor: Actor, command: str, target: str | None, now: dt.datetime | None
) -> Iterator[tuple[Connection, dt.datetime, Record]]:
    """One proposal or decision: carried out and recorded together, or refused and, where it was a matter of rights, logged.

    Gives the connection, the moment, and the function that appends the event.
    """
    moment = now or dt.datetime.now(dt.UTC)
    try:
        with write(engine) as connection:
            lock_head(connection)

            def record(kind: str, data: Mapping[str, Any]) -> None:
                via = actor.via()
                body = {**data, **({"via": via} if via else {})}
                append(connection, [EventDraft(kind, actor.name, body)], recorded_at=moment)

            yield connection, moment, record
    except CommandRefused as refusal:
        log_refusal(engine, refusal, actor=actor.name, command=command, target=target, now=moment)
        raise
