"""What people put beside a case: files in the evidence store, and links to other cases."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, func, select

from fangcuan.cases.auditing.reviews import write_review
from fangcuan.cases.commands import Done, Step
from fangcuan.cases.comments import write_comment
from fangcuan.cases.refusals import GuardFailed, UnknownCase
from fangcuan.cases.workflow import Remark
from fangcuan.core.canonical import plain
from fangcuan.store.casework import case_file, case_link
from fangcuan.store.decisions import case_attachment

#: Kinds of attachments. Those that bear out a diversion are listed in workflow.yml, `corroborated`.
KINDS = (
    "purchase_receipt",
    "delivery_note",
    "admission",
    "site_photo",
    "returned_goods",
    "test_purchase",
    "capture",
    "correspondence",
    "other",
)
#: What a person can say that two cases have to do with each other; `same_subject` is found by filing.
LINKS = ("same_goods", "same_source", "same_seller", "related")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def write_beside(step: Step, remark: Remark) -> Done:
    """Comment, amend, attach, link or review. Raises GuardFailed for what cannot be written."""
    if remark.writes == "attachment":
        return step.beside(attachment=_attach(step))
    if remark.writes == "link":
        return step.beside(link=_link(step))
    if remark.writes == "review":
        return step.beside(audit_review=write_review(step))
    amending = remark.writes == "amendment"
    actor, params = step.command.actor.name, step.command.params
    row = write_comment(step.connection, step.number, actor, params, amending=amending, moment=step.moment)
    return step.beside(comment=row)


def attachments_of(connection: Connection, number: str) -> list[dict[str, Any]]:
    """Attachments of a case in the order they came."""
    query = select(case_attachment).where(case_attachment.c.number == number).order_by(case_attachment.c.attachment)
    return [{name: plain(value) for name, value in row.items()} for row in connection.execute(query).mappings()]


def _attach(step: Step) -> dict[str, Any]:
    given = step.known("kind", "name", "sha256", "document", "note")
    kind, sha256 = given.get("kind"), str(given.get("sha256") or "")
    if kind not in KINDS:
        raise GuardFailed(f"attach: kind {kind!r}; expected one of {', '.join(KINDS)}")
    if not _DIGEST.fullmatch(sha256):
        raise GuardFailed("attach: sha256 is that of a file in the evidence store, 64 hex digits")
    name = step.text("name", longest=200)
    there = attachments_of(step.connection, step.number)
    if any((each["kind"], each["sha256"]) == (kind, sha256) for each in there):
        raise GuardFailed(f"attach: {step.number} has this file as {kind} already")
    row = {
        "number": step.number,
        "attachment": len(there) + 1,
        "kind": kind,
        "name": name,
        "sha256": sha256,
        "document_id": given.get("document"),
        "note": given.get("note"),
        "attached_by": step.command.actor.name,
        "attached_at": step.moment,
    }
    step.connection.execute(case_attachment.insert().values(row))
    return row


def _link(step: Step) -> dict[str, Any]:
    given = step.known("other", "kind")
    other, kind = str(given.get("other") or ""), given.get("kind", LINKS[-1])
    if kind not in LINKS:
        raise GuardFailed(f"link: kind {kind!r}; expected one of {', '.join(LINKS)}")
    found = select(func.count()).select_from(case_file).where(case_file.c.number == other)
    if not step.connection.execute(found).scalar():
        raise UnknownCase(f"{other or 'other'}: no such case to link {step.number} with")
    if other == step.number:
        raise GuardFailed(f"link: {other} is the case itself")
    first, second = sorted((step.number, other))
    row = {"number": first, "other": second, "kind": kind}
    same = (case_link.c.number == first) & (case_link.c.other == second) & (case_link.c.kind == kind)
    if step.connection.execute(select(case_link).where(same)).one_or_none() is not None:
        raise GuardFailed(f"link: {first} and {second} are linked as {kind} already")
    row = {**row, "linked_night": step.moment.date()}
    step.connection.execute(case_link.insert().values(row))
    return row
