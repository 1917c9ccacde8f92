"""Roles of accounts: granted for a scope and a time by an administrator, never to himself; revoked, never removed."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select

from fangcuan.cases import workflow
from fangcuan.cases.people.access import Actor, grants_in_force, persons
from fangcuan.cases.people.accounts import administering, keep_an_admin
from fangcuan.cases.refusals import GuardFailed, NotAuthorised, UnknownUser
from fangcuan.cases.workflow import Workflow
from fangcuan.store.accounts import account, role_grant


def grant_role(
    engine: Engine,
    actor: Actor,
    user_id: str,
    role: str,
    *,
    region: str | None = None,
    brand: str | None = None,
    partner: str | None = None,
    valid_from: dt.datetime | None = None,
    valid_to: dt.datetime | None = None,
    now: dt.datetime | None = None,
) -> int:
    """Grant a role for a region with all below it, a brand, a partner, or everything; the number of the grant.

    Raises CommandRefused: for oneself or a person one is linked to, for a scope the role does not have, for a second role
    beside one that stands apart.
    """
    rules = workflow.default()
    with administering(engine, actor, "grant_role", user_id, now) as (connection, moment, record):
        row = connection.execute(select(account).where(account.c.user_id == user_id, account.c.active)).one_or_none()
        if row is None:
            raise UnknownUser(f"{user_id}: no such account, or it was closed")
        if row.person in persons(connection, actor):
            raise NotAuthorised(f"grant_role: {actor.name} and {user_id} are one person; somebody else has to grant it")
        _check_role(rules, role, row.kind, region, brand, partner)
        _check_apart(connection, rules, role, row, moment)
        start = valid_from or moment
        if valid_to is not None and valid_to <= start:
            raise GuardFailed(f"{role}: it would end before it begins")
        number = (connection.execute(select(func.max(role_grant.c.grant_id))).scalar() or 0) + 1
        grant: dict[str, Any] = {"grant_id": number, "user_id": user_id, "role": role}
        grant |= {"region_code": region, "brand": brand, "partner_id": partner}
        grant |= {"valid_from": start, "valid_to": valid_to}
        connection.execute(role_grant.insert().values(**grant, granted_by=actor.name, granted_at=moment))
        record("role.granted", {"grant": grant})
    return int(number)


def revoke_role(
    engine: Engine,
    actor: Actor,
    user_id: str,
    *,
    role: str | None = None,
    grant: int | None = None,
    now: dt.datetime | None = None,
) -> list[int]:
    """Revoke one grant, or every grant of a role that still runs; the numbers of those that were revoked."""
    with administering(engine, actor, "revoke_role", user_id, now) as (connection, moment, record):
        running = (role_grant.c.user_id == user_id) & role_grant.c.revoked_at.is_(None)
        running &= role_grant.c.valid_to.is_(None) | (role_grant.c.valid_to > moment)
        if grant is not None:
            running &= role_grant.c.grant_id == grant
        if role is not None:
            running &= role_grant.c.role == role
        numbers = list(connection.execute(select(role_grant.c.grant_id).where(running)).scalars())
        if not numbers:
            raise GuardFailed(f"{user_id}: no such grant that still runs")
        one_of = role_grant.c.grant_id.in_(numbers)
        connection.execute(role_grant.update().where(one_of).values(revoked_by=actor.name, revoked_at=moment))
        keep_an_admin(connection, moment)
        for number in sorted(numbers):
            record("role.revoked", {"grant_id": number, "user_id": user_id})
    return sorted(numbers)


def _check_role(
    rules: Workflow, name: str, kind: str, region: str | None, brand: str | None, partner: str | None
) -> None:
    role = rules.roles.get(name)
    if role is None:
        raise GuardFailed(f"role {name!r}; expected one of {', '.join(rules.roles)}")
    if role.holder != kind:
        raise GuardFailed(f"{name} is a role of a {role.holder}, and this account is a {kind}")
    if role.scope != "area" and (region or brand):
        raise GuardFailed(f"{name} is not granted for a region or a brand")
    if (role.scope == "partner") != (partner is not None):
        raise GuardFailed(f"{name}: {'name the partner' if role.scope == 'partner' else 'not granted for a partner'}")


def _check_apart(connection: Connection, rules: Workflow, name: str, row: Row[Any], moment: dt.datetime) -> None:
    """Roles that stand apart are held alone by a person, whatever accounts he has; services he answers for aside."""
    mine = select(account.c.user_id).where(account.c.person == row.person, account.c.kind == row.kind)
    user_ids = connection.execute(mine).scalars().all()
    later = (role_grant.c.valid_from > moment) & role_grant.c.revoked_at.is_(None) & role_grant.c.user_id.in_(user_ids)
    coming = connection.execute(select(role_grant.c.role).where(later)).scalars()
    held = {grant.role for grant in grants_in_force(connection, user_ids, moment)} | set(coming)
    apart = sorted(one for one in held | {name} if one in rules.roles and rules.roles[one].apart)
    if apart and held - {name}:
        raise GuardFailed(
            f"{apart[0]} stands apart: {row.user_id} cannot hold {', '.join(sorted(held | {name}))} together"
        )
