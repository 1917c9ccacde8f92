"""Random commands by random people on cases that nights go on filling: no illegal state, nothing half done, history whole."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import FIRST, employ, file_night, make_finding
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, func, select

from fangcuan.cases import workflow
from fangcuan.cases.executor import Command, CommandRefused, execute
from fangcuan.cases.history.verification import verify
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people.access import Actor
from fangcuan.cases.proposals import open_proposal
from fangcuan.cases.workflow import PROPOSE, Letter, Order, Proposal, Transition, Verdict, Workflow, command_of
from fangcuan.store.casework import body_field, case_file, case_finding, event, finding
from fangcuan.store.database import open_engine, read
from fangcuan.store.decisions import decision

RULES = workflow.default()
#: Who takes part; `deputy` is a second account of the analyst, with a supervisor's role.
PEOPLE = {
    "ling": {"analyst"},
    "deputy": {"supervisor"},
    "wang": {"supervisor", "analyst"},
    "qian": {"legal"},
    "chen": {"auditor"},
}
ONE_PERSON = {"ling": "ling", "deputy": "ling"}
COMMANDS = sorted(
    {command_of(each) for status in RULES.statuses for each in RULES.orders(status, proposed=True)} | {PROPOSE}
)


def legal_moves(rules: Workflow) -> set[tuple[str, str, str]]:
    """(command, before, after) that the file allows, said once more and apart from the code that carries them out."""
    moves = {(each.command, start, each.to) for each in rules.transitions for start in each.from_}
    ending = {each.verdict: each.command for each in rules.verdicts}
    for proposal in rules.proposals:
        for start in proposal.from_:
            waits = proposal.pending or start
            moves.add((PROPOSE, start, waits))
            moves.add((ending["approved"], waits, proposal.to or start))
            moves |= {(ending[word], waits, start) for word in ("returned", "rejected", "withdrawn")}
    return moves


LEGAL = legal_moves(RULES)
#: Commands that were carried out: a machine that is refused everything shows nothing.
DONE: Counter[str] = Counter()


def order_roles(order: Order) -> tuple[str, ...]:
    return () if isinstance(order, Verdict) else order.roles


class Casework(RuleBasedStateMachine):
    """`begin` gives an empty, migrated casebook and how to put it away."""

    begin: Callable[[], tuple[Engine, Callable[[], None]]]

    def __init__(self) -> None:
        super().__init__()
        self.engine, self.put_away = type(self).begin()
        self.folder = Path(tempfile.mkdtemp())
        self.night = FIRST
        self.given = 0

    @initialize()
    def hire(self) -> None:
        employ(self.engine, *(Actor(f"user:{name}", frozenset(roles)) for name, roles in PEOPLE.items()))
        orders.staff(self.engine)
        people.link_users(self.engine, Actor("user:boss"), "deputy", same_person_as="ling")
        file_night(self.engine, self.folder, [make_finding("P1"), make_finding("P2")])

    @rule(
        subject=st.sampled_from(["P1", "P2"]),
        month=st.integers(2, 6),
        sku=st.sampled_from(["SKU-1", "SKU-2"]),
        price=st.booleans(),
    )
    def a_night(self, subject: str, month: int, sku: str, price: bool) -> None:
        self.night += dt.timedelta(days=1)
        changes = {"unit_id": "price.below_floor", "family": "price"} if price else {}
        file_night(self.engine, self.folder, [make_finding(subject, month, sku=sku, **changes)], self.night)

    @rule(data=st.data(), late=st.booleans())
    def an_offered_command(self, data: st.DataObject, late: bool) -> None:
        """What can be given here, by somebody who may, with everything it asks for: the way on."""
        cases = self.cases()
        number = data.draw(st.sampled_from(sorted(cases)))
        row = self.proposed(number)
        choices = RULES.orders(cases[number]["status"], proposed=row is not None)
        # Letters have a legal gate of their own, and tests of their own.
        choices = [each for each in choices if not isinstance(each, Letter)]
        # Moves are what matters; remarks and overlays are many and would drown them.
        moves = [each for each in choices if isinstance(each, Transition | Proposal | Verdict)]
        order = data.draw(st.sampled_from((moves or choices) if data.draw(st.integers(0, 3)) else choices))
        parting = [each for each in moves if isinstance(each, Proposal) and "parts" in each.guards]
        if parting and data.draw(st.integers(0, 2)) == 0:
            # It needs a case of several findings, which is rare enough.
            order = parting[0]
        roles = (
            set(RULES.proposal(row.kind).approvers) if isinstance(order, Verdict) and row else set(order_roles(order))
        )
        name = data.draw(st.sampled_from(sorted(who for who, held in PEOPLE.items() if held & roles)))
        kind = order.kind if isinstance(order, Proposal) else None
        self.give(command_of(order), number, name, self.params(command_of(order), kind, number, cases), late)

    @rule(
        data=st.data(),
        name=st.sampled_from(sorted(PEOPLE)),
        command=st.sampled_from(COMMANDS),
        met=st.booleans(),
    )
    def any_command(self, data: st.DataObject, name: str, command: str, met: bool) -> None:
        cases = self.cases()
        number = data.draw(st.sampled_from(sorted(cases)))
        kind = data.draw(st.sampled_from([each.kind for each in RULES.proposals])) if command == PROPOSE else None
        self.give(command, number, name, self.params(command, kind, number, cases) if met else {"note": "x"}, False)

    def give(self, command: str, number: str, name: str, params: dict[str, Any], late: bool) -> None:
        before = self.cases()
        moment = dt.datetime.now(dt.UTC) + (orders.MUCH_LATER if late else dt.timedelta())
        events = self.events()
        self.given += 1
        asked = Command(command, number, Actor(f"user:{name}"), f"k{self.given}", None, params)
        try:
            result = execute(self.engine, asked, now=moment)
        except CommandRefused:
            assert self.cases() == before, f"{command} was refused and changed something"
            assert self.events() == events
            return
        DONE[command] += 1
        after = self.cases()
        fresh = after.keys() - before.keys()
        DONE["split"] += len(fresh)
        events += 1 + len(self.events_of(fresh))
        assert self.events() == events
        assert {key: row for key, row in after.items() if key != number and key not in fresh} == {
            key: row for key, row in before.items() if key != number
        }, f"{command} on {number} changed another case"
        assert len(fresh) <= (command == "approve"), f"{command} on {number} opened {fresh}"
        moved = (command, before[number]["status"], after[number]["status"])
        assert moved[1] == moved[2] or moved in LEGAL, moved
        assert (result.status, result.version) == (after[number]["status"], after[number]["version"])
        # The same key again is the same command, and nothing happens twice.
        assert execute(self.engine, asked, now=moment).replayed
        assert self.events() == events

    def proposed(self, number: str) -> Any:
        with read(self.engine) as connection:
            return open_proposal(connection, number)

    def params(self, command: str, kind: str | None, number: str, cases: dict[str, Any]) -> dict[str, Any]:
        found = {
            "amend": {"text": "y", "comment": 1},
            "assign": {"to": "user:ling"},
            "attach": {"kind": "site_photo", "name": "shelf", "sha256": f"{self.given:064x}"},
            "comment": {"text": "x"},
            "link": {"other": min(cases)},
            "review": {"result": "agrees"},
        }.get(command)
        if found is not None:
            return found
        others = sorted(other for other in cases if other != number)
        for status in RULES.statuses:
            for each in RULES.orders(status, proposed=True) + list(RULES.proposals):
                if command_of(each) == command and (not isinstance(each, Proposal) or each.kind == kind):
                    try:
                        return orders.meet(self.engine, each, number, into=others[0] if others else None)
                    except CommandRefused:
                        return {}
        return {}

    def cases(self) -> dict[str, dict[str, Any]]:
        with read(self.engine) as connection:
            rows = connection.execute(select(case_file)).mappings().all()
        return {row["number"]: dict(row) for row in rows}

    def events(self) -> int:
        with read(self.engine) as connection:
            return int(connection.execute(select(func.count()).select_from(event)).scalar_one())

    def events_of(self, numbers: Set[str]) -> list[int]:
        with read(self.engine) as connection:
            query = select(event.c.seq).where(body_field("case").in_(sorted(numbers)))
            return list(connection.execute(query).scalars())

    @invariant()
    def every_finding_has_a_case(self) -> None:
        """However they are split and merged, what was filed belongs to a case."""
        with read(self.engine) as connection:
            filed = set(connection.execute(select(finding.c.finding_id).where(finding.c.state == "filed")).scalars())
            assert filed == set(connection.execute(select(case_finding.c.finding_id)).scalars())

    @invariant()
    def every_case_is_as_its_status_says(self) -> None:
        cases = self.cases()
        with read(self.engine) as connection:
            decisions = connection.execute(select(decision)).all()
        open_ones = {row.number: row for row in decisions if row.verdict is None}
        assert len(open_ones) == sum(row.verdict is None for row in decisions)
        waiting = {each.pending for each in RULES.proposals if each.pending}
        for number, row in cases.items():
            assert row["is_open"] == RULES.has(row["status"], "open")
            assert (row["decision_cutoff"] is not None) >= RULES.has(row["status"], "decided")
            assert (row["merged_into"] is not None) >= RULES.has(row["status"], "joined")
            if row["status"] in waiting:
                assert RULES.proposal(open_ones[number].kind).pending == row["status"]
        keys = [row["case_key"] for row in cases.values() if row["is_open"]]
        assert len(keys) == len(set(keys)), "two open cases of one key"
        for row in decisions:
            if row.verdict in {"approved", "returned", "rejected"}:
                proposer, decider = (name.partition(":")[2] for name in (row.proposed_by, row.decided_by))
                assert ONE_PERSON.get(proposer, proposer) != ONE_PERSON.get(decider, decider)

    @invariant()
    def the_history_is_whole(self) -> None:
        if self.given % 5 == 0:
            self.verify()

    def verify(self) -> None:
        found = verify(self.engine)
        assert (found.exit_code, found.problems) == (0, ())

    def teardown(self) -> None:
        self.verify()
        shutil.rmtree(self.folder)
        self.put_away()


def _run(begin: Callable[[], tuple[Engine, Callable[[], None]]], examples: int, steps: int) -> None:
    machine = type("Machine", (Casework,), {"begin": staticmethod(begin)})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            # Half an hour of shrinking helps nobody who waits for the tests; the long run shrinks.
            phases=[Phase.generate, Phase.shrink] if examples > 100 else [Phase.generate],
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def _on_sqlite(template: Path, tmp_path: Path) -> Callable[[], tuple[Engine, Callable[[], None]]]:
    def begin() -> tuple[Engine, Callable[[], None]]:
        path = tmp_path / f"{uuid.uuid4().hex}.db"
        shutil.copy(template, path)
        engine = open_engine(f"sqlite:///{path}")

        def put_away() -> None:
            engine.dispose()
            path.unlink()

        return engine, put_away

    return begin


def _on_postgresql(
    copies: Callable[[], tuple[str, Callable[[], None]]],
) -> Callable[[], tuple[Engine, Callable[[], None]]]:
    def begin() -> tuple[Engine, Callable[[], None]]:
        address, remove = copies()
        engine = open_engine(address)

        def put_away() -> None:
            engine.dispose()
            remove()

        return engine, put_away

    return begin


def test_random_casework(sqlite_template: Path, tmp_path: Path) -> None:
    DONE.clear()
    _run(_on_sqlite(sqlite_template, tmp_path), examples=25, steps=40)
    assert min(DONE[name] for name in ("triage", "propose", "approve", "return", "reject", "withdraw", "split")) > 0, (
        DONE
    )


@pytest.mark.postgres
def test_random_casework_on_a_server(
    postgresql_copies: Callable[[], tuple[str, Callable[[], None]]],
) -> None:
    _run(_on_postgresql(postgresql_copies), examples=4, steps=30)


@pytest.mark.slow
def test_much_random_casework(sqlite_template: Path, tmp_path: Path) -> None:
    _run(_on_sqlite(sqlite_template, tmp_path), examples=200, steps=60)
