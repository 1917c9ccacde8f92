"""Random samples of auditors: drawn by seed and history alone, recorded, and drawn again by anybody."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import orders
import pytest
from casework_samples import FIRST, employ, file_night, make_finding
from orders import ALL, AUDITOR, OTHER, give
from sqlalchemy import Engine, select, text
from tampering import rewrite_history, tamper

from fangcuan.cases.auditing.samples import KIND, SampleFilter, draw, draw_again, draw_sample, list_samples
from fangcuan.cases.history.verification import verify
from fangcuan.cases.people.access import Actor
from fangcuan.cases.refusals import GuardFailed, NotAuthorised, list_refusals
from fangcuan.store.casework import case_file, event, event_head
from fangcuan.store.database import read

SHANGHAI = "Asia/Shanghai"
#: One minute before and after midnight in Shanghai, in UTC, on a day on which the accounts there are have their roles.
EVENING, NIGHT = dt.datetime(2036, 3, 20, 15, 59, tzinfo=dt.UTC), dt.datetime(2036, 3, 20, 16, 1, tzinfo=dt.UTC)


@pytest.fixture
def casebook(engine: Engine, folder: Path) -> Engine:
    """Twelve diversion cases and one about a price; four of them dismissed, one of these later reopened, one proposed to be."""
    price = make_finding("P1", unit_id="price.below_floor", family="price")
    file_night(engine, folder, [price, *(make_finding(f"P{number:02d}") for number in range(12))])
    orders.staff(engine)
    employ(engine, AUDITOR)
    for at, number in zip((EVENING, EVENING, NIGHT, NIGHT), orders.undrawn(engine), strict=False):
        give(engine, "dismiss", number, ALL, now=at, reason="low_impact")
    third, fourth = dismissed(engine)[2:]
    for number in (third, fourth):
        give(engine, "propose", number, ALL, kind="reopen", note="x")
    give(engine, "approve", third, OTHER)
    return engine


def dismissed(engine: Engine) -> list[str]:
    with read(engine) as connection:
        return list(
            connection.execute(select(case_file.c.number).where(~case_file.c.is_open).order_by("number")).scalars()
        )


def numbers(engine: Engine) -> list[str]:
    with read(engine) as connection:
        return list(connection.execute(select(case_file.c.number).order_by("number")).scalars())


def sample(engine: Engine, count: int = 99, seed: str = "lottery 8812", **filters: Any) -> dict[str, Any]:
    return draw_sample(engine, AUDITOR, count=count, seed=seed, filters=SampleFilter(**filters))


def test_the_draw_is_the_documented_one() -> None:
    """Said once more, with nothing of ours: sha256 of `seed:number`, smallest first."""
    among = [f"FC-2026-{n:06d}" for n in range(1, 200)]
    by_hand = sorted(among, key=lambda one: hashlib.sha256(b"31415:" + one.encode()).digest())
    assert draw(among, "31415", 20) == by_hand[:20]
    assert draw(reversed(among), "31415", 30)[:20] == by_hand[:20], "a larger sample holds the smaller one"
    assert draw(among, "31416", 20) != by_hand[:20]
    assert draw(among[:3], "31415", 20) == sorted(among[:3], key=by_hand.index)


def test_every_case_is_drawn_as_often_as_every_other() -> None:
    among = [str(n) for n in range(20)]
    drawn = [number for seed in range(2_000) for number in draw(among, str(seed), 5)]
    counts = [drawn.count(number) for number in among]
    # 500 of each are to be expected, with a standard deviation of 19.
    assert min(counts) > 420
    assert max(counts) < 580


def test_a_draw_is_recorded_with_all_it_takes_to_draw_again(casebook: Engine) -> None:
    with read(casebook) as connection:
        head = connection.execute(select(event_head.c.seq, event_head.c.hash)).one()
    drawn = sample(casebook, 2)
    decided = dismissed(casebook)
    assert len(decided) == 3, "the case that was opened again is not decided"
    assert drawn["numbers"] == draw(decided, "lottery 8812", 2)
    assert (drawn["seq"], drawn["hash"], drawn["population"], drawn["asked"]) == (*head, 3, 2)
    with read(casebook) as connection:
        body = json.loads(connection.execute(select(event.c.body).order_by(event.c.seq.desc()).limit(1)).scalar_one())
    assert (body["kind"], body["actor"], body["data"]["sample"]) == (KIND, AUDITOR.name, drawn)
    (listed,) = list_samples(casebook)
    assert {name: listed[name] for name in drawn} == drawn
    assert verify(casebook).exit_code == 0


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, 3),
        ({"decided": False}, 13),
        ({"decided": False, "family": "price"}, 1),
        ({"family": "loading", "decided": False, "status": "new"}, 0),
        ({"decided": False, "status": "triaging"}, 1),
        ({"since": "2036-03-21", "zone": SHANGHAI}, 1),
        ({"until": "2036-03-20", "zone": SHANGHAI}, 2),
        ({"until": "2036-03-20"}, 3),
        ({"since": "2036-03-20", "until": "2036-03-20", "zone": SHANGHAI}, 2),
        ({"decided": False, "since": "2026-03-15"}, 0),
        ({"decided": False, "since": "2026-03-14", "until": "2026-03-14"}, 13),
    ],
)
def test_conditions_are_about_the_case_as_its_events_have_it(
    casebook: Engine, filters: dict[str, Any], expected: int
) -> None:
    if expected == 0:
        with pytest.raises(GuardFailed, match="no such case to draw from"):
            sample(casebook, **filters)
        assert list_samples(casebook) == []
        return
    drawn = sample(casebook, **filters)
    assert drawn["population"] == len(drawn["numbers"]) == expected
    assert draw_again(casebook, 1)["same"]


def test_what_comes_later_changes_no_sample(casebook: Engine, folder: Path) -> None:
    first = sample(casebook)
    everything = sample(casebook, decided=False)
    file_night(casebook, folder, [make_finding("P77")], FIRST + dt.timedelta(days=1))
    give(casebook, "approve", dismissed(casebook)[-1], OTHER)
    give(casebook, "dismiss", orders.undrawn(casebook)[-1], ALL, reason="low_impact")
    for one in (first, everything):
        again = draw_again(casebook, one["sample"])
        assert (again["same"], again["why"], again["population"]) == (True, [], one["population"])
    assert sample(casebook, decided=False)["population"] == 14


def test_the_tables_play_no_part(casebook: Engine) -> None:
    """Somebody who hides a case by an edit of its row hides it from no draw."""
    before = sample(casebook)["numbers"]
    tamper(casebook, f"update case_file set is_open = true where number = '{before[0]}'")
    assert sample(casebook)["numbers"] == before


def test_a_history_that_was_rewritten_gives_another_sample_and_says_so(casebook: Engine) -> None:
    drawn = sample(casebook)
    gone = drawn["numbers"][0]
    rewrite_history(casebook, gone, "FC-2026-999999")
    again = draw_again(casebook, 1)
    assert not again["same"]
    assert any("is another one: it was" in reason for reason in again["why"])
    assert any("are others than those that were recorded" in reason for reason in again["why"])
    assert again["missing"] == [gone]
    assert again["extra"] == ["FC-2026-999999"]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "update audit_sample set seed = 'one that suits better'",
            "says something else than the event of the draw about: seed",
        ),
        (
            "update audit_sample set numbers = '[]'",
            "0 of the cases recorded are not drawn, 3 are that were not recorded",
        ),
        ("update audit_sample set asked = 1", "2 of the cases recorded are not drawn"),
        ("update audit_sample set population = 99", "there are 3 cases to draw from; 99 were recorded"),
        ("update audit_sample set hash = population_digest", "is another one: it was"),
        ("update audit_sample set seq = seq + 1000", "0 events say that it was drawn"),
        ("update audit_sample set seq = seq + 1000", "it was drawn after event"),
        (
            "update event set body = body || ' ' where seq = 1",
            "the history does not hold from event 1 on",
        ),
    ],
)
def test_every_alteration_of_a_draw_is_named(casebook: Engine, statement: str, said: str) -> None:
    sample(casebook)
    assert draw_again(casebook, 1)["same"]
    tamper(casebook, statement)
    again = draw_again(casebook, 1)
    assert not again["same"]
    assert any(said in reason for reason in again["why"]), again["why"]


def test_nothing_is_drawn_from_a_history_that_does_not_verify(casebook: Engine) -> None:
    tamper(casebook, "update event_head set seq = seq - 1")
    with pytest.raises(GuardFailed, match="does not verify"):
        sample(casebook)


def test_those_who_are_audited_do_not_draw(casebook: Engine) -> None:
    for actor in (ALL, OTHER, Actor("user:boss")):
        with pytest.raises(NotAuthorised, match="is not auditor"):
            draw_sample(casebook, actor, count=1, seed="s")
    assert [one["command"] for one in list_refusals(casebook)] == ["draw_sample"] * 3
    assert list_samples(casebook) == []


@pytest.mark.parametrize(
    ("count", "seed", "filters", "message"),
    [
        (0, "s", {}, "n is 0; expected 1 to 5000"),
        (5_001, "s", {}, "n is 5001"),
        (1, "  ", {}, "a seed is needed"),
        (1, "s", {"family": "prices"}, "family 'prices'; expected one of diversion, price"),
        (1, "s", {"status": "done"}, "status 'done'; expected one of new"),
        (1, "s", {"since": "20260314"}, "'20260314': expected a day such as 2026-03-31"),
        (1, "s", {"until": "March"}, "'March': expected a day"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    engine: Engine, count: int, seed: str, filters: dict[str, Any], message: str
) -> None:
    employ(engine, AUDITOR)
    with pytest.raises(GuardFailed, match=message):
        sample(engine, count, seed, **filters)
    with pytest.raises(GuardFailed, match="sample 3: there is none"):
        draw_again(engine, 3)


def test_the_database_refuses_an_empty_draw(casebook: Engine) -> None:
    from sqlalchemy.exc import DatabaseError

    from fangcuan.store.database import write

    sample(casebook)
    copied = "seed, filters, population_digest, seq, hash, numbers, drawn_by, drawn_at"
    for values in ("2, 0, 5", "2, 5, 0"):
        with pytest.raises(DatabaseError), write(casebook) as connection:
            connection.execute(
                text(
                    f"insert into audit_sample (sample, asked, population, {copied}) select {values}, {copied} from audit_sample"
                )
            )
