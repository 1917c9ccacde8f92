"""An auditor's random sample: cases as they were after one event, drawn by a seed, so that anybody can draw them again.

The draw uses no generator that a library might change: every case of the population gets sha256 over `<seed>:<number>` in
UTF-8, and the smallest digests are drawn, in their order. So the first k drawn are themselves a sample of k.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine, Row, func, select

from fangcuan.cases import workflow
from fangcuan.cases.history.chain import Rows, stream, walk
from fangcuan.cases.history.projection import Rebuilt
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.accounts import administering
from fangcuan.cases.refusals import GuardFailed
from fangcuan.core.canonical import digest, plain, sha256_hex
from fangcuan.core.finding import FAMILIES
from fangcuan.store.audits import audit_sample
from fangcuan.store.casework import case_file, event, event_head
from fangcuan.store.database import read

COMMAND, KIND = "draw_sample", "audit.sample_drawn"
#: Cases of one sample: more than anybody reviews.
MOST = 5_000


@dataclass(frozen=True)
class SampleFilter:
    """Which cases a sample is drawn from; all conditions that are given must hold.

    `decided`: only cases that were decided and not open again; then `since` and `until` (days in `zone`, both included) are
    about the day of the decision, otherwise about the night on which the case was opened.
    """

    decided: bool = True
    family: str | None = None
    status: str | None = None
    since: str | None = None
    until: str | None = None
    zone: str = "UTC"

    def record(self) -> dict[str, Any]:
        """What is written down: conditions that are given, as JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def takes(self, case: AsOf) -> bool:
        if self.decided and case.decided_at is None:
            return False
        if self.family not in (None, case.family) or self.status not in (None, case.status):
            return False
        day = case.opened_night
        if self.decided:
            moment = dt.datetime.fromisoformat(str(case.decided_at))
            day = moment.astimezone(ZoneInfo(self.zone)).date().isoformat()
        return (self.since is None or self.since <= day) and (self.until is None or day <= self.until)


@dataclass(frozen=True)
class AsOf:
    """A case as events add up; `decided_at` (UTC text) is when it was last decided, None while it is open."""

    number: str
    family: str
    status: str
    opened_night: str
    decided_at: str | None


def draw(numbers: Iterable[str], seed: str, count: int) -> list[str]:
    """`count` of the numbers, or all where there are fewer: those with the smallest sha256(`<seed>:<number>`), in that order."""
    return sorted(numbers, key=lambda number: (sha256_hex(f"{seed}:{number}".encode()), number))[:count]


def cases_after(rows: Rows) -> list[AsOf]:
    """Every case as events (of `chain.stream`) add up, sorted by number. What the tables say plays no part."""
    rebuilt = Rebuilt()
    decided: dict[str, str] = {}
    known = rebuilt.rows[case_file.name]
    for _, _, _, text in rows:
        body = json.loads(text)
        number = body["case"]
        if number is None:
            continue
        was_open = known.get((number,), {}).get("is_open", True)
        rebuilt.apply(body)
        row = known.get((number,), {})
        if row.get("is_open", True):
            decided.pop(number, None)
        elif was_open:
            decided[number] = body["recorded_at"]
    return [
        AsOf(number, row["family"], row["status"], str(row["opened_night"]), decided.get(number))
        for (number,), row in sorted(known.items())
    ]


def draw_sample(
    engine: Engine,
    actor: Actor,
    *,
    count: int,
    seed: str,
    filters: SampleFilter | None = None,
    now: dt.datetime | None = None,
) -> dict[str, Any]:
    """Draw cases and record the draw; the sample as its event has it. Raises CommandRefused.

    The population is that of the last event there is when the draw begins. Work that goes on meanwhile comes after it.
    """
    wanted = filters or SampleFilter()
    _check(count, seed, wanted)
    with read(engine) as connection:
        seq, hash_ = connection.execute(select(event_head.c.seq, event_head.c.hash)).one()
        with stream(connection, seq) as rows:
            walked = walk(rows)
        if walked.problem is not None or (walked.events, walked.head) != (seq, hash_):
            raise GuardFailed("nothing is drawn from a history that does not verify; run `fangcuan audit verify`")
        population = _population(connection, seq, wanted)
    with administering(engine, actor, COMMAND, None, now) as (connection, moment, record):
        if not population:
            raise GuardFailed("there is no such case to draw from; ask for fewer conditions, or for --all cases")
        last = connection.execute(select(func.max(audit_sample.c.sample))).scalar()
        row = {
            "sample": (last or 0) + 1,
            "asked": count,
            "seed": seed,
            "filters": wanted.record(),
            "population": len(population),
            "population_digest": digest(population),
            "seq": seq,
            "hash": hash_,
            "numbers": draw(population, seed, count),
        }
        connection.execute(audit_sample.insert().values(**row, drawn_by=actor.name, drawn_at=moment))
        record(KIND, {"sample": row})
    return row


def list_samples(engine: Engine) -> list[dict[str, Any]]:
    """All samples in the order they were drawn, with who drew them."""
    with read(engine) as connection:
        rows = connection.execute(select(audit_sample).order_by(audit_sample.c.sample)).mappings().all()
    return [{name: plain(value) for name, value in row.items()} for row in rows]


def find_sample(connection: Connection, sample: int) -> Row[Any]:
    """The sample of this number. Raises GuardFailed."""
    row = connection.execute(select(audit_sample).where(audit_sample.c.sample == sample)).one_or_none()
    if row is None:
        raise GuardFailed(f"sample {sample}: there is none; `fangcuan audit samples` shows them")
    return row


def draw_again(engine: Engine, sample: int) -> dict[str, Any]:
    """Draw a recorded sample again from the events: {"sample", "same", "why", "population", "missing", "extra"}.

    `why` has one sentence for each thing that is not as recorded; `missing` were recorded and are not drawn now, `extra` the
    other way round. Raises GuardFailed for a sample there is none of.
    """
    with read(engine) as connection:
        row = find_sample(connection, sample)
        why = list(_differs_from_its_event(connection, row))
        with stream(connection, row.seq) as rows:
            walked = walk(rows)
        if walked.problem is not None:
            why.append(f"the history does not hold from event {walked.problem.seq} on: {walked.problem.text('en')}")
        elif walked.events < row.seq:
            why.append(f"it was drawn after event {row.seq}, and there are {walked.events} now")
        elif walked.head != row.hash:
            why.append(f"event {row.seq} is another one: it was {row.hash[:16]}…, it is {walked.head[:16]}…")
        population = _population(connection, row.seq, SampleFilter(**row.filters))
    if len(population) != row.population:
        why.append(f"there are {len(population)} cases to draw from; {row.population} were recorded")
    elif digest(population) != row.population_digest:
        why.append(f"the {len(population)} cases to draw from are others than those that were recorded")
    again = draw(population, row.seed, row.asked)
    missing, extra = _besides(row.numbers, again), _besides(again, row.numbers)
    if missing or extra:
        why.append(f"{len(missing)} of the cases recorded are not drawn, {len(extra)} are that were not recorded")
    elif again != row.numbers:
        why.append("the cases are the same and their order is another one")
    return {
        "sample": sample,
        "same": not why,
        "why": why,
        "population": len(population),
        "missing": missing,
        "extra": extra,
    }


def _population(connection: Connection, seq: int, filters: SampleFilter) -> list[str]:
    """Numbers of the cases to draw from, sorted, as the events up to `seq` add up."""
    with stream(connection, seq) as rows:
        return [case.number for case in cases_after(rows) if filters.takes(case)]


def _differs_from_its_event(connection: Connection, row: Row[Any]) -> Iterable[str]:
    bodies = connection.execute(
        select(event.c.body).where(event.c.seq > row.seq, event.c.body.contains(KIND))
    ).scalars()
    told = [
        one for one in map(json.loads, bodies) if one["kind"] == KIND and one["data"]["sample"]["sample"] == row.sample
    ]
    if len(told) != 1:
        yield f"{len(told)} events say that it was drawn; expected one"
        return
    said: Mapping[str, Any] = told[0]["data"]["sample"]
    differing = [name for name, value in said.items() if plain(getattr(row, name)) != value]
    if differing:
        yield f"the table says something else than the event of the draw about: {', '.join(differing)}"


def _besides(some: Iterable[str], others: Collection[str]) -> list[str]:
    return sorted(set(some) - set(others))


def _check(count: int, seed: str, filters: SampleFilter) -> None:
    if not 1 <= count <= MOST:
        raise GuardFailed(f"n is {count}; expected 1 to {MOST}")
    if not seed.strip():
        raise GuardFailed(
            "a seed is needed: any text, best one that nobody here could choose, such as a published number"
        )
    if filters.family is not None and filters.family not in FAMILIES:
        raise GuardFailed(f"family {filters.family!r}; expected one of {', '.join(FAMILIES)}")
    statuses = workflow.default().statuses
    if filters.status is not None and filters.status not in statuses:
        raise GuardFailed(f"status {filters.status!r}; expected one of {', '.join(statuses)}")
    for day in (filters.since, filters.until):
        if day is not None and not _is_day(day):
            raise GuardFailed(f"{day!r}: expected a day such as 2026-03-31")


def _is_day(text: str) -> bool:
    try:
        # Days are compared as text, so only the one spelling will do.
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
