"""Accounts, roles and tokens: who may give whom what, that all of it is in the history, and that refusals are logged."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable

import pytest
from casework_samples import employ
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DatabaseError

from fangcuan.cases.history.verification import verify
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import grants, tokens
from fangcuan.cases.people.access import Actor, authorise
from fangcuan.cases.people.passwords import verify_password
from fangcuan.cases.refusals import CommandRefused, GuardFailed, NotAuthorised, UnknownUser, list_refusals
from fangcuan.store import migrations
from fangcuan.store.accounts import access_token, account, role_grant
from fangcuan.store.casework import event
from fangcuan.store.database import read, write

BOSS = Actor("user:boss")
LING = Actor("user:ling")
SECRET = "correct horse battery"


@pytest.fixture
def staffed(engine: Engine) -> Engine:
    employ(engine, Actor("user:ling", frozenset({"analyst"})), Actor("service:robot", frozenset({"service"})))
    people.add_user(engine, BOSS, "wang", name="Wang")
    return engine


def count(engine: Engine) -> int:
    return verify(engine).events


def in_days(days: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=days)


def test_the_first_administrator_is_made_once(engine: Engine) -> None:
    assert people.add_first_admin(engine, "boss", name="Boss", os_user="root")
    assert not people.add_first_admin(engine, "thief", name="Thief")
    (only,) = people.list_users(engine)
    assert (only["user"], only["os_user"], [one["role"] for one in only["roles"]]) == ("boss", "root", ["admin"])
    assert verify(engine).exit_code == 0


def test_a_role_holds_for_its_time_only(staffed: Engine) -> None:
    grants.grant_role(staffed, BOSS, "wang", "supervisor", valid_from=in_days(1), valid_to=in_days(2))

    def roles(moment: dt.datetime) -> list[str]:
        users = {user["user"]: user for user in people.list_users(staffed, now=moment)}
        return [one["role"] for one in users["wang"]["roles"]]

    assert [roles(in_days(days)) for days in (0.5, 1.5, 2.5)] == [[], ["supervisor"], []]
    grants.revoke_role(staffed, BOSS, "wang", role="supervisor")
    assert roles(in_days(1.5)) == []


@pytest.mark.parametrize(
    ("attempt", "error", "message"),
    [
        (lambda e: grants.grant_role(e, BOSS, "boss", "admin"), NotAuthorised, "one person"),
        (lambda e: grants.grant_role(e, Actor("user:ling"), "wang", "legal"), NotAuthorised, "ling is not admin"),
        (lambda e: grants.grant_role(e, Actor("user:nobody"), "wang", "legal"), UnknownUser, "user:nobody"),
        (lambda e: grants.grant_role(e, Actor("service:ling"), "wang", "legal"), UnknownUser, "service:ling"),
        (lambda e: grants.grant_role(e, BOSS, "wang", "king"), GuardFailed, "expected one of analyst"),
        (lambda e: grants.grant_role(e, BOSS, "robot", "supervisor"), GuardFailed, "role of a person"),
        (lambda e: grants.grant_role(e, BOSS, "wang", "service"), GuardFailed, "role of a service"),
        (lambda e: grants.grant_role(e, BOSS, "wang", "admin", region="1"), GuardFailed, "not granted for a region"),
        (lambda e: grants.grant_role(e, BOSS, "wang", "partner"), GuardFailed, "name the partner"),
        (lambda e: grants.grant_role(e, BOSS, "wang", "legal", partner="P1"), GuardFailed, "not granted for a partner"),
        (lambda e: grants.grant_role(e, BOSS, "ling", "auditor"), GuardFailed, "auditor stands apart"),
        (lambda e: grants.grant_role(e, BOSS, "ling", "admin"), GuardFailed, "admin stands apart"),
        (lambda e: grants.grant_role(e, BOSS, "wang", "legal", valid_to=in_days(-1)), GuardFailed, "before it begins"),
        (lambda e: grants.revoke_role(e, BOSS, "boss", role="admin"), GuardFailed, "leaves no administrator"),
        (lambda e: people.disable_user(e, BOSS, "boss"), GuardFailed, "leaves no administrator"),
        (lambda e: grants.revoke_role(e, BOSS, "wang", role="legal"), GuardFailed, "no such grant"),
        (lambda e: people.add_user(e, BOSS, "ling", name="x"), GuardFailed, "already"),
        (lambda e: people.add_user(e, BOSS, "A B", name="x"), GuardFailed, "small letters"),
        (lambda e: people.add_user(e, BOSS, "bot", name="x", kind="service"), GuardFailed, "answers for it"),
        (lambda e: people.set_password(e, BOSS, "robot", SECRET), UnknownUser, "user:robot"),
        (lambda e: people.set_password(e, Actor("user:wang"), "ling", SECRET), NotAuthorised, "is not admin"),
        (lambda e: people.set_password(e, LING, "ling", "short"), GuardFailed, "12 to 1024"),
        (
            lambda e: tokens.issue_token(e, BOSS, "ling", label="x", expires_at=in_days(1)),
            NotAuthorised,
            "issued by himself",
        ),
        (lambda e: tokens.issue_token(e, LING, "ling", label="x", expires_at=in_days(999)), GuardFailed, "366 days"),
        (lambda e: tokens.issue_token(e, LING, "robot", label="x", expires_at=in_days(1)), NotAuthorised, "not admin"),
    ],
)
def test_what_is_refused_changes_nothing_and_attempts_on_rights_are_logged(
    staffed: Engine, attempt: Callable[[Engine], object], error: type[CommandRefused], message: str
) -> None:
    before = (count(staffed), people.list_users(staffed))
    with pytest.raises(error, match=message):
        attempt(staffed)
    assert (count(staffed), people.list_users(staffed)) == before
    logged = list_refusals(staffed)
    assert [one["refusal"] for one in logged] == ([error.__name__] if error in {NotAuthorised, UnknownUser} else [])


def test_a_second_account_of_an_administrator_gets_nothing_from_him(staffed: Engine) -> None:
    people.add_user(staffed, BOSS, "boss2", name="Boss again", same_person_as="boss")
    with pytest.raises(NotAuthorised, match="one person"):
        grants.grant_role(staffed, BOSS, "boss2", "supervisor")
    # Nor through somebody else's name at his own terminal.
    people.add_user(staffed, BOSS, "other", name="Other administrator")
    grants.grant_role(staffed, BOSS, "other", "admin")
    with pytest.raises(NotAuthorised, match="one person"):
        grants.grant_role(staffed, Actor("user:other", terminal="user:boss"), "boss2", "supervisor")
    with pytest.raises(GuardFailed, match="admin stands apart"):
        grants.grant_role(staffed, Actor("user:other"), "boss2", "supervisor")


def test_the_database_refuses_a_grant_to_oneself(staffed: Engine) -> None:
    with read(staffed) as connection:
        row = dict(connection.execute(select(role_grant).limit(1)).mappings().one())
    row |= {"grant_id": 99, "granted_by": f"user:{row['user_id']}"}
    with pytest.raises(DatabaseError, match="not_to_oneself"), write(staffed) as connection:
        connection.execute(role_grant.insert().values(row))


def test_passwords_are_argon2id_and_stand_in_no_event(staffed: Engine) -> None:
    people.set_password(staffed, LING, "ling", SECRET)
    with read(staffed) as connection:
        stored = connection.execute(select(account.c.password_hash).where(account.c.user_id == "ling")).scalar_one()
        bodies = "\n".join(connection.execute(select(event.c.body)).scalars())
    assert stored.startswith("$argon2id$")
    assert stored not in bodies
    assert SECRET not in bodies
    assert verify_password(stored, SECRET)
    assert not verify_password(stored, SECRET + "x")
    assert not verify_password(None, "nobody has this password")
    assert verify(staffed).exit_code == 0


def test_a_token_proves_who_acts_until_it_ends(staffed: Engine) -> None:
    given = tokens.issue_token(staffed, LING, "ling", label="ci", expires_at=in_days(1), roles=["analyst"])
    proven = tokens.token_actor(staffed, given)
    assert proven.name == "user:ling"
    with read(staffed) as connection:
        everything = str(connection.execute(select(access_token)).all()) + str(
            connection.execute(select(event.c.body)).all()
        )
    assert given.split("_", 2)[2] not in everything
    token_id = given.split("_")[1]
    for wrong in (given + "x", given.replace("fangcuan", "other"), "", "fangcuan__", f"fangcuan_{token_id}_"):
        with pytest.raises(UnknownUser, match="not valid"):
            tokens.token_actor(staffed, wrong)
    with pytest.raises(UnknownUser):
        tokens.token_actor(staffed, given, now=in_days(2))
    tokens.revoke_token(staffed, LING, token_id)
    with pytest.raises(UnknownUser):
        tokens.token_actor(staffed, given)
    # Whoever kept the actor from before has nothing either: the executor looks at the token again.
    with pytest.raises(NotAuthorised, match="by a token"), write(staffed) as connection:
        authorise(connection, proven, "triage", ["analyst"], in_days(0))
    robot = tokens.issue_token(staffed, BOSS, "robot", label="r", expires_at=in_days(1))
    assert tokens.token_actor(staffed, robot).name == "service:robot"
    people.disable_user(staffed, BOSS, "robot")
    with pytest.raises(UnknownUser):
        tokens.token_actor(staffed, robot)


def test_linked_accounts_are_one_person_all_of_them(staffed: Engine) -> None:
    people.add_user(staffed, BOSS, "ling2", name="Ling", same_person_as="ling")
    people.link_users(staffed, BOSS, "ling", same_person_as="wang")
    persons = {user["user"]: user["person"] for user in people.list_users(staffed)}
    assert persons["ling"] == persons["ling2"] == persons["wang"] == "wang"
    assert verify(staffed).exit_code == 0


def test_every_change_is_an_event_that_says_who(staffed: Engine) -> None:
    with read(staffed) as connection:
        bodies = [json.loads(body) for body in connection.execute(select(event.c.body).order_by(event.c.seq)).scalars()]
    assert [(body["kind"], body["actor"]) for body in bodies[:2]] == [
        ("user.added", "system:init"),
        ("role.granted", "system:init"),
    ]
    assert {body["actor"] for body in bodies[2:]} == {"user:boss"}


def test_the_tables_come_and_go_with_their_migration(staffed: Engine) -> None:
    assert migrations.difference(staffed) == []
    migrations.downgrade(staffed, "0005")
    with read(staffed) as connection:
        assert connection.execute(text("select count(*) from event")).scalar()
    with pytest.raises(DatabaseError), read(staffed) as connection:
        connection.execute(select(account))
    migrations.upgrade(staffed)
    assert migrations.difference(staffed) == []
