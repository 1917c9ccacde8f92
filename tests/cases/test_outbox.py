"""The outbox: written with the event or not at all, about a number and nothing else, claimed by one sender at a time."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from casework_samples import BUSY_SETTINGS, busy_night, employ, file_night, make_finding
from sqlalchemy import Engine, select
from sqlalchemy.exc import DatabaseError

from fangcuan.cases.executor import Command, execute
from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.cases.history.verification import verify
from fangcuan.cases.notifying import notifications, outbox
from fangcuan.cases.notifying.notifications import NoticeError, write_out
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.channels import choose_channels, list_choices
from fangcuan.cases.people.grants import grant_role
from fangcuan.cases.refusals import GuardFailed, NotAuthorised, UnknownUser
from fangcuan.content.problem import ContentError
from fangcuan.store.casework import event, finding
from fangcuan.store.database import read, write
from fangcuan.store.outbox import outbox as outbox_table
from fangcuan.store.outbox import outbox_attempt

BOSS = Actor("user:boss")
LING = Actor("user:ling", frozenset({"analyst"}))
CHEN = Actor("user:chen", frozenset({"analyst"}))
WANG = Actor("user:wang", frozenset({"supervisor"}))
QIAN = Actor("user:qian", frozenset({"auditor"}))
FIRST, SECOND = "FC-2026-000001", "FC-2026-000002"
#: After every grant of these tests.
NOW = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)

DRAIN = """
import datetime as dt, sys
from fangcuan.cases.notifying import outbox
from fangcuan.store.database import open_engine
engine, name = open_engine(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
while (row := outbox.claim(engine, "team", name, dt.datetime.now(dt.UTC))) is not None:
    print(row.entry, flush=True)
    outbox.finish(engine, row, name, dt.datetime.now(dt.UTC), None)
"""


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    file_night(engine, folder, [make_finding("P1"), make_finding("P2", severity="high")])
    employ(engine, LING, CHEN, WANG, QIAN)
    choose_channels(engine, LING, "ling", ["mail_ling", "team"], language="zh")
    choose_channels(engine, BOSS, "wang", ["mail_wang", "team"], language="zh")
    return engine


def assign(engine: Engine, to: str, number: str = FIRST, actor: Actor = WANG) -> int:
    result = execute(engine, Command("assign", number, actor, f"{verify(engine).events}", params={"to": to}))
    return result.seq


def rows(engine: Engine) -> list[dict[str, Any]]:
    return list(reversed(outbox.list_messages(engine)))


def told(engine: Engine) -> list[tuple[str, str]]:
    return sorted((row["notice"], row["channel"]) for row in rows(engine))


def write_event(engine: Engine, kind: str, data: dict[str, Any], number: str = FIRST, actor: str = "service:x") -> None:
    with write(engine) as connection:
        lock_head(connection)
        append(connection, [EventDraft(kind, actor, data, case=number)], recorded_at=NOW)


def queue(engine: Engine, count: int, channel: str = "team", at: dt.datetime = NOW) -> None:
    """Messages for one channel, without the events they would come with."""
    columns = {"notice": "due", "number": FIRST, "user_id": "ling", "language": "zh", "state": "queued"}
    columns |= {"attempts": 0, "attempts_left": outbox.MOST_ATTEMPTS, "written_at": at, "due_at": at}
    made = [{**columns, "occasion": f"{channel}/{n}", "channel": channel} for n in range(count)]
    with write(engine) as connection:
        connection.execute(outbox_table.insert(), made)


def test_whoever_is_given_a_case_is_told_once_per_channel(casebook: Engine) -> None:
    seq = assign(casebook, "user:ling")
    found = rows(casebook)
    assert [(row["notice"], row["channel"], row["number"], row["seq"]) for row in found] == [
        ("assigned", "mail_ling", FIRST, seq),
        ("assigned", "team", FIRST, seq),
    ]
    assert {(row["state"], row["attempts"], row["language"]) for row in found} == {("queued", 0, "zh")}
    assign(casebook, "user:chen")
    assert len(rows(casebook)) == 2, "chen chose no channel"


def test_nobody_is_told_of_what_he_did_himself(casebook: Engine) -> None:
    assign(casebook, "user:wang")
    assert rows(casebook) == []


def test_a_refused_command_and_a_rolled_back_event_tell_nobody(casebook: Engine) -> None:
    with pytest.raises(NotAuthorised):
        assign(casebook, "user:ling", actor=CHEN)

    class Stopped(Exception):
        pass

    def stopped() -> None:
        with write(casebook) as connection:
            lock_head(connection)
            append(connection, [EventDraft("case.escalate", "user:ling", {}, case=FIRST)], recorded_at=NOW)
            assert connection.execute(select(outbox_table.c.entry)).all()
            raise Stopped

    with pytest.raises(Stopped):
        stopped()
    assert rows(casebook) == []
    assert verify(casebook).exit_code == 0


def test_a_command_given_twice_tells_once(casebook: Engine) -> None:
    command = Command("assign", FIRST, WANG, "same key", params={"to": "user:ling"})
    execute(casebook, command)
    assert execute(casebook, command).replayed
    assert len(rows(casebook)) == 2


def test_a_storm_is_told_to_its_owner_and_to_supervisors_for_everything(engine: Engine, folder: Path) -> None:
    owner, narrow = Actor("user:other", frozenset({"analyst"})), Actor("user:narrow")
    employ(engine, owner, WANG, narrow)
    grant_role(engine, BOSS, "narrow", "supervisor", region="410000")
    for user in ("other", "wang", "narrow"):
        choose_channels(engine, BOSS, user, [f"mail_{user}"])
    file_night(engine, folder, busy_night(), unit_settings=BUSY_SETTINGS)
    assert told(engine) == [("storm", "mail_other"), ("storm", "mail_wang")]
    file_night(engine, folder, busy_night(), unit_settings=BUSY_SETTINGS)
    assert len(rows(engine)) == 2
    assert verify(engine).exit_code == 0


def test_events_that_others_write_find_their_readers(casebook: Engine) -> None:
    assign(casebook, "user:ling")
    before = len(rows(casebook))
    for kind, data in (
        ("case.due", {}),
        ("case.answer", {}),
        ("case.proposal_stale", {"proposed_by": "user:wang"}),
        ("case.escalate", {}),
        ("case.unknown", {"proposed_by": "user:wang"}),
    ):
        write_event(casebook, kind, data)
    # `team` is shared and gets each once; a proposal goes to its maker and to the holder.
    expected = [("due", "mail_ling"), ("due", "team"), ("answer_received", "mail_ling"), ("answer_received", "team")]
    expected += [("proposal_stale", "mail_ling"), ("proposal_stale", "mail_wang"), ("proposal_stale", "team")]
    expected += [("escalated", "mail_wang"), ("escalated", "team")]
    assert sorted((row["notice"], row["channel"]) for row in rows(casebook)[before:]) == sorted(expected)


def test_a_role_that_does_not_reach_the_case_and_a_closed_account_are_not_told(casebook: Engine) -> None:
    people.add_user(casebook, BOSS, "south", name="South")
    grant_role(casebook, BOSS, "south", "supervisor", region="CN-44")
    people.add_user(casebook, BOSS, "here", name="Here")
    grant_role(casebook, BOSS, "here", "supervisor", region="CN-31")
    for user in ("south", "here"):
        choose_channels(casebook, BOSS, user, [f"mail_{user}"])
    people.disable_user(casebook, BOSS, "wang")
    write_event(casebook, "case.escalate", {})
    assert told(casebook) == [("escalated", "mail_here")]


def test_an_alarm_needs_no_event_and_is_told_once_a_day(casebook: Engine) -> None:
    assert outbox.alarm(casebook, "verify_failed", "2026-03-20") == 0, "neither of them chose a channel"
    choose_channels(casebook, BOSS, "qian", ["mail_qian"])
    choose_channels(casebook, BOSS, "boss", ["mail_boss"], language="en")
    events = verify(casebook).events
    assert outbox.alarm(casebook, "verify_failed", "2026-03-20", now=NOW) == 2
    assert outbox.alarm(casebook, "verify_failed", "2026-03-20", now=NOW) == 0
    assert outbox.alarm(casebook, "verify_failed", "2026-03-21", now=NOW) == 2
    assert verify(casebook).events == events
    assert {(row["number"], row["seq"]) for row in rows(casebook)} == {(None, None)}


def test_a_message_holds_a_number_and_a_link_and_nothing_of_the_case(casebook: Engine) -> None:
    """Every notice in both languages, looked through for whatever the case and the people around it are called."""
    with read(casebook) as connection:
        known = [str(row) for table in (event, finding) for row in connection.execute(select(table))]
    secret = {"P1", "P2", "SKU-1", "CN-31", "ling", "wang", "boss", "1234567890123.45", "12.5", "medium", "diversion"}
    assert {word for word in secret if any(word in text for text in known)} == secret
    for name in notifications.default().notices:
        for language in notifications.LANGUAGES:
            for base in ("", "https://fangcuan.example.com/book"):
                message = write_out(name, language, FIRST, base)
                both = f"{message.title}\n{message.text}"
                assert not [word for word in secret if word in both], both
                assert message.title.isprintable()
                assert "{" not in both
                if name != "verify_failed":
                    assert FIRST in message.title
                    assert (f"{base}/cases/{FIRST}" in message.text) == bool(base)
    stored = json.dumps(rows(casebook))
    assign(casebook, "user:ling")
    columns = set(rows(casebook)[0])
    assert columns == {
        *("entry", "occasion", "notice", "seq", "number", "user_id", "channel", "language", "written_at", "state"),
        *("attempts", "attempts_left", "due_at", "claimed_by", "ended_at", "message"),
    }, f"a new column may carry case data: {stored}"


@pytest.mark.parametrize(
    "number",
    [
        "FC-2026-000001\r\nBcc: all@example.com",
        "P1",
        "FC-2026-000001 底价 9.90",
        "FC-2026-000001{link}",
        "",
        "FC-２０２６-000001",
    ],
)
def test_nothing_else_gets_in_as_a_number(number: str) -> None:
    with pytest.raises(NoticeError, match="no number of a case"):
        write_out("assigned", "zh", number, "")


@pytest.mark.parametrize(
    "base",
    [
        "javascript:alert(1)",
        "https://user:pw@example.com",
        "https://example.com/?q=",
        "https://a.b\r\nBcc: x",
        "//example.com",
    ],
)
def test_a_base_url_is_a_plain_address(base: str) -> None:
    with pytest.raises(NoticeError, match="base_url"):
        write_out("assigned", "zh", FIRST, base)


WRONG_NOTICES = {
    "subject of the case": ("to: [assignee]", 'title: {zh: "{subject}", en: "x"}', "subject. is not known"),
    "attribute": ("to: [assignee]", 'title: {zh: "{number.__class__}", en: "x"}', "is not known"),
    "line break": ("to: [assignee]", 'title: {zh: "a\\nBcc: b", en: "x"}', "one line"),
    "recipient": ("to: [everybody]", "title: {zh: a, en: b}", "expected assignee"),
    "role": ("to: [role.king]", "title: {zh: a, en: b}", "expected assignee"),
    "language": ("to: [assignee]", "title: {zh: a}", "is missing"),
}


@pytest.mark.parametrize("case", WRONG_NOTICES)
def test_a_wrong_notice_is_refused_when_it_is_loaded(case: str) -> None:
    to, title, message = WRONG_NOTICES[case]
    text = f"version: 1\nnotices:\n  n:\n    event: case.x\n    {to}\n    {title}\n    text: {{zh: c, en: d}}\n"
    with pytest.raises(ContentError, match=rf"n\.yml:\d+: .*{message}"):
        notifications.parse(text, "n.yml")


def test_choices_are_events_and_rebuilt_from_them(casebook: Engine) -> None:
    choose_channels(casebook, LING, "ling", ["team", "team"], language="en")
    assert [(one["user_id"], one["channels"], one["language"], one["chosen_by"]) for one in list_choices(casebook)] == [
        ("ling", ["team"], "en", "user:ling"),
        ("wang", ["mail_wang", "team"], "zh", "user:boss"),
    ]
    assert verify(casebook).exit_code == 0
    with write(casebook) as connection:
        connection.exec_driver_sql("update notification_choice set channels = '[\"thief\"]' where user_id = 'ling'")
    found = verify(casebook)
    assert (found.exit_code, found.problems[0].field) == (4, "channels")
    choose_channels(casebook, LING, "ling", [])
    assert verify(casebook).exit_code == 0
    assign(casebook, "user:ling")
    assert rows(casebook) == []


@pytest.mark.parametrize(
    ("actor", "user", "channels", "language", "error"),
    [
        (CHEN, "ling", ["team"], "zh", NotAuthorised),
        (BOSS, "nobody", ["team"], "zh", UnknownUser),
        (BOSS, "ling", ["team"], "fr", GuardFailed),
        (BOSS, "ling", ["mailtos://me:hunter22@example.com"], "zh", GuardFailed),
        (BOSS, "ling", ["a\r\nBcc: x"], "zh", GuardFailed),
    ],
)
def test_refused_choices_change_nothing(
    casebook: Engine, actor: Actor, user: str, channels: list[str], language: str, error: type[Exception]
) -> None:
    before = list_choices(casebook), verify(casebook).events
    with pytest.raises(error) as refused:
        choose_channels(casebook, actor, user, channels, language=language)
    assert "hunter22" not in str(refused.value)
    assert (list_choices(casebook), verify(casebook).events) == before


def test_the_outbox_is_no_history(casebook: Engine) -> None:
    """A row taken away is a message nobody gets; the history stands without it."""
    assign(casebook, "user:ling")
    with write(casebook) as connection:
        connection.execute(outbox_table.delete())
    assert verify(casebook).exit_code == 0


def test_attempts_back_off_and_end(casebook: Engine) -> None:
    queue(casebook, 1)
    moment, waits = NOW, []
    for attempt in range(1, outbox.MOST_ATTEMPTS + 1):
        row = outbox.claim(casebook, "team", "one", moment)
        assert row is not None
        assert row.attempts == attempt
        assert outbox.claim(casebook, "team", "two", moment) is None, "it is claimed"
        state = outbox.finish(casebook, row, "one", moment, "no route")
        assert state == ("queued" if attempt < outbox.MOST_ATTEMPTS else "given_up")
        (now,) = rows(casebook)
        wait = dt.datetime.fromisoformat(now["due_at"]) - moment
        if state == "queued":
            waits.append(wait.total_seconds() / 60)
            assert outbox.claim(casebook, "team", "one", moment + wait - dt.timedelta(seconds=1)) is None
        moment += wait
    assert waits == [1, 4, 16, 64, 256]
    assert outbox.claim(casebook, "team", "one", NOW + dt.timedelta(days=9)) is None
    with read(casebook) as connection:
        log = connection.execute(select(outbox_attempt.c.attempt, outbox_attempt.c.message)).all()
    assert [tuple(one) for one in log] == [(n, "no route") for n in range(1, 7)]
    assert outbox.try_again(casebook, moment) == 1
    row = outbox.claim(casebook, "team", "one", moment)
    assert row is not None
    assert (row.attempts, outbox.finish(casebook, row, "one", moment, None)) == (7, "sent")


def test_a_killed_senders_message_is_taken_over_and_he_cannot_answer_for_it(casebook: Engine) -> None:
    queue(casebook, 1)
    mine = outbox.claim(casebook, "team", "killed", NOW)
    assert mine is not None
    assert outbox.claim(casebook, "team", "next", NOW + outbox.CLAIM - dt.timedelta(seconds=1)) is None
    again = outbox.claim(casebook, "team", "next", NOW + outbox.CLAIM)
    assert again is not None
    assert outbox.finish(casebook, mine, "killed", NOW, "late") == "lost"
    assert outbox.finish(casebook, again, "next", NOW, None) == "sent"
    # Killed every time, it ends: nobody gets it for ever.
    queue(casebook, 1, "other")
    moment = NOW
    while outbox.claim(casebook, "other", "killed", moment) is not None:
        moment += outbox.CLAIM
    assert moment == NOW + outbox.MOST_ATTEMPTS * outbox.CLAIM
    assert Counter(row["state"] for row in rows(casebook)) == {"sent": 1, "given_up": 1}


def test_what_a_dead_channel_keeps_too_long_is_given_up(casebook: Engine) -> None:
    queue(casebook, 3, "dead")
    queue(casebook, 2, "alive")
    assert outbox.give_up_old(casebook, "dead", NOW + outbox.KEPT) == 0
    assert outbox.give_up_old(casebook, "dead", NOW + outbox.KEPT + dt.timedelta(seconds=1)) == 3
    assert outbox.state_counts(casebook) == {"given_up": 3, "queued": 2}
    assert outbox.channels_due(casebook, NOW) == ["alive"]
    assert [row["channel"] for row in outbox.list_messages(casebook, state="given_up")] == ["dead"] * 3


def test_senders_at_once_claim_each_message_once(casebook: Engine, url: str) -> None:
    queue(casebook, 40, at=dt.datetime.now(dt.UTC))
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", DRAIN, url, f"sender-{n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for n in range(3)
    ]
    for one in runs:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in runs:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    claimed = [line for one in runs for line in one.communicate(timeout=120)[0].split()]
    assert [one.returncode for one in runs] == [0, 0, 0]
    assert len(claimed) == len(set(claimed)) == 40
    assert outbox.state_counts(casebook) == {"sent": 40}


def test_the_log_of_attempts_is_written_once(casebook: Engine) -> None:
    queue(casebook, 1)
    row = outbox.claim(casebook, "team", "one", NOW)
    assert row is not None
    outbox.finish(casebook, row, "one", NOW, None)
    for statement in ("update outbox_attempt set message = 'x'", "delete from outbox_attempt"):
        with pytest.raises(DatabaseError, match="append-only"), write(casebook) as connection:
            connection.exec_driver_sql(statement)
