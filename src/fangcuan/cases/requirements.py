"""What the guards of a step demand: each is a function of this module, and says what is missing and what to do."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from fangcuan.cases.commands import Step
from fangcuan.cases.evidence.attachments import attachments_of
from fangcuan.cases.overlays import holds_of
from fangcuan.cases.penalties.computation import amount_within, latest_penalty
from fangcuan.cases.people.areas import chain_of
from fangcuan.cases.policies.versions import in_force
from fangcuan.cases.refusals import GuardFailed
from fangcuan.cases.workflow import Guard, Guarded
from fangcuan.core.canonical import sha256_hex
from fangcuan.store.casework import body_field, case_file, case_finding, event, finding


def demand(step: Step, order: Guarded, *, also: tuple[str, ...] = ()) -> None:
    """Raise GuardFailed for the first guard of `order` that is not met, or for a parameter it does not know."""
    check(step, order)
    asked = [name for guard in order.guards for name in _PARAMETERS.get(guard, ())]
    step.known("note", *asked, *also)


def check(step: Step, order: Guarded) -> None:
    """The guards alone, for a step that knows its own parameters."""
    for guard in order.guards:
        _GUARDS[guard](step, order)


def _listed(name: Guard) -> Callable[[Step, Guarded], None]:
    def stated(step: Step, order: Guarded) -> None:
        given, allowed = step.command.params.get(name), order.listed(name)
        if given not in allowed:
            raise GuardFailed(f"{step.command.name}: {name} {given!r}; expected one of {', '.join(allowed)}")

    return stated


def _note(step: Step, order: Guarded) -> None:
    step.text("note")


def _low_impact(step: Step, order: Guarded) -> None:
    if step.case.severity not in order.severities:
        raise GuardFailed(
            f"{step.command.name}: {step.number} is {step.case.severity}; directly only {', '.join(order.severities)}: "
            f"propose it, and somebody else decides"
        )


def _review(step: Step, order: Guarded) -> None:
    """Which cases are looked at by a second person depends on the case alone, so that asking again changes nothing."""
    drawn = int(sha256_hex(f"review {step.case.case_key} {step.case.epoch}".encode())[:8], 16) / 2**32
    if drawn < order.review_share:
        raise GuardFailed(
            f"{step.command.name}: {step.number} is among the {order.review_share:.0%} that a second person looks at: "
            f"propose it, and somebody else decides"
        )


def _target(step: Step, order: Guarded) -> None:
    into = str(step.command.params.get("into") or "")
    row = step.connection.execute(select(case_file).where(case_file.c.number == into)).one_or_none()
    if row is None or row.number == step.number:
        raise GuardFailed(f"{step.command.name}: into {into!r}; expected the number of another case")
    if not row.is_open:
        raise GuardFailed(f"{step.command.name}: {into} is not open; reopen it first, or link the two")
    if row.family != step.case.family:
        raise GuardFailed(
            f"{step.command.name}: {into} is a case of {row.family}, {step.number} of {step.case.family}; link the two"
        )


def _parts(step: Step, order: Guarded) -> None:
    """Which findings go; those that only support stay with both, so that they are not among them."""
    given = step.command.params.get("finding_id")
    query = select(case_finding.c.finding_id).where(case_finding.c.number == step.number)
    mine = set(step.connection.execute(query.where(case_finding.c.support.is_(False))).scalars())
    if not isinstance(given, list | tuple) or not given or not set(given) <= mine or len(set(given)) < len(given):
        raise GuardFailed(
            f"{step.command.name}: finding_id {given!r}; expected findings that go, each once, of: {', '.join(sorted(mine))}"
        )
    if set(given) == mine:
        raise GuardFailed(f"{step.command.name}: at least one finding of {step.number} has to stay")


def _checklist(step: Step, order: Guarded) -> None:
    wanted = step.rules.checklists.get(step.case.family, ())
    given = step.command.params.get("checklist") or ()
    if not isinstance(given, list | tuple) or not set(given) <= set(wanted):
        raise GuardFailed(f"{step.command.name}: checklist {given!r}; it has: {', '.join(wanted) or 'nothing'}")
    if left := [item for item in wanted if item not in given]:
        raise GuardFailed(f"{step.command.name}: not yet looked at (checklist): {', '.join(left)}")


def _corroboration(step: Step, order: Guarded) -> None:
    kinds = step.rules.corroborated.get(step.case.family)
    if kinds is not None and not _corroborations(step):
        raise GuardFailed(
            f"{step.command.name}: {step.case.family} findings alone are no proof; attach a business document to "
            f"{step.number}: {', '.join(kinds)}"
        )


def _sufficiency(step: Step, order: Guarded) -> None:
    """By the evidence policy of the region where the goods turned up; of several regions, each has to be met."""
    rows = step.connection.execute(
        select(finding.c.region_code, finding.c.quantity)
        .join(case_finding, case_finding.c.finding_id == finding.c.finding_id)
        .where(case_finding.c.number == step.number, case_finding.c.support.is_(False))
    ).all()
    corroborations = len(_corroborations(step))
    for region in sorted({row.region_code for row in rows if row.region_code}):
        policy = _evidence_policy(step, region)
        if policy is None:
            continue
        # Findings of one case may count the same units, so that their largest figure is what is certain.
        units = max((row.quantity or Decimal(0) for row in rows if row.region_code == region), default=Decimal(0))
        for name, has, least in (
            ("units", units, policy["min_units"]),
            ("corroborations", Decimal(corroborations), policy["min_corroborations"]),
        ):
            if least is not None and has < least:
                raise GuardFailed(
                    f"{step.command.name}: the evidence policy of region {policy['region_code']} asks for {least} {name}, "
                    f"{step.number} has {has:f}"
                )


def _appeal_window(step: Step, order: Guarded) -> None:
    decided = _entered_at(step)
    over = decided + dt.timedelta(days=order.days)
    if step.moment < over:
        raise GuardFailed(
            f"{step.command.name}: {step.number} can be appealed against until {over.date().isoformat()} (UTC)"
        )


def _not_held(step: Step, order: Guarded) -> None:
    for hold in holds_of(step.connection, step.number):
        if hold["lifted_at"] is None:
            raise GuardFailed(
                f"{step.command.name}: {step.number} is under legal hold {hold['hold']} by {hold['placed_by']}: {hold['note']}"
            )


def _penalty_ended(step: Step, order: Guarded) -> None:
    row = latest_penalty(step.connection, step.number)
    if row is not None and step.rules.in_course(row.status):
        raise GuardFailed(
            f"{step.command.name}: penalty {row.penalty} of {step.number} is {row.status}; settle it, or have it waived or "
            f"reversed, first"
        )


def _no_penalty(step: Step, order: Guarded) -> None:
    row = latest_penalty(step.connection, step.number)
    if row is not None and step.rules.stands(row.status):
        raise GuardFailed(
            f"{step.command.name}: penalty {row.penalty} of {step.number} stands ({row.status}); have it waived or reversed first"
        )


def _amount(step: Step, order: Guarded) -> None:
    amount_within(step)


def _corroborations(step: Step) -> list[dict[str, Any]]:
    kinds = step.rules.corroborated.get(step.case.family, ())
    return [each for each in attachments_of(step.connection, step.number) if each["kind"] in kinds]


def _evidence_policy(step: Step, region: str) -> dict[str, Any] | None:
    """The policy in force today for a region, or for the nearest region above it that has one."""
    rows = in_force(step.connection, "evidence_policies", step.moment.date(), step.moment)
    mine = {row["region_code"]: row for row in sorted(rows, key=_begins) if row["family"] == step.case.family}
    return next((mine[code] for code in chain_of(step.connection, region) if code in mine), None)


def _begins(row: dict[str, Any]) -> dt.date:
    return row["valid_from"] or dt.date.min


def _entered_at(step: Step) -> dt.datetime:
    """When the case was decided as it is now: its latest event that set the status."""
    query = select(event.c.body).where(body_field("case") == step.number).order_by(event.c.seq.desc())
    for text in step.connection.execute(query).scalars():
        body = json.loads(text)
        if body["data"].get("after", {}).get("status") == step.case.status:
            return dt.datetime.fromisoformat(body["recorded_at"])
    raise GuardFailed(f"{step.number}: no event says when it was decided; run `fangcuan audit verify`")


_GUARDS: dict[str, Callable[[Step, Guarded], None]] = {
    "reason": _listed("reason"),
    "outcome": _listed("outcome"),
    "class": _listed("class"),
    "note": _note,
    "low_impact": _low_impact,
    "review": _review,
    "target": _target,
    "parts": _parts,
    "checklist": _checklist,
    "sufficiency": _sufficiency,
    "corroboration": _corroboration,
    "appeal_window": _appeal_window,
    "not_held": _not_held,
    "penalty_ended": _penalty_ended,
    "no_penalty": _no_penalty,
    "amount": _amount,
}
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "reason": ("reason",),
    "outcome": ("outcome",),
    "class": ("class",),
    "target": ("into",),
    "parts": ("finding_id",),
    "checklist": ("checklist",),
    "amount": ("amount",),
}
