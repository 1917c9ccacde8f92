"""Every column that commands and filing change is held by the events: an edit of any of them is exit code 4."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import BUSY_SETTINGS, FIRST, busy_night, employ, file_night, make_finding, price_policy
from sqlalchemy import Boolean, CheckConstraint, Date, Engine, Float, Integer, Table, text
from tampering import tamper

from fangcuan.cases import workflow
from fangcuan.cases.executor import Actor, Command, execute
from fangcuan.cases.filing import suppressions
from fangcuan.cases.history.projection import TABLES
from fangcuan.cases.history.verification import ExitCode, verify
from fangcuan.cases.people import accounts as people
from fangcuan.cases.people import channels, erasure, grants, tokens
from fangcuan.cases.policies import approvals
from fangcuan.cases.policies import versions as policies
from fangcuan.core.canonical import utc_text
from fangcuan.store.base import BigInt, UtcDateTime
from fangcuan.store.casework import checkpoint, finding, finding_occurrence
from fangcuan.store.database import read
from fangcuan.store.tables import METADATA

AUTHOR, APPROVER = (
    Actor("user:author", frozenset({"rule_author"})),
    Actor("user:approver", frozenset({"rule_approver"})),
)
SUPERVISOR = Actor("user:supervisor", frozenset({"supervisor"}))
ACTOR = Actor("user:ling", frozenset({"analyst", "supervisor", "legal"}))


@pytest.fixture
def worked(engine: Engine, folder: Path) -> Engine:
    """Two nights of cases with links, support, a storm, decisions, a waking, a reopening; a unit approved, one proposed."""
    price = make_finding("P1", unit_id="price.below_floor", family="price")
    support = make_finding("P1", unit_id="diversion.model", role="watch", lot="L1")
    file_night(engine, folder, [make_finding("P1"), make_finding("P2"), price], support=[support])
    employ(engine, ACTOR, Actor("service:robot", frozenset({"service"})))
    work_on_accounts(engine)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=9)
    for key, (command, number, params) in enumerate(
        [
            ("triage", "FC-2026-000001", {}),
            ("link", "FC-2026-000002", {"other": "FC-2026-000001", "kind": "same_goods"}),
            ("claim", "FC-2026-000002", {}),
            ("hold", "FC-2026-000002", {"note": "底价"}),
            ("hold", "FC-2026-000002", {"note": "second"}),
            ("lift_hold", "FC-2026-000002", {"note": "over", "hold": 1}),
            ("escalate", "FC-2026-000002", {"note": "look"}),
            ("snooze", "FC-2026-000002", {"note": "later", "until": soon.isoformat(), "condition": "new_evidence"}),
            ("comment", "FC-2026-000002", {"text": "called him"}),
            ("amend", "FC-2026-000002", {"text": "called her", "comment": 1}),
        ]
    ):
        execute(engine, Command(command, number, ACTOR, str(key), params=params))
    decide_on_cases(engine)
    suppress(engine)
    # The same night once more with one finding more, then a later night.
    file_night(
        engine,
        folder,
        [make_finding("P1"), make_finding("P2"), price, make_finding("P3"), make_finding("P9")],
        run_id="again",
    )
    file_night(engine, folder, [make_finding("P1", month=4)], FIRST + dt.timedelta(days=31))
    employ(engine, AUTHOR, APPROVER, SUPERVISOR)
    for name in ("a", "b"):
        approvals.propose(engine, AUTHOR, unit_id=name, unit_digest=name * 64, text=name, status="active")
    approvals.approve(engine, APPROVER, unit_digest="a" * 64)
    for floor in ("100", "90"):
        made = policies.propose(engine, AUTHOR, "price_policies", [price_policy(floor=floor)], note="spring")
        policies.approve(engine, SUPERVISOR, made, reason="agreed")
    policies.propose(engine, AUTHOR, "price_policies", [price_policy(floor="80")])
    # Split, put together again, and what came back seen once more.
    orders.parts(engine, "FC-2026-000002")
    orders.split(engine, "FC-2026-000002", orders.parts(engine, "FC-2026-000002")[0])
    orders.correspond(engine, "FC-2026-000002")
    orders.ask(engine, "FC-2026-000002")
    orders.look_again(engine, "FC-2026-000002")
    return engine


def decide_on_cases(engine: Engine) -> None:
    """A case confirmed, closed and proposed to be reopened; one returned, withdrawn, rejected, dismissed and reopened."""
    orders.staff(engine)
    orders.give(engine, "triage", "FC-2026-000002", orders.ALL)
    for kind, verdict, actor in [
        ("dismiss", "return", orders.OTHER),
        ("dismiss", "withdraw", orders.ALL),
        ("confirm", "reject", orders.OTHER),
        ("dismiss", "approve", orders.OTHER),
        ("reopen", "approve", orders.OTHER),
    ]:
        params = orders.meet(engine, workflow.default().proposal(kind), "FC-2026-000002")
        orders.give(engine, "propose", "FC-2026-000002", orders.ALL, **params)
        note = {} if verdict == "withdraw" else {"note": "seen"}
        orders.give(engine, verdict, "FC-2026-000002", actor, **note)
    params = orders.meet(engine, workflow.default().proposal("confirm"), "FC-2026-000001")
    orders.give(engine, "propose", "FC-2026-000001", orders.ALL, **params)
    orders.give(engine, "approve", "FC-2026-000001", orders.OTHER)
    orders.penalise(engine, "FC-2026-000001", "appealed")
    orders.give(engine, "propose", "FC-2026-000001", orders.ALL, kind="waive", reason="goodwill", note="enough")
    orders.give(engine, "approve", "FC-2026-000001", orders.OTHER)
    orders.give(engine, "close", "FC-2026-000001", orders.ALL, outcome="settled")
    orders.give(engine, "propose", "FC-2026-000001", orders.ALL, kind="reopen", note="he appeals")


def suppress(engine: Engine) -> None:
    """One suppression that hides, one that was ended."""
    for number in (1, 2):
        suppressions.propose_suppression(
            engine,
            orders.ALL,
            {"family": "diversion", "subject_id": "P9"},
            reason="known",
            note="known",
            starts_on=FIRST,
            ends_on=FIRST + dt.timedelta(days=9),
        )
        suppressions.approve_suppression(engine, orders.OTHER, number)
    suppressions.end_suppression(engine, orders.ALL, 2)


def work_on_accounts(engine: Engine) -> None:
    """Every kind of event about accounts at least once."""
    boss, ling = Actor("user:boss"), Actor("user:ling")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=9)
    people.add_user(engine, boss, "second", name="Second account", os_user="second")
    people.add_user(engine, boss, "gone", name="Gone")
    grants.grant_role(engine, boss, "second", "legal", region="CN-31", brand="Feng", valid_to=later)
    grants.grant_role(engine, boss, "gone", "partner", partner="P1")
    grants.revoke_role(engine, boss, "gone", role="partner")
    people.disable_user(engine, boss, "gone")
    people.add_user(engine, boss, "forgotten", name="Quill")
    people.disable_user(engine, boss, "forgotten")
    erasure.erase_user(engine, boss, "forgotten", note="request 7")
    people.link_users(engine, boss, "second", same_person_as="ling")
    people.set_password(engine, ling, "ling", "a long enough password")
    channels.choose_channels(engine, boss, "ling", ["mail"])
    channels.choose_channels(engine, ling, "ling", ["mail", "team"], language="en")
    token = tokens.issue_token(engine, ling, "ling", label="x", expires_at=later, roles=["analyst"])
    tokens.issue_token(engine, boss, "robot", label="y", expires_at=later)
    tokens.revoke_token(engine, ling, token.split("_")[1])


def test_what_was_worked_on_is_rebuilt_whole(worked: Engine) -> None:
    found = verify(worked)
    assert (found.exit_code, found.problems) == (ExitCode.OK, ())
    with read(worked) as connection:
        counts = {
            table.name: connection.execute(text(f"select count(*) from {table.name}")).scalar()
            for table in (*TABLES, finding)
            if table is not checkpoint
        }
        statuses = set(connection.execute(text("select status from case_file")).scalars())
        regressed = connection.execute(text("select count(*) from case_file where regressed")).scalar()
    assert not [name for name, count in counts.items() if not count]
    assert sum(counts.values()) == found.rows
    assert len(statuses) >= 2
    assert regressed == 1


def test_a_stormy_night_is_rebuilt_whole(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, busy_night(), unit_settings=BUSY_SETTINGS)
    found = verify(engine)
    assert (found.exit_code, found.problems) == (ExitCode.OK, ())
    assert found.rows > 180


def other(table: Table, column: str, stored: Any, dialect: str) -> str:
    """SQL for another value of the column's type."""
    kind = table.c[column].type
    if table.c[column].foreign_keys:
        (key,) = table.c[column].foreign_keys
        target, parts = key.column, key.constraint.elements if key.constraint is not None else []
        # Where the key has several parts, another row with the same others.
        same = [
            f" and {part.column.table.name}.{part.column.name} = {table.name}.{part.parent.name}"
            for part in parts
            if part.parent.name != column
        ]
        return f"(select max({target.name}) from {target.table.name} where {target.name} <> '{stored}'{''.join(same)})"
    if isinstance(kind, Boolean):
        return "null" if stored is None else f"not {column}"
    if isinstance(kind, Integer | Float | type(BigInt)):
        return f"coalesce({column}, 0) + 100"
    if isinstance(kind, Date):
        return "'1999-01-01'"
    if isinstance(kind, UtcDateTime):
        return "'1999-01-01T00:00:00.000000Z'"
    return f"'\u00d7' || substr(coalesce({column}, ''), 2)"


def test_every_edited_column_of_every_row_is_named(worked: Engine) -> None:
    """One column of every table at a time: each edit is told of by itself, whatever else was edited."""
    edits: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for table in TABLES:
        keys = [column.name for column in table.primary_key.columns]
        with read(worked) as connection:
            rows = connection.execute(table.select().order_by(*table.primary_key.columns)).mappings().all()
        if rows:
            columns = [column.name for column in table.columns if column.name not in keys]
            edits[table.name] = [(column, dict(random.Random(column).choice(rows))) for column in columns]
    tried = sum(map(len, edits.values()))
    assert tried > 45
    tamper(worked, *_without_constraints(worked))
    while any(edits.values()):
        together = {table: left.pop(0) for table, left in edits.items() if left}
        made = [
            _edit(worked, METADATA.tables[table], *edit, f"p{at}") for at, (table, edit) in enumerate(together.items())
        ]
        parameters = {name: value for _, _, given in made for name, value in given.items()}
        tamper(worked, *(edit for edit, _, _ in made), parameters=parameters)
        found = verify(worked)
        assert found.exit_code is ExitCode.PROJECTION, together
        named = {(one.params["table"], one.field): one for one in reversed(found.problems)}
        for table, (column, row) in together.items():
            assert (table, column) in named, (table, column, sorted(named))
            if table.startswith("case_"):
                assert named[table, column].case == row["number"]
        tamper(worked, *(undo for _, undo, _ in made), parameters=parameters)
    assert verify(worked).exit_code is ExitCode.OK


def _edit(
    engine: Engine, table: Table, column: str, row: dict[str, Any], prefix: str
) -> tuple[str, str, dict[str, Any]]:
    """SQL that edits a column of a row, SQL that puts back what stood there, and their parameters."""
    keys = [key.name for key in table.primary_key.columns]
    where = " and ".join(f"{name} = :{prefix}_{name}" for name in keys)
    stood = {name: str(row[name]) if isinstance(row[name], dt.date) else row[name] for name in keys}
    parameters = {f"{prefix}_{name}": value for name, value in stood.items()}
    with read(engine) as connection:
        before = connection.execute(text(f"select {column} from {table.name} where {where}"), parameters).scalar()
    change = f"update {table.name} set {column} ="
    value = other(table, column, row[column], engine.dialect.name)
    return (
        f"{change} {value} where {where}",
        f"{change} :{prefix}_before where {where}",
        {**parameters, f"{prefix}_before": before},
    )


def _without_constraints(engine: Engine) -> list[str]:
    """Constraints would refuse some of the edits; the owner of the database is not stopped by them."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("pragma ignore_check_constraints = on")
        return ["pragma ignore_check_constraints = on", "drop index if exists uq_case_file_one_open"]
    checks = [
        f"alter table {table.name} drop constraint if exists {check.name}"
        for table in TABLES
        for check in table.constraints
        if isinstance(check, CheckConstraint)
    ]
    return [*checks, "drop index if exists uq_case_file_one_open"]


@pytest.mark.parametrize(
    ("statement", "kind", "table"),
    [
        ("delete from case_link", "row_missing", "case_link"),
        ("delete from case_finding where number = 'FC-2026-000001'", "row_missing", "case_finding"),
        ("delete from rule_version where unit_id = 'b'", "row_missing", "rule_version"),
        (
            "insert into rule_version (unit_digest, unit_id, text, status, proposed_by, proposed_at)"
            " select 'forged', unit_id, text, status, proposed_by, proposed_at from rule_version where unit_id = 'a'",
            "row_invented",
            "rule_version",
        ),
        (
            "insert into case_link (number, other, kind, linked_night)"
            " values ('FC-2026-000001', 'FC-2026-000002', 'invented', '2026-03-14')",
            "row_invented",
            "case_link",
        ),
    ],
)
def test_rows_removed_and_invented_are_named(worked: Engine, statement: str, kind: str, table: str) -> None:
    tamper(worked, statement)
    found = verify(worked)
    assert (found.exit_code, found.problems[0].kind) == (ExitCode.PROJECTION, kind)
    assert found.problems[0].params["table"] == table


def test_an_edited_occurrence_is_named_by_its_night(worked: Engine) -> None:
    values = {"score": "score + 1", "window_start": "'1999-01-01T00:00:00.000000Z'", "coverage_id": "'x'"}
    values["window_end"] = values["window_start"]
    with read(worked) as connection:
        rows = connection.execute(finding_occurrence.select().order_by(finding_occurrence.c.reported_id)).mappings()
        first = dict(rows.first() or {})
    columns = [column for column in first if column not in {"night", "finding_id"}]
    assert len(columns) > 7
    for column in columns:
        value = values.get(column, "'" + "e" * 64 + "'")
        key = {"night": str(first["night"]), "reported_id": first["reported_id"]}
        where = "where night = :night and reported_id = :reported_id"
        tamper(worked, f"update finding_occurrence set {column} = {value} {where}", parameters=key)
        found = verify(worked)
        assert (found.exit_code, found.problems[0].params["table"]) == (ExitCode.PROJECTION, "finding_occurrence")
        assert found.problems[0].params["row"] == str(first["night"]), column
        edited = {**key, "reported_id": "e" * 64} if column == "reported_id" else key
        tamper(
            worked,
            f"update finding_occurrence set {column} = :before {where}",
            parameters={**edited, "before": stored(first[column])},
        )
        assert verify(worked).exit_code is ExitCode.OK, column


def stored(value: Any) -> Any:
    """A value as either database takes it in SQL."""
    return utc_text(value) if isinstance(value, dt.datetime) else value


def test_occurrences_removed_or_of_a_night_nobody_filed_are_named(worked: Engine) -> None:
    tamper(worked, "delete from finding_occurrence where night = '2026-04-14'")
    first, *more = verify(worked).problems
    assert (first.params["row"], first.field) == ("2026-04-14", "rows")
    assert {one.params["table"] for one in more} == {"finding"}
    tamper(worked, "update finding_occurrence set night = '2026-02-01'")
    assert "row_invented" in {one.kind for one in verify(worked).problems}


def test_a_value_of_another_type_differs(sqlite_url: str, folder: Path) -> None:
    """SQLite keeps any type in any column: 2 is as true as 1 to a query, and no boolean we ever wrote."""
    from fangcuan.store.database import open_engine

    engine = open_engine(sqlite_url)
    file_night(engine, folder, [make_finding("P1")])
    for change in ("is_open = 2", "status = x'ff'", "grouping = '{ }'", "epoch = '1.5'"):
        tamper(engine, f"update case_file set {change}")
        found = verify(engine)
        assert (found.exit_code, found.problems[0].field) == (ExitCode.PROJECTION, change.split(" ")[0]), change
        tamper(
            engine,
            "update case_file set is_open = 1, status = 'new', epoch = 1, grouping = '{\"product_line\"\\:\"A\"}'",
        )
        assert verify(engine).exit_code is ExitCode.OK, verify(engine).message


def test_an_event_that_cannot_be_replayed_is_5(engine: Engine) -> None:
    from fangcuan.cases.history.events import EventDraft, append
    from fangcuan.store.database import write

    with write(engine) as connection:
        append(connection, [EventDraft("case.findings", "user:x", {"n": 1}, case="FC-1")])
    found = verify(engine)
    assert (found.exit_code, found.first_bad_seq) == (ExitCode.CANNOT_VERIFY, 1)
