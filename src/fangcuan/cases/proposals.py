"""Proposals: made by one person, on the evidence of that moment, and decided by another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, select

from fangcuan.cases.commands import Done, Step, entering
from fangcuan.cases.filing.splitting import Split, split
from fangcuan.cases.penalties.computation import carry_out, proposed_params
from fangcuan.cases.people.four_eyes import persons_behind, refuse_own
from fangcuan.cases.refusals import Conflict, NotAuthorised
from fangcuan.cases.requirements import demand
from fangcuan.cases.workflow import Proposal, Verdict
from fangcuan.core.canonical import plain
from fangcuan.store.casework import case_file, case_machine
from fangcuan.store.correspondence import partner_answer
from fangcuan.store.decisions import case_attachment, decision
from fangcuan.store.penalties import appeal


def open_proposal(connection: Connection, number: str) -> Row[Any] | None:
    """The proposal about a case that is not yet decided, or None."""
    query = select(decision).where(decision.c.number == number, decision.c.verdict.is_(None))
    return connection.execute(query).one_or_none()


def proposals_of(connection: Connection, number: str) -> list[dict[str, Any]]:
    """Proposals about a case in the order they were made; `stale` where evidence has come since an open one was made."""
    root = connection.execute(select(case_machine.c.evidence_root).where(case_machine.c.number == number)).scalar()
    rows = connection.execute(select(decision).where(decision.c.number == number).order_by(decision.c.proposal))
    found = []
    for row in rows.mappings():
        shown = {name: plain(value) for name, value in row.items() if name != "proposed_persons"}
        found.append({**shown, "stale": row["verdict"] is None and row["evidence_root"] != root})
    return found


def propose(step: Step, proposal: Proposal) -> Done:
    """Open a proposal. Its guards are met now; what it rests on is kept with it."""
    makes = proposal.penalty is not None and not proposal.penalty.from_
    demand(step, proposal, also=("kind", "counted") if makes else ("kind",))
    given = {name: value for name, value in step.command.params.items() if name != "kind" and value is not None}
    given |= proposed_params(step, proposal)
    last = select(func.max(decision.c.proposal)).where(decision.c.number == step.number)
    persons = persons_behind(step.connection, step.command.actor)
    row = {
        "number": step.number,
        "proposal": (step.connection.execute(last).scalar() or 0) + 1,
        "kind": proposal.kind,
        "from_status": step.case.status,
        "case_version": step.case.version,
        "evidence_root": step.case.evidence_root,
        "evidence_cutoff": step.case.window_end,
        "attachments": _attachments(step),
        "params": {name: value for name, value in given.items() if name != "counted"},
        "proposed_by": step.command.actor.name,
        "proposed_person": persons[0],
        "proposed_persons": list(persons),
        "proposed_at": step.moment,
        **dict.fromkeys(("verdict", "decided_by", "decided_person", "decided_at", "decision_note")),
    }
    step.connection.execute(decision.insert().values(row))
    after: dict[str, Any] = {}
    if proposal.pending is not None:
        after = {"status": proposal.pending, "is_open": step.rules.has(proposal.pending, "open")}
    return step.update(after, decision=row)


def decide(step: Step, verdict: Verdict, row: Row[Any]) -> Done:
    """Approve, return, reject or withdraw the open proposal `row`.

    Raises NotAuthorised for one's own (or, to withdraw, somebody else's), Conflict for one that new evidence made stale.
    """
    given = step.known("note", "proposal")
    if given.get("proposal", row.proposal) != row.proposal:
        raise Conflict(f"{step.number}: the open proposal is {row.proposal}, not {given['proposal']}; load it again")
    demand(step, verdict, also=("proposal",))
    kind, actor = step.rules.proposal(row.kind), step.command.actor
    if verdict.own:
        persons = persons_behind(step.connection, actor)
        if persons[0] != row.proposed_person:
            raise NotAuthorised(
                f"{verdict.command}: proposal {row.proposal} is of {row.proposed_by}; reject or return it"
            )
    else:
        persons = refuse_own(step.connection, actor, verdict.command, row.proposed_persons)
    decided = {
        "verdict": verdict.verdict,
        "decided_by": actor.name,
        "decided_person": persons[0],
        "decided_at": step.moment,
        "decision_note": given.get("note"),
    }
    back = {"status": row.from_status, "is_open": step.rules.has(row.from_status, "open")}
    after: dict[str, Any] = back if kind.pending is not None else {}
    more: dict[str, Any] = {}
    parted = Split()
    if verdict.verdict == "approved":
        _refuse_stale(step, kind, row)
        parted = split(step, row)
        after, more = {**_carried_out(step, kind, row), **parted.after}, dict(parted.data)
        if kind.penalty is not None:
            more["penalty"] = carry_out(step, kind, row)
    step.connection.execute(
        decision.update().where(decision.c.number == row.number, decision.c.proposal == row.proposal).values(decided)
    )
    done = step.update(after, decision={**row._mapping, **decided}, **more)
    return replace(done, also=parted.events)


def _refuse_stale(step: Step, kind: Proposal, row: Row[Any]) -> None:
    changed = []
    if row.evidence_root != step.case.evidence_root:
        changed.append("findings were added")
    if row.attachments != _attachments(step):
        changed.append("something was attached or answered")
    if step.case.status != (kind.pending or row.from_status):
        changed.append("its status changed")
    if changed:
        raise Conflict(
            f"proposal {row.proposal} about {step.number} is stale: since it was made, {' and '.join(changed)}; "
            f"return it, and let it be made again on what is known now"
        )


def _carried_out(step: Step, kind: Proposal, row: Row[Any]) -> dict[str, Any]:
    """What an approved proposal does to the case."""
    if kind.to is None:
        return {}
    params: Mapping[str, Any] = row.params
    after = entering(step.case, kind.to, step.rules, params)
    if "class" in params:
        after["outcome_class"] = params["class"]
    if "into" in params:
        target = select(case_file.c.is_open).where(case_file.c.number == params["into"])
        if not step.connection.execute(target).scalar():
            raise Conflict(f"{params['into']} is no longer open; return the proposal")
        after["merged_into"] = params["into"]
    if not after["is_open"]:
        return after
    return {**after, "outcome": None}


def _attachments(step: Step) -> int:
    """What was put beside the case so far, the partner's answers and appeals included."""
    counts = (
        select(func.count()).select_from(table).where(table.c.number == step.number)
        for table in (case_attachment, partner_answer, appeal)
    )
    return sum(int(step.connection.execute(count).scalar_one()) for count in counts)
