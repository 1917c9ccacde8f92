"""Commands: each is carried out once, by those who may, on the case they looked at, together with its event."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import pytest
from casework_samples import employ, file_night, make_finding
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.exc import IntegrityError

from fangcuan.cases.executor import (
    Actor,
    Command,
    CommandRefused,
    Conflict,
    GuardFailed,
    KeyReused,
    NotAuthorised,
    NotOffered,
    UnknownCase,
    execute,
)
from fangcuan.cases.history.events import EventDraft, append
from fangcuan.cases.history.verification import verify
from fangcuan.cases.views import list_cases
from fangcuan.store.casework import case_file, command_log, event
from fangcuan.store.database import read, write

ANALYST = Actor("user:ling", frozenset({"analyst"}))
SUPERVISOR = Actor("user:wang", frozenset({"supervisor"}))
SERVICE = Actor("service:other", frozenset({"service"}))
NOBODY = Actor("user:x", frozenset())
CASE = "FC-2026-000001"


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    file_night(engine, folder, [make_finding()])
    employ(engine, ANALYST, SUPERVISOR, SERVICE, NOBODY)
    return engine


def run(engine: Engine, name: str, actor: Actor = SUPERVISOR, version: int | None = None, **params: str) -> int:
    return execute(
        engine, Command(name, CASE, actor, f"{name}-{actor.name}-{version}-{params}", version, params)
    ).version


def state(engine: Engine) -> tuple[str, str | None, int]:
    (case,) = list_cases(engine)
    return (case["status"], case["outcome"], case["version"])


def count_events(engine: Engine) -> int:
    return verify(engine).events


def test_the_way_through(casebook: Engine) -> None:
    run(casebook, "triage", ANALYST)
    assert state(casebook) == ("triaging", None, 2)
    run(casebook, "request_information", ANALYST, note="asked the warehouse")
    run(casebook, "receive_information", ANALYST, note="nothing shipped there")
    assert state(casebook) == ("triaging", None, 4)
    run(casebook, "dismiss", ANALYST, reason="low_impact", note="permit 17")
    assert state(casebook) == ("dismissed", "low_impact", 5)
    with read(casebook) as connection:
        bodies = [json.loads(body) for body in connection.execute(select(event.c.body).order_by(event.c.seq)).scalars()]
    commands = [body for body in bodies if body["actor"] in {ANALYST.name, SUPERVISOR.name}]
    assert [body["kind"] for body in commands] == [
        "case.triage",
        "case.request_information",
        "case.receive_information",
        "case.dismiss",
    ]
    last = commands[-1]
    assert last["data"]["before"]["status"] == "triaging"
    assert last["data"]["after"]["decision_cutoff"] == "2026-04-01T00:00:00.000000Z"
    assert last["data"]["params"] == {"reason": "low_impact", "note": "permit 17"}
    assert last["data"]["version"] == 5


def test_a_key_is_answered_once(casebook: Engine) -> None:
    command = Command("triage", CASE, ANALYST, "key-1", 1)
    first = execute(casebook, command)
    before = count_events(casebook)
    again = execute(casebook, command)
    assert (again.status, again.version, again.seq, again.replayed) == (first.status, first.version, first.seq, True)
    assert not first.replayed
    assert count_events(casebook) == before
    with pytest.raises(KeyReused, match="key-1"):
        execute(casebook, Command("dismiss", CASE, ANALYST, "key-1", params={"reason": "low_impact"}))


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        (Command("triage", "FC-2026-999999", ANALYST, "k"), UnknownCase, "FC-2026-999999: no such case"),
        (
            Command("close", CASE, SUPERVISOR, "k", params={"outcome": "confirmed"}),
            NotOffered,
            "possible: amend, answer, assign, attach, claim, comment, dismiss, escalate, extend, hold",
        ),
        (Command("regress", CASE, SERVICE, "k"), NotOffered, "not possible while"),
        (Command("fly", CASE, SUPERVISOR, "k"), NotOffered, "fly"),
        (Command("triage", CASE, SERVICE, "k"), NotAuthorised, "service:other is not analyst or supervisor"),
        (Command("triage", CASE, NOBODY, "k"), NotAuthorised, "user:x"),
        (Command("dismiss", CASE, ANALYST, "k"), GuardFailed, "reason None; expected one of low_impact"),
        (Command("dismiss", CASE, ANALYST, "k", params={"reason": "bored"}), GuardFailed, "reason 'bored'"),
        (
            Command("dismiss", CASE, ANALYST, "k", params={"reason": "low_impact", "colour": "red"}),
            GuardFailed,
            "unknown parameter colour",
        ),
        (Command("triage", CASE, ANALYST, "k", version=7), Conflict, "is at version 1, not 7"),
    ],
)
def test_refusals_say_why_and_change_nothing(
    casebook: Engine, command: Command, error: type[CommandRefused], message: str
) -> None:
    before = (state(casebook), count_events(casebook))
    with pytest.raises(error, match=message):
        execute(casebook, command)
    assert (state(casebook), count_events(casebook)) == before
    with read(casebook) as connection:
        assert connection.execute(select(command_log)).all() == []


def test_a_note_of_blanks_is_no_note(casebook: Engine) -> None:
    run(casebook, "triage")
    with pytest.raises(GuardFailed, match="a note is needed"):
        run(casebook, "request_information", note="   ")


def test_after_a_wake_nobody_can_regress_by_hand(casebook: Engine) -> None:
    run(casebook, "dismiss", reason="low_impact")
    with pytest.raises(
        NotOffered,
        match="possible: amend, answer, attach, comment, hold, lift_hold, link, propose reopen, review, seal",
    ):
        execute(casebook, Command("regress", CASE, SERVICE, "k"))


def test_the_flag_of_a_regressed_case_lasts_until_it_is_decided(casebook: Engine, folder: Path) -> None:
    import datetime as dt

    run(casebook, "dismiss", reason="low_impact")
    file_night(casebook, folder, [make_finding(month=4)], dt.date(2026, 4, 2))
    run(casebook, "triage", version=3)
    assert list_cases(casebook)[0]["regressed"]
    run(casebook, "dismiss", version=4, reason="low_impact")
    assert not list_cases(casebook)[0]["regressed"]


def test_one_open_case_per_key_is_kept_by_the_database(casebook: Engine) -> None:
    with read(casebook) as connection:
        row = dict(connection.execute(select(case_file)).mappings().one())
    row |= {"number": "FC-2026-000002", "serial": 2, "epoch": 2}
    with pytest.raises(IntegrityError), write(casebook) as connection:
        connection.execute(insert(case_file), [row])
    run(casebook, "dismiss", reason="low_impact")
    with write(casebook) as connection:
        connection.execute(insert(case_file), [row])
    with pytest.raises(IntegrityError), write(casebook) as connection:
        connection.execute(text("update case_file set is_open = (1 = 1) where number = 'FC-2026-000001'"))


def test_two_analysts_six_threads_a_hundred_cases(engine: Engine, folder: Path) -> None:
    """Exactly one thread wins each case, the others are told so, and the chain holds."""
    file_night(engine, folder, [make_finding(f"P{number:03d}") for number in range(100)])
    employ(engine, *(Actor(f"user:{number}", frozenset({"analyst"})) for number in range(2)))
    numbers = [case["number"] for case in list_cases(engine)]
    outcomes: list[str] = []
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        actor = Actor(f"user:{thread % 2}", frozenset({"analyst"}))
        for number in numbers if thread % 2 else reversed(numbers):
            try:
                execute(engine, Command("triage", number, actor, f"{thread}-{number}", version=1))
                outcomes.append("won")
            except (Conflict, NotOffered):
                outcomes.append("lost")
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Counter(outcomes) == {"won": 100, "lost": 500}
    assert verify(engine).exit_code == 0
    assert {(case["status"], case["version"]) for case in list_cases(engine)} == {("triaging", 2)}


def test_six_threads_append_to_one_chain(engine: Engine) -> None:
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(25):
                with write(engine) as connection:
                    drafts = [EventDraft("note", f"user:{thread}", {"n": number, "part": part}) for part in range(2)]
                    append(connection, drafts)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = verify(engine)
    assert (found.exit_code, found.events) == (0, 300)
