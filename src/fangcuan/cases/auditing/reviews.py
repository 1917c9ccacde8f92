"""Audit reviews: an auditor looks at a case again and writes whether he agrees. They stand beside the case and change nothing.

Nobody reviews a case that he worked on himself, under whatever account.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from fangcuan.cases.auditing.intervals import LEVEL, share_interval
from fangcuan.cases.auditing.samples import find_sample
from fangcuan.cases.commands import Step
from fangcuan.cases.people.access import actor_name
from fangcuan.cases.people.four_eyes import refuse_own
from fangcuan.cases.refusals import GuardFailed
from fangcuan.core.canonical import plain
from fangcuan.store.accounts import access_token, account
from fangcuan.store.audits import audit_review
from fangcuan.store.casework import body_field, case_file, event
from fangcuan.store.database import read

AGREES, DISAGREES, CANNOT_TELL = "agrees", "disagrees", "cannot_tell"
#: What can be found, and the reasons that go with it. Who agrees needs none.
REASONS: Mapping[str, tuple[str, ...]] = {
    AGREES: ("by_other_reasons", "recorded_badly"),
    DISAGREES: (
        "wrong_outcome",
        "wrong_class",
        "wrong_subject",
        "wrong_quantity",
        "evidence_too_thin",
        "evidence_overlooked",
        "answer_ignored",
        "procedure_not_followed",
        "unlike_others",
        "sanction_too_hard",
        "sanction_too_soft",
        "other",
    ),
    CANNOT_TELL: ("evidence_missing", "evidence_unclear", "not_reproducible", "reasons_not_stated", "other"),
}
#: Events of a case that are no work on it.
_NO_WORK = frozenset({"case.review", "case.exported"})


@dataclass(frozen=True)
class Handled:
    """Everybody who worked on a case, as persons, and who decided it last; None while it is open."""

    persons: frozenset[str]
    decided: str | None


def write_review(step: Step) -> dict[str, Any]:
    """Insert a review of the step's case; the row as its event has it. Raises GuardFailed, NotAuthorised for one's own case."""
    given = step.known("result", "reasons", "note", "sample")
    result, reasons = given.get("result"), _reasons(given)
    note = step.text("note") if result != AGREES or str(given.get("note") or "").strip() else None
    sample = _sampled(step, given.get("sample"))
    worked = handled(step.connection, step.number)
    persons = refuse_own(
        step.connection,
        step.command.actor,
        step.command.name,
        worked.persons,
        did=f"worked on {step.number}",
        takes="review it",
    )
    last = select(func.max(audit_review.c.review)).where(audit_review.c.number == step.number)
    row = {
        "number": step.number,
        "review": (step.connection.execute(last).scalar() or 0) + 1,
        "sample": sample,
        "result": result,
        "reasons": reasons,
        "note": note,
        "case_version": step.case.version,
        "evidence_root": step.case.evidence_root,
        "decision_evidence_root": None if step.case.is_open else step.case.decision_evidence_root,
        "decided_person": worked.decided,
        "handled_persons": sorted(worked.persons),
        "reviewed_by": step.command.actor.name,
        "reviewed_person": persons[0],
        "reviewed_persons": list(persons),
        "reviewed_at": step.moment,
    }
    step.connection.execute(audit_review.insert().values(row))
    return row


def handled(connection: Connection, number: str) -> Handled:
    """Who worked on a case, by its events: whoever gave a command, sat at the terminal, held it, or stood behind a proposal."""
    names: set[str] = set()
    tokens: set[str] = set()
    persons: set[str] = set()
    decided: str | None = None
    query = select(event.c.body).where(body_field("case") == number).order_by(event.c.seq)
    for text in connection.execute(query).scalars():
        body = json.loads(text)
        if body["kind"] in _NO_WORK:
            continue
        data = body["data"]
        via, after = data.get("via", {}), data.get("after", {})
        names |= {body["actor"], via.get("terminal"), after.get("assignee")}
        tokens |= {via.get("token")}
        persons |= set(data.get("decision", {}).get("proposed_persons", ()))
        if "is_open" in after:
            decided = None if after["is_open"] else body["actor"]
    issued = select(access_token.c.terminal).where(access_token.c.token_id.in_(sorted(tokens - {None})))
    names |= set(connection.execute(issued).scalars())
    known = _persons_of(connection, names - {None})
    return Handled(frozenset(persons) | frozenset(known.values()), known.get(str(decided)))


def reviews_of(connection: Connection, number: str) -> list[dict[str, Any]]:
    """Reviews of a case in the order they were written; see `list_reviews`."""
    return _shown(connection, audit_review.c.number == number)


def list_reviews(engine: Engine) -> list[dict[str, Any]]:
    """All reviews by case and number.

    `independent` is False where the auditor has meanwhile turned out to be somebody who had worked on the case.
    """
    with read(engine) as connection:
        return _shown(connection)


def progress(engine: Engine, sample: int) -> dict[str, Any]:
    """How far the review of a sample is, and what it says about the cases it was drawn from. Raises GuardFailed.

    "items" has every drawn case in the order it was drawn, with the latest review that names this sample. "estimate" is the
    share of decisions an auditor would not agree with among all `population` cases, by the exact interval for drawing without
    putting back (`intervals.share_interval`); cases of which he cannot tell are left out of it, and "high_if_unclear_are_wrong"
    counts them as wrong. It is None before the first result. Reviews that are not independent do not count.
    """
    with read(engine) as connection:
        row = find_sample(connection, sample)
        found = _shown(connection, audit_review.c.sample == sample)
        now = select(case_file.c.number, case_file.c.version).where(case_file.c.number.in_(row.numbers))
        versions = {one.number: one.version for one in connection.execute(now)}
    items = [_item(number, [one for one in found if one["number"] == number], versions) for number in row.numbers]
    return {
        "sample": sample,
        "population": row.population,
        "drawn": len(items),
        **_counts(items),
        "items": items,
        "estimate": _estimate(items, row.population),
    }


def _item(number: str, reviews: Sequence[Mapping[str, Any]], versions: Mapping[str, int]) -> dict[str, Any]:
    """A drawn case: what the latest review that counts says, and whether the case was changed after it."""
    counted = [one for one in reviews if one["independent"]]
    latest: Mapping[str, Any] = counted[-1] if counted else {}
    version = latest.get("case_version")
    return {
        "number": number,
        "result": latest.get("result"),
        "reasons": latest.get("reasons", []),
        "reviewed_by": latest.get("reviewed_by"),
        "reviewed_version": version,
        "changed_since": None if version is None else versions.get(number) != version,
        "auditors_differ": len({one["result"] for one in _last_of_each(counted)}) > 1,
        "not_independent": len(reviews) - len(counted),
    }


def _last_of_each(reviews: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    return {one["reviewed_person"]: one for one in reviews}.values()


def _counts(items: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counted = {result: sum(one["result"] == result for one in items) for result in REASONS}
    return {"reviewed": sum(counted.values()), "left": len(items) - sum(counted.values()), **counted}


def _estimate(items: Sequence[Mapping[str, Any]], population: int) -> dict[str, Any] | None:
    counts = _counts(items)
    wrong, told = counts[DISAGREES], counts[DISAGREES] + counts[AGREES]
    if not told:
        return None
    low, high = share_interval(wrong, told, population)
    _, worst = share_interval(wrong + counts[CANNOT_TELL], told + counts[CANNOT_TELL], population)
    return {
        "level": LEVEL,
        "share": plain(wrong / told),
        "low": plain(low),
        "high": plain(high),
        "high_if_unclear_are_wrong": plain(max(high, worst)),
        # The first ones drawn are a random sample; some that the auditor picked among the drawn are none.
        "in_the_order_drawn": all(one["result"] is not None for one in items[: counts["reviewed"]]),
    }


def _shown(connection: Connection, *conditions: Any) -> list[dict[str, Any]]:
    query = select(audit_review).where(*conditions).order_by(audit_review.c.number, audit_review.c.review)
    rows = connection.execute(query).mappings().all()
    accounts = connection.execute(select(account.c.user_id, account.c.person)).all()
    person = {row.user_id: row.person for row in accounts}

    def behind(persons: Iterable[str]) -> set[str]:
        return {*persons, *(person[one] for one in persons if one in person)}

    return [
        {
            **{name: plain(value) for name, value in row.items()},
            "independent": not behind(row["reviewed_persons"]) & behind(row["handled_persons"]),
        }
        for row in rows
    ]


def _persons_of(connection: Connection, names: Iterable[str]) -> dict[str, str]:
    """The person behind each actor's name; names without an account, such as `service:filing`, are left out."""
    wanted = set(names)
    user_ids = sorted({name.partition(":")[2] for name in wanted})
    found = connection.execute(select(account).where(account.c.user_id.in_(user_ids))).all()
    by_name = {actor_name(row.kind, row.user_id): row.person for row in found}
    return {name: person for name, person in by_name.items() if name in wanted}


def _reasons(given: Mapping[str, Any]) -> list[str]:
    result = given.get("result")
    if result not in REASONS:
        raise GuardFailed(f"review: result {result!r}; expected one of {', '.join(REASONS)}")
    reasons = given.get("reasons") or []
    known = REASONS[str(result)]
    if not isinstance(reasons, list) or (unknown := [str(one) for one in reasons if one not in known]):
        said = ", ".join(unknown) if isinstance(reasons, list) else repr(reasons)
        raise GuardFailed(f"review: reason {said}; whoever says {result} gives of {', '.join(known)}")
    if result != AGREES and not reasons:
        raise GuardFailed(f"review: whoever says {result} gives at least one reason of {', '.join(known)}")
    return sorted(set(reasons))


def _sampled(step: Step, sample: Any) -> int | None:
    """The sample that the case is reviewed for. Raises GuardFailed where it did not draw the case."""
    if sample is None:
        return None
    if not isinstance(sample, int):
        raise GuardFailed(f"review: sample {sample!r}; expected its number")
    if step.number not in find_sample(step.connection, sample).numbers:
        raise GuardFailed(f"review: sample {sample} did not draw {step.number}; leave the sample out")
    return sample
