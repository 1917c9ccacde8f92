"""Accounts: added, linked, given a password, closed. Each change by an administrator, in one transaction with its event."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from fangcuan.cases import workflow
from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.cases.people.access import Actor, actor_name, authorise, find_account, grants_in_force, scope_words
from fangcuan.cases.people.passwords import hash_password
from fangcuan.cases.people.personal import Opened, key_of
from fangcuan.cases.refusals import CommandRefused, GuardFailed, UnknownUser, log_refusal
from fangcuan.core.canonical import plain, sha256_hex
from fangcuan.store.accounts import access_token, account, role_grant
from fangcuan.store.database import read, write

#: Who adds the first administrator: nobody else is there to do it.
FIRST = "system:init"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@contextmanager
def administering(
    engine: Engine, actor: Actor, command: str, target: str | None, now: dt.datetime | None
) -> Iterator[tuple[Connection, dt.datetime, Callable[[str, Mapping[str, Any]], None]]]:
    """One command on accounts: authorised, carried out and recorded together, or refused and logged.

    Gives the connection, the moment, and the function that appends the event.
    """
    moment = now or dt.datetime.now(dt.UTC)
    rule = workflow.default().administrative(command)
    try:
        with write(engine) as connection:
            lock_head(connection)
            if not (rule.own and target == actor.name and find_account(connection, actor.name)):
                authorise(connection, actor, command, rule.roles, moment)

            def record(kind: str, data: Mapping[str, Any]) -> None:
                via = actor.via()
                body = {**data, **({"via": via} if via else {})}
                append(connection, [EventDraft(kind, actor.name, body)], recorded_at=moment)

            yield connection, moment, record
    except CommandRefused as refusal:
        log_refusal(engine, refusal, actor=actor.name, command=command, target=target, now=moment)
        raise


def add_user(
    engine: Engine,
    actor: Actor,
    user_id: str,
    *,
    name: str,
    kind: str = "person",
    same_person_as: str | None = None,
    os_user: str | None = None,
    now: dt.datetime | None = None,
) -> None:
    """Add an account. A service needs `same_person_as`: the user who answers for it. Raises CommandRefused."""
    with administering(engine, actor, "add_user", user_id, now) as (connection, moment, record):
        if kind == "service" and same_person_as is None:
            raise GuardFailed(f"{user_id}: a service needs a person who answers for it")
        person = user_id if same_person_as is None else find_account(connection, f"user:{same_person_as}").person
        record("user.added", _insert(connection, user_id, name, kind, person, os_user, actor.name, moment))


def add_first_admin(
    engine: Engine, user_id: str, *, name: str, os_user: str | None = None, now: dt.datetime | None = None
) -> bool:
    """The first administrator of an installation; False, and nothing done, where there is any account."""
    moment = now or dt.datetime.now(dt.UTC)
    with write(engine) as connection:
        lock_head(connection)
        if connection.execute(select(account.c.user_id)).first():
            return False
        added = _insert(connection, user_id, name, "person", user_id, os_user, FIRST, moment)
        grant: dict[str, Any] = {"grant_id": 1, "user_id": user_id, "role": "admin"}
        grant |= {"region_code": None, "brand": None, "partner_id": None, "valid_from": moment, "valid_to": None}
        connection.execute(role_grant.insert().values(**grant, granted_by=FIRST, granted_at=moment))
        drafts = [EventDraft("user.added", FIRST, added), EventDraft("role.granted", FIRST, {"grant": grant})]
        append(connection, drafts, recorded_at=moment)
    return True


def link_users(
    engine: Engine, actor: Actor, user_id: str, *, same_person_as: str, now: dt.datetime | None = None
) -> None:
    """Say that two accounts are one person's. All accounts of the one join the other; nobody is separated again."""
    with administering(engine, actor, "link_users", user_id, now) as (connection, _, record):
        one, other = (any_account(connection, each) for each in (user_id, same_person_as))
        if one.person == other.person:
            raise GuardFailed(f"{user_id} and {same_person_as} are one person already")
        for each in (one, other):
            # Nobody joins a person of whom nothing may be kept any more.
            key_of(connection, each.person)
        moved = select(account.c.user_id).where(account.c.person == one.person).order_by(account.c.user_id)
        user_ids = list(connection.execute(moved).scalars())
        connection.execute(account.update().where(account.c.user_id.in_(user_ids)).values(person=other.person))
        record("user.linked", {"user_ids": user_ids, "person": other.person})


def disable_user(engine: Engine, actor: Actor, user_id: str, *, now: dt.datetime | None = None) -> None:
    """Close an account: it acts no more, and stays for the history."""
    with administering(engine, actor, "disable_user", user_id, now) as (connection, moment, record):
        row = any_account(connection, user_id)
        if not row.active:
            raise GuardFailed(f"{user_id}: this account was closed before")
        connection.execute(account.update().where(account.c.user_id == user_id).values(active=False))
        keep_an_admin(connection, moment)
        record("user.disabled", {"user_id": user_id})


def set_password(engine: Engine, actor: Actor, user_id: str, password: str, *, now: dt.datetime | None = None) -> None:
    """Set a person's password: his own, or by an administrator. The event holds the digest of the hash alone."""
    with administering(engine, actor, "set_password", actor_name("person", user_id), now) as (connection, _, record):
        find_account(connection, actor_name("person", user_id))
        try:
            hashed = hash_password(password)
        except ValueError as error:
            raise GuardFailed(str(error)) from error
        connection.execute(account.update().where(account.c.user_id == user_id).values(password_hash=hashed))
        record("user.password_set", {"user_id": user_id, "password_sha256": sha256_hex(hashed.encode())})


def list_users(engine: Engine, *, now: dt.datetime | None = None) -> list[dict[str, Any]]:
    """All accounts by id, with the grants that are in force; no hashes."""
    moment = now or dt.datetime.now(dt.UTC)
    items = []
    with read(engine) as connection:
        tokens = access_token.c.revoked_at.is_(None) & (access_token.c.expires_at > moment)
        counted = (
            select(access_token.c.user_id, func.count().label("tokens")).where(tokens).group_by(access_token.c.user_id)
        )
        live = {row.user_id: row.tokens for row in connection.execute(counted)}
        opened = Opened(connection)
        for row in connection.execute(select(account).order_by(account.c.user_id)):
            grants = grants_in_force(connection, [row.user_id], moment)
            items.append(
                {
                    "user": row.user_id,
                    "name": opened.shown("name", row.name),
                    "kind": row.kind,
                    "person": row.person,
                    "os_user": opened.text("os_user", row.os_user),
                    "active": row.active,
                    "erased": opened.text("name", row.name) is None,
                    "has_password": row.password_hash is not None,
                    "tokens": live.get(row.user_id, 0),
                    "roles": [
                        {
                            "grant": grant.grant_id,
                            "role": grant.role,
                            "region": grant.region_code,
                            "brand": grant.brand,
                            "partner": grant.partner_id,
                            "scope": scope_words(grant),
                            "until": plain(grant.valid_to),
                            "granted_by": grant.granted_by,
                        }
                        for grant in grants
                    ],
                }
            )
    return items


def keep_an_admin(connection: Connection, moment: dt.datetime) -> None:
    """Raises GuardFailed where a change leaves nobody who can add users; called inside that change."""
    active = connection.execute(select(account.c.user_id).where(account.c.active)).scalars().all()
    if not any(grant.role in _administrators() for grant in grants_in_force(connection, active, moment)):
        raise GuardFailed("this leaves no administrator; make another one first")


def any_account(connection: Connection, user_id: str) -> Any:
    """An account, open or closed. Raises UnknownUser."""
    row = connection.execute(select(account).where(account.c.user_id == user_id)).one_or_none()
    if row is None:
        raise UnknownUser(f"{user_id}: no such account; `fangcuan users list` shows them")
    return row


def _administrators() -> frozenset[str]:
    return frozenset(workflow.default().administrative("grant_role").roles)


def _insert(
    connection: Connection,
    user_id: str,
    name: str,
    kind: str,
    person: str,
    os_user: str | None,
    added_by: str,
    moment: dt.datetime,
) -> dict[str, Any]:
    """Insert an account, with the key of a person who has none; gives what its event says."""
    if not _NAME.fullmatch(user_id):
        raise GuardFailed(f"{user_id!r}: a user is named by small letters, digits, '.', '_', '-', at most 64")
    if not name.strip():
        raise GuardFailed(f"{user_id}: a name is needed")
    if connection.execute(select(account.c.user_id).where(account.c.user_id == user_id)).first():
        raise GuardFailed(f"{user_id}: there is such an account already")
    taken = Opened(connection).of_os_user(connection, os_user) if os_user else None
    if taken is not None:
        raise GuardFailed(f"{os_user} is {taken.user_id} already")
    key = key_of(connection, person)
    row: dict[str, Any] = {"user_id": user_id, "name": key.seal("name", name), "kind": kind, "person": person}
    row |= {"os_user": key.seal("os_user", os_user or None), "active": True}
    connection.execute(account.insert().values(**row, added_by=added_by, added_at=moment))
    return {"user": row, **key.keep(connection, moment)}
