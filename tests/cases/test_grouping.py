"""Placing findings is a function of the set of findings and the case known; properties over arbitrary nights."""

from __future__ import annotations

import datetime as dt
import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from casework_samples import SETTINGS, employ, file_night, make_finding, month_start
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from fangcuan.cases.executor import Actor, Command, GuardFailed, NotOffered, execute
from fangcuan.cases.filing.grouping import (
    Candidate,
    GroupingPolicy,
    KnownCase,
    UnitFiling,
    case_key,
    place,
    storm_limit,
    stormy_units,
)
from fangcuan.cases.history.digests import digests
from fangcuan.cases.views import list_cases
from fangcuan.core.finding import Finding
from fangcuan.store.database import open_engine

POLICY = GroupingPolicy(regression_days=60)
CUTOFF = month_start(4)

months = st.integers(min_value=1, max_value=12)
units = st.sampled_from(["a", "b", "c"])
candidates = st.lists(
    st.builds(
        lambda number, unit, month: Candidate(f"{number:02d}", unit, month_start(month)),
        st.integers(min_value=0, max_value=30),
        units,
        months,
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda candidate: candidate.reported_id,
)
known_cases = st.none() | st.builds(
    lambda is_open, wakes: KnownCase("FC-1", 1, is_open, wakes and not is_open, None if is_open else CUTOFF),
    st.booleans(),
    st.booleans(),
)
storms = st.frozensets(units)


@given(known_cases, candidates, storms, st.randoms(use_true_random=False))
def test_the_order_of_findings_does_not_matter(
    known: KnownCase | None, group: list[Candidate], stormy: frozenset[str], shuffler: random.Random
) -> None:
    placed = place(known, group, POLICY, stormy)
    shuffler.shuffle(group)
    assert place(known, group, POLICY, stormy) == placed


@given(known_cases, candidates, storms)
def test_every_finding_has_exactly_one_place(
    known: KnownCase | None, group: list[Candidate], stormy: frozenset[str]
) -> None:
    placed = place(known, group, POLICY, stormy)
    everywhere = [*placed.here, *placed.fresh, *placed.waiting]
    assert sorted(everywhere) == sorted(candidate.reported_id for candidate in group)
    assert known is not None or placed.here == ()


@given(known_cases, candidates, storms)
def test_only_calm_later_findings_make_work(
    known: KnownCase | None, group: list[Candidate], stormy: frozenset[str]
) -> None:
    placed = place(known, group, POLICY, stormy)
    calm_and_later = [c for c in group if c.unit_id not in stormy and (known is None or c.window_end > CUTOFF)]
    if placed.fresh or placed.action == "wake":
        assert calm_and_later
    if known is not None and known.is_open:
        assert (placed.action, placed.fresh, placed.waiting) == ("attach", (), ())
    if placed.waiting:
        assert {c.unit_id for c in group if c.reported_id in placed.waiting} <= stormy


@given(candidates)
def test_nothing_older_than_the_decision_wakes_it(group: list[Candidate]) -> None:
    older = [candidate for candidate in group if candidate.window_end <= CUTOFF]
    if older:
        placed = place(KnownCase("FC-1", 1, False, True, CUTOFF), older, POLICY)
        assert (placed.action, placed.fresh) == ("silent", ())


def test_the_regression_window_is_counted_from_the_cutoff() -> None:
    known = KnownCase("FC-1", 1, False, True, CUTOFF)
    inside = Candidate("i", "a", CUTOFF + dt.timedelta(days=60))
    outside = Candidate("o", "a", CUTOFF + dt.timedelta(days=60, microseconds=1))
    assert place(known, [inside], POLICY).action == "wake"
    assert place(known, [outside], POLICY).fresh == ("o",)
    # One finding inside wakes the case, and then all belong to it.
    assert place(known, [inside, outside], POLICY).here == ("i", "o")
    sealed = KnownCase("FC-1", 1, False, False, CUTOFF)
    assert place(sealed, [inside], POLICY).fresh == ("i",)


@pytest.mark.parametrize(
    ("history", "limit"),
    [
        ([], 100),
        ([1] * 6, 100),
        ([1] * 7, 20),
        ([10] * 14, 50),
        ([30] * 14, 100),
        ([0] * 14, 20),
    ],
)
def test_limits_follow_what_is_usual(history: list[int], limit: int) -> None:
    assert storm_limit(UnitFiling(100, "user:x"), history, GroupingPolicy()) == limit


def test_the_limit_counts_what_the_night_has_opened_already() -> None:
    groups = [(None, [Candidate(str(number), "a", CUTOFF)]) for number in range(3)]
    assert stormy_units(groups, {"a": 3}, {}, POLICY) == {}
    assert stormy_units(groups, {"a": 3}, {"a": 1}, POLICY) == {"a": 3}


def test_the_key_is_family_subject_and_grouping_only() -> None:
    base = make_finding()
    same = [
        make_finding(month=7),
        make_finding(sku="other"),
        make_finding(unit_id="diversion.other"),
        make_finding(score=9),
    ]
    other: list[Finding] = [
        make_finding("P2"),
        make_finding(family="loading"),
        make_finding(subject_kind="seller"),
        make_finding(grouping={"product_line": "B"}),
        make_finding(grouping={}),
    ]
    key = case_key(base, POLICY)
    assert {case_key(one, POLICY).value for one in same} == {key.value}
    assert len({case_key(one, POLICY).value for one in [base, *other]}) == len(other) + 1
    assert case_key(base, GroupingPolicy(version=2)).value != key.value


nights = st.lists(
    st.lists(
        st.builds(
            lambda subject, month, sku, role: make_finding(f"P{subject}", month, sku=f"S{sku}", role=role),
            st.integers(min_value=0, max_value=3),
            st.integers(min_value=1, max_value=9),
            st.integers(min_value=0, max_value=2),
            st.sampled_from(["case", "case", "case", "watch", "fact"]),
        ),
        max_size=8,
    ),
    min_size=1,
    max_size=4,
)


def _play(engine: Engine, folder: Path, script: list[list[Finding]], shuffler: random.Random | None) -> Any:
    """File the nights in turn, the first open case dismissed after each; shuffled and with repeats if asked for."""
    supervisor = Actor("user:s", frozenset({"supervisor"}))
    employ(engine, supervisor)
    summaries = []
    for number, findings in enumerate(script):
        night = dt.date(2026, 3, 1) + dt.timedelta(days=number)
        shown = list(findings)
        if shuffler is not None:
            shown += findings[: len(findings) // 2]
            shuffler.shuffle(shown)
            file_night(engine, folder, shown, night, policy=POLICY, unit_settings=SETTINGS)
        summaries.append(file_night(engine, folder, shown, night, policy=POLICY, unit_settings=SETTINGS))
        for case in sorted(list_cases(engine), key=lambda case: str(case["number"])):
            command = Command("dismiss", case["number"], supervisor, f"k{number}", params={"reason": "low_impact"})
            # A tenth of the cases is not dismissed directly: then it is the next one.
            with suppress(GuardFailed, NotOffered):
                execute(engine, command)
                break
    return summaries, digests(engine)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nights, st.randoms(use_true_random=False))
def test_whole_nights_do_not_depend_on_order_or_repetition(
    sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    script: list[list[Finding]],
    shuffler: random.Random,
) -> None:
    results = []
    for mixed in (None, shuffler):
        folder = tmp_path_factory.mktemp("play")
        shutil.copy(sqlite_template, folder / "casebook.db")
        engine = open_engine(f"sqlite:///{folder / 'casebook.db'}")
        results.append(_play(engine, folder / "evidence", script, mixed))
        engine.dispose()
    assert results[0] == results[1]
