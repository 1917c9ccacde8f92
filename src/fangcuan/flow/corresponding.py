"""Letters to a partner and his answers: the text goes into the evidence store first, then the command is given."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from fangcuan.cases import workflow
from fangcuan.cases.executor import answer_by_link
from fangcuan.cases.letters.correspondence import MOST_FILES, REASONS, find_link, link_hash, mark_overdue, notices_of
from fangcuan.cases.letters.rendering import render, words
from fangcuan.cases.penalties.computation import penalties_of
from fangcuan.cases.penalties.sanctions import penalty_of_notice
from fangcuan.cases.policies.legal_gate import notice_for, permitted
from fangcuan.cases.refusals import GuardFailed
from fangcuan.flow.casework import act, case_row
from fangcuan.flow.installation import Installation
from fangcuan.store.database import read

#: Bytes of one file that comes with an answer.
LARGEST = 20 << 20
#: Beginnings of the kinds of files that are taken: papers and photos, nothing that runs.
_KINDS: Mapping[bytes, str] = {
    b"%PDF-": "PDF",
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"PK\x03\x04": "Office document",
}


def request_answer(
    installation: Installation,
    number: str,
    *,
    due: dt.date,
    language: str = "zh",
    actor: str | None = None,
    role: str | None = None,
) -> dict[str, Any]:
    """Ask the partner to explain; `text` and `link` are to be sent to him, the link is shown this once.

    Raises CommandRefused, with the row of the legal gate where that blocks it.
    """
    due_at = dt.datetime.combine(due, dt.time(), installation.settings.zone) + dt.timedelta(days=1)
    text = _text(installation, number, "request_answer", "request", language, due=due)
    link_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    given = {"language": language, "sha256": installation.evidence.put(text.encode()), "due_at": due_at.isoformat()}
    given |= {"link_id": link_id, "link_hash": link_hash(secret)}
    done = act(installation, "request_answer", number, actor=actor, role=role, params=given)
    return {**done, "text": text, "link": f"{link_id}_{secret}", "due": due.isoformat()}


def send_letter(
    installation: Installation, number: str, *, language: str = "zh", actor: str | None = None, role: str | None = None
) -> dict[str, Any]:
    """The letter that tells the partner what was decided; its text is kept with the case. Raises CommandRefused."""
    text = _text(installation, number, "send_letter", "letter", language)
    given = {"language": language, "sha256": installation.evidence.put(text.encode())}
    return {**act(installation, "send_letter", number, actor=actor, role=role, params=given), "text": text}


def answer(
    installation: Installation, link: str, *, reason: str, text: str, files: Sequence[Path] = (), key: str | None = None
) -> dict[str, Any]:
    """The partner's answer, by the link he was sent. Raises CommandRefused; then no file of it is in the store."""
    with read(installation.engine) as connection:
        # Nobody without a link puts anything into the store.
        find_link(connection, link, dt.datetime.now(dt.UTC))
    given = {"reason": reason, "text": text, "files": stored_files(installation, files)}
    result = answer_by_link(installation.engine, link, given, key or uuid4().hex)
    return {"number": result.case, "seq": result.seq}


def stored_files(installation: Installation, files: Sequence[Path]) -> list[dict[str, str]]:
    """Papers and photos of a partner, put into the store; name and sha256 of each. Raises GuardFailed, then none is."""
    if len(files) > MOST_FILES:
        raise GuardFailed(f"answer: {len(files)} files; at most {MOST_FILES}")
    contents = [(path.name, _content(path)) for path in files]
    return [{"name": name, "sha256": installation.evidence.put(content)} for name, content in contents]


def partner_view(installation: Installation, link: str) -> dict[str, Any]:
    """What the holder of a link sees: the notice, until when he can answer or appeal, and what he said. Nothing else."""
    with read(installation.engine) as connection:
        row = find_link(connection, link, dt.datetime.now(dt.UTC))
        notices = notices_of(connection, row.number)
        penalty = penalty_of_notice(connection, row.number, row.notice)
        penalties = penalties_of(connection, row.number) if penalty is not None else []
    shown = next(one for one in notices if one["notice"] == row.notice)
    known, reasons, kind, said = words()["reasons"], tuple(REASONS), "answer", shown["answers"]
    if penalty is not None:
        known, reasons, kind = words()["appeals"], tuple(words()["appeals"]), "appeal"
        said = next(one["appeals"] for one in penalties if one["penalty"] == penalty.penalty)
    return {
        "number": row.number,
        "text": installation.evidence.get(row.sha256).decode(),
        "due_at": shown["due_at"],
        "expires_at": shown["expires_at"],
        "reasons": {reason: known[reason] for reason in reasons},
        "answers": [
            {
                "answer": one[kind],
                **{name: one[name] for name in ("reason", "text", "files")},
                "answered_at": one[f"{kind}ed_at"],
            }
            for one in said
        ],
    }


def overdue(installation: Installation, now: dt.datetime | None = None) -> list[str]:
    """Cases of which an answer is due and has not come, each told once."""
    return mark_overdue(installation.engine, now)


def _text(
    installation: Installation, number: str, command: str, kind: str, language: str, *, due: dt.date | None = None
) -> str:
    """The words: those that the legal gate prescribes, or those of letters.yml."""
    rules = workflow.default()
    letter = next(each for each in rules.letters if each.command == command)
    today = dt.datetime.now(installation.settings.zone).date()
    days = max((each.days for each in rules.transitions if "appeal_window" in each.guards), default=0)
    if language not in ("zh", "en"):
        raise GuardFailed(f"{command}: language {language!r}; expected zh or en")
    with read(installation.engine) as connection:
        case = case_row(connection, number)
        gate = permitted(connection, case, letter.action, today)
        if gate.template is not None:
            return str(notice_for(connection, case, today)["text"][language])
        return render(connection, case, kind, language, today=today, due=due, appeal_days=days)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise GuardFailed(f"answer: {path.name} cannot be read: {error.strerror or error}") from error
    if len(content) > LARGEST:
        raise GuardFailed(f"answer: {path.name} is larger than {LARGEST >> 20} MiB")
    if not any(content.startswith(magic) for magic in _KINDS):
        raise GuardFailed(f"answer: {path.name} is none of {', '.join(sorted(set(_KINDS.values())))}")
    return content
