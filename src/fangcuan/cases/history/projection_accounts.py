"""Accounts, roles and tokens as their events add up: the part of the projection that is about people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fangcuan.store.accounts import access_token, account, person_key, role_grant
from fangcuan.store.outbox import notification_choice

if TYPE_CHECKING:
    from fangcuan.cases.history.projection import Rebuilt

TABLES = (account, person_key, role_grant, access_token, notification_choice)
#: Compared by the sha256 of what is stored: the events hold no more.
DIGESTED = frozenset({(account.name, "password_hash"), (person_key.name, "secret")})

Body = Mapping[str, Any]


def added(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    row = {**data["user"], "password_hash": None, "added_by": body["actor"], "added_at": body["recorded_at"]}
    rebuilt.rows[account.name][(row["user_id"],)] = row
    _key_made(rebuilt, body, data)


def linked(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    for user_id in data["user_ids"]:
        rebuilt.rows[account.name][(user_id,)]["person"] = data["person"]


def disabled(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    rebuilt.rows[account.name][(data["user_id"],)]["active"] = False


def password_set(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    rebuilt.rows[account.name][(data["user_id"],)]["password_hash"] = data["password_sha256"]


def granted(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    row = {**data["grant"], "granted_by": body["actor"], "granted_at": body["recorded_at"]}
    row |= {"revoked_by": None, "revoked_at": None}
    rebuilt.rows[role_grant.name][(row["grant_id"],)] = row


def revoked(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    row = rebuilt.rows[role_grant.name][(data["grant_id"],)]
    row |= {"revoked_by": body["actor"], "revoked_at": body["recorded_at"]}


def issued(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    row = {**data["token"], "issued_by": body["actor"], "issued_at": body["recorded_at"]}
    row |= {"revoked_by": None, "revoked_at": None}
    rebuilt.rows[access_token.name][(row["token_id"],)] = row
    _key_made(rebuilt, body, data)


def token_revoked(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    row = rebuilt.rows[access_token.name][(data["token_id"],)]
    row |= {"revoked_by": body["actor"], "revoked_at": body["recorded_at"]}


def channels_chosen(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    row = {**data["choice"], "chosen_by": body["actor"], "chosen_at": body["recorded_at"]}
    rebuilt.rows[notification_choice.name][(row["user_id"],)] = row
    _key_made(rebuilt, body, data)


def erased(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    for user_id in data["user_ids"]:
        rebuilt.rows[account.name][(user_id,)]["password_hash"] = None
    for row in data["accounts"]:
        rebuilt.rows[account.name][(row["user_id"],)].update(row)
    for row in data["tokens"]:
        rebuilt.rows[access_token.name][(row["token_id"],)].update(row)
    for person in data["persons"]:
        row = rebuilt.rows[person_key.name].setdefault((person,), {"person": person, "made_at": body["recorded_at"]})
        row |= {"secret": None, "destroyed_by": body["actor"], "destroyed_at": body["recorded_at"]}


def _key_made(rebuilt: Rebuilt, body: Body, data: Body) -> None:
    if "person_key" in data:
        row = {**data["person_key"], "made_at": body["recorded_at"], "destroyed_by": None, "destroyed_at": None}
        rebuilt.rows[person_key.name][(row["person"],)] = row


KINDS: dict[str, Callable[[Rebuilt, Body, Body], None]] = {
    "user.added": added,
    "user.linked": linked,
    "user.disabled": disabled,
    "user.password_set": password_set,
    "user.erased": erased,
    "role.granted": granted,
    "role.revoked": revoked,
    "token.issued": issued,
    "token.revoked": token_revoked,
    "user.channels_chosen": channels_chosen,
}
