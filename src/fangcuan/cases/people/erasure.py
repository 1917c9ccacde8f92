"""Erasing a person: his key is destroyed, and what stands sealed in history and tables says nothing any more.

His ids stay as pseudonyms, or the chain would break. What cannot be taken back is said: events from before there were keys.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, or_, select

from fangcuan.cases.notifying import outbox
from fangcuan.cases.people.access import Actor, actor_name, persons
from fangcuan.cases.people.accounts import administering, any_account
from fangcuan.cases.people.personal import Opened, is_sealed, throwaway
from fangcuan.cases.refusals import GuardFailed, NotAuthorised
from fangcuan.store.accounts import access_token, account, person_key
from fangcuan.store.casework import body_field, case_file, event
from fangcuan.store.database import overwrite_freed, rewrite_table
from fangcuan.store.decisions import decision, legal_hold
from fangcuan.store.outbox import notification_choice

#: Events that say who somebody is, with the field that does and the columns of it that are sealed.
_SAYING = {
    "user.added": ("user", ("name", "os_user")),
    "token.issued": ("token", ("label",)),
    "user.channels_chosen": ("choice", ("channels",)),
}
#: Cases named in one refusal.
_NAMED = 5


@dataclass(frozen=True)
class Erasure:
    """What was done: the accounts, tokens that were revoked, messages that were given up.

    `clear_events` are events from before there were keys that say who he was in clear text, and always will. `freed`: the file
    of the database holds no copy of the key in its unused parts any more; False where that could not be seen to at once.
    """

    user_ids: tuple[str, ...]
    tokens: tuple[str, ...]
    messages: int
    clear_events: tuple[int, ...]
    freed: bool


def erase_user(engine: Engine, actor: Actor, user_id: str, *, note: str, now: dt.datetime | None = None) -> Erasure:
    """Erase the person behind an account, with all his accounts and the services he answers for.

    All of them have to be closed, and nothing may wait for him. Raises CommandRefused, which says what to do first.
    """
    with administering(engine, actor, "erase_user", user_id, now) as (connection, moment, record):
        person = any_account(connection, user_id).person
        if person in persons(connection, actor):
            raise NotAuthorised(
                f"erase_user: {actor.name} and {user_id} are one person; another administrator has to do it"
            )
        query = select(account).where(account.c.person == person).order_by(account.c.user_id)
        rows = connection.execute(query).all()
        user_ids = [row.user_id for row in rows]
        opened = Opened(connection)
        _check(connection, rows, opened, note)
        overwrite_freed(connection)
        tokens = _revoke_tokens(connection, actor, user_ids, moment)
        for token_id, owner in tokens:
            record("token.revoked", {"token_id": token_id, "user_id": owner})
        channels: set[str] = set()
        choices = select(notification_choice).where(notification_choice.c.user_id.in_(user_ids))
        for choice in connection.execute(choices.order_by(notification_choice.c.user_id)).all():
            channels.update(opened.names(choice.channels))
            nothing: dict[str, Any] = {"user_id": choice.user_id, "language": choice.language, "channels": []}
            here = notification_choice.c.user_id == choice.user_id
            changed = {"channels": [], "chosen_by": actor.name, "chosen_at": moment}
            connection.execute(notification_choice.update().where(here).values(changed))
            record("user.channels_chosen", {"choice": nothing})
        messages = outbox.park(connection, user_ids, channels, moment)
        clear = tuple(_clear_events(connection, frozenset(user_ids)))
        record("user.erased", {**_forget(connection, actor, rows, moment), "user_ids": user_ids, "note": note})
    freed = rewrite_table(engine, person_key.name)
    return Erasure(tuple(user_ids), tuple(token_id for token_id, _ in tokens), messages, clear, freed)


def _check(connection: Connection, rows: Sequence[Row[Any]], opened: Opened, note: str) -> None:
    """Nothing may wait for the person. Raises GuardFailed, naming what does and who ends it."""
    if not note.strip():
        raise GuardFailed("erase_user: a note is needed, such as the number of his request")
    if opened.text("name", rows[0].name) is None:
        raise GuardFailed(f"{rows[0].user_id}: this person was erased before")
    if running := [row.user_id for row in rows if row.active]:
        raise GuardFailed(f"{', '.join(running)}: close it first: `fangcuan users disable {running[0]}`")
    if told := _named_in(note, rows, opened):
        raise GuardFailed(f"erase_user: the note names him ({told}), and it stays for good; say it without")
    names = [actor_name(row.kind, row.user_id) for row in rows]
    his = select(case_file.c.number).where(case_file.c.is_open, case_file.c.assignee.in_(names))
    if numbers := _numbers(connection, his):
        raise GuardFailed(
            f"{numbers} waits for him: a supervisor gives it to somebody else first (`fangcuan cases assign`)"
        )
    open_ones = select(decision.c.number).where(decision.c.verdict.is_(None), decision.c.proposed_by.in_(names))
    if numbers := _numbers(connection, open_ones):
        raise GuardFailed(f"{numbers} has an open proposal of his: somebody decides it or returns it first")
    acted = body_field("actor").in_(names)
    held = select(legal_hold.c.number).where(legal_hold.c.lifted_at.is_(None))
    part = select(body_field("case")).select_from(event).where(body_field("case").in_(held), acted)
    kept = select(case_file.c.number).where(
        case_file.c.number.in_(held), or_(case_file.c.assignee.in_(names), case_file.c.number.in_(part))
    )
    if numbers := _numbers(connection, kept):
        raise GuardFailed(
            f"{numbers} is under legal hold and he took part in it: nothing of it is destroyed until legal lifts the hold"
        )


def _named_in(note: str, rows: Sequence[Row[Any]], opened: Opened) -> str | None:
    """The first word of a person's names that a note holds; his ids are none, they stay anyway."""
    people = [row for row in rows if row.kind == "person"]
    names = [opened.text(field, getattr(row, field)) or "" for row in people for field in ("name", "os_user")]
    words = {word.casefold() for name in names for word in (name, *name.split()) if len(word) > 1}
    for word in sorted(words - {row.user_id for row in rows}):
        # Words of Chinese have no ends that could be looked for.
        pattern = rf"(?<!\w){re.escape(word)}(?!\w)" if word.isascii() else re.escape(word)
        if re.search(pattern, note.casefold()):
            return word
    return None


def _numbers(connection: Connection, query: Any) -> str:
    numbers = sorted(set(connection.execute(query).scalars()))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return ", ".join(numbers[:_NAMED]) + more


def _revoke_tokens(
    connection: Connection, actor: Actor, user_ids: Sequence[str], moment: dt.datetime
) -> list[tuple[str, str]]:
    live = access_token.c.user_id.in_(user_ids) & access_token.c.revoked_at.is_(None)
    ended = access_token.update().where(live).values(revoked_by=actor.name, revoked_at=moment)
    rows = connection.execute(ended.returning(access_token.c.token_id, access_token.c.user_id))
    return sorted((row.token_id, row.user_id) for row in rows)


def _forget(connection: Connection, actor: Actor, rows: Sequence[Row[Any]], moment: dt.datetime) -> dict[str, Any]:
    """Destroy the keys, and seal under one that nobody has what tables still hold in clear; what the event says of it."""
    user_ids = [row.user_id for row in rows]
    lost = throwaway(rows[0].person)
    accounts, tokens = [], []
    for row in rows:
        after = {
            name: lost.seal(name, getattr(row, name)) for name in ("name", "os_user") if _clear(getattr(row, name))
        }
        here = account.c.user_id == row.user_id
        connection.execute(account.update().where(here).values(password_hash=None, **after))
        if after:
            accounts.append({"user_id": row.user_id, **after})
    for token in connection.execute(select(access_token).where(access_token.c.user_id.in_(user_ids))).all():
        if _clear(token.label):
            label = lost.seal("label", token.label)
            here = access_token.c.token_id == token.token_id
            connection.execute(access_token.update().where(here).values(label=label))
            tokens.append({"token_id": token.token_id, "label": label})
    ended = {"secret": None, "destroyed_by": actor.name, "destroyed_at": moment}
    there = person_key.c.person.in_(user_ids)
    destroyed = connection.execute(person_key.update().where(there).values(ended).returning(person_key.c.person))
    keys = set(destroyed.scalars())
    if lost.person not in keys:
        connection.execute(person_key.insert().values(person=lost.person, made_at=moment, **ended))
        keys.add(lost.person)
    return {"persons": sorted(keys), "accounts": accounts, "tokens": sorted(tokens, key=lambda one: one["token_id"])}


def _clear(value: Any) -> bool:
    return bool(value) and not is_sealed(value)


def _clear_events(connection: Connection, user_ids: frozenset[str]) -> Iterator[int]:
    """Events that say in clear text who one of these users was."""
    for kind, (name, columns) in _SAYING.items():
        # A pattern and not a field: the body is compared as text, without being read, in every event there is.
        query = select(event.c.seq, event.c.body).where(event.c.body.contains(f'"kind":"{kind}"')).order_by(event.c.seq)
        for seq, text in connection.execute(query):
            body = json.loads(text)
            row = body["data"].get(name, {}) if body["kind"] == kind else {}
            if row.get("user_id") in user_ids and any(_clear(row.get(column)) for column in columns):
                yield seq
