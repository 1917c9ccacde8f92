"""Decided cases as the consistency audit counts them: equal facts, whose case it was, and how it was treated.

The facts are what the nights found, never what people made of it: family, the unit that leads, severity, and the power of ten
of the quantity. Penalties are compared within the offence and class that were confirmed as well, because these say how hard
one may be. Which findings a decision rested on comes from its labels; their values are those that were reported last.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, select

from fangcuan.cases import workflow
from fangcuan.cases.auditing.consistency import Treated, quantity_band
from fangcuan.cases.people.access import actor_name
from fangcuan.cases.people.areas import PARTNER
from fangcuan.cases.policies.versions import in_force
from fangcuan.core.finding import SEVERITIES
from fangcuan.store.accounts import account
from fangcuan.store.casework import case_file, finding
from fangcuan.store.decisions import decision
from fangcuan.store.labels import label
from fangcuan.store.masters import MASTER_TABLES
from fangcuan.store.penalties import penalty

#: What cases are compared by, and what of them is compared.
BY = ("tier", "region", "handler")
OF = ("outcome", "penalised", "sanction")
#: A decision with this label confirmed the case.
_CONFIRMED = "right"


@dataclass(frozen=True)
class Asked:
    """Which decisions are compared, and by what. Days are of the decision, in `zone`, both included.

    `level` of the regions that `by` region groups by (as the master data call it); None: where each partner sits.
    """

    by: str = "tier"
    of: str = "outcome"
    since: dt.date | None = None
    until: dt.date | None = None
    zone: str = "UTC"
    family: str | None = None
    level: str | None = None


@dataclass(frozen=True)
class Decided:
    """The latest decision about a case: the case with the findings it rests on, the leading one first."""

    case: Row[Any]
    findings: Sequence[Row[Any]]
    day: dt.date

    @property
    def confirmed(self) -> bool:
        return bool(self.case.label == _CONFIRMED)


def treated(connection: Connection, asked: Asked) -> tuple[list[Treated], dict[str, int]]:
    """Cases that are decided now, and how many were left out by reason. Storms, and cases merged into others, are no decisions.

    `of` outcome: `confirmed` says whether the case was. `of` penalised: of confirmed cases, whether a penalty with money due
    followed. `of` sanction: confirmed cases with their sanction. Raises ValueError for a `by` or `of` that is none.
    """
    if asked.by not in BY or asked.of not in OF:
        raise ValueError(f"by {asked.by!r} of {asked.of!r}; expected by {', '.join(BY)}, of {', '.join(OF)}")
    cases = [one for one in _decided(connection, asked) if asked.of == "outcome" or one.confirmed]
    sanctions = sanctions_of(connection, [one.case.number for one in cases])
    group_of, left_out = _grouping(connection, asked), Counter[str]()
    found = []
    for one in cases:
        group, why_not = group_of(one)
        if group is None:
            left_out[why_not] += 1
            continue
        sanction = sanctions.get(one.case.number)
        amount = None if sanction is None else sanction.amount
        hit = bool(amount) if asked.of == "penalised" else one.confirmed
        found.append(Treated(one.case.number, _facts(one, asked.of, sanction), group, hit, amount))
    return found, dict(sorted(left_out.items()))


class Sanction(NamedTuple):
    """What a case cost whom it was about; an empty currency where it is no money."""

    amount: Decimal
    currency: str


def sanctions_of(connection: Connection, numbers: Sequence[str]) -> Mapping[str, Sanction]:
    """The latest penalty of each case as it is due now, after reviews; 0 where it was waived, reversed or only a warning.

    Cases without a penalty, and with one that nobody has issued yet, are not in it.
    """
    rules, wanted = workflow.default(), set(numbers)
    columns = (penalty.c.number, penalty.c.status, penalty.c.due, penalty.c.currency, penalty.c.issued_at)
    rows = connection.execute(select(*columns).order_by(penalty.c.number, penalty.c.penalty)).all()
    # Of one case the last one stands.
    latest = {row.number: row for row in rows if row.number in wanted}
    return {
        number: Sanction(row.due, row.currency or "")
        for number, row in latest.items()
        if row.issued_at is not None or not rules.in_course(row.status)
    }


def _facts(one: Decided, of: str, sanction: Sanction | None) -> tuple[str, ...]:
    leading = one.findings[0]
    severity = max((finding.severity for finding in one.findings), key=SEVERITIES.index)
    facts: tuple[str, ...] = (
        str(one.case.family),
        str(leading.unit_id),
        str(severity),
        quantity_band(leading.quantity),
    )
    if of == "outcome":
        return facts
    facts = (*facts, str(one.case.outcome), str(one.case.outcome_class or ""))
    # Amounts of two currencies have no common median.
    return facts if of == "penalised" or sanction is None else (*facts, sanction.currency)


def _decided(connection: Connection, asked: Asked) -> Iterable[Decided]:
    rules = workflow.default()
    statuses = [name for name in rules.statuses if rules.has(name, "decided") and not rules.has(name, "joined")]
    query = (
        select(
            label,
            case_file.c.family,
            case_file.c.subject_kind,
            case_file.c.subject_id,
            finding.c.score,
            finding.c.severity,
            finding.c.quantity,
        )
        .join(case_file, case_file.c.number == label.c.number)
        .join(finding, finding.c.finding_id == label.c.finding_id)
        .where(case_file.c.status.in_(statuses), ~case_file.c.storm)
        # Of each case the latest decision, and in it the leading finding first.
        .order_by(
            label.c.number, label.c.case_version.desc(), label.c.support, finding.c.score.desc(), finding.c.finding_id
        )
    )
    if asked.family is not None:
        query = query.where(case_file.c.family == asked.family)
    found: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query):
        latest = found[row.number]
        if not latest or latest[0].case_version == row.case_version:
            latest.append(row)
    zone = ZoneInfo(asked.zone)
    for rows in found.values():
        day = rows[0].decided_at.astimezone(zone).date()
        if (asked.since is None or asked.since <= day) and (asked.until is None or day <= asked.until):
            resting = [row for row in rows if not row.support] or rows
            yield Decided(rows[0], resting, day)


Group = tuple[str | None, str]


def _grouping(connection: Connection, asked: Asked) -> Callable[[Decided], Group]:
    """Gives the group of a case, or None and why it has none."""
    if asked.by == "handler":
        handlers = _handlers(connection)
        return lambda one: (handlers(one), "")
    partner_of = _partners(connection)
    regions = _levels(connection, asked.level) if asked.by == "region" else None

    def group(one: Decided) -> Group:
        if one.case.subject_kind != PARTNER:
            return None, "not about a partner"
        partner = partner_of(one)
        if partner is None:
            return None, "partner not in the master data of that day"
        if regions is None:
            return (partner.tier, "") if partner.tier else (None, "partner without a tier")
        region = regions(partner.region_code)
        return (region, "") if region else (None, f"no region of level {asked.level or 'any'} known")

    return group


def _handlers(connection: Connection) -> Callable[[Decided], str]:
    """Whoever proposed what was decided; where nobody had to, whoever decided. Accounts of one person are one."""
    person = {actor_name(row.kind, row.user_id): str(row.person) for row in connection.execute(select(account)).all()}
    approved = select(decision.c.number, decision.c.decided_at, decision.c.proposed_by).where(
        decision.c.verdict == "approved"
    )
    proposed = {(row.number, row.decided_at): row.proposed_by for row in connection.execute(approved)}

    def handler(one: Decided) -> str:
        name = proposed.get((one.case.number, one.case.decided_at), one.case.decided_by)
        return person.get(name, str(name))

    return handler


def _partners(connection: Connection) -> Callable[[Decided], Row[Any] | None]:
    """The partner a case is about, as the master data that were known at the decision had him on that day."""
    table = MASTER_TABLES["partners"]
    versions: dict[str, list[Row[Any]]] = defaultdict(list)
    newest = (table.c.recorded_at.desc().nulls_last(), table.c.row_digest.desc())
    for row in connection.execute(select(table).order_by(table.c.partner_id, *newest)):
        versions[row.partner_id].append(row)

    def partner(one: Decided) -> Row[Any] | None:
        seen: set[str] = set()
        for row in versions.get(one.case.subject_id, ()):
            if row.recorded_at is not None and row.recorded_at > one.case.decided_at:
                continue
            # Of one period the version recorded last stands, even where it says that the period ended before it began.
            if row.business_key in seen:
                continue
            seen.add(row.business_key)
            if (row.valid_from or dt.date.min) <= one.day < (row.valid_to or dt.date.max):
                return row
        return None

    return partner


def _levels(connection: Connection, level: str | None) -> Callable[[str | None], str | None]:
    """The region of a level that a region lies in; None where the master data know none."""
    rows = {row["region_code"]: row for row in in_force(connection, "regions", dt.date.max)}

    def lifted(code: str | None) -> str | None:
        seen: set[str] = set()
        while code and code not in seen:
            if level is None:
                return code
            row = rows.get(code)
            if row is None:
                return None
            if row["level"] == level:
                return code
            seen.add(code)
            code = row["parent_code"]
        return None

    return lifted
