"""Penalties: computed from the contract's ladder, proposed, agreed by somebody else, and changed by review alone.

What is proposed is the whole computation, so that whoever approves sees every figure, and approves those and no others. Product
behaviour, not legal advice: a court may cut what a contract agreed.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import Connection, Row, func, select

from fangcuan.cases.commands import Step
from fangcuan.cases.penalties.lines import Counted, Price, line, rung, total
from fangcuan.cases.people.areas import PARTNER
from fangcuan.cases.people.four_eyes import refuse_own
from fangcuan.cases.policies.legal_gate import permitted
from fangcuan.cases.policies.versions import in_force
from fangcuan.cases.refusals import Conflict, GuardFailed
from fangcuan.cases.workflow import Proposal, Workflow
from fangcuan.core.canonical import decimal_text, digest, plain
from fangcuan.store.casework import case_finding, finding
from fangcuan.store.decisions import decision
from fangcuan.store.penalties import appeal, penalty

#: Version of the recipe of `compute`; a computation names the one it was made by.
VERSION = 1
#: Where a proposal keeps what was computed.
COMPUTATION = "computation"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def latest_penalty(connection: Connection, number: str) -> Row[Any] | None:
    """The penalty of a case that was made last, or None."""
    query = select(penalty).where(penalty.c.number == number).order_by(penalty.c.penalty.desc())
    return connection.execute(query.limit(1)).one_or_none()


def penalties_of(connection: Connection, number: str) -> list[dict[str, Any]]:
    """Penalties of a case with the appeals against each, in the order they were made."""
    query = select(penalty).where(penalty.c.number == number).order_by(penalty.c.penalty)
    said = select(appeal).where(appeal.c.number == number).order_by(appeal.c.penalty, appeal.c.appeal)
    appeals = [{name: plain(value) for name, value in row.items()} for row in connection.execute(said).mappings()]
    return [
        {
            **{name: plain(value) for name, value in row.items()},
            "appeals": [one for one in appeals if one["penalty"] == row["penalty"]],
        }
        for row in connection.execute(query).mappings()
    ]


def compute(
    connection: Connection, case: Row[Any], rules: Workflow, moment: dt.datetime, counted: Sequence[Counted] = ()
) -> dict[str, Any]:
    """What the contract of the partner asks for what was decided about a case, line by line, as plain JSON.

    `case` is a row of `case_file` with its machine columns; contract, ladder and list prices are those in force on the
    last day of what was seen, as known now. `counted` are units by their codes; without them, of each product and region the
    largest figure of a finding counts, because findings of one case may speak of the same units. Raises GuardFailed where
    something that the ladder goes by is not known, and says what.
    """
    if case.subject_kind != PARTNER:
        raise GuardFailed(
            f"penalty: {case.number} is about a {case.subject_kind}; a penalty goes by a partner's contract"
        )
    if case.outcome is None or case.outcome_class is None:
        raise GuardFailed(f"penalty: {case.number} has no offence and class; they come with its confirmation")
    # A window ends where the next begins: its last day is that of the moment before.
    day = (case.decision_cutoff - dt.timedelta(microseconds=1)).date()
    units = counted_units(connection, case.number, counted)
    clauses = _clauses(connection, case.subject_id, day, moment)
    fitting = [
        row
        for row in in_force(connection, "penalty_ladders", day, moment)
        if row["offence"] == case.outcome
        and row["class"] in (None, case.outcome_class)
        and (row["ladder_id"], row["clause_code"]) in clauses
    ]
    earlier = _earlier(connection, case, rules, moment)
    amount = sum((one.units for one in units), Decimal(0))
    chosen: list[Mapping[str, Any]] = []
    for ladder in sorted({row["ladder_id"] for row in fitting}):
        mine = [row for row in fitting if row["ladder_id"] == ladder]
        chosen += rung(mine, amount, lambda days: _within(earlier, moment, days))
    if not chosen:
        raise GuardFailed(
            f"penalty: no row of a penalty ladder in the contract of {case.subject_id} on {day} fits {case.outcome}, "
            f"{case.outcome_class}, {decimal_text(amount)} units, {len(earlier)} before; "
            f"`fangcuan policies show penalty_ladders` has the ladders, `contracts.penalty_ladder_id` names the partner's"
        )
    lines = [line(row, units, _prices(connection, units, day, moment)) for row in chosen]
    for each in lines:
        each["clause"] = clauses[each["ladder"], each["clause_code"]]
    claimed, currency = total(lines)
    reach = max(row["look_back_days"] for row in chosen)
    return {
        "version": VERSION,
        "case": case.number,
        "partner_id": case.subject_id,
        "offence": case.outcome,
        "class": case.outcome_class,
        "day": day.isoformat(),
        "evidence_root": case.decision_evidence_root,
        "contract": sorted({clauses[row["ladder_id"], row["clause_code"]]["contract_ref"] for row in chosen}),
        "counted": [plain(vars(one)) for one in units],
        "units": decimal_text(amount),
        "look_back_days": reach,
        "earlier": [one["number"] for one in earlier if _reaches(one, moment, reach)],
        "occurrence": 1 + _within(earlier, moment, reach),
        "lines": lines,
        "claimed": decimal_text(claimed),
        "currency": currency,
    }


def counted_units(connection: Connection, number: str, counted: Sequence[Counted]) -> list[Counted]:
    """`counted` where the findings of the case bear it out, else their largest figures. Raises GuardFailed."""
    figures = _figures(connection, number)
    return _checked(counted, figures, number) if counted else _largest(figures)


def counted_of(given: Any) -> list[Counted]:
    """Units by their codes, from a command's parameter. Raises GuardFailed for anything else."""
    found = []
    for one in given or ():
        try:
            units, codes = Decimal(str(one["units"])), str(one["codes"])
            whole = units == units.to_integral_value() and units > 0 and _DIGEST.fullmatch(codes)
            row = Counted(one["region_code"], str(one["sku"]), one["product_line"], units, codes)
        except (KeyError, TypeError, InvalidOperation) as error:
            raise GuardFailed(f"penalty: counted {one!r} is none: {error}") from error
        if not whole:
            raise GuardFailed(f"penalty: counted {one!r}; expected whole units above 0 and the sha256 of their codes")
        found.append(row)
    return found


def proposed_params(step: Step, proposal: Proposal) -> dict[str, Any]:
    """What a proposal about a penalty adds to its parameters: the computation it is about. Raises GuardFailed, Blocked."""
    if proposal.action is not None:
        permitted(step.connection, step.case, proposal.action, step.moment.date())
    if proposal.penalty is None or proposal.penalty.from_:
        return {}
    counted = counted_of(step.command.params.get("counted"))
    return {COMPUTATION: compute(step.connection, step.case, step.rules, step.moment, counted)}


def carry_out(step: Step, proposal: Proposal, row: Row[Any]) -> dict[str, Any]:
    """What an approved proposal `row` does to the penalty of its case: the row as it is from then on.

    Raises Conflict where what it was computed from has changed since, NotAuthorised for who had a part in what is reviewed.
    """
    assert proposal.penalty is not None
    before = latest_penalty(step.connection, step.number)
    if not proposal.penalty.from_:
        return _made(step, proposal, row, before)
    if before is None or before.status not in proposal.penalty.from_:
        raise Conflict(f"proposal {row.proposal} about {step.number} is stale: the penalty changed; return it")
    if proposal.apart:
        _refuse_involved(step, before)
    after: dict[str, Any] = {"status": proposal.penalty.to}
    if "amount" in row.params:
        after["due"] = Decimal(row.params["amount"])
    elif not step.rules.stands(proposal.penalty.to):
        after["due"] = Decimal(0)
    if not step.rules.in_course(proposal.penalty.to):
        after["ended_at"] = step.moment
    return changed(step, before, after)


def changed(step: Step, before: Row[Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Set columns of a penalty; its key and they, for the event."""
    key = (penalty.c.number == before.number) & (penalty.c.penalty == before.penalty)
    step.connection.execute(penalty.update().where(key).values(after))
    return {"number": before.number, "penalty": before.penalty, **after}


def amount_within(step: Step) -> None:
    """Guard: a reduction goes below what is due. Raises GuardFailed."""
    row = latest_penalty(step.connection, step.number)
    due = Decimal(0) if row is None else row.due
    given = money(step, "amount")
    if row is None or given >= due:
        raise GuardFailed(
            f"{step.command.name}: amount {given:f}; due are {due:f} {row.currency if row else ''}, expected less"
        )


def money(step: Step, name: str) -> Decimal:
    """A parameter as an amount of money. Raises GuardFailed."""
    text = str(step.command.params.get(name) or "").strip()
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise GuardFailed(f"{step.command.name}: {name} {text!r}; expected an amount such as 1200.50") from error
    if not amount.is_finite() or amount < 0 or amount != amount.quantize(Decimal("0.001")):
        raise GuardFailed(f"{step.command.name}: {name} {text!r}; expected an amount, not below 0, such as 1200.50")
    return amount


def _made(step: Step, proposal: Proposal, row: Row[Any], before: Row[Any] | None) -> dict[str, Any]:
    assert proposal.penalty is not None
    if proposal.action is not None:
        permitted(step.connection, step.case, proposal.action, step.moment.date())
    asked = row.params[COMPUTATION]
    again = compute(step.connection, step.case, step.rules, step.moment, _counted_again(asked))
    if again != asked:
        differing = sorted(name for name in again if again[name] != asked.get(name))
        raise Conflict(
            f"proposal {row.proposal} about {step.number} is stale: computed again, {', '.join(differing)} differ; "
            f"return it, and let it be made again on what is known now"
        )
    made = {
        "number": step.number,
        "penalty": (before.penalty if before is not None else 0) + 1,
        "proposal": row.proposal,
        "partner_id": step.case.subject_id,
        "offence": asked["offence"],
        "status": proposal.penalty.to,
        COMPUTATION: asked,
        "computation_digest": digest(asked),
        "evidence_root": row.evidence_root,
        "currency": asked["currency"],
        "claimed": Decimal(asked["claimed"]),
        "due": Decimal(asked["claimed"]),
        "agreed_at": step.moment,
        **dict.fromkeys(("settled", "issued_at", "notice", "appeal_until", "ended_at")),
    }
    step.connection.execute(penalty.insert().values(made))
    return made


def _counted_again(asked: Mapping[str, Any]) -> list[Counted]:
    """What was counted by codes; nothing where figures of findings were taken, which are taken anew."""
    rows = [one for one in asked["counted"] if one["codes"] is not None]
    return [Counted(**{**one, "units": Decimal(one["units"])}) for one in rows]


def _refuse_involved(step: Step, before: Row[Any]) -> None:
    """An appeal is looked at by somebody who had no part in the penalty, nor in the decision it rests on."""
    query = select(decision).where(decision.c.number == step.number, decision.c.verdict == "approved")
    for row in step.connection.execute(query.where(decision.c.proposal <= before.proposal)).all():
        persons = {row.decided_person, *row.proposed_persons}
        refuse_own(
            step.connection, step.command.actor, step.command.name, persons, did="had a part in it", takes="review it"
        )


def _figures(connection: Connection, number: str) -> list[Counted]:
    """What each finding of a case says: products by sku or, where that is open, by their line."""
    query = (
        select(finding.c.region_code, finding.c.sku, finding.c.product_line, finding.c.quantity)
        .join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
        .where(case_finding.c.number == number, case_finding.c.support.is_(False))
    )
    rows = connection.execute(query)
    return [Counted(row.region_code, row.sku, row.product_line, row.quantity or Decimal(0)) for row in rows]


def _largest(figures: Sequence[Counted]) -> list[Counted]:
    """Of each product and region the largest figure: findings of one case may speak of the same units."""
    largest: dict[tuple[Any, Any, Any], Decimal] = {}
    for one in figures:
        key = (one.region_code, one.sku, one.product_line)
        largest[key] = max(largest.get(key, Decimal(0)), one.units)
    ordered = sorted(largest.items(), key=lambda item: tuple(part or "" for part in item[0]))
    return [Counted(region, sku, product_line, units) for (region, sku, product_line), units in ordered if units]


def _checked(counted: Sequence[Counted], figures: Sequence[Counted], number: str) -> list[Counted]:
    """Codes that were counted, where the findings say that there may be so many. Raises GuardFailed."""
    said = units_by_region(figures)
    for region, units in units_by_region(counted).items():
        if units > said.get(region, Decimal(0)):
            raise GuardFailed(
                f"penalty: {units:f} codes counted in {region or 'no region'}, and the findings of {number} speak of "
                f"{said.get(region, Decimal(0)):f}"
            )
    return list(counted)


def units_by_region(rows: Sequence[Counted]) -> dict[str | None, Decimal]:
    """Units by region."""
    found: dict[str | None, Decimal] = {}
    for one in rows:
        found[one.region_code] = found.get(one.region_code, Decimal(0)) + one.units
    return found


def _clauses(
    connection: Connection, partner_id: str, day: dt.date, moment: dt.datetime
) -> dict[tuple[str, str], dict[str, str]]:
    """(ladder, clause) → contract and text, of the partner's contracts on a day."""
    return {
        (row["penalty_ladder_id"], row["clause_code"]): {"contract_ref": row["contract_ref"], "wording": row["text"]}
        for row in in_force(connection, "contracts", day, moment)
        if row["partner_id"] == partner_id and row["penalty_ladder_id"]
    }


def _prices(connection: Connection, units: Sequence[Counted], day: dt.date, moment: dt.datetime) -> dict[str, Price]:
    skus = {one.sku for one in units}
    if not any(skus):
        return {}
    rows = in_force(connection, "products", day, moment)
    priced = [row for row in rows if row["sku"] in skus and row["list_price"] is not None and row["currency"]]
    return {row["sku"]: Price(row["list_price"], row["currency"]) for row in priced}


def _earlier(connection: Connection, case: Row[Any], rules: Workflow, moment: dt.datetime) -> list[dict[str, Any]]:
    """Penalties of other cases that were issued to the partner for the same offence and stand, the latest first."""
    query = (
        select(penalty.c.number, penalty.c.status, penalty.c.issued_at)
        .where(penalty.c.partner_id == case.subject_id, penalty.c.offence == case.outcome)
        .where(penalty.c.number != case.number, penalty.c.issued_at.is_not(None), penalty.c.issued_at <= moment)
        .order_by(penalty.c.issued_at.desc(), penalty.c.number)
    )
    return [dict(row) for row in connection.execute(query).mappings() if rules.stands(row["status"])]


def _reaches(one: Mapping[str, Any], moment: dt.datetime, days: int) -> bool:
    return bool(one["issued_at"] > moment - dt.timedelta(days=days))


def _within(earlier: Sequence[Mapping[str, Any]], moment: dt.datetime, days: int) -> int:
    return sum(_reaches(one, moment, days) for one in earlier)


def has_ended(connection: Connection, rules: Workflow, numbers: Sequence[str]) -> set[str]:
    """Of these cases those whose latest penalty stands and is final: what comes later is another offence."""
    if not numbers:
        return set()
    newest = select(penalty.c.number, func.max(penalty.c.penalty).label("latest")).group_by(penalty.c.number).subquery()
    query = select(penalty.c.number, penalty.c.status).join(
        newest, (newest.c.number == penalty.c.number) & (newest.c.latest == penalty.c.penalty)
    )
    rows = connection.execute(query.where(penalty.c.number.in_(numbers))).all()
    return {row.number for row in rows if rules.stands(row.status) and not rules.in_course(row.status)}
