"""Policies as data: what was in force on a day as known at a moment, and how rows come to be in force by two people.

Somebody proposes rows of a master table, somebody else approves them; then they are versions of that table, recorded at the
moment of the approval. Nothing is deleted: a policy ends by a version with `valid_to`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, or_, select

from fangcuan.cases import workflow
from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.cases.people.access import Actor, authorise
from fangcuan.cases.people.areas import area_of_row
from fangcuan.cases.people.four_eyes import persons_behind, refuse_own
from fangcuan.cases.policies.approvals import UNITS
from fangcuan.cases.policies.deciding import DEFAULT_APPROVER, SHIPPER, deciding
from fangcuan.cases.policies.rows import PolicyInvalid, difference, latest, problems_of, stored, typed
from fangcuan.cases.refusals import Conflict, GuardFailed, NotAuthorised
from fangcuan.core.canonical import plain, sha256_hex
from fangcuan.core.masters import MASTERS
from fangcuan.store.database import read, write
from fangcuan.store.jsontext import canonical_text
from fangcuan.store.masters import (
    BEGINNING,
    MASTER_TABLES,
    business_key,
    business_key_columns,
    content_digest,
    version_digest,
)
from fangcuan.store.policies import BY_PROPOSAL, CASEBOOK, policy_proposal

#: Rows of one proposal: more than anybody looks through before approving them.
MOST_ROWS = 5_000
#: Decisions, and the events that say so.
DECISIONS = {"approve": "policy.approved", "reject": "policy.rejected", "withdraw": "policy.withdrawn"}


def in_force(
    connection: Connection, table: str, day: dt.date, known_at: dt.datetime | None = None
) -> list[dict[str, Any]]:
    """Rows of a master table valid on `day` (a date in the brand's zone) as known at `known_at`, by default now.

    Of each business key the version recorded last, the same that detectors see (`warehouse.canonical.master_view`), in the
    order of the keys. Raises KeyError for a name that is no master table.
    """
    rows = MASTER_TABLES[table]
    moment = known_at or dt.datetime.now(dt.UTC)
    newest = (rows.c.recorded_at.desc().nulls_last(), rows.c.row_digest.desc())
    place = func.row_number().over(partition_by=rows.c.business_key, order_by=newest).label("place")
    known = or_(rows.c.recorded_at.is_(None), rows.c.recorded_at <= moment)
    versions = select(rows, place).where(known).subquery()
    query = select(versions).where(versions.c.place == 1).order_by(versions.c.business_key)
    if "valid_from" in versions.c:
        query = query.where(or_(versions.c.valid_from.is_(None), versions.c.valid_from <= day))
        query = query.where(or_(versions.c.valid_to.is_(None), versions.c.valid_to > day))
    found = connection.execute(query).mappings()
    return [{name: value for name, value in row.items() if name != "place"} for row in found]


def kinds() -> tuple[str, ...]:
    """Master tables whose rows are proposed and approved, as workflow.yml has them."""
    return tuple(kind for kind in workflow.default().policies if kind != UNITS)


def propose(
    engine: Engine,
    actor: Actor,
    kind: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    note: str | None = None,
    positions: Sequence[str] = (),
    now: dt.datetime | None = None,
) -> int:
    """Propose typed rows of a master table; the number of the proposal. Rows that say what is known are left out.

    `positions` name the rows in problems. Raises CommandRefused: PolicyInvalid with every problem of every row, and then
    nothing is stored; NotAuthorised for a row outside the actor's region or brand; Conflict where the same waits already.
    """
    check_kind(kind)
    with deciding(engine, actor, f"propose_{kind}", None, now) as (connection, moment, record):
        roles = workflow.default().policy(kind).propose
        role = _authorise(connection, actor, f"propose_{kind}", roles, moment, rows)
        said = _news(connection, kind, rows, positions)
        text = canonical_text([stored(MASTERS[kind], row) for row in said])
        same = (policy_proposal.c.kind == kind) & (policy_proposal.c.content_digest == sha256_hex(text))
        waiting = connection.execute(
            select(policy_proposal.c.proposal).where(same, policy_proposal.c.decision.is_(None))
        )
        if (number := waiting.scalar()) is not None:
            raise Conflict(f"{kind}: proposal {number} says the same and is not decided yet")
        behind = list(persons_behind(connection, actor))
        number, data = _insert(connection, kind, said, note, actor.name, behind, moment)
        record("policy.proposed", {**data, "role": role})
    return number


def approve(
    engine: Engine, actor: Actor, proposal: int, *, reason: str | None = None, now: dt.datetime | None = None
) -> list[str]:
    """Approve what somebody else proposed; the business keys that have a new version, known from this moment on.

    Raises CommandRefused: NotAuthorised without the role for every row, or for what one proposed oneself under whatever
    name; Conflict where it was decided, or where one of its keys got another version since it was proposed.
    """
    with deciding(engine, actor, "approve_policy", str(proposal), now) as (connection, moment, record):
        row = _undecided(connection, proposal)
        role, behind = _decider(connection, actor, row, "approve_policy", moment)
        versions = _write_versions(connection, row, actor.name, moment)
        data = _decide(connection, row, "approve", reason, actor.name, behind, moment)
        record(DECISIONS["approve"], {**data, "role": role, "versions": [one["row_digest"] for one in versions]})
    return [one["business_key"] for one in versions]


def reject(engine: Engine, actor: Actor, proposal: int, *, reason: str, now: dt.datetime | None = None) -> None:
    """Reject what somebody else proposed, for a stated reason. Raises CommandRefused as `approve` does."""
    with deciding(engine, actor, "reject_policy", str(proposal), now) as (connection, moment, record):
        row = _undecided(connection, proposal)
        if not reason.strip():
            raise GuardFailed("reject_policy: a reason is needed")
        role, behind = _decider(connection, actor, row, "reject_policy", moment)
        data = _decide(connection, row, "reject", reason, actor.name, behind, moment)
        record(DECISIONS["reject"], {**data, "role": role})


def withdraw(
    engine: Engine, actor: Actor, proposal: int, *, reason: str | None = None, now: dt.datetime | None = None
) -> None:
    """Take back a proposal of one's own. Raises CommandRefused."""
    with deciding(engine, actor, "withdraw_policy", str(proposal), now) as (connection, moment, record):
        row = _undecided(connection, proposal)
        roles = workflow.default().policy(row.kind).propose
        if row.proposed_by != actor.name:
            raise NotAuthorised(f"withdraw_policy: proposal {proposal} is {row.proposed_by}'s; others reject it")
        role = _authorise(connection, actor, "withdraw_policy", roles, moment, _rows(row))
        data = _decide(connection, row, "withdraw", reason, actor.name, list(persons_behind(connection, actor)), moment)
        record(DECISIONS["withdraw"], {**data, "role": role})


def approve_shipped(
    engine: Engine, kind: str, rows: Sequence[Mapping[str, Any]], *, now: dt.datetime | None = None
) -> list[str]:
    """Propose and approve rows that came with the package, in nobody's name; the business keys that have a new version.

    Only keys that nobody decided about: what a person approved stays, whatever the package says now.
    """
    moment = now or dt.datetime.now(dt.UTC)
    with write(engine) as connection:
        lock_head(connection)
        known = latest(connection, kind, [business_key(MASTERS[kind], row) for row in rows])
        shipped = []
        for one in rows:
            before = known.get(business_key(MASTERS[kind], one))
            if before is None or before.approved_by == DEFAULT_APPROVER:
                shipped.append(one)
        try:
            said = _news(connection, kind, shipped, ()) if shipped else []
        except NothingNew:
            said = []
        if not said:
            return []
        number, data = _insert(connection, kind, said, None, SHIPPER, [SHIPPER], moment)
        drafts = [EventDraft("policy.proposed", SHIPPER, data)]
        row = _undecided(connection, number)
        versions = _write_versions(connection, row, DEFAULT_APPROVER, moment)
        data = _decide(connection, row, "approve", None, DEFAULT_APPROVER, [DEFAULT_APPROVER], moment)
        data["versions"] = [one["row_digest"] for one in versions]
        drafts.append(EventDraft(DECISIONS["approve"], DEFAULT_APPROVER, data))
        append(connection, drafts, recorded_at=moment)
    return [one["business_key"] for one in versions]


def list_proposals(engine: Engine, kind: str | None = None, *, undecided: bool = False) -> list[dict[str, Any]]:
    """Proposals, the newest first, without their rows."""
    query = select(policy_proposal).order_by(policy_proposal.c.proposal.desc())
    if kind is not None:
        query = query.where(policy_proposal.c.kind == kind)
    if undecided:
        query = query.where(policy_proposal.c.decision.is_(None))
    with read(engine) as connection:
        return [_shown(row) for row in connection.execute(query)]


def show_proposal(engine: Engine, proposal: int, *, day: dt.date | None = None) -> dict[str, Any]:
    """A proposal with each row beside what it replaces (see `policy_rows.difference`).

    One that is not decided is compared with what is known now, on its first day or, where it has none, on `day` (today).
    A decided one with what it was proposed against. Raises GuardFailed for a number that nobody gave.
    """
    with read(engine) as connection:
        row = _proposal(connection, proposal)
        return {**_shown(row), "changes": _differences(connection, row, day or dt.datetime.now(dt.UTC).date())}


def check_kind(kind: str) -> None:
    """Raises GuardFailed for what is no kind of policy."""
    if kind not in kinds():
        raise GuardFailed(f"{kind!r} is no kind of policy; expected one of {', '.join(kinds())}")


class NothingNew(GuardFailed):
    """Every row says what is known already."""


def _news(
    connection: Connection, kind: str, rows: Sequence[Mapping[str, Any]], positions: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows, checked, that say something else than the latest version of their key."""
    relation = MASTERS[kind]
    if not rows:
        raise NothingNew(f"{kind}: no rows; nothing was proposed")
    if len(rows) > MOST_ROWS:
        raise GuardFailed(
            f"{kind}: {len(rows)} rows; at most {MOST_ROWS} in one proposal, so that somebody can read them"
        )
    problems = problems_of(kind, rows, positions)
    if problems:
        raise PolicyInvalid(kind, problems)
    known = latest(connection, kind, [business_key(relation, row) for row in rows])
    said = []
    for row in rows:
        before = known.get(business_key(relation, row))
        if before is None or stored(relation, before._asdict()) != stored(relation, row):
            said.append(typed(relation, stored(relation, row)))
    if not said:
        raise NothingNew(f"{kind}: every row says what is known already; nothing was proposed")
    return sorted(said, key=lambda row: business_key(relation, row))


def _authorise(
    connection: Connection,
    actor: Actor,
    command: str,
    roles: Sequence[str],
    moment: dt.datetime,
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """The role in which the actor may do it for every one of the rows. Raises NotAuthorised."""
    role = authorise(connection, actor, command, roles, moment)
    for area in dict.fromkeys(area_of_row(connection, row) for row in rows):
        role = authorise(connection, actor, command, roles, moment, area)
    return role


def _decider(
    connection: Connection, actor: Actor, row: Row[Any], command: str, moment: dt.datetime
) -> tuple[str, list[str]]:
    """Role and persons of whoever decides about somebody else's proposal. Raises NotAuthorised."""
    roles = workflow.default().policy(row.kind).approve
    role = _authorise(connection, actor, command, roles, moment, _rows(row))
    return role, list(refuse_own(connection, actor, command, row.proposed_persons))


def _insert(
    connection: Connection,
    kind: str,
    rows: Sequence[Mapping[str, Any]],
    note: str | None,
    proposed_by: str,
    behind: list[str],
    moment: dt.datetime,
) -> tuple[int, dict[str, Any]]:
    """Insert a proposal; its number, and what its event says."""
    relation = MASTERS[kind]
    keys = [business_key(relation, row) for row in rows]
    known = latest(connection, kind, keys)
    base = {key: known[key].row_digest if key in known else None for key in keys}
    content = [stored(relation, row) for row in rows]
    number = (connection.execute(select(func.max(policy_proposal.c.proposal))).scalar() or 0) + 1
    said = {"proposal": number, "kind": kind, "content_digest": sha256_hex(canonical_text(content)), "base": base}
    said["note"] = note
    row = {**said, "content": content, "proposed_persons": behind}
    connection.execute(policy_proposal.insert().values(**row, proposed_by=proposed_by, proposed_at=moment))
    return number, {**said, "persons": behind}


def _decide(
    connection: Connection,
    row: Row[Any],
    decision: str,
    reason: str | None,
    decided_by: str,
    behind: list[str],
    moment: dt.datetime,
) -> dict[str, Any]:
    """Set the decision; what its event says."""
    decided = {"decision": decision, "reason": reason, "decided_by": decided_by, "decided_persons": behind}
    connection.execute(
        policy_proposal.update().where(policy_proposal.c.proposal == row.proposal).values(**decided, decided_at=moment)
    )
    return {"proposal": row.proposal, "kind": row.kind, "decision": decision, "reason": reason, "persons": behind}


def _write_versions(
    connection: Connection, proposal: Row[Any], approved_by: str, moment: dt.datetime
) -> list[dict[str, Any]]:
    """Write the rows of a proposal as versions recorded now. Raises Conflict where a key was given another version meanwhile."""
    relation, table = MASTERS[proposal.kind], MASTER_TABLES[proposal.kind]
    known = latest(connection, proposal.kind, sorted(proposal.base))
    versions = []
    for row in _rows(proposal):
        key = business_key(relation, row)
        before = known.get(key)
        if (before.row_digest if before is not None else None) != proposal.base[key]:
            raise Conflict(
                f"proposal {proposal.proposal}: {key} was given another version since; withdraw it and propose it again"
            )
        if before is not None and before.recorded_at is not None and before.recorded_at >= moment:
            raise Conflict(
                f"proposal {proposal.proposal}: the version of {key} is recorded for {plain(before.recorded_at)}, which is "
                "still to come; look at the clock of this machine and of the source"
            )
        approval = {"approved_by": approved_by, "approved_at": moment}
        row |= {name: value for name, value in approval.items() if name in relation}
        versions.append(
            {
                **row,
                "recorded_at": moment,
                "row_digest": version_digest(content_digest(relation, row), moment),
                "business_key": key,
                "source_id": CASEBOOK,
                "receipt_id": receipt_of(proposal.proposal),
            }
        )
    connection.execute(table.insert(), versions)
    written = select(func.count()).select_from(table).where(table.c.receipt_id == receipt_of(proposal.proposal))
    if connection.execute(written).scalar() != len(versions):
        # On SQLite the guard of the table skips what is there already instead of refusing it.
        raise Conflict(f"proposal {proposal.proposal}: some of its rows are there already; run `fangcuan audit verify`")
    return versions


def receipt_of(proposal: int) -> str:
    """`receipt_id` of master rows that came by a proposal."""
    return f"{BY_PROPOSAL}{proposal}"


def _rows(proposal: Row[Any]) -> list[dict[str, Any]]:
    return [typed(MASTERS[proposal.kind], row) for row in proposal.content]


def _proposal(connection: Connection, number: int) -> Row[Any]:
    row = connection.execute(select(policy_proposal).where(policy_proposal.c.proposal == number)).one_or_none()
    if row is None:
        raise GuardFailed(f"{number}: no such proposal; `fangcuan policies list` shows them")
    return row


def _undecided(connection: Connection, number: int) -> Row[Any]:
    row = _proposal(connection, number)
    if row.decision is not None:
        raise Conflict(
            f"proposal {number}: {row.decided_by} decided it ({row.decision}); propose anew what should change"
        )
    return row


def _differences(connection: Connection, proposal: Row[Any], today: dt.date) -> list[dict[str, Any]]:
    relation, table = MASTERS[proposal.kind], MASTER_TABLES[proposal.kind]
    entity = [name for name in business_key_columns(relation) if name != "valid_from"]
    known_at = proposal.decided_at - dt.timedelta(microseconds=1) if proposal.decided_at is not None else None
    digests = [digest for digest in proposal.base.values() if digest is not None]
    base = {
        row["business_key"]: dict(row)
        for start in range(0, len(digests), 500)
        for row in connection.execute(
            select(table).where(table.c.row_digest.in_(digests[start : start + 500]))
        ).mappings()
    }
    holding: dict[dt.date, dict[tuple[Any, ...], Mapping[str, Any]]] = {}
    found = []
    for row in _rows(proposal):
        before: Mapping[str, Any] | None = base.get(business_key(relation, row))
        amends = before is not None
        if before is None:
            day = row.get("valid_from") or today
            if day not in holding:
                rows = in_force(connection, proposal.kind, day, known_at)
                rows.sort(key=lambda one: one.get("valid_from") or BEGINNING.date())
                holding[day] = {tuple(one[name] for name in entity): one for one in rows}
            before = holding[day].get(tuple(row[name] for name in entity))
        found.append(difference(proposal.kind, row, before, amends=amends))
    return found


def _shown(row: Row[Any]) -> dict[str, Any]:
    names = ("proposal", "kind", "note", "proposed_by", "proposed_at", "decision", "reason", "decided_by", "decided_at")
    return {
        **{name: plain(getattr(row, name)) for name in names},
        "rows": len(row.content),
        "digest": row.content_digest,
    }
