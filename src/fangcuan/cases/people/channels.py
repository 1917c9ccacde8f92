"""Which channels reach whom, in which language. The casebook knows a channel's name; its address is a secret elsewhere."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, select

from fangcuan.cases.notifying.notifications import LANGUAGES
from fangcuan.cases.people.access import Actor, actor_name, find_account
from fangcuan.cases.people.accounts import administering
from fangcuan.cases.people.personal import Opened, key_of, seal_names
from fangcuan.cases.refusals import GuardFailed
from fangcuan.core.canonical import plain
from fangcuan.store.database import read
from fangcuan.store.outbox import notification_choice

#: Anything else may be an address, and an address is a secret that the history would keep for good.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


def choose_channels(
    engine: Engine,
    actor: Actor,
    user_id: str,
    channels: Sequence[str],
    *,
    language: str = "zh",
    now: dt.datetime | None = None,
) -> list[str]:
    """Say which channels reach a person from now on: one's own, or by an administrator; none: nothing is sent.

    Gives the names, each once. Raises CommandRefused: also for what is no plain name, whose text the message leaves out.
    """
    with administering(engine, actor, "choose_channels", actor_name("person", user_id), now) as (
        connection,
        moment,
        record,
    ):
        person = find_account(connection, actor_name("person", user_id)).person
        if language not in LANGUAGES:
            raise GuardFailed(f"language {language!r}; expected one of {', '.join(LANGUAGES)}")
        names = list(dict.fromkeys(channels))
        if any(not _NAME.fullmatch(name) for name in names):
            raise GuardFailed(
                "a channel is named by small letters, digits and '_', at most 48; "
                "its address goes into the secret notify_<name>, never here"
            )
        key = key_of(connection, person)
        row: dict[str, Any] = {"user_id": user_id, "language": language, "channels": seal_names(key, names)}
        changed = {**row, "chosen_by": actor.name, "chosen_at": moment}
        there = notification_choice.c.user_id == user_id
        updated = notification_choice.update().where(there).values(changed).returning(notification_choice.c.user_id)
        if connection.execute(updated).first() is None:
            connection.execute(notification_choice.insert().values(changed))
        record("user.channels_chosen", {"choice": row, **key.keep(connection, moment)})
    return names


def list_choices(engine: Engine) -> list[dict[str, Any]]:
    """Who is reached how, by user."""
    with read(engine) as connection:
        rows = connection.execute(select(notification_choice).order_by(notification_choice.c.user_id)).mappings().all()
        opened = Opened(connection)
    shown = [{**row, "channels": opened.names(row["channels"])} for row in rows]
    return [{name: plain(value) for name, value in row.items()} for row in shown]
