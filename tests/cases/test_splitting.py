"""Findings that are about something else get a case of their own, and stay there whatever the nights bring."""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import FIRST, file_night, make_finding
from orders import ALL, OTHER, case, give, shown
from sqlalchemy import Engine, select

from fangcuan.cases import workflow
from fangcuan.cases.executor import Command, execute
from fangcuan.cases.filing.labels import frozen_labels
from fangcuan.cases.history.verification import verify
from fangcuan.cases.refusals import Conflict, GuardFailed, KeyReused, NotAuthorised, NotOffered
from fangcuan.cases.urgency import most_urgent_first
from fangcuan.cases.views import list_cases
from fangcuan.core.canonical import digest
from fangcuan.core.finding import Finding
from fangcuan.store.casework import case_file, case_finding, case_machine, filed_finding, finding
from fangcuan.store.database import read

OLD, NEW = "FC-2026-000001", "FC-2026-000002"


def seen(sku: str, month: int = 3, **changes: Any) -> Finding:
    """What is wrong with a product; a month later it is another identity of the same fingerprint."""
    return make_finding("P1", month, sku=sku, fingerprint_keys={"sku": sku}, **changes)


GOING, STAYING = seen("SKU-2", severity="high"), seen("SKU-1")
SUPPORT = make_finding("P1", unit_id="diversion.model", role="watch", lot="L1")
LATER = [seen("SKU-2", 4, severity="high"), seen("SKU-1", 4)]


def night(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


@pytest.fixture
def two_matters(engine: Engine, folder: Path) -> Engine:
    """A case in triage with two findings and one that supports; the staff is there."""
    file_night(engine, folder, [STAYING, GOING], support=[SUPPORT])
    orders.staff(engine)
    give(engine, "triage", OLD, ALL)
    return engine


def ids(engine: Engine, number: str, *, support: bool | None = None) -> set[str]:
    query = select(case_finding.c.finding_id).where(case_finding.c.number == number)
    if support is not None:
        query = query.where(case_finding.c.support.is_(support))
    with read(engine) as connection:
        return set(connection.execute(query).scalars())


def named(engine: Engine, sku: str) -> str:
    with read(engine) as connection:
        query = select(finding.c.finding_id).where(finding.c.sku == sku, finding.c.role == "case")
        return str(connection.execute(query).scalar_one())


def machine(engine: Engine, number: str) -> dict[str, Any]:
    with read(engine) as connection:
        return dict(connection.execute(select(case_machine).where(case_machine.c.number == number)).mappings().one())


def whole(engine: Engine) -> None:
    """The history is whole, and every table is rebuilt from it alone; evidence roots of open cases are right."""
    found = verify(engine)
    assert (found.exit_code, found.problems) == (0, ())
    with read(engine) as connection:
        for number in connection.execute(select(case_file.c.number).where(case_file.c.is_open)).scalars().all():
            joined = select(finding.c.finding_id, finding.c.evidence_root).join(
                case_finding, case_finding.c.finding_id == finding.c.finding_id
            )
            members = [tuple(row) for row in connection.execute(joined.where(case_finding.c.number == number))]
            row = connection.execute(select(case_machine).where(case_machine.c.number == number)).one()
            assert row.evidence_root == digest(sorted(members)), number
            assert row.findings == len(members), number


def test_what_goes_gets_a_case_and_what_stays_keeps_its_own(two_matters: Engine, folder: Path) -> None:
    engine = two_matters
    going, staying = named(engine, "SKU-2"), {named(engine, "SKU-1")}
    support = ids(engine, OLD, support=True)
    give(engine, "claim", OLD, ALL)
    assert orders.split(engine, OLD, going) == NEW
    old, new = case(engine, OLD), case(engine, NEW)
    assert (old["status"], new["status"]) == ("triaging", workflow.default().initial)
    assert {name: new[name] for name in ("family", "subject", "product_line")} == {
        name: old[name] for name in ("family", "subject", "product_line")
    }
    assert (new["assignee"], new["epoch"], new["priority"], new["severity"]) == (ALL.name, 1, "high", "high")
    assert old["severity"] == "medium"
    assert ids(engine, NEW, support=False) == {going}
    assert ids(engine, OLD, support=False) == staying
    assert ids(engine, OLD, support=True) == ids(engine, NEW, support=True) == support
    assert machine(engine, NEW)["occurrences"] == machine(engine, OLD)["occurrences"] == 2
    for number, other in ((OLD, NEW), (NEW, OLD)):
        page = shown(engine, folder, number)
        assert {"number": other, "kind": "split_from"} in page["links"]
        assert page["moves"] == [{"number": OLD, "finding_id": going, "move": 1, "other": NEW, "proposal": 1}]
        assert all("problem" not in each["evidence"] for each in page["findings_detail"])
    assert shown(engine, folder, NEW)["timeline"][0]["kind"] == "case.opened"
    with read(engine) as connection:
        rows = connection.execute(select(filed_finding).where(filed_finding.c.number == OLD)).all()
    assert len(rows) == 3, "what left was removed"
    whole(engine)


def test_later_nights_find_each_where_it_lives(two_matters: Engine, folder: Path) -> None:
    engine = two_matters
    going = named(engine, "SKU-2")
    orders.split(engine, OLD, going)
    before = machine(engine, OLD)["evidence_root"]
    file_night(engine, folder, [GOING], night(1), support=[SUPPORT])
    # The support came to both, the other one to its new case alone.
    assert (machine(engine, OLD)["occurrences"], machine(engine, NEW)["occurrences"]) == (3, 4)
    assert machine(engine, OLD)["evidence_root"] == before
    file_night(engine, folder, LATER, night(31))
    assert len(list_cases(engine)) == 2
    assert (going in ids(engine, NEW), going in ids(engine, OLD)) == (True, False)
    assert (machine(engine, OLD)["occurrences"], machine(engine, NEW)["occurrences"]) == (4, 5)
    # Something that neither had before goes to the case of its key.
    file_night(engine, folder, [seen("SKU-9")], night(32))
    assert len(list_cases(engine)) == 2
    assert named(engine, "SKU-9") in ids(engine, OLD)
    whole(engine)
    # The same night again is the same night.
    rows = [machine(engine, number) for number in (OLD, NEW)]
    file_night(engine, folder, LATER, night(31))
    assert [machine(engine, number) for number in (OLD, NEW)] == rows


def test_a_decided_part_is_woken_and_begun_anew_by_itself(two_matters: Engine, folder: Path) -> None:
    engine = two_matters
    orders.split(engine, OLD, named(engine, "SKU-2"))
    give(engine, "triage", NEW, ALL)
    give(engine, "propose", NEW, ALL, kind="dismiss", reason="natural_flow", note="so it is")
    give(engine, "approve", NEW, OTHER)
    status = case(engine, OLD)["status"]
    # Older than the decision: it stays decided. Later: it wakes, and the other part does not notice.
    file_night(engine, folder, [GOING], night(1))
    assert (case(engine, NEW)["is_open"], machine(engine, NEW)["seen_after_decision"]) == (False, 1)
    file_night(engine, folder, LATER[:1], night(31))
    assert (case(engine, NEW)["is_open"], case(engine, NEW)["regressed"]) == (True, True)
    assert case(engine, OLD)["status"] == status
    give(engine, "triage", NEW, ALL)
    give(engine, "propose", NEW, ALL, kind="dismiss", reason="natural_flow", note="still")
    give(engine, "approve", NEW, OTHER)
    file_night(engine, folder, [seen("SKU-2", 14)], night(330))
    third = case(engine, "FC-2027-000001")
    assert (third["epoch"], third["is_open"], case(engine, NEW)["is_open"]) == (2, True, False)
    assert shown(engine, folder, third["number"])["predecessor"] == NEW
    assert ids(engine, third["number"], support=False) == {named(engine, "SKU-2")}
    whole(engine)


def test_a_part_is_split_once_more(two_matters: Engine, folder: Path) -> None:
    engine = two_matters
    file_night(engine, folder, [seen("SKU-3")], night(1))
    orders.split(engine, OLD, named(engine, "SKU-2"), named(engine, "SKU-3"))
    give(engine, "triage", NEW, ALL)
    third = orders.split(engine, NEW, named(engine, "SKU-3"))
    file_night(engine, folder, [seen(f"SKU-{n}", 4) for n in (1, 2, 3)], night(31))
    found = [ids(engine, number, support=False) for number in (OLD, NEW, third)]
    assert found == [{one} for one in (named(engine, f"SKU-{n}") for n in (1, 2, 3))]
    assert len(list_cases(engine)) == 3
    whole(engine)


def test_put_together_again_it_comes_back(two_matters: Engine, folder: Path) -> None:
    engine = two_matters
    going = named(engine, "SKU-2")
    orders.split(engine, OLD, going)
    give(engine, "triage", NEW, ALL)
    give(engine, "propose", NEW, ALL, kind="merge", into=OLD, note="one matter after all")
    give(engine, "approve", NEW, OTHER)
    assert going not in ids(engine, OLD), "a merge is a pointer"
    file_night(engine, folder, LATER, night(31))
    assert going in ids(engine, OLD)
    moves = shown(engine, folder, OLD)["moves"]
    assert [(move["move"], move["proposal"]) for move in moves] == [(1, 1), (2, None)]
    whole(engine)
    # And once more apart.
    third = orders.split(engine, OLD, going)
    file_night(engine, folder, [seen("SKU-2", 5)], night(62))
    assert (going in ids(engine, OLD), going in ids(engine, third)) == (False, True)
    whole(engine)


def test_something_goes_and_something_stays(two_matters: Engine) -> None:
    engine = two_matters
    mine, support = orders.parts(engine, OLD), ids(engine, OLD, support=True)
    events = verify(engine).events
    for wrong, said in [
        (None, "expected findings"),
        ([], "expected findings"),
        (mine[0], "expected findings"),
        ([mine[0], mine[0]], "each once"),
        ([mine[0], "f" * 64], "expected findings"),
        ([*support], "expected findings"),
        (mine, "has to stay"),
    ]:
        with pytest.raises(GuardFailed, match=said):
            give(engine, "propose", OLD, ALL, kind="split", note="x", finding_id=wrong)
    with pytest.raises(GuardFailed, match="note"):
        give(engine, "propose", OLD, ALL, kind="split", finding_id=mine[:1])
    assert verify(engine).events == events


def test_nobody_splits_alone_and_nothing_happens_before_it_is_approved(two_matters: Engine) -> None:
    engine = two_matters
    mine = orders.parts(engine, OLD)
    give(engine, "propose", OLD, OTHER, kind="split", note="x", finding_id=mine[:1])
    with pytest.raises(NotAuthorised, match="somebody else"):
        give(engine, "approve", OLD, OTHER)
    give(engine, "reject", OLD, ALL, note="no")
    assert len(list_cases(engine)) == 1
    assert set(mine) < ids(engine, OLD)
    assert case(engine, OLD)["status"] == "triaging"


def test_evidence_that_comes_in_between_makes_it_stale(two_matters: Engine, folder: Path) -> None:
    engine = two_matters
    give(engine, "propose", OLD, ALL, kind="split", note="x", finding_id=orders.parts(engine, OLD)[:1])
    file_night(engine, folder, [seen("SKU-3")], night(1))
    with pytest.raises(Conflict, match="stale"):
        give(engine, "approve", OLD, OTHER)
    assert len(list_cases(engine)) == 1


def test_one_key_splits_once(two_matters: Engine) -> None:
    engine = two_matters
    give(engine, "propose", OLD, ALL, kind="split", note="x", finding_id=orders.parts(engine, OLD)[:1])
    approving = Command("approve", OLD, OTHER, "the key", None, {})
    first = execute(engine, approving)
    again = execute(engine, approving)
    assert (again.replayed, again.seq, again.version) == (True, first.seq, first.version)
    assert len(list_cases(engine)) == 2
    with pytest.raises(KeyReused):
        execute(engine, Command("approve", OLD, OTHER, "the key", None, {"note": "x"}))


def test_two_who_approve_at_once_split_once(two_matters: Engine) -> None:
    engine = two_matters
    give(engine, "propose", OLD, ALL, kind="split", note="x", finding_id=orders.parts(engine, OLD)[:1])
    said: list[str] = []

    def approve() -> None:
        try:
            give(engine, "approve", OLD, OTHER)
            said.append("done")
        except (NotOffered, Conflict):
            said.append("refused")

    threads = [threading.Thread(target=approve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["done", "refused", "refused", "refused"]
    assert len(list_cases(engine)) == 2
    whole(engine)


def test_a_hold_lies_over_both_and_a_snooze_goes_on(two_matters: Engine, folder: Path) -> None:
    engine = two_matters
    give(engine, "hold", OLD, ALL, note="first")
    give(engine, "hold", OLD, ALL, note="second")
    give(engine, "lift_hold", OLD, ALL, note="over", hold=1)
    until = (dt.datetime.now(dt.UTC) + dt.timedelta(days=9)).isoformat()
    give(engine, "snooze", OLD, ALL, note="later", until=until, condition="new_evidence")
    orders.split(engine, OLD, named(engine, "SKU-2"))
    holds = shown(engine, folder, NEW)["legal_holds"]
    assert [(each["hold"], each["note"], each["lifted_at"]) for each in holds] == [(1, "second", None)]
    assert awake(engine) == [NEW], "what left is no news about what stays"
    give(engine, "lift_hold", NEW, ALL, note="over here")
    assert [each["lifted_at"] is None for each in shown(engine, folder, OLD)["legal_holds"]] == [False, True]
    file_night(engine, folder, [seen("SKU-3")], night(1))
    assert set(awake(engine)) == {NEW, OLD}
    whole(engine)


def awake(engine: Engine) -> list[str]:
    from fangcuan.cases.overlays import asleep

    joined = select(case_file.c.number).join(case_machine, case_machine.c.number == case_file.c.number)
    with read(engine) as connection:
        query = joined.where(~asleep(dt.datetime.now(dt.UTC))).order_by(*most_urgent_first())
        return list(connection.execute(query).scalars())


def test_labels_are_of_the_case_that_a_finding_belongs_to(two_matters: Engine) -> None:
    engine = two_matters
    going = named(engine, "SKU-2")
    give(engine, "propose", OLD, ALL, kind="dismiss", reason="natural_flow", note="x")
    give(engine, "approve", OLD, OTHER)
    give(engine, "propose", OLD, ALL, kind="reopen", note="x")
    give(engine, "approve", OLD, OTHER)
    then = dt.datetime.now(dt.UTC)
    before = frozen_labels(engine, then)
    assert {(row["number"], row["label"]) for row in before[0]} == {(OLD, "wrong")}
    orders.split(engine, OLD, going)
    give(engine, "triage", NEW, ALL)
    confirm = workflow.default().proposal("confirm")
    give(engine, "propose", NEW, ALL, **orders.meet(engine, confirm, NEW))
    give(engine, "approve", NEW, OTHER)
    rows, _ = frozen_labels(engine, dt.datetime.now(dt.UTC))
    assert [(row["number"], row["label"]) for row in rows if row["finding_id"] == going] == [(NEW, "right")]
    assert {row["label"] for row in rows if row["number"] == OLD} == {"wrong"}
    assert frozen_labels(engine, then) == before, "what was known then has changed"
