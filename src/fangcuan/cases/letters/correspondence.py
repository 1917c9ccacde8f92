"""Notices to the partner a case is about, and his answers. He can add to a case and never close it."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select

from fangcuan.cases.commands import AWAKE, Done, Step
from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.cases.overlays import CONDITIONS
from fangcuan.cases.people.access import Actor
from fangcuan.cases.people.areas import PARTNER
from fangcuan.cases.refusals import GuardFailed, UnknownUser
from fangcuan.cases.requirements import check
from fangcuan.cases.workflow import Letter
from fangcuan.core.canonical import plain, sha256_hex
from fangcuan.store.correspondence import partner_answer, partner_notice
from fangcuan.store.database import write

#: What a partner can say in one word; his text says the rest.
REASONS = (
    "approved_transfer",
    "customer_travel",
    "e_commerce_order",
    "stolen_goods",
    "returned_goods",
    "master_data_error",
    "not_ours",
    "admitted",
    "other",
)
LANGUAGES = ("zh", "en")
#: Files of one answer, and answers to one notice: a link that leaked fills no disk.
MOST_FILES, MOST_ANSWERS = 10, 20
#: How long after the due day the link still takes an answer.
GRACE = dt.timedelta(days=30)
LONGEST = dt.timedelta(days=90)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LINK = re.compile(r"[0-9a-f]{16}")


def write_letter(step: Step, order: Letter) -> Done:
    """Send a notice or a decision letter, extend the time for an answer, or take an answer."""
    match order.does:
        case "extend":
            return _extend(step, order)
        case "answer":
            return take_answer(step, answered_by=step.command.actor.name)
        case _:
            return _send(step, order)


def notices_of(connection: Connection, number: str) -> list[dict[str, Any]]:
    """Notices about a case with the answers to each, in the order they went out; without what a link is checked by."""
    query = select(partner_notice).where(partner_notice.c.number == number).order_by(partner_notice.c.notice)
    answers = select(partner_answer).where(partner_answer.c.number == number).order_by(partner_answer.c.answer)
    said = [{name: plain(value) for name, value in row.items()} for row in connection.execute(answers).mappings()]
    return [
        {
            **{name: plain(value) for name, value in row.items() if name not in {"link_id", "link_hash"}},
            "answers": [one for one in said if one["notice"] == row["notice"]],
        }
        for row in connection.execute(query).mappings()
    ]


def take_answer(step: Step, *, answered_by: str, notice: int | None = None) -> Done:
    """Write an answer beside the case. It wakes a case that sleeps until the partner answers, and decides nothing."""
    given = step.known("reason", "text", "files", "notice")
    row = _asked(step, notice or given.get("notice"))
    if row.expires_at is not None and step.moment > row.expires_at:
        raise GuardFailed(f"answer: notice {row.notice} about {step.number} took answers until {plain(row.expires_at)}")
    if given.get("reason") not in REASONS:
        raise GuardFailed(f"answer: reason {given.get('reason')!r}; expected one of {', '.join(REASONS)}")
    files = listed_files(step.command.name, given.get("files") or [])
    counted = select(func.count()).select_from(partner_answer).where(partner_answer.c.number == step.number)
    if step.connection.execute(counted.where(partner_answer.c.notice == row.notice)).scalar_one() >= MOST_ANSWERS:
        raise GuardFailed(f"answer: notice {row.notice} has {MOST_ANSWERS} answers; ask whoever sent it for a new one")
    answer = {
        "number": step.number,
        "answer": step.connection.execute(counted).scalar_one() + 1,
        "notice": row.notice,
        "reason": given["reason"],
        "text": step.text("text"),
        "files": files,
        "answered_by": answered_by,
        "answered_at": step.moment,
    }
    step.connection.execute(partner_answer.insert().values(answer))
    if step.case.snooze_condition == CONDITIONS[1]:
        return step.update(AWAKE, partner_answer=answer)
    return step.beside(partner_answer=answer)


def answers_of(connection: Connection, number: str) -> int:
    query = select(func.count()).select_from(partner_answer).where(partner_answer.c.number == number)
    return int(connection.execute(query).scalar_one())


def find_link(connection: Connection, text: str, moment: dt.datetime) -> Row[Any]:
    """The notice whose link this is. Raises UnknownUser; the message never says what about the link is wrong."""
    link_id, _, secret = text.strip().partition("_")
    query = select(partner_notice).where(partner_notice.c.link_id == link_id)
    row = connection.execute(query).one_or_none() if _LINK.fullmatch(link_id) else None
    right = hmac.compare_digest(row.link_hash if row is not None else "", link_hash(secret))
    if row is None or not right or row.expires_at <= moment:
        raise UnknownUser("this link is not valid, or not any more")
    return row


def link_hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def mark_overdue(engine: Engine, now: dt.datetime | None = None) -> list[str]:
    """Say once of every notice whose day has passed without an answer that it is due; the numbers of their cases."""
    moment = now or dt.datetime.now(dt.UTC)
    with write(engine) as connection:
        lock_head(connection)
        answered = select(partner_answer.c.number).where(
            partner_answer.c.number == partner_notice.c.number, partner_answer.c.notice == partner_notice.c.notice
        )
        late = connection.execute(
            select(partner_notice)
            .where(
                partner_notice.c.due_at < moment,
                partner_notice.c.overdue_at.is_(None),
                ~answered.exists(),
            )
            .order_by(partner_notice.c.number, partner_notice.c.notice)
        ).all()
        drafts = []
        for row in late:
            key = (partner_notice.c.number == row.number) & (partner_notice.c.notice == row.notice)
            connection.execute(partner_notice.update().where(key).values(overdue_at=moment))
            told = {"number": row.number, "notice": row.notice, "overdue_at": moment}
            drafts.append(EventDraft("case.due", "service:correspondence", {"partner_notice": told}, case=row.number))
        append(connection, drafts, recorded_at=moment)
    return [row.number for row in late]


def _send(step: Step, order: Letter) -> Done:
    given = step.known("language", "sha256", "link_id", "link_hash", "due_at", "note")
    check(step, order)
    due = _due(step, given.get("due_at")) if order.does == "request" else None
    return step.beside(partner_notice=sent(step, order.does, order.action, due=due, expires=due and due + GRACE))


def sent(
    step: Step, kind: str, action: str, *, due: dt.datetime | None = None, expires: dt.datetime | None = None
) -> dict[str, Any]:
    """A notice to the partner as it goes out; one that `expires` has a link. Raises GuardFailed, and Blocked by the gate."""
    command, given = step.command.name, step.command.params
    if step.case.subject_kind != PARTNER:
        raise GuardFailed(
            f"{command}: {step.number} is about a {step.case.subject_kind}; only to a partner something can be sent"
        )
    language, sha256 = given.get("language"), str(given.get("sha256") or "")
    if language not in LANGUAGES or not _DIGEST.fullmatch(sha256):
        raise GuardFailed(f"{command}: a notice has a language ({', '.join(LANGUAGES)}) and a text in the store")
    row: dict[str, Any] = {
        "number": step.number,
        "notice": _last(step.connection, step.number) + 1,
        "kind": kind,
        "partner_id": step.case.subject_id,
        "language": language,
        "sha256": sha256,
        "gate_row": _allowed(step, action, str(language), sha256),
        "evidence_root": step.case.evidence_root,
        **dict.fromkeys(("link_id", "link_hash", "overdue_at")),
        "due_at": due,
        "expires_at": expires,
        "extensions": 0,
        "issued_by": step.command.actor.name,
        "issued_at": step.moment,
    }
    if expires is not None:
        row |= {"link_id": given.get("link_id"), "link_hash": given.get("link_hash")}
        if not (_LINK.fullmatch(str(row["link_id"])) and _DIGEST.fullmatch(str(row["link_hash"]))):
            raise GuardFailed(f"{command}: a link has an id of 16 and a hash of 64 hex digits")
    step.connection.execute(partner_notice.insert().values(row))
    return row


def _allowed(step: Step, action: str, language: str, sha256: str) -> str:
    """The row of the legal gate that allows it. Where that prescribes the words, they are these words."""
    from fangcuan.cases.policies.legal_gate import notice_for, permitted

    row = permitted(step.connection, step.case, action, step.moment.date())
    if row.template is not None:
        prescribed = notice_for(step.connection, step.case, step.moment.date())["text"][language]
        if sha256_hex(prescribed.encode()) != sha256:
            raise GuardFailed(f"{step.command.name}: {row.name} prescribes the words of {row.template}, and no others")
    return row.name


def _extend(step: Step, order: Letter) -> Done:
    given = step.known("notice", "due_at", "note")
    check(step, order)
    row = _asked(step, given.get("notice"))
    due = _due(step, given.get("due_at"))
    if due <= row.due_at:
        raise GuardFailed(f"{order.command}: notice {row.notice} is due on {plain(row.due_at)}; a later day is needed")
    after = {"due_at": due, "expires_at": due + GRACE, "extensions": row.extensions + 1, "overdue_at": None}
    key = (partner_notice.c.number == step.number) & (partner_notice.c.notice == row.notice)
    step.connection.execute(partner_notice.update().where(key).values(after))
    return step.beside(partner_notice={"number": step.number, "notice": row.notice, **after})


def _asked(step: Step, notice: int | None) -> Row[Any]:
    """The request that is meant: the one named, or the latest."""
    query = select(partner_notice).where(partner_notice.c.number == step.number, partner_notice.c.kind == "request")
    rows = step.connection.execute(query.order_by(partner_notice.c.notice)).all()
    chosen = [row for row in rows if row.notice == notice] if notice is not None else rows[-1:]
    if not chosen:
        raise GuardFailed(
            f"{step.command.name}: {step.number} has no request{f' {notice}' if notice else ''} to the partner"
        )
    return chosen[0]


def _due(step: Step, text: Any) -> dt.datetime:
    try:
        due = dt.datetime.fromisoformat(str(text))
    except ValueError as error:
        raise GuardFailed(f"{step.command.name}: due_at {text!r}; expected a day such as 2026-12-01") from error
    due = due if due.tzinfo else due.replace(tzinfo=dt.UTC)
    if not step.moment < due <= step.moment + LONGEST:
        raise GuardFailed(
            f"{step.command.name}: due {plain(due)}; expected a day after today, at most {LONGEST.days} ahead"
        )
    return due


def listed_files(command: str, files: Any) -> list[dict[str, str]]:
    """Files that come with what a partner says, each with name and sha256. Raises GuardFailed."""
    shaped = isinstance(files, list) and all(isinstance(one, Mapping) for one in files)
    if not shaped or len(files) > MOST_FILES:
        raise GuardFailed(f"{command}: files are a list of at most {MOST_FILES}, each with name and sha256")
    found = []
    for one in files:
        name, sha256 = str(one.get("name") or ""), str(one.get("sha256") or "")
        if not 0 < len(name) <= 200 or not _DIGEST.fullmatch(sha256):
            raise GuardFailed(f"{command}: file {name[:40]!r} needs a name of at most 200 characters and its sha256")
        found.append({"name": name, "sha256": sha256})
    return found


def _last(connection: Connection, number: str) -> int:
    query = select(func.max(partner_notice.c.notice)).where(partner_notice.c.number == number)
    return int(connection.execute(query).scalar() or 0)


def linked_actor(row: Row[Any]) -> Actor:
    """Who answers through a link: the partner, by this link and no account."""
    return Actor(f"link:{row.link_id}")
