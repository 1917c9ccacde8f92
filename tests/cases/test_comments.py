"""Comments: what was written stays, an amendment stands beside it, and only its author makes one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from casework_samples import employ, file_night, make_finding
from sqlalchemy import Engine

from fangcuan.cases.comments import LONGEST, list_comments
from fangcuan.cases.executor import Command, CommandRefused, CommandResult, GuardFailed, NotAuthorised, execute
from fangcuan.cases.history.verification import verify
from fangcuan.cases.people.access import Actor
from fangcuan.cases.refusals import list_refusals
from fangcuan.store.database import read

LING = Actor("user:ling", frozenset({"analyst"}))
WANG = Actor("user:wang", frozenset({"supervisor"}))
CASE = "FC-2026-000001"


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    file_night(engine, folder, [make_finding("P1"), make_finding("P2")])
    employ(engine, LING, WANG)
    return engine


def say(engine: Engine, name: str, actor: Actor, version: int | None = None, **params: Any) -> CommandResult:
    return execute(engine, Command(name, CASE, actor, f"{verify(engine).events}", version, params))


def comments(engine: Engine) -> list[dict[str, Any]]:
    with read(engine) as connection:
        return list_comments(connection, CASE)


def test_an_amended_text_stays(casebook: Engine) -> None:
    say(casebook, "comment", LING, text="He says it was sold 进价以下")
    say(casebook, "comment", WANG, text="  Ask for papers  ")
    say(casebook, "amend", LING, text="She says so", comment=1)
    say(casebook, "amend", LING, text="She wrote so", comment=3)
    assert [tuple(one.values()) for one in comments(casebook)] == [
        (1, "user:ling", "He says it was sold 进价以下", None, 3),
        (2, "user:wang", "Ask for papers", None, None),
        (3, "user:ling", "She says so", 1, 4),
        (4, "user:ling", "She wrote so", 3, None),
    ]
    assert verify(casebook).exit_code == 0


def test_a_comment_disturbs_nobody_and_needs_no_open_case(casebook: Engine) -> None:
    assert say(casebook, "comment", LING, text="first").version == 1
    say(casebook, "dismiss", WANG, version=1, reason="low_impact")
    assert say(casebook, "comment", LING, text="after").version == 2
    once = Command("comment", CASE, LING, "once", None, {"text": "only once"})
    assert execute(casebook, once).seq == execute(casebook, once).seq
    assert len(comments(casebook)) == 3


@pytest.mark.parametrize(
    ("name", "params", "error", "message"),
    [
        ("comment", {"text": "   "}, GuardFailed, "1 to 10000 characters, this one 0"),
        ("comment", {"text": "x" * (LONGEST + 1)}, GuardFailed, "this one 10001"),
        ("comment", {"text": "x", "comment": 1}, GuardFailed, "unknown parameter comment; known: text"),
        ("amend", {"text": "x"}, GuardFailed, "has no comment None"),
        ("amend", {"text": "x", "comment": 9}, GuardFailed, "has no comment 9"),
        ("amend", {"text": "x", "comment": "1"}, GuardFailed, "has no comment 1"),
        ("amend", {"text": "x", "comment": 2}, NotAuthorised, "comment 2 is of user:wang"),
        ("amend", {"text": "x", "comment": 1}, GuardFailed, "was amended by comment 3"),
    ],
)
def test_refusals_write_nothing(
    casebook: Engine, name: str, params: dict[str, Any], error: type[CommandRefused], message: str
) -> None:
    say(casebook, "comment", LING, text="one")
    say(casebook, "comment", WANG, text="two")
    say(casebook, "amend", LING, text="three", comment=1)
    before = comments(casebook)
    with pytest.raises(error, match=message):
        say(casebook, name, LING, **params)
    assert comments(casebook) == before
    assert len(list_refusals(casebook)) == (error is NotAuthorised)
