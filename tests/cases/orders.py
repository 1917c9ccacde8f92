"""Bring a case into any status, and give any order of the workflow with all its guards met: for matrices over the registry."""

from __future__ import annotations

import datetime as dt
import tempfile
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from casework_samples import employ, file_night, make_finding
from sqlalchemy import Engine, select

from fangcuan.cases import workflow
from fangcuan.cases.auditing.samples import SampleFilter, draw_sample
from fangcuan.cases.evidence.attachments import attachments_of
from fangcuan.cases.evidence.store import EvidenceStore
from fangcuan.cases.executor import Command, CommandResult, answer_by_link, execute
from fangcuan.cases.letters.correspondence import link_hash
from fangcuan.cases.penalties.computation import latest_penalty
from fangcuan.cases.people.access import Actor
from fangcuan.cases.policies import versions as policies
from fangcuan.cases.policies.rows import proposable
from fangcuan.cases.refusals import GuardFailed
from fangcuan.cases.views import list_cases, show_case
from fangcuan.cases.workflow import PROPOSE, Guarded, Order, Overlay, Proposal, Sanction, Transition, Workflow
from fangcuan.core.canonical import sha256_hex
from fangcuan.core.masters import MASTERS
from fangcuan.flow.policies import shipped_rows
from fangcuan.store.casework import case_file, case_finding, case_finding_move, finding
from fangcuan.store.database import read, write
from fangcuan.store.masters import MASTER_TABLES, business_key

#: Does everything, and is somebody else than the one who approves everything; the third had no part in anything.
ALL = Actor("user:all", frozenset({"analyst", "supervisor", "legal"}))
OTHER = Actor("user:other-one", frozenset({"analyst", "supervisor", "legal"}))
THIRD = Actor("user:third-one", frozenset({"supervisor", "legal"}))
#: Has worked on no case.
AUDITOR = Actor("user:qiu", frozenset({"auditor"}))
_KEYS = count()
#: Long enough ahead that no appeal is possible any more.
MUCH_LATER = dt.timedelta(days=400)


def staff(engine: Engine) -> None:
    employ(engine, ALL, OTHER, THIRD)


def give(
    engine: Engine, command: str, number: str, actor: Actor, /, *, now: dt.datetime | None = None, **params: Any
) -> CommandResult:
    return execute(engine, Command(command, number, actor, f"orders-{next(_KEYS)}", None, params), now=now)


def meet(engine: Engine, order: Order, number: str, *, into: str | None = None) -> dict[str, Any]:
    """Parameters with which an order's guards hold; attaches what has to be attached first."""
    params: dict[str, Any] = {"kind": order.kind} if isinstance(order, Proposal) else {}
    if isinstance(order, Overlay) and order.lays == "snooze":
        params["until"] = (dt.datetime.now(dt.UTC) + dt.timedelta(days=3)).isoformat()
    if isinstance(order, Proposal) and order.penalty is not None:
        agree_ladder(engine, number)
        if order.penalty.from_ and standing(engine, number) not in order.penalty.from_:
            penalise(engine, number, order.penalty.from_[0])
    if not isinstance(order, Guarded):
        return params
    for guard in order.guards:
        if guard in {"reason", "outcome", "class"}:
            params[guard] = order.listed(guard)[0]
        elif guard == "note":
            params["note"] = "because"
        elif guard == "amount":
            params["amount"] = "1"
        elif guard == "target":
            params["into"] = into
        elif guard == "parts":
            params["finding_id"] = parts(engine, number)[:1]
        elif guard == "checklist":
            params["checklist"] = list(workflow.default().checklists["diversion"])
        elif guard == "corroboration":
            with read(engine) as connection:
                there = attachments_of(connection, number)
            if not there:
                sha256 = sha256_hex(number.encode())
                give(engine, "attach", number, ALL, kind="purchase_receipt", name="receipt.jpg", sha256=sha256)
    return params


def parts(engine: Engine, number: str) -> list[str]:
    """The findings of a case that do not only support; an open case with one gets another one first."""
    mine = select(finding).join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
    mine = mine.where(case_finding.c.number == number, case_finding.c.support.is_(False))
    with read(engine) as connection:
        rows = connection.execute(mine.order_by(finding.c.finding_id)).all()
    if len(rows) == 1 and case(engine, number)["is_open"]:
        same = {name: getattr(rows[0], name) for name in ("unit_id", "family", "product_line", "grouping")}
        another = make_finding(rows[0].subject_id, sku=f"SKU-{next(_KEYS)}", **same)
        with tempfile.TemporaryDirectory() as folder:
            file_night(engine, Path(folder), [another], rows[0].last_seen)
        with read(engine) as connection:
            rows = connection.execute(mine.order_by(finding.c.finding_id)).all()
    return [row.finding_id for row in rows]


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


def agree_ladder(engine: Engine, number: str) -> None:
    """A contract of the case's partner whose ladder asks for a warning and 10 a unit, 5 the price the second time."""
    with read(engine) as connection:
        partner = connection.execute(select(case_file.c.subject_id).where(case_file.c.number == number)).scalar_one()
    policies.approve_shipped(engine, "legal_gate", shipped_rows("legal_gate"))
    know(engine, "contracts", contract_ref=f"C-{partner}", partner_id=partner, clause_code="T1", text="t1")
    know(engine, "products", sku="SKU-1", list_price=Decimal(80), unit_margin=Decimal("12.50"), currency="CNY")
    common = {"ladder_id": "standard", "offence": "wrong_region", "look_back_days": 365, "clause_code": "T1"}
    common |= {"jurisdiction": "CN", "legal_basis": "Civil Code art. 585", "valid_from": dt.date(2026, 1, 1)}
    steps: list[dict[str, Any]] = [
        {"occurrence": 1, "step": "warning"},
        {"occurrence": 1, "step": "fine_per_unit", "amount": Decimal(10), "currency": "CNY", "cap": Decimal(100)},
        {"occurrence": 2, "step": "fine_multiple_of_price", "amount": Decimal(5), "rounding": "half_up"},
    ]
    empty: dict[str, Any] = dict.fromkeys(proposable(MASTERS["penalty_ladders"]).column_names)
    try:
        made = policies.propose(engine, ALL, "penalty_ladders", [{**empty, **common, **step} for step in steps])
    except GuardFailed:
        return  # It is known already.
    policies.approve(engine, OTHER, made)


def know(engine: Engine, relation: str, **values: Any) -> None:
    """A row of a master table as a source brings it; what is mandatory and not given is made up."""
    table = MASTER_TABLES[relation]
    made_up = {"penalty_ladder_id": "standard", "currency": "CNY", "units_per_case": 6, "exclusive": True}
    row = {column.name: made_up.get(column.name, "A") for column in table.columns if not column.nullable} | values
    if relation == "contracts":
        row["penalty_ladder_id"] = "standard"
    row |= {"business_key": business_key(MASTERS[relation], {**dict.fromkeys(table.columns.keys()), **row})}
    row |= {"row_digest": sha256_hex(repr(sorted(row.items())).encode()), "source_id": "s", "receipt_id": "r"}
    with write(engine) as connection:
        if connection.execute(select(table).where(table.c.row_digest == row["row_digest"])).first() is None:
            connection.execute(table.insert().values(row))


def standing(engine: Engine, number: str) -> str | None:
    """Status of the latest penalty of a case."""
    with read(engine) as connection:
        row = latest_penalty(connection, number)
    return None if row is None else str(row.status)


def penalise(engine: Engine, number: str, status: str) -> None:
    """Take a confirmed case to a penalty in a status, by the shortest way."""
    rules = workflow.default()
    agree_ladder(engine, number)
    give(engine, PROPOSE, number, ALL, kind="penalty", note="as agreed")
    give(engine, "approve", number, OTHER)
    ways: dict[str, list[Sanction | Proposal]] = {str(standing(engine, number)): []}
    while status not in ways:
        for start, way in list(ways.items()):
            for each in (*rules.sanctions, *rules.proposals):
                step = each if isinstance(each, Sanction) else each.penalty
                if step is not None and step.to is not None and start in step.from_:
                    ways.setdefault(step.to, [*way, each])
    for each in ways[status]:
        if isinstance(each, Sanction):
            give(engine, each.command, number, ALL, **ordered(each))
        else:
            give(engine, PROPOSE, number, ALL, **meet(engine, each, number))
            give(engine, "approve", number, THIRD)


def ready(engine: Engine, number: str, step: Transition | Proposal, start: str) -> None:
    """Take a fresh case to where a step can be taken from `start`; a step on a penalty finds one that fits."""
    if not isinstance(step, Proposal) or step.penalty is None or not step.penalty.from_:
        bring(engine, number, start)
        return
    rules = workflow.default()
    bring(engine, number, "confirmed")
    if rules.has(start, "open"):
        penalise(engine, number, step.penalty.from_[0])
        give(engine, PROPOSE, number, ALL, kind="reopen", note="look again")
        give(engine, "approve", number, OTHER)
    elif start != "confirmed":
        penalise(engine, number, next(each for each in step.penalty.from_ if not rules.in_course(each)))
        bring_on = rules.transition("close", "confirmed")
        assert bring_on is not None
        give(engine, bring_on.command, number, ALL, **meet(engine, bring_on, number))


def ordered(order: Sanction) -> dict[str, Any]:
    """Parameters that a command on a penalty asks for."""
    letter = {"language": "zh", "sha256": sha256_hex(b"letter")}
    link = {"link_id": f"{next(_KEYS):016x}", "link_hash": link_hash(f"secret {next(_KEYS)}")}
    given: dict[str, dict[str, Any]] = {
        "issue": letter | link,
        "appeal": {"reason": order.reasons[0] if order.reasons else None, "text": "we did not"},
        "settle": {"amount": "1", "note": "received", "accepted": True},
        "tell": letter,
    }
    return given[order.does]


def split(engine: Engine, number: str, *finding_ids: str) -> str:
    """Propose to split a case in triage, and let it be approved; the number of what came of it."""
    chosen = list(finding_ids) or parts(engine, number)[:1]
    give(engine, "propose", number, ALL, kind="split", note="another matter", finding_id=chosen)
    give(engine, "approve", number, OTHER)
    with read(engine) as connection:
        query = select(case_finding_move.c.other).where(case_finding_move.c.number == number)
        return str(connection.execute(query.order_by(case_finding_move.c.moved_at.desc())).scalars().first())


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


def look_again(engine: Engine, number: str) -> None:
    """Draw a sample of all cases, and review one of them for it."""
    employ(engine, AUDITOR)
    drawn = draw_sample(engine, AUDITOR, count=99, seed="lottery", filters=SampleFilter(decided=False))
    said = {"result": "disagrees", "reasons": ["evidence_too_thin", "unlike_others"], "note": "two photos of one shelf"}
    give(engine, "review", number, AUDITOR, sample=drawn["sample"], **said)


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
