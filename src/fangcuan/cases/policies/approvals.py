"""Which text of a unit was approved, and by whom. The proposer never approves his own text, by none of his accounts."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from fangcuan.cases import workflow
from fangcuan.cases.history.events import EventDraft, append, lock_head
from fangcuan.cases.people.access import Actor, authorise
from fangcuan.cases.people.four_eyes import persons_behind, refuse_own
from fangcuan.cases.policies.deciding import DEFAULT_APPROVER, SHIPPER, deciding
from fangcuan.cases.refusals import GuardFailed
from fangcuan.core.canonical import plain, sha256_hex
from fangcuan.store.casework import rule_version
from fangcuan.store.database import read, write

#: Section of workflow.yml that says who proposes and who approves units.
UNITS = "units"


class ApprovalRefused(GuardFailed):
    """The proposal or approval was not recorded; the message says why."""


def propose(
    engine: Engine,
    actor: Actor,
    *,
    unit_id: str,
    unit_digest: str,
    text: str,
    status: str,
    now: dt.datetime | None = None,
) -> bool:
    """Record a unit's text under its digest; False where it was recorded before. Raises CommandRefused."""
    with deciding(engine, actor, "propose_unit", unit_id, now) as (connection, moment, record):
        role = authorise(connection, actor, "propose_unit", workflow.default().policy(UNITS).propose, moment)
        if _version(connection, unit_digest) is not None:
            return False
        behind = list(persons_behind(connection, actor))
        data = _insert(connection, unit_id, unit_digest, text, status, actor.name, behind, moment)
        record("unit.proposed", {**data, "role": role})
    return True


def approve(engine: Engine, actor: Actor, *, unit_digest: str, now: dt.datetime | None = None) -> bool:
    """Approve a proposed text; False where it already is.

    Raises CommandRefused: ApprovalRefused for an unknown digest, NotAuthorised without the role or for what one proposed
    oneself, under whatever name and at whosever terminal.
    """
    with deciding(engine, actor, "approve_unit", unit_digest, now) as (connection, moment, record):
        role = authorise(connection, actor, "approve_unit", workflow.default().policy(UNITS).approve, moment)
        row = _version(connection, unit_digest)
        if row is None:
            raise ApprovalRefused(
                f"{unit_digest[:12]}: nothing was proposed under this digest; `fangcuan rules propose` does so"
            )
        if row.approved_by is not None:
            return False
        proposed = row.proposed_persons if row.proposed_persons is not None else [row.proposed_by.partition(":")[2]]
        behind = list(refuse_own(connection, actor, "approve_unit", proposed))
        data = _approve(connection, row.unit_id, unit_digest, row.proposed_by, actor.name, behind, moment)
        record("unit.approved", {**data, "role": role})
    return True


def approve_shipped(
    engine: Engine, *, unit_id: str, unit_digest: str, text: str, status: str, now: dt.datetime | None = None
) -> bool:
    """Record and approve a text that came with the package, in nobody's name; False where it was recorded before.

    What a person proposed waits for a person: making the installation again is no way to approve one's own text.
    """
    moment = now or dt.datetime.now(dt.UTC)
    with write(engine) as connection:
        lock_head(connection)
        row = _version(connection, unit_digest)
        if row is not None and (row.approved_by is not None or row.proposed_by != SHIPPER):
            return False
        drafts = []
        if row is None:
            data = _insert(connection, unit_id, unit_digest, text, status, SHIPPER, [SHIPPER], moment)
            drafts.append(EventDraft("unit.proposed", SHIPPER, data))
        data = _approve(connection, unit_id, unit_digest, SHIPPER, DEFAULT_APPROVER, [DEFAULT_APPROVER], moment)
        drafts.append(EventDraft("unit.approved", DEFAULT_APPROVER, data))
        append(connection, drafts, recorded_at=moment)
    return True


def approved(engine: Engine) -> frozenset[str]:
    """Digests of unit texts that were approved."""
    with read(engine) as connection:
        query = select(rule_version.c.unit_digest).where(rule_version.c.approved_by.is_not(None))
        return frozenset(connection.execute(query).scalars())


def list_versions(engine: Engine, unit_id: str | None = None) -> list[dict[str, Any]]:
    """Every text of a unit that was proposed, the oldest first; of all units where none is named. Without the texts."""
    names = ("unit_id", "unit_digest", "status", "proposed_by", "proposed_at", "approved_by", "approved_at")
    query = select(*(rule_version.c[name] for name in names))
    if unit_id is not None:
        query = query.where(rule_version.c.unit_id == unit_id)
    with read(engine) as connection:
        rows = connection.execute(
            query.order_by(rule_version.c.unit_id, rule_version.c.proposed_at, rule_version.c.unit_digest)
        )
        return [{name: plain(value) for name, value in row.items()} for row in rows.mappings()]


def _version(connection: Connection, unit_digest: str) -> Row[Any] | None:
    return connection.execute(select(rule_version).where(rule_version.c.unit_digest == unit_digest)).one_or_none()


def _insert(
    connection: Connection,
    unit_id: str,
    unit_digest: str,
    text: str,
    status: str,
    proposed_by: str,
    behind: list[str],
    moment: dt.datetime,
) -> dict[str, Any]:
    """Insert a proposal; what its event says."""
    row = {"unit_id": unit_id, "unit_digest": unit_digest, "status": status}
    connection.execute(
        rule_version.insert().values(
            **row, text=text, proposed_by=proposed_by, proposed_at=moment, proposed_persons=behind
        )
    )
    return {**row, "text_sha256": sha256_hex(text.encode()), "persons": behind}


def _approve(
    connection: Connection,
    unit_id: str,
    unit_digest: str,
    proposed_by: str,
    approved_by: str,
    behind: list[str],
    moment: dt.datetime,
) -> dict[str, Any]:
    connection.execute(
        rule_version.update()
        .where(rule_version.c.unit_digest == unit_digest)
        .values(approved_by=approved_by, approved_at=moment, approved_persons=behind)
    )
    return {"unit_id": unit_id, "unit_digest": unit_digest, "proposed_by": proposed_by, "persons": behind}
