"""Tokens: proof of who acts, for programs and for terminals that several people use. Shown once, kept as a hash."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Collection
from typing import Any

from sqlalchemy import Engine, select

from fangcuan.cases import workflow
from fangcuan.cases.people.access import Actor, actor_name
from fangcuan.cases.people.accounts import administering, any_account
from fangcuan.cases.people.personal import Opened, key_of
from fangcuan.cases.refusals import GuardFailed, NotAuthorised, UnknownUser
from fangcuan.core.canonical import plain
from fangcuan.store.accounts import access_token, account
from fangcuan.store.database import read

#: Begins every token, so that one that lies in a log or a repository can be searched for.
PREFIX = "fangcuan"
LONGEST = dt.timedelta(days=366)


def issue_token(
    engine: Engine,
    actor: Actor,
    user_id: str,
    *,
    label: str,
    expires_at: dt.datetime,
    roles: Collection[str] | None = None,
    now: dt.datetime | None = None,
) -> str:
    """A new token for oneself, or by an administrator for a service; the text that is shown this once.

    `roles` narrows what the token may do. Raises CommandRefused.
    """
    name = _name(engine, user_id)
    with administering(engine, actor, "issue_token", name, now) as (connection, moment, record):
        if name != actor.name and name == actor_name("person", user_id):
            # Whoever holds somebody's token is that person to all who check it.
            raise NotAuthorised(f"issue_token: {actor.name} is not {user_id}; a person's token is issued by himself")
        if not moment < expires_at <= moment + LONGEST:
            raise GuardFailed(f"a token lasts at most {LONGEST.days} days, and not into the past")
        unknown = sorted(set(roles or ()) - set(workflow.default().roles))
        if unknown:
            raise GuardFailed(f"unknown role {', '.join(unknown)}; known: {', '.join(workflow.default().roles)}")
        token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        key = key_of(connection, any_account(connection, user_id).person)
        token: dict[str, Any] = {"token_id": token_id, "user_id": user_id, "token_hash": _hash(secret)}
        token["label"] = key.seal("label", label)
        token |= {"roles": sorted(roles) if roles else None, "expires_at": expires_at}
        token["terminal"] = actor.terminal
        connection.execute(access_token.insert().values(**token, issued_by=actor.name, issued_at=moment))
        record("token.issued", {"token": token, **key.keep(connection, moment)})
    return f"{PREFIX}_{token_id}_{secret}"


def revoke_token(engine: Engine, actor: Actor, token_id: str, *, now: dt.datetime | None = None) -> None:
    """End a token at once: one's own, or any by an administrator."""
    with read(engine) as connection:
        row = connection.execute(select(access_token).where(access_token.c.token_id == token_id)).one_or_none()
    if row is None:
        raise GuardFailed(f"{token_id}: no such token")
    with administering(engine, actor, "revoke_token", _name(engine, row.user_id), now) as (connection, moment, record):
        live = (access_token.c.token_id == token_id) & access_token.c.revoked_at.is_(None)
        ended = access_token.update().where(live).values(revoked_by=actor.name, revoked_at=moment)
        if not connection.execute(ended.returning(access_token.c.token_id)).all():
            raise GuardFailed(f"{token_id}: this token was revoked before")
        record("token.revoked", {"token_id": token_id, "user_id": row.user_id})


def token_actor(engine: Engine, text: str, *, now: dt.datetime | None = None) -> Actor:
    """Who a token stands for. Raises UnknownUser; the message never says what about the token is wrong."""
    moment = now or dt.datetime.now(dt.UTC)
    prefix, _, rest = text.strip().partition("_")
    token_id, _, secret = rest.partition("_")
    query = (
        select(access_token, account.c.kind, account.c.active).join(account).where(access_token.c.token_id == token_id)
    )
    with read(engine) as connection:
        row = connection.execute(query).one_or_none()
    stored = row.token_hash if row is not None else ""
    right = hmac.compare_digest(stored, _hash(secret)) and prefix == PREFIX
    if row is None or not right or row.revoked_at is not None or row.expires_at <= moment or not row.active:
        raise UnknownUser("this token is not valid, or not any more")
    return Actor(actor_name(row.kind, row.user_id), token=row.token_id)


def list_tokens(engine: Engine, user_id: str | None = None) -> list[dict[str, Any]]:
    """Tokens, newest first, without their hashes."""
    query = select(access_token).order_by(access_token.c.issued_at.desc(), access_token.c.token_id)
    if user_id is not None:
        query = query.where(access_token.c.user_id == user_id)
    with read(engine) as connection:
        rows = connection.execute(query).mappings().all()
        opened = Opened(connection)
    shown = (
        "token_id",
        "user_id",
        "label",
        "roles",
        "expires_at",
        "issued_by",
        "issued_at",
        "revoked_by",
        "revoked_at",
    )
    return [{name: plain(row[name]) for name in shown} | {"label": opened.shown("label", row["label"])} for row in rows]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _name(engine: Engine, user_id: str) -> str:
    with read(engine) as connection:
        kind = connection.execute(select(account.c.kind).where(account.c.user_id == user_id)).scalar()
    if kind is None:
        raise UnknownUser(f"{user_id}: no such account; `fangcuan users list` shows them")
    return actor_name(kind, user_id)
