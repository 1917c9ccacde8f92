"""What a night does to cases: open, attach, wake, leave alone, hold back. Every test runs on both databases."""

from __future__ import annotations

import datetime as dt
import json
import random
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import (
    BUSY_SETTINGS,
    FIRST,
    SETTINGS,
    UNIT,
    busy_night,
    employ,
    file_night,
    make_finding,
    month_start,
)
from sqlalchemy import Engine, func, select

from fangcuan.cases.executor import Actor, Command, execute
from fangcuan.cases.filing.grouping import GroupingPolicy, UnitFiling
from fangcuan.cases.filing.nights import FilingSummary
from fangcuan.cases.history.digests import digests
from fangcuan.cases.history.verification import verify
from fangcuan.cases.views import CaseFilter, list_cases
from fangcuan.store.casework import case_file, case_finding, case_link, event, finding, finding_occurrence
from fangcuan.store.database import read

SUPERVISOR = Actor("user:supervisor", frozenset({"supervisor"}))


def rows(engine: Engine, table: Any) -> list[Any]:
    with read(engine) as connection:
        return list(connection.execute(select(table)).all())


def events(engine: Engine) -> list[dict[str, Any]]:
    with read(engine) as connection:
        return [json.loads(body) for body in connection.execute(select(event.c.body).order_by(event.c.seq)).scalars()]


def dismiss(engine: Engine, number: str, key: str = "k1") -> None:
    employ(engine, SUPERVISOR)
    execute(engine, Command("dismiss", number, SUPERVISOR, key, params={"reason": "low_impact"}))


def night_of(days: int) -> dt.date:
    return FIRST + dt.timedelta(days=days)


def test_a_finding_opens_a_case(engine: Engine, folder: Path) -> None:
    summary = file_night(engine, folder, [make_finding()])
    assert summary == FilingSummary(FIRST, findings_new=1, cases_opened=1)
    (case,) = list_cases(engine)
    assert case["number"] == "FC-2026-000001"
    assert (case["status"], case["is_open"], case["wording"], case["allowed_action"]) == (
        "new",
        True,
        "signal",
        "observe",
    )
    assert case["subject"] == {"kind": "partner", "id": "P1"}
    assert case["opened_night"] == case["last_finding_night"] == "2026-03-14"
    assert (case["findings"], case["occurrences"], case["version"]) == (1, 1, 1)
    assert [body["kind"] for body in events(engine)] == ["case.opened", "case.findings", "night.filed"]
    assert verify(engine).exit_code == 0


def test_the_record_is_stored_column_by_column(engine: Engine, folder: Path) -> None:
    one = make_finding(score=0.123456789123, p_value=3.2e-07, observation_ids=("o1", "o2"))
    file_night(engine, folder, [one])
    (row,) = rows(engine, finding)
    record = one.as_record()
    for name in ("finding_id", "unit_digest", "score", "p_value", "explanation_params", "evidence", "evidence_root"):
        assert getattr(row, name) == record[name], name
    assert (row.money, row.quantity, row.window_end) == (one.money, one.quantity, one.window_end)
    assert row.observation_ids == ["o1", "o2"]
    assert (row.first_seen, row.last_seen, row.state) == (FIRST, FIRST, "filed")


def test_case_numbers_follow_the_order_of_keys(engine: Engine, folder: Path) -> None:
    findings = [make_finding(subject) for subject in ("P3", "P1", "P2")]
    random.Random(7).shuffle(findings)
    file_night(engine, folder, findings)
    numbers = {case["subject"]["id"]: case["number"] for case in list_cases(engine)}
    assert numbers == {"P1": "FC-2026-000001", "P2": "FC-2026-000002", "P3": "FC-2026-000003"}
    file_night(engine, folder, [make_finding("P0")], night_of(1))
    (case,) = list_cases(engine, CaseFilter(subject_id="P0"))
    assert case["number"] == "FC-2026-000004"
    file_night(engine, folder, [make_finding("P9", month=13)], dt.date(2027, 1, 2))
    (case,) = list_cases(engine, CaseFilter(subject_id="P9"))
    assert case["number"] == "FC-2027-000001"


def test_findings_of_one_key_share_a_case_and_families_do_not(engine: Engine, folder: Path) -> None:
    price = {"unit_id": "price.below_floor", "family": "price"}
    file_night(engine, folder, [make_finding(), make_finding(sku="SKU-2", severity="high"), make_finding(**price)])
    cases = {case["family"]: case for case in list_cases(engine)}
    assert (cases["diversion"]["findings"], cases["diversion"]["priority"]) == (2, "high")
    assert cases["price"]["findings"] == 1
    (link,) = rows(engine, case_link)
    assert {link.number, link.other} == {case["number"] for case in cases.values()}


def test_only_the_role_case_opens_and_facts_are_not_stored(engine: Engine, folder: Path) -> None:
    roles = ("fact", "watch", "quality", "prior")
    summary = file_night(engine, folder, [make_finding(f"P-{role}", role=role) for role in roles])
    assert summary == FilingSummary(FIRST, findings_new=3)
    assert {(row.role, row.state) for row in rows(engine, finding)} == {(r, "noted") for r in roles[1:]}
    assert list_cases(engine) == []


def test_an_empty_night_is_filed_too(engine: Engine, folder: Path) -> None:
    assert file_night(engine, folder, []) == FilingSummary(FIRST)
    file_night(engine, folder, [])
    assert [body["kind"] for body in events(engine)] == ["night.filed"]


def test_a_unit_without_settings_is_refused(engine: Engine, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"unit_settings: nothing for diversion\.outside_territory"):
        file_night(engine, folder, [make_finding()], unit_settings={})


def test_the_same_night_again_changes_nothing(engine: Engine, folder: Path) -> None:
    first = file_night(engine, folder, busy_night(), unit_settings=BUSY_SETTINGS)
    before = (digests(engine), events(engine))
    again = file_night(engine, folder, busy_night(), unit_settings=BUSY_SETTINGS, run_id="another")
    assert again == first
    assert (digests(engine), events(engine)) == before


def test_order_and_duplicates_do_not_matter(engine: Engine, folder: Path, tmp_path: Path) -> None:
    findings = busy_night()
    shuffled = [*findings, *findings[:30]]
    random.Random(3).shuffle(shuffled)
    first = file_night(engine, folder, shuffled, unit_settings=BUSY_SETTINGS)
    from fangcuan.store import migrations
    from fangcuan.store.database import open_engine

    other = open_engine(f"sqlite:///{tmp_path / 'other.db'}")
    migrations.upgrade(other)
    assert file_night(other, folder, findings, unit_settings=BUSY_SETTINGS) == first
    # One is SQLite, the other may be PostgreSQL: the digests do not depend on that either.
    assert digests(other) == digests(engine)


def test_the_next_night_attaches(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, [make_finding()])
    summary = file_night(engine, folder, [make_finding(score=9.0), make_finding(sku="SKU-2")], night_of(1))
    assert summary == FilingSummary(night_of(1), findings_new=1, findings_known=1, cases_attached=1)
    (case,) = list_cases(engine)
    assert (case["findings"], case["occurrences"], case["opened_night"]) == (2, 3, "2026-03-14")
    assert case["last_finding_night"] == "2026-03-15"
    known = next(row for row in rows(engine, finding) if row.sku == "SKU-1")
    assert (known.first_seen, known.last_seen, known.score) == (FIRST, night_of(1), 9.0)


def test_an_earlier_night_filed_late_changes_no_newer_column(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, [make_finding(score=9.0)], night_of(1))
    file_night(engine, folder, [make_finding(score=1.0)], FIRST)
    (row,) = rows(engine, finding)
    assert (row.first_seen, row.last_seen, row.score) == (FIRST, night_of(1), 9.0)
    (case,) = list_cases(engine)
    assert case["last_finding_night"] == "2026-03-15"


def test_a_second_part_of_a_night_adds_up(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, [make_finding("P1")])
    summary = file_night(engine, folder, [make_finding("P1"), make_finding("P2")])
    assert summary == FilingSummary(FIRST, findings_new=2, cases_opened=2)


def test_a_changed_unit_finds_its_finding_by_fingerprint(engine: Engine, folder: Path) -> None:
    old = make_finding()
    new = make_finding(unit_digest="e" * 64)
    assert old.finding_id != new.finding_id
    file_night(engine, folder, [old])
    summary = file_night(engine, folder, [new], night_of(1))
    assert (summary.findings_new, summary.findings_known, summary.cases_attached) == (0, 1, 1)
    (row,) = rows(engine, finding)
    assert (row.finding_id, row.reported_id, row.unit_digest) == (old.finding_id, new.finding_id, new.unit_digest)
    # From now on it is known by its new identity as well, even under other business keys.
    renamed = make_finding(unit_digest="e" * 64, fingerprint_keys={"serial": "S1"})
    assert file_night(engine, folder, [renamed], night_of(2)).findings_known == 1
    third = make_finding(unit_digest="f" * 64, fingerprint_keys={"serial": "S1"})
    assert file_night(engine, folder, [third], night_of(3)).findings_known == 1
    assert len(rows(engine, finding)) == 1
    assert len(rows(engine, finding_occurrence)) == 4


def test_two_findings_of_a_night_with_one_fingerprint_are_one(engine: Engine, folder: Path) -> None:
    keys = {"fingerprint_keys": {"seller": "S"}}
    findings = [make_finding(month=month, **keys) for month in (1, 2, 3)]
    assert file_night(engine, folder, findings) == FilingSummary(FIRST, findings_new=1, cases_opened=1)
    (row,) = rows(engine, finding)
    assert row.window_end == month_start(4)
    (case,) = list_cases(engine)
    assert (case["findings"], case["occurrences"]) == (1, 3)


def test_a_decision_stands_against_what_it_had_seen(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, [make_finding()])
    dismiss(engine, "FC-2026-000001")
    older = make_finding(month=2, sku="SKU-9")
    summary = file_night(engine, folder, [make_finding(score=99.0), older], night_of(1))
    assert (summary.cases_seen_again, summary.cases_regressed, summary.cases_opened) == (1, 0, 0)
    (case,) = list_cases(engine)
    assert (case["status"], case["outcome"], case["regressed"]) == ("dismissed", "low_impact", False)
    assert (case["findings"], case["version"]) == (2, 2)
    assert rows(engine, case_file)[0].status == "dismissed"


def test_later_evidence_wakes_a_decided_case(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, [make_finding()])
    dismiss(engine, "FC-2026-000001")
    later = make_finding(month=4)
    summary = file_night(engine, folder, [make_finding(), later], dt.date(2026, 4, 2))
    assert summary == FilingSummary(dt.date(2026, 4, 2), findings_new=1, findings_known=1, cases_regressed=1)
    (case,) = list_cases(engine)
    assert (case["status"], case["regressed"], case["outcome"], case["version"]) == ("new", True, None, 3)
    kinds = [body["kind"] for body in events(engine)]
    assert kinds[-3:] == ["case.regress", "case.findings", "night.filed"]
    woken = next(body for body in events(engine) if body["kind"] == "case.regress")
    assert woken["data"]["before"]["outcome"] == "low_impact"
    # Once decided anew, the same evidence does not wake it again.
    dismiss(engine, "FC-2026-000001", "k2")
    assert file_night(engine, folder, [later], dt.date(2026, 4, 3)).cases_seen_again == 1


def test_long_after_the_decision_a_new_epoch_begins(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, [make_finding()])
    dismiss(engine, "FC-2026-000001")
    policy = GroupingPolicy(regression_days=90)
    night = dt.date(2026, 9, 2)
    findings = [make_finding(month=9), make_finding(month=2, sku="SKU-9")]
    summary = file_night(engine, folder, findings, night, policy=policy)
    assert (summary.cases_opened, summary.cases_seen_again, summary.cases_regressed) == (1, 1, 0)
    first, second = sorted(rows(engine, case_file), key=lambda row: row.epoch)
    assert (second.epoch, second.predecessor, second.case_key) == (2, first.number, first.case_key)
    assert (first.is_open, second.is_open) == (False, True)
    assert file_night(engine, folder, [make_finding(month=9)], dt.date(2026, 9, 3), policy=policy).cases_attached == 1


def test_support_joins_open_cases_and_opens_none(engine: Engine, folder: Path) -> None:
    def model(subject: str) -> Any:
        return make_finding(subject, unit_id="diversion.model", role="case", grouping={"model": "x"})

    summary = file_night(engine, folder, [make_finding("P1")], support=[model("P1"), model("P2")])
    assert (summary.cases_opened, summary.findings_new) == (1, 3)
    supporting = [row for row in rows(engine, case_finding) if row.support]
    assert len(supporting) == 1
    states = {row.subject_id: row.state for row in rows(engine, finding) if row.unit_id == "diversion.model"}
    assert states == {"P1": "filed", "P2": "noted"}
    # A decided case is not open: support alone leaves it as it is.
    dismiss(engine, "FC-2026-000001")
    summary = file_night(
        engine, folder, [], dt.date(2026, 4, 2), support=[make_finding("P1", 4, unit_id="diversion.model")]
    )
    assert (summary.cases_attached, summary.cases_regressed, summary.findings_new) == (0, 0, 1)
    # A later finding of a rule in the same night wakes it, and then support joins.
    night = dt.date(2026, 4, 3)
    again = [make_finding("P1", 4, unit_id="diversion.model")]
    assert file_night(engine, folder, [make_finding("P1", 4)], night, support=again).cases_regressed == 1
    assert len([row for row in rows(engine, case_finding) if row.support]) == 2


def test_a_storm_opens_one_case_for_the_owner(engine: Engine, folder: Path) -> None:
    settings = {UNIT: UnitFiling(max_cases=5, owner="user:owner")}
    findings = [make_finding(f"P{number}") for number in range(6)]
    summary = file_night(engine, folder, findings, unit_settings=settings)
    assert summary == FilingSummary(FIRST, findings_new=7, findings_waiting=6, cases_opened=1, storms=1)
    (case,) = list_cases(engine)
    assert case["storm"]
    assert (case["subject"], case["assignee"]) == ({"kind": "source", "id": UNIT}, "user:owner")
    assert {row.state for row in rows(engine, finding) if row.family == "diversion"} == {"waiting"}
    assert file_night(engine, folder, findings, unit_settings=settings) == summary
    # The next night is as stormy: the storm case is attached to, not opened again.
    summary = file_night(engine, folder, findings, night_of(1), unit_settings=settings)
    assert (summary.cases_opened, summary.cases_attached, summary.findings_waiting) == (0, 1, 6)
    # The owner allows more: what waited is filed when it is seen again.
    summary = file_night(engine, folder, findings, night_of(2), unit_settings=SETTINGS)
    assert (summary.cases_opened, summary.findings_waiting, summary.storms) == (6, 0, 0)
    assert {row.state for row in rows(engine, finding)} == {"filed"}


def test_a_storm_does_not_hold_back_what_has_a_case_or_another_unit(engine: Engine, folder: Path) -> None:
    settings = {**SETTINGS, UNIT: UnitFiling(max_cases=2, owner="user:owner")}
    file_night(engine, folder, [make_finding("P0")], unit_settings=settings)
    other = make_finding("P1", unit_id="diversion.other", sku="SKU-7")
    findings = [*(make_finding(f"P{number}") for number in range(5)), other]
    summary = file_night(engine, folder, findings, night_of(1), unit_settings=settings)
    assert summary.storms == 1
    cases = {case["subject"]["id"]: case["findings"] for case in list_cases(engine)}
    assert cases == {"P0": 1, "P1": 2, UNIT: 1}
    assert summary.findings_waiting == 3


def test_a_storm_wakes_no_decided_case(engine: Engine, folder: Path) -> None:
    settings = {UNIT: UnitFiling(max_cases=2, owner="user:owner")}
    file_night(engine, folder, [make_finding("P0")], unit_settings=settings)
    dismiss(engine, "FC-2026-000001")
    findings = [make_finding(f"P{number}", 4) for number in range(5)]
    summary = file_night(engine, folder, findings, dt.date(2026, 4, 2), unit_settings=settings)
    assert (summary.cases_regressed, summary.findings_waiting, summary.storms) == (0, 5, 1)


def test_a_unit_far_above_its_usual_nights_is_stormy(engine: Engine, folder: Path) -> None:
    policy = GroupingPolicy(storm_floor=4, storm_factor=2, storm_nights=5)
    for day in range(6):
        findings = [make_finding(f"N{day}-{number}") for number in range(3)]
        assert file_night(engine, folder, findings, night_of(day), policy=policy).storms == 0
    crowd = [make_finding(f"C{number}") for number in range(7)]
    assert file_night(engine, folder, crowd[:6], night_of(6), policy=policy).storms == 0
    assert file_night(engine, folder, [make_finding(f"D{n}") for n in range(7)], night_of(7), policy=policy).storms == 1


def test_every_change_of_a_case_is_an_event(engine: Engine, folder: Path) -> None:
    file_night(engine, folder, busy_night(), unit_settings=BUSY_SETTINGS)
    orders.staff(engine)
    orders.bring(engine, "FC-2026-000001", "dismissed")
    bodies = events(engine)
    with read(engine) as connection:
        cases = connection.execute(select(case_file)).all()
        assert connection.execute(select(func.count()).select_from(event)).scalar_one() == len(bodies)
    for case in cases:
        mine = [body for body in bodies if body["case"] == case.number]
        status = "new"
        for body in mine:
            status = body["data"].get("after", {}).get("status", status)
        assert mine[0]["kind"] == "case.opened"
        assert status == case.status
