"""Bring a case into any status, and give any order of the workflow with all its guards met: for matrices over the registry."""

from __future__ import annotations

import datetime as dt
from itertools import count
from pathlib import Path
from typing import Any

from casework_samples import employ, file_night, make_finding
from sqlalchemy import Engine, select

from fangcuan.cases import policies, workflow
from fangcuan.cases.access import Actor
from fangcuan.cases.attachments import attachments_of
from fangcuan.cases.correspondence import link_hash
from fangcuan.cases.evidence import EvidenceStore
from fangcuan.cases.executor import Command, CommandResult, answer_by_link, execute
from fangcuan.cases.views import list_cases, show_case
from fangcuan.cases.workflow import PROPOSE, Guarded, Order, Overlay, Proposal, Transition, Workflow
from fangcuan.core.canonical import sha256_hex
from fangcuan.flow.policies import shipped_rows
from fangcuan.store.casework import case_file
from fangcuan.store.database import read

#: Does everything, and is somebody else than the one who approves everything.
ALL = Actor("user:all", frozenset({"analyst", "supervisor", "legal"}))
OTHER = Actor("user:other-one", frozenset({"analyst", "supervisor", "legal"}))
_KEYS = count()
#: Long enough ahead that no appeal is possible any more.
MUCH_LATER = dt.timedelta(days=400)


def staff(engine: Engine) -> None:
    employ(engine, ALL, OTHER)


def give(
    engine: Engine, command: str, number: str, actor: Actor, /, *, now: dt.datetime | None = None, **params: Any
) -> CommandResult:
    return execute(engine, Command(command, number, actor, f"orders-{next(_KEYS)}", None, params), now=now)


def meet(engine: Engine, order: Order, number: str, *, into: str | None = None) -> dict[str, Any]:
    """Parameters with which an order's guards hold; attaches what has to be attached first."""
    params: dict[str, Any] = {"kind": order.kind} if isinstance(order, Proposal) else {}
    if isinstance(order, Overlay) and order.lays == "snooze":
        params["until"] = (dt.datetime.now(dt.UTC) + dt.timedelta(days=3)).isoformat()
    if not isinstance(order, Guarded):
        return params
    for guard in order.guards:
        if guard in {"reason", "outcome", "class"}:
            params[guard] = order.listed(guard)[0]
        elif guard == "note":
            params["note"] = "because"
        elif guard == "target":
            params["into"] = into
        elif guard == "checklist":
            params["checklist"] = list(workflow.default().checklists["diversion"])
        elif guard == "corroboration":
            with read(engine) as connection:
                there = attachments_of(connection, number)
            if not there:
                sha256 = sha256_hex(number.encode())
                give(engine, "attach", number, ALL, kind="purchase_receipt", name="receipt.jpg", sha256=sha256)
    return params


def way_to(rules: Workflow, status: str) -> list[Transition | Proposal]:
    """Transitions and proposals that lead from the initial status to another, the fewest."""
    ways: dict[str, list[Transition | Proposal]] = {rules.initial: []}
    steps: list[Transition | Proposal] = [*rules.transitions, *rules.proposals]
    while status not in ways:
        known = dict(ways)
        for each in steps:
            if each.to is None or (isinstance(each, Transition) and (each.wake or "review" in each.guards)):
                continue
            for start in each.from_:
                if start in known and each.to not in ways:
                    ways[each.to] = [*known[start], each]
        if len(ways) == len(known):
            # Only while it waits for a verdict is a case there.
            kind = next(one for one in rules.proposals if one.pending == status and one.from_[0] in ways)
            ways[status] = [*ways[kind.from_[0]], kind]
    return ways[status]


def bring(engine: Engine, number: str, status: str, *, into: str | None = None) -> None:
    """Take a fresh case to a status, by the shortest way, everybody doing what is his."""
    rules = workflow.default()
    for step in way_to(rules, status):
        name = PROPOSE if isinstance(step, Proposal) else step.command
        later = dt.datetime.now(dt.UTC) + MUCH_LATER if "appeal_window" in step.guards else None
        give(engine, name, number, ALL, now=later, **meet(engine, step, number, into=into))
        if isinstance(step, Proposal) and step.pending != status:
            give(engine, "approve", number, OTHER)


def correspond(engine: Engine, number: str) -> None:
    """Ask the partner of a case, and let him answer by his link; the legal gate is the one that ships."""
    policies.approve_shipped(engine, "legal_gate", shipped_rows("legal_gate"))
    said = {"reason": "other", "text": "one moment"}
    answer_by_link(engine, ask(engine, number), said, f"answer-{number}")


def ask(engine: Engine, number: str) -> str:
    """Ask the partner of a case; the link for his answer."""
    due = (dt.datetime.now(dt.UTC) + dt.timedelta(days=9)).isoformat()
    link_id, secret = f"{next(_KEYS):016x}", f"secret {next(_KEYS)}"
    given = {"language": "zh", "sha256": sha256_hex(b"letter"), "due_at": due, "link_id": link_id}
    give(engine, "request_answer", number, ALL, **given, link_hash=link_hash(secret))
    return f"{link_id}_{secret}"


def undrawn(engine: Engine) -> list[str]:
    """Numbers of the cases that may be dismissed directly: those not drawn for a second look, in their order."""
    share = max(each.review_share for each in workflow.default().transitions)
    with read(engine) as connection:
        rows = connection.execute(select(case_file).order_by(case_file.c.number)).all()
    drawn = (int(sha256_hex(f"review {row.case_key} {row.epoch}".encode())[:8], 16) / 2**32 < share for row in rows)
    return [row.number for row, out in zip(rows, drawn, strict=True) if not out]


def three_cases(engine: Engine, folder: Path) -> None:
    """Two cases of one dealer's lines, and one of another family; the first is in triage."""
    line = {"grouping": {"product_line": "B"}, "product_line": "B"}
    price = make_finding("P1", unit_id="price.below_floor", family="price")
    file_night(engine, folder, [make_finding("P1"), make_finding("P1", **line), price])
    staff(engine)
    give(engine, "triage", "FC-2026-000001", ALL)


def case(engine: Engine, number: str = "FC-2026-000001") -> dict[str, Any]:
    return next(each for each in list_cases(engine) if each["number"] == number)


def shown(engine: Engine, folder: Path, number: str = "FC-2026-000001") -> dict[str, Any]:
    return show_case(engine, EvidenceStore(folder), number, lambda code, params, language: code)
