"""Rows of findings and counters of units follow from what nights reported: an edit is named, and filing never is."""

from __future__ import annotations

import contextlib
import datetime as dt
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from casework_samples import BUSY_SETTINGS, FIRST, UNIT, busy_night, file_night, make_finding
from sqlalchemy import Boolean, Engine, Float, select, text
from tampering import tamper

from fangcuan.cases.filing import nights as filing
from fangcuan.cases.filing import registry
from fangcuan.cases.filing.grouping import GroupingPolicy, UnitFiling
from fangcuan.cases.history.digests import CONTRACT_COLUMNS
from fangcuan.cases.history.verification import ExitCode, verify
from fangcuan.store.base import CanonicalJson, UtcDateTime
from fangcuan.store.casework import finding, finding_occurrence
from fangcuan.store.database import read

EDITED = (*CONTRACT_COLUMNS, "state", "first_seen", "last_seen")
SMALL = {UNIT: UnitFiling(max_cases=2, owner="user:owner"), "diversion.other": UnitFiling(max_cases=3, owner="user:o")}


def night(count: int) -> dt.date:
    return FIRST + dt.timedelta(days=count)


@pytest.fixture
def filed(engine: Engine, folder: Path) -> Engine:
    """Two nights; the second reports one finding again, with other figures, and one under another name."""
    whole = {"channel": "web", "lot": "L1", "p_value": 0.01, "log_e": 1.5, "probability": 0.75}
    whole |= {"quantity_low": 1, "quantity_high": 99, "observation_ids": ("o1",), "fingerprint_keys": {"serial": "S1"}}
    again = {**whole, "severity": "high", "unit_digest": "e" * 64}
    file_night(engine, folder, [make_finding("P1", **whole), make_finding("P2"), make_finding("P3", role="watch")])
    file_night(engine, folder, [make_finding("P1", **again), make_finding("P2", money=7)], night(1))
    return engine


def edit(name: str, dialect: str) -> str:
    """SQL that changes a column of a finding into something of its type."""
    kind = finding.c[name].type
    if isinstance(kind, Float):
        return f"coalesce({name}, 0) + 0.000000001"
    if isinstance(kind, UtcDateTime):
        return "'1999-01-01T00:00:00.000000Z'"
    if name in {"first_seen", "last_seen"}:
        return "'1999-01-01'"
    if isinstance(kind, CanonicalJson):
        # The same value, in another spelling, is another text.
        return f"replace({name}, ',', ', ') || ' '"
    if name == "state":
        return "case when state = 'filed' then 'noted' else 'filed' end"
    assert not isinstance(kind, Boolean)
    return f"coalesce({name}, '') || '0'" if finding.c[name].type.length is None else "'" + "9" * 64 + "'"  # type: ignore[attr-defined]


def ids(engine: Engine) -> list[str]:
    with read(engine) as connection:
        return list(connection.execute(select(finding.c.finding_id).order_by(finding.c.finding_id)).scalars())


def test_every_edited_column_of_a_finding_is_named(filed: Engine) -> None:
    assert verify(filed).exit_code is ExitCode.OK
    assert len(EDITED) == len(finding.c) - 1
    for column in EDITED:
        finding_id = random.Random(column).choice(ids(filed))
        with read(filed) as connection:
            query = text(f"select {column} from finding where finding_id = :id")
            before = connection.execute(query, {"id": finding_id}).scalar()
        where = "where finding_id = :id"
        change = edit(column, filed.dialect.name)
        tamper(filed, f"update finding set {column} = {change} {where}", parameters={"id": finding_id})
        found = verify(filed)
        assert (found.exit_code, len(found.problems)) == (ExitCode.PROJECTION, 1), (column, found.problems)
        (problem,) = found.problems
        assert (problem.kind, problem.params["table"], problem.params["row"]) == ("row_differs", "finding", finding_id)
        if column in finding_occurrence.c or column in {"first_seen", "last_seen"}:
            assert problem.field == column
        back = {"id": finding_id, "before": before}
        tamper(filed, f"update finding set {column} = :before {where}", parameters=back)
    assert verify(filed).exit_code is ExitCode.OK


def test_a_finding_and_its_occurrence_edited_together_are_named_by_the_night(filed: Engine) -> None:
    with read(filed) as connection:
        row = connection.execute(text("select * from finding where subject_id = 'P3'")).mappings().one()
    changed = "'" + "9" * 64 + "'"
    for table in ("finding", "finding_occurrence"):
        tamper(filed, f"update {table} set evidence_sha256 = {changed} where finding_id = '{row['finding_id']}'")
    rows = {(one.params["table"], one.params["row"]) for one in verify(filed).problems}
    assert ("finding_occurrence", "2026-03-14") in rows


@pytest.mark.parametrize(
    ("statement", "kinds"),
    [
        ("delete from finding where finding_id = '{}'", ["row_missing"]),
        ("update finding set finding_id = '0' where finding_id = '{}'", ["row_invented", "row_missing"]),
        ("update finding set finding_id = 'z' where finding_id = '{}'", ["row_missing", "row_invented"]),
    ],
)
def test_findings_removed_and_invented_are_named(filed: Engine, statement: str, kinds: list[str]) -> None:
    (_, middle, _) = ids(filed)
    if filed.dialect.name == "postgresql":
        tables = ("finding_fingerprint", "finding_occurrence", "case_finding")
        keys = [f"alter table {name} drop constraint fk_{name}_finding_id_finding" for name in tables]
        tamper(filed, *keys, statement.format(middle))
    else:
        with contextlib.closing(sqlite3.connect(str(filed.url.database), isolation_level=None)) as connection:
            connection.execute(statement.format(middle))
    found = verify(filed)
    assert found.exit_code is ExitCode.PROJECTION
    assert {one.params["table"] for one in found.problems} == {"finding"}
    assert [one.kind for one in found.problems] == kinds


def test_a_storm_is_rebuilt_and_its_counters_are_bound(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, busy_night(), unit_settings=BUSY_SETTINGS)
    assert verify(engine).problems == ()
    with read(engine) as connection:
        states = set(connection.execute(select(finding.c.state)).scalars())
    assert states == {"filed", "waiting", "noted"}
    for column, change in {"cases": "cases + 1", "waiting": "0", "storm": "not storm"}.items():
        where = "where unit_id = 'diversion.other'"
        tamper(engine, f"update filing_unit_night set {column} = {change} {where}")
        found = verify(engine)
        (problem,) = found.problems
        assert (found.exit_code, problem.params["table"], problem.field) == (
            ExitCode.PROJECTION,
            "filing_unit_night",
            column,
        )
        undo = {"cases": "cases - 1", "waiting": "20", "storm": "not storm"}[column]
        tamper(engine, f"update filing_unit_night set {column} = {undo} {where}")
    # Calmer: what waited is filed, by an edit that says so too early.
    tamper(engine, "update finding set state = 'filed' where state = 'waiting'")
    assert {(one.params["table"], one.field) for one in verify(engine).problems} == {("finding", "state")}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_filed_in_whatever_order_adds_up(engine: Engine, folder: Path, seed: int) -> None:
    """Nights late, twice, in parts; findings renamed, aliased, shared; units over their limit and calm again."""
    draw = random.Random(seed)
    for step in range(12):
        findings = []
        for subject in draw.sample(range(8), draw.randint(0, 6)):
            changes: dict[str, Any] = {"unit_id": draw.choice(list(SMALL)), "score": float(draw.randint(1, 9))}
            changes |= {"severity": draw.choice(["low", "high"]), "role": draw.choice(["case", "case", "watch"])}
            if draw.random() < 0.5:
                # The same wrong by a unit that was written anew: another identity of the same finding.
                changes |= {"unit_digest": draw.choice("abc") * 64, "fingerprint_keys": {"serial": f"S{subject % 4}"}}
            findings.append(make_finding(f"P{subject}", draw.choice([3, 4]), **changes))
        supporting = [make_finding("P1", lot=f"L{step}", role="watch", unit_id="diversion.model")]
        file_night(
            engine,
            folder,
            findings,
            night(draw.randint(0, 4)),
            run_id=f"r{step}",
            unit_settings=SMALL,
            support=supporting if draw.random() < 0.4 else [],
            policy=GroupingPolicy(),
        )
    found = verify(engine)
    assert found.problems == ()
    with read(engine) as connection:
        states = set(connection.execute(select(finding.c.state)).scalars())
    assert len(states) > 1
    # And it is no empty statement: each row is bound.
    for finding_id in ids(engine):
        tamper(
            engine,
            "update finding set severity = severity || '0' where finding_id = :id",
            parameters={"id": finding_id},
        )
        assert [one.params["row"] for one in verify(engine).problems] == [finding_id]
        undo = "update finding set severity = replace(severity, '0', '') where finding_id = :id"
        tamper(engine, undo, parameters={"id": finding_id})


def test_nights_of_an_older_casebook_are_compared_as_far_as_they_tell(
    engine: Engine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(registry, "_told", lambda columns, state: {"row_sha256": None, "state": None})
        original = filing._Filing._night_event

        def untold(self: Any, *arguments: Any) -> Any:
            draft = original(self, *arguments)
            del draft.data["units"]  # type: ignore[attr-defined]
            return draft

        before.setattr(filing._Filing, "_night_event", untold)
        file_night(engine, folder, busy_night(), unit_settings=BUSY_SETTINGS)
    assert verify(engine).problems == ()
    for change in ("severity = 'low'", "state = 'noted'"):
        tamper(engine, f"update finding set {change} where subject_id = 'P002'")
        assert verify(engine).problems == (), "not bound by anything"
    tamper(engine, "update filing_unit_night set cases = 99")
    assert verify(engine).problems == ()
    # The same night once more, and a later one, by what there is now.
    file_night(engine, folder, [*busy_night(), make_finding("Z1")], unit_settings=BUSY_SETTINGS)
    file_night(engine, folder, [make_finding("P001")], night(1), unit_settings=BUSY_SETTINGS)
    assert verify(engine).problems == ()
    tamper(engine, "update finding set score = score + 1 where subject_id = 'P003'")
    assert {(one.params["table"], one.field) for one in verify(engine).problems} == {("finding", "score")}
    tamper(engine, "update finding set severity = 'low' where subject_id = 'P001'")
    assert "sha256 of the row" in {one.field for one in verify(engine).problems}
