"""Who holds a case: claimed once, given to those it can go to, let go; and the next one for everybody who asks."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from casework_samples import employ, file_night, make_finding
from sqlalchemy import Engine

from fangcuan.cases.executor import (
    Command,
    CommandResult,
    Conflict,
    GuardFailed,
    NotAuthorised,
    NotOffered,
    claim_next,
    execute,
)
from fangcuan.cases.history.verification import verify
from fangcuan.cases.people import grants
from fangcuan.cases.people.access import Actor
from fangcuan.cases.refusals import list_refusals
from fangcuan.cases.views import CaseFilter, list_cases

LING = Actor("user:ling", frozenset({"analyst"}))
CHEN = Actor("user:chen", frozenset({"analyst"}))
WANG = Actor("user:wang", frozenset({"supervisor"}))
AUDITOR = Actor("user:qian", frozenset({"auditor"}))
FIRST, SECOND = "FC-2026-000001", "FC-2026-000002"

CLAIM_ALL = """
import sys, time
from fangcuan.cases.executor import Actor, claim_next
from fangcuan.store.database import open_engine
engine, name = open_engine(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
number = 0
while (won := claim_next(engine, Actor(name), f"{name}-{number}")) is not None:
    print(won.case, flush=True)
    number += 1
    time.sleep(0.03)  # a person looks at the case; SQLite's lock is not handed out in turn
"""


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    file_night(engine, folder, [make_finding("P1"), make_finding("P2", severity="high")])
    employ(engine, LING, CHEN, WANG, AUDITOR)
    return engine


def give(engine: Engine, name: str, actor: Actor, number: str = FIRST, **params: str) -> CommandResult:
    return execute(engine, Command(name, number, actor, f"{verify(engine).events}", None, params))


def holders(engine: Engine) -> dict[str, str | None]:
    return {case["number"]: case["assignee"] for case in list_cases(engine)}


def test_from_hand_to_hand(casebook: Engine) -> None:
    assert give(casebook, "claim", LING).version == 2
    assert holders(casebook) == {FIRST: "user:ling", SECOND: None}
    assert [case["number"] for case in list_cases(casebook, CaseFilter(assignee="user:ling"))] == [FIRST]
    with pytest.raises(Conflict, match="held by user:ling"):
        give(casebook, "claim", CHEN)
    with pytest.raises(NotAuthorised, match="chen is not supervisor"):
        give(casebook, "release", CHEN)
    give(casebook, "assign", WANG, to="user:chen", note="she knows the dealer")
    assert holders(casebook)[FIRST] == "user:chen"
    with pytest.raises(NotAuthorised):
        give(casebook, "release", LING)
    give(casebook, "release", CHEN)
    assert holders(casebook)[FIRST] is None
    give(casebook, "claim", LING)
    give(casebook, "release", WANG)
    with pytest.raises(GuardFailed, match="nobody holds it"):
        give(casebook, "release", WANG)
    assert verify(casebook).exit_code == 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "cannot go to nobody"),
        ({"to": "user:stranger"}, "no such account"),
        ({"to": "user:qian"}, "qian is not analyst or supervisor"),
        ({"to": "user:chen", "colour": "red"}, "unknown parameter colour; known: note, to"),
    ],
)
def test_a_case_goes_to_nobody_it_is_not_for(casebook: Engine, params: dict[str, str], message: str) -> None:
    with pytest.raises(GuardFailed, match=message):
        give(casebook, "assign", WANG, **params)
    assert set(holders(casebook).values()) == {None}


def test_it_goes_to_nobody_twice(casebook: Engine) -> None:
    give(casebook, "assign", WANG, to="user:chen")
    with pytest.raises(GuardFailed, match="holds it already"):
        give(casebook, "assign", WANG, to="user:chen")


def test_what_is_decided_is_held_no_more(casebook: Engine) -> None:
    give(casebook, "dismiss", WANG, reason="low_impact")
    with pytest.raises(
        NotOffered,
        match="possible: amend, answer, attach, comment, hold, lift_hold, link, propose reopen, review, seal",
    ):
        give(casebook, "claim", LING)
    assert claim_next(casebook, LING, "a").case == SECOND  # type: ignore[union-attr]
    assert claim_next(casebook, LING, "b") is None


def test_the_next_case_is_the_most_urgent_within_reach(casebook: Engine) -> None:
    first = claim_next(casebook, LING, "one")
    assert first is not None
    assert first.case == SECOND
    again = claim_next(casebook, LING, "one")
    assert again is not None
    assert (again.case, again.seq, again.replayed) == (SECOND, first.seq, True)
    employ(casebook, Actor("user:far", frozenset()))
    grants.grant_role(casebook, Actor("user:boss"), "far", "analyst", region="CN-99")
    assert claim_next(casebook, Actor("user:far"), "far") is None
    grants.grant_role(casebook, Actor("user:boss"), "far", "analyst", region="CN-31")
    assert claim_next(casebook, Actor("user:far"), "near").case == FIRST  # type: ignore[union-attr]
    with pytest.raises(NotAuthorised, match="qian is not analyst or supervisor"):
        claim_next(casebook, AUDITOR, "x")
    assert [one["command"] for one in list_refusals(casebook)] == ["claim"]


def test_two_processes_and_a_hundred_cases(engine: Engine, url: str, folder: Path) -> None:
    """A hundred wins, no case twice, both get some, and the chain holds."""
    file_night(engine, folder, [make_finding(f"P{number:03d}") for number in range(100)])
    employ(engine, LING, CHEN)
    names = (LING.name, CHEN.name)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM_ALL, url, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in names
    ]
    for one in started:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in started:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    won = {name: one.communicate(timeout=300)[0].split() for name, one in zip(names, started, strict=True)}
    assert [one.returncode for one in started] == [0, 0]
    everything = [number for numbers in won.values() for number in numbers]
    assert len(everything) == len(set(everything)) == 100
    assert all(won.values())
    assert Counter(holders(engine).values()) == {name: len(numbers) for name, numbers in won.items()}
    assert verify(engine).exit_code == 0
