"""Who may do what: the one place that looks at accounts, roles in force, and where they hold."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select

from fangcuan.cases.refusals import NotAuthorised, UnknownUser
from fangcuan.store.accounts import access_token, account, role_grant

PERSON, SERVICE = "user", "service"
_PREFIX = {"person": PERSON, "service": SERVICE}


@dataclass(frozen=True)
class Actor:
    """Who acts: `user:ling` or `service:erp`. What he may do stands in the casebook, never here.

    `roles` narrows that and adds nothing; None: all roles he holds. `token` is the id of the token that proved who he is; it
    narrows as well. `terminal` is the account of whoever sits at the terminal, where somebody acts under another name.
    """

    name: str
    roles: frozenset[str] | None = None
    token: str | None = None
    terminal: str | None = None

    def via(self) -> dict[str, str]:
        """How he came to act, for the event; empty where he simply did."""
        ways = {"token": self.token, "terminal": self.terminal}
        return {name: value for name, value in ways.items() if value is not None}


@dataclass(frozen=True)
class Area:
    """Where something belongs: its regions, each followed by all above it, and its brands. Empty where that is not known.

    `partner` is whom it is about, where that is a partner.
    """

    regions: tuple[tuple[str, ...], ...] = ()
    brands: frozenset[str] = frozenset()
    partner: str | None = None


def actor_name(kind: str, user_id: str) -> str:
    """The name of an account as events have it."""
    return f"{_PREFIX[kind]}:{user_id}"


def find_account(connection: Connection, name: str, *, active: bool = True) -> Row[Any]:
    """The account of an actor's name. Raises UnknownUser where there is none, or none that is still open."""
    prefix, _, user_id = name.partition(":")
    row = connection.execute(select(account).where(account.c.user_id == user_id)).one_or_none()
    if row is None or prefix != _PREFIX[row.kind]:
        raise UnknownUser(f"{name}: no such account; `fangcuan users list` shows them")
    if active and not row.active:
        raise UnknownUser(f"{name}: this account was closed")
    return row


def persons(connection: Connection, actor: Actor) -> frozenset[str]:
    """Everybody who may be behind an actor: the person of his account, and of the account at the terminal.

    That is the terminal at which he acts, and the one at which his token was issued.
    """
    issued = select(access_token.c.terminal).where(access_token.c.token_id == actor.token)
    names = {actor.name, actor.terminal, connection.execute(issued).scalar()} - {None}
    return frozenset(find_account(connection, str(name), active=False).person for name in names)


def grants_in_force(connection: Connection, user_ids: Iterable[str], moment: dt.datetime) -> list[Row[Any]]:
    """Grants of these accounts at a moment, in the order they were given."""
    holds = and_(
        role_grant.c.user_id.in_(list(user_ids)),
        role_grant.c.valid_from <= moment,
        or_(role_grant.c.valid_to.is_(None), role_grant.c.valid_to > moment),
        role_grant.c.revoked_at.is_(None),
    )
    return list(connection.execute(select(role_grant).where(holds).order_by(role_grant.c.grant_id)))


def authorise(
    connection: Connection,
    actor: Actor,
    command: str,
    roles: Collection[str],
    moment: dt.datetime,
    area: Area | None = None,
) -> str:
    """The role in which the actor may give a command. Raises NotAuthorised, naming the role that is missing.

    `area` is where the matter belongs; None: nowhere in particular, which a grant of any scope covers.
    """
    held = _held(connection, actor, moment)
    fitting = [grant for grant in held if grant.role in roles]
    narrowed = _narrowed(connection, actor, fitting, moment)
    for grant in narrowed:
        if area is None or covers(grant, area):
            return str(grant.role)
    needed = " or ".join(roles)
    if narrowed:
        where = "; ".join(scope_words(grant) for grant in narrowed)
        raise NotAuthorised(
            f"{command}: {actor.name} is {needed} only for {where}; it takes {needed} for {_place(area)}"
        )
    if fitting:
        raise NotAuthorised(
            f"{command}: {actor.name} acts without the role {needed} here: narrowed, or by a token that is not for it"
        )
    raise NotAuthorised(f"{command}: {actor.name} is not {needed}")


def grants_for(connection: Connection, actor: Actor, roles: Collection[str], moment: dt.datetime) -> list[Row[Any]]:
    """Grants by which the actor may act in one of these roles somewhere, in the order they were given. Raises UnknownUser."""
    fitting = [grant for grant in _held(connection, actor, moment) if grant.role in roles]
    return _narrowed(connection, actor, fitting, moment)


def covers(grant: Row[Any], area: Area) -> bool:
    """Whether a grant reaches all of an area; what is not known to lie inside lies outside."""
    if grant.partner_id is not None:
        return bool(area.partner == grant.partner_id)
    inside = grant.region_code is None or (
        bool(area.regions) and all(grant.region_code in chain for chain in area.regions)
    )
    return inside and (grant.brand is None or area.brands == {grant.brand})


def scope_words(grant: Row[Any]) -> str:
    """`region 410000, brand Feng`, or `everything`."""
    kinds = {"region": "region_code", "brand": "brand", "partner": "partner_id"}
    values = ((kind, getattr(grant, column)) for kind, column in kinds.items())
    words = [f"{kind} {value}" for kind, value in values if value is not None]
    return ", ".join(words) or "everything"


def _held(connection: Connection, actor: Actor, moment: dt.datetime) -> list[Row[Any]]:
    return grants_in_force(connection, [find_account(connection, actor.name).user_id], moment)


def _narrowed(connection: Connection, actor: Actor, grants: Iterable[Row[Any]], moment: dt.datetime) -> list[Row[Any]]:
    return [grant for grant in grants if _allowed(connection, actor, grant.user_id, grant.role, moment)]


def _allowed(connection: Connection, actor: Actor, user_id: str, role: str, moment: dt.datetime) -> bool:
    """Whether the actor's token, and what he narrowed himself to, leave him a role."""
    if actor.roles is not None and role not in actor.roles:
        return False
    if actor.token is None:
        return True
    row = connection.execute(select(access_token).where(access_token.c.token_id == actor.token)).one_or_none()
    if row is None or row.user_id != user_id or row.revoked_at is not None or row.expires_at <= moment:
        return False
    return row.roles is None or role in row.roles


def _place(area: Area | None) -> str:
    if area is None:
        return "this"
    regions = ", ".join(chain[0] for chain in area.regions) or "not known"
    return f"region {regions}, brand {', '.join(sorted(area.brands)) or 'not known'}"
