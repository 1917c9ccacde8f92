"""Personal data is sealed under a key per person; destroying the key erases it from a history that still verifies."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from casework_samples import employ, file_night, make_finding
from sqlalchemy import Engine, inspect, select, text
from sqlalchemy.event import listen
from sqlalchemy.exc import DatabaseError
from tampering import tamper

from fangcuan.cases.executor import Command, execute
from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.cases.history.verification import ExitCode, verify
from fangcuan.cases.notifying import outbox
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import channels, personal, tokens
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.erasure import Erasure, erase_user
from fangcuan.cases.refusals import CommandRefused, GuardFailed, NotAuthorised, list_refusals
from fangcuan.store.accounts import access_token, account, person_key
from fangcuan.store.casework import event
from fangcuan.store.database import open_engine, read, write
from fangcuan.store.outbox import outbox as outbox_table

BOSS = Actor("user:boss")
HIM = Actor("user:u017", frozenset({"analyst", "supervisor"}))
WANG = Actor("user:wang", frozenset({"supervisor", "legal"}))
NAME, TERMINAL, LABEL, CHANNEL = "Zebediah Quill 司马相如", "zquill", "Zebediah's laptop", "mail_zebediah"
#: Whatever of him may stand nowhere any more.
TOLD = (NAME, "Zebediah", "Quill", "司马", TERMINAL, LABEL, CHANNEL, "zebediah")
FIRST, SECOND = "FC-2026-000001", "FC-2026-000002"
REQUEST = "request 2026-17"


def in_days(days: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=days)


@pytest.fixture
def peopled(engine: Engine, folder: Path) -> Engine:
    """Two cases, and somebody with a name, a terminal, a token and channels."""
    file_night(engine, folder, [make_finding("P1"), make_finding("P2", severity="high")])
    employ(engine, WANG)
    people.add_user(engine, BOSS, "u017", name=NAME, os_user=TERMINAL)
    employ_as(engine, "u017", *sorted(HIM.roles or ()))
    tokens.issue_token(engine, HIM, "u017", label=LABEL, expires_at=in_days(9))
    channels.choose_channels(engine, HIM, "u017", [CHANNEL, "team"], language="en")
    channels.choose_channels(engine, BOSS, "wang", ["team"])
    return engine


def employ_as(engine: Engine, user_id: str, *roles: str) -> None:
    from fangcuan.cases.people.grants import grant_role

    for role in roles:
        grant_role(engine, BOSS, user_id, role)


def assign(engine: Engine, to: str, number: str = FIRST) -> None:
    execute(engine, Command("assign", number, WANG, f"{verify(engine).events}", params={"to": to}))


def erase(engine: Engine, user_id: str = "u017", actor: Actor = BOSS) -> Erasure:
    with read(engine) as connection:
        active = connection.execute(select(account.c.active).where(account.c.user_id == user_id)).scalar()
    if active:
        people.disable_user(engine, actor, user_id)
    return erase_user(engine, actor, user_id, note=REQUEST)


def everything(engine: Engine) -> bytes:
    """Every row of every table as text; on SQLite also the bytes of all its files."""
    told = []
    with read(engine) as connection:
        for table in sorted(inspect(connection).get_table_names()):
            for row in connection.execute(text(f"select * from {table}")):
                told += [str(value) for value in row if value is not None]
    found = "\n".join(told).encode()
    if engine.dialect.name == "sqlite":
        path = Path(str(engine.url.database))
        found += b"".join(one.read_bytes() for one in sorted(path.parent.glob(f"{path.name}*")))
    return found


def told(engine: Engine) -> list[str]:
    """What of him is found anywhere; upper case too, as names of variables have it."""
    data = everything(engine)
    spelled = {form for one in TOLD for form in (one, one.upper(), json.dumps(one)[1:-1])}
    return sorted(one for one in spelled if one.encode() in data)


def secret(engine: Engine, person: str = "u017") -> str:
    with read(engine) as connection:
        return str(connection.execute(select(person_key.c.secret).where(person_key.c.person == person)).scalar_one())


def pieces(engine: Engine, key: str) -> list[str]:
    """Parts of a key that are found anywhere: a freed row is overwritten here and there by itself."""
    data = everything(engine)
    return [key[at : at + 12] for at in range(len(key) - 11) if key[at : at + 12].encode() in data]


def user(engine: Engine, user_id: str = "u017") -> dict[str, Any]:
    return next(one for one in people.list_users(engine) if one["user"] == user_id)


def test_the_search_would_find_him(peopled: Engine) -> None:
    with write(peopled) as connection:
        connection.execute(text("update account set name = :name where user_id = 'boss'"), {"name": NAME})
    assert {NAME, "Zebediah", "司马"} <= set(told(peopled))


def test_what_says_who_he_is_stands_sealed_and_is_shown(peopled: Engine) -> None:
    assert told(peopled) in ([], [CHANNEL, "zebediah"]), "only the outbox may name a channel"
    assert (user(peopled)["name"], user(peopled)["os_user"], user(peopled)["erased"]) == (NAME, TERMINAL, False)
    assert [one["label"] for one in tokens.list_tokens(peopled, "u017")] == [LABEL]
    assert {one["user_id"]: one["channels"] for one in channels.list_choices(peopled)} == {
        "u017": [CHANNEL, "team"],
        "wang": ["team"],
    }
    with read(peopled) as connection:
        row = connection.execute(select(account).where(account.c.user_id == "u017")).one()
        found = personal.Opened(connection).of_os_user(connection, TERMINAL)
        nobody = personal.Opened(connection).of_os_user(connection, row.os_user)
        bodies = connection.execute(select(event.c.body).where(event.c.body.contains("user.added"))).scalars().all()
    assert row.name.startswith("sealed:1:u017:")
    assert found is not None
    assert found.user_id == "u017"
    assert nobody is None
    assert any(row.name in body and row.os_user in body for body in bodies)
    assert verify(peopled).exit_code == ExitCode.OK
    with pytest.raises(GuardFailed, match="zquill is u017 already"):
        people.add_user(peopled, BOSS, "u018", name="Other", os_user=TERMINAL)


def test_the_same_text_is_never_sealed_the_same_and_its_length_says_little(peopled: Engine) -> None:
    with write(peopled) as connection:
        key = personal.key_of(connection, "u017")
        opened = personal.Opened(connection)
    one, other = (str(key.seal("name", "Li")) for _ in range(2))
    assert one != other
    assert len(one) == len(str(key.seal("name", "a name of forty-seven characters, or somewhat so")))
    assert {opened.text("name", sealed) for sealed in (one, other)} == {"Li"}
    assert [opened.text("name", key.seal("name", text)) for text in ("", "𠮷" * 99)] == ["", "𠮷" * 99]
    # Bound to field and person, and to every bit.
    assert opened.text("label", one) == personal.UNREADABLE
    assert opened.text("name", one.replace(":u017:", ":wang:")) == personal.UNREADABLE
    assert opened.text("name", f"{one[:-9]}{'A' if one[-9] != 'A' else 'B'}{one[-8:]}") == personal.UNREADABLE
    assert opened.text("name", "sealed:1:nobody:" + "A" * 120) == personal.UNREADABLE
    for clear in ("sealed:1:u017:short", "Sealed", "", None):
        assert opened.text("name", clear) == clear


def test_erased_he_is_found_nowhere_and_the_history_is_untouched(peopled: Engine) -> None:
    if peopled.dialect.name == "sqlite":
        # Some builds of SQLite do so by themselves; most do not.
        peopled.dispose()
        listen(peopled, "connect", lambda connection, _: connection.execute("pragma secure_delete = off"))
    assign(peopled, HIM.name)
    assert CHANNEL in {row["channel"] for row in outbox.list_messages(peopled)}
    assign(peopled, WANG.name)
    row = outbox.claim(peopled, CHANNEL, "sender", in_days(1))
    assert row is not None
    outbox.finish(
        peopled, row, "sender", in_days(1), f"secret 'notify_{CHANNEL}' is missing: set X_NOTIFY_MAIL_ZEBEDIAH"
    )
    key = secret(peopled)
    assert pieces(peopled, key)
    with read(peopled) as connection:
        before = connection.execute(select(event).order_by(event.c.seq)).all()
    done = erase(peopled)
    assert (done.user_ids, len(done.tokens), done.messages, done.clear_events) == (("u017",), 1, 1, ())
    if peopled.dialect.name == "sqlite":
        assert done.freed
        assert not pieces(peopled, key), "before any VACUUM"
        with contextlib.closing(sqlite3.connect(str(peopled.url.database))) as connection:
            connection.execute("vacuum")
    assert told(peopled) == []
    assert not pieces(peopled, key)
    shown = user(peopled)
    assert (shown["name"], shown["os_user"], shown["erased"]) == (personal.placeholder("u017"), None, True)
    assert shown["name"].startswith("erased person ")
    assert [one["label"] for one in tokens.list_tokens(peopled, "u017")] == [personal.placeholder("u017")]
    assert all(one["revoked_at"] for one in tokens.list_tokens(peopled, "u017"))
    with read(peopled) as connection:
        after = connection.execute(select(event).order_by(event.c.seq)).all()
        assert personal.Opened(connection).of_os_user(connection, TERMINAL) is None
    assert after[: len(before)] == before
    kinds = [json.loads(one.body)["kind"] for one in after[len(before) :]]
    assert kinds == ["user.disabled", "token.revoked", "user.channels_chosen", "user.erased"]
    found = verify(peopled)
    assert (found.exit_code, found.problems, found.missing_guards) == (ExitCode.OK, (), ())


def test_messages_leave_before_and_are_given_up_after(peopled: Engine) -> None:
    assign(peopled, HIM.name)
    now = in_days(1)
    sent = outbox.claim(peopled, CHANNEL, "sender", now)
    assert sent is not None
    assert outbox.finish(peopled, sent, "sender", now, None) == "sent"
    assign(peopled, HIM.name, SECOND)
    under_way = outbox.claim(peopled, CHANNEL, "sender", now)
    assert under_way is not None
    for number in (FIRST, SECOND):
        assign(peopled, WANG.name, number)
    erase(peopled)
    rows = {row["entry"]: row for row in outbox.list_messages(peopled)}
    assert (rows[sent.entry]["channel"], rows[sent.entry]["state"]) == (outbox.ERASED, "sent")
    assert (rows[under_way.entry]["channel"], rows[under_way.entry]["state"]) == (outbox.ERASED, "given_up")
    # A channel that others have chosen too keeps its name, and what waits for it.
    assert {row["state"] for row in rows.values() if row["channel"] == "team"} == {"queued"}
    assert outbox.finish(peopled, under_way, "sender", now, None) == "lost"
    assert outbox.try_again(peopled, now) == 0
    assert outbox.ERASED not in outbox.channels_due(peopled, now)


@pytest.mark.parametrize(
    ("prepare", "actor", "error", "message"),
    [
        (lambda e: None, BOSS, GuardFailed, "fangcuan users disable u017"),
        (lambda e: None, WANG, NotAuthorised, "wang is not admin"),
        (lambda e: assign(e, HIM.name), BOSS, GuardFailed, "fangcuan cases assign"),
        (lambda e: propose(e), BOSS, GuardFailed, "open proposal of his"),
        (lambda e: hold(e), BOSS, GuardFailed, "FC-2026-000002 is under legal hold"),
        (lambda e: people.link_users(e, BOSS, "u017", same_person_as="boss"), BOSS, NotAuthorised, "one person"),
    ],
)
def test_what_is_refused_destroys_nothing(
    peopled: Engine, prepare: Callable[[Engine], Any], actor: Actor, error: type[CommandRefused], message: str
) -> None:
    prepare(peopled)
    if "disable" not in message:
        people.disable_user(peopled, BOSS, "u017")
    before, key = verify(peopled).events, secret(peopled)
    with pytest.raises(error, match=message):
        erase_user(peopled, actor, "u017", note=REQUEST)
    assert (verify(peopled).events, secret(peopled), user(peopled)["name"]) == (before, key, NAME)
    logged = [one["command"] for one in list_refusals(peopled, 1)]
    assert logged == (["erase_user"] if error is NotAuthorised else [])


def propose(engine: Engine) -> None:
    execute(engine, Command("triage", FIRST, HIM, "t"))
    grounds = {"kind": "dismiss", "reason": "authorised", "note": "seen"}
    execute(engine, Command("propose", FIRST, HIM, "p", params=grounds))


def hold(engine: Engine) -> None:
    execute(engine, Command("comment", SECOND, HIM, "c", params={"text": "seen"}))
    execute(engine, Command("hold", SECOND, WANG, "h", params={"note": "court"}))


@pytest.mark.parametrize("note", ["asked by zebediah", "Quill, by letter", "司马相如要求", "for ZQUILL", " "])
def test_a_note_that_names_him_is_refused(peopled: Engine, note: str) -> None:
    people.disable_user(peopled, BOSS, "u017")
    with pytest.raises(GuardFailed, match=r"names him|note is needed"):
        erase_user(peopled, BOSS, "u017", note=note)
    erase_user(peopled, BOSS, "u017", note="u017, tranquillity")


def test_all_accounts_of_the_person_go_with_him(peopled: Engine) -> None:
    people.add_user(peopled, BOSS, "u018", name=NAME)
    people.set_password(peopled, BOSS, "u018", "long enough to pass")
    people.add_user(peopled, BOSS, "bot", name="Zebediah's robot", kind="service", same_person_as="u018")
    tokens.issue_token(peopled, BOSS, "bot", label=LABEL, expires_at=in_days(9))
    people.link_users(peopled, BOSS, "u018", same_person_as="u017")
    people.disable_user(peopled, BOSS, "u017")
    people.disable_user(peopled, BOSS, "bot")
    with pytest.raises(GuardFailed, match="u018: close it first"):
        erase_user(peopled, BOSS, "u017", note=REQUEST)
    people.disable_user(peopled, BOSS, "u018")
    done = erase_user(peopled, BOSS, "u018", note=REQUEST)
    assert (done.user_ids, len(done.tokens)) == (("bot", "u017", "u018"), 2)
    assert told(peopled) == []
    assert {one["erased"] for one in people.list_users(peopled) if one["user"] in done.user_ids} == {True}
    assert not user(peopled, "u018")["has_password"]
    for attempt in (
        lambda: erase_user(peopled, BOSS, "bot", note=REQUEST),
        lambda: people.link_users(peopled, BOSS, "wang", same_person_as="u017"),
        lambda: people.link_users(peopled, BOSS, "u018", same_person_as="wang"),
        lambda: tokens.issue_token(peopled, BOSS, "bot", label="x", expires_at=in_days(9)),
    ):
        with pytest.raises(GuardFailed, match="erased"):
            attempt()
    assert verify(peopled).exit_code == ExitCode.OK


def test_the_database_lets_a_key_be_destroyed_and_never_come_back(peopled: Engine) -> None:
    key = secret(peopled)
    alive = [
        "update person_key set secret = 'x' || substr(secret, 2)",
        "update person_key set person = 'wang' where person = 'u017'",
        "update person_key set secret = null where person = 'u017'",
        f"update person_key set secret = null, destroyed_by = 'x', destroyed_at = made_at, made_at = '{in_days(1)}'",
        "delete from person_key where person = 'u017'",
    ]
    dead = [
        f"update person_key set secret = '{key}', destroyed_by = null, destroyed_at = null where person = 'u017'",
        "update person_key set destroyed_by = 'somebody' where person = 'u017'",
        "delete from person_key where person = 'u017'",
        f"insert into person_key (person, secret, made_at) values ('u017', '{key}', '{in_days(0)}')",
    ]
    if peopled.dialect.name == "sqlite":
        dead.append(
            f"insert or replace into person_key (person, secret, made_at) values ('u017', '{key}', '{in_days(0)}')"
        )
    else:
        values = f"('u017', '{key}', now()) on conflict (person) do update set secret = excluded.secret"
        dead.append(f"insert into person_key (person, secret, made_at) values {values}")
        dead += ["truncate person_key", f"set session_replication_role = replica; {dead[0]}"]

    def refused(statements: list[str]) -> None:
        for statement in statements:
            with pytest.raises(DatabaseError), write(peopled) as connection:
                connection.exec_driver_sql(statement)

    refused(alive)
    assert secret(peopled) == key
    erase(peopled)
    refused(dead)
    assert user(peopled)["erased"]


def test_a_key_that_is_put_back_or_taken_with_the_guards_down_is_named(peopled: Engine) -> None:
    key = secret(peopled)
    tamper(
        peopled, "update person_key set secret = null, destroyed_by = 'x', destroyed_at = made_at where person = 'wang'"
    )
    found = verify(peopled)
    assert found.exit_code == ExitCode.PROJECTION
    assert {one.params["row"] for one in found.problems} == {"wang"}
    erase(peopled)
    back = "update person_key set secret = :key, destroyed_by = null, destroyed_at = null where person = 'u017'"
    tamper(peopled, back, parameters={"key": key})
    rows = {(one.params["table"], one.params["row"], one.field) for one in verify(peopled).problems}
    assert ("person_key", "u017", "secret") in rows
    tamper(peopled, "delete from person_key where person = 'boss'")
    kinds = {(one.kind, one.params["row"]) for one in verify(peopled).problems}
    assert ("row_missing", "boss") in kinds
    assert user(peopled, "boss")["name"] == personal.UNREADABLE


def from_before(engine: Engine) -> None:
    """An account, its token and its channels as they were written before there were keys."""
    moment = dt.datetime.now(dt.UTC)
    row = {"user_id": "old", "name": NAME, "kind": "person", "person": "old", "os_user": TERMINAL, "active": True}
    token = {
        "token_id": "t1",
        "user_id": "old",
        "token_hash": "a" * 64,
        "label": LABEL,
        "roles": None,
        "terminal": None,
    }
    token["expires_at"] = in_days(9)
    choice = {"user_id": "old", "language": "zh", "channels": [CHANNEL]}
    with write(engine) as connection:
        lock_head(connection)
        connection.execute(account.insert().values(**row, added_by="user:boss", added_at=moment))
        connection.execute(access_token.insert().values(**token, issued_by="user:old", issued_at=moment))
        chosen = {**choice, "chosen_by": "user:old", "chosen_at": moment}
        connection.execute(outbox.notification_choice.insert().values(chosen))
        drafts = [
            EventDraft("user.added", "user:boss", {"user": row}),
            EventDraft("token.issued", "user:old", {"token": token}),
            EventDraft("user.channels_chosen", "user:old", {"choice": choice}),
        ]
        append(connection, drafts, recorded_at=moment)


def test_an_older_casebook_is_read_and_its_limit_is_told(engine: Engine) -> None:
    people.add_first_admin(engine, "boss", name="Boss")
    from_before(engine)
    assert verify(engine).exit_code == ExitCode.OK
    assert (user(engine, "old")["name"], user(engine, "old")["os_user"]) == (NAME, TERMINAL)
    assert [one["label"] for one in tokens.list_tokens(engine, "old")] == [LABEL]
    assert [one["channels"] for one in channels.list_choices(engine)] == [[CHANNEL]]
    last = verify(engine).events
    done = erase(engine, "old")
    assert done.clear_events == (last - 2, last - 1, last)
    assert user(engine, "old")["name"] == personal.placeholder("old")
    with read(engine) as connection:
        rest = [
            str(row)
            for table in inspect(connection).get_table_names()
            if table != "event"
            for row in connection.execute(text(f"select * from {table}"))
        ]
    assert not any(one in row for one in TOLD for row in rest)
    assert verify(engine).exit_code == ExitCode.OK


@pytest.mark.postgres
def test_the_application_role_destroys_a_key_and_says_what_the_owner_has_to_do(postgresql_url: str) -> None:
    from sqlalchemy.engine import make_url

    from fangcuan.store import guards

    role = f"fangcuan_app_{postgresql_url.rsplit('_', 1)[1]}"
    owner = open_engine(postgresql_url)
    with write(owner) as connection:
        connection.exec_driver_sql(f"create role {role} login")
        connection.exec_driver_sql(guards.grants(role))
    application = open_engine(make_url(postgresql_url).set(username=role).render_as_string(hide_password=False))
    try:
        people.add_first_admin(application, "boss", name="Boss")
        people.add_user(application, BOSS, "u017", name=NAME)
        people.add_user(application, BOSS, "u018", name="Other")
        assert not erase(application).freed
        assert erase(owner, "u018").freed
        with pytest.raises(DatabaseError, match="permission denied"), write(application) as connection:
            connection.exec_driver_sql("delete from person_key")
    finally:
        application.dispose()
        with write(owner) as connection:
            connection.exec_driver_sql(f"drop owned by {role}")
            connection.exec_driver_sql(f"drop role {role}")
        owner.dispose()


def test_an_id_that_holds_a_part_of_the_name_is_noticed() -> None:
    assert personal.gives_away("ling", "Ling Wei")
    assert personal.gives_away("l.quill", "Zebediah Quill")
    assert not personal.gives_away("u017", "Zebediah Quill")
    assert not personal.gives_away("weary", "We 司马")


def test_rows_of_the_outbox_keep_their_place(peopled: Engine) -> None:
    """Renamed occasions stay unique, however many messages there were."""
    for _ in range(3):
        assign(peopled, HIM.name)
        assign(peopled, WANG.name)
    done = erase(peopled)
    with read(peopled) as connection:
        occasions = connection.execute(select(outbox_table.c.occasion)).scalars().all()
    assert done.messages == 3
    assert len({one for one in occasions if one.startswith("erased/")}) == 3
