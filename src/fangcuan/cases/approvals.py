"""Which text of a unit was approved, and by whom. The proposer never approves his own text."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import Engine, select

from fangcuan.cases.events import EventDraft, append, lock_head
from fangcuan.core.canonical import sha256_hex
from fangcuan.store.casework import rule_version
from fangcuan.store.database import read, write


class ApprovalRefused(Exception):
    """The proposal or approval was not recorded; the message says why."""


def propose(
    engine: Engine,
    *,
    unit_id: str,
    unit_digest: str,
    text: str,
    status: str,
    proposed_by: str,
    now: dt.datetime | None = None,
) -> bool:
    """Record a unit's text under its digest; False where it was recorded before."""
    moment = now or dt.datetime.now(dt.UTC)
    with write(engine) as connection:
        lock_head(connection)
        if connection.execute(select(rule_version).where(rule_version.c.unit_digest == unit_digest)).first():
            return False
        connection.execute(
            rule_version.insert().values(
                unit_digest=unit_digest,
                unit_id=unit_id,
                text=text,
                status=status,
                proposed_by=proposed_by,
                proposed_at=moment,
            )
        )
        data = {"unit_id": unit_id, "unit_digest": unit_digest, "status": status}
        data["text_sha256"] = sha256_hex(text.encode())
        append(connection, [EventDraft("unit.proposed", proposed_by, data)], recorded_at=moment)
    return True


def approve(engine: Engine, *, unit_digest: str, approved_by: str, now: dt.datetime | None = None) -> bool:
    """Approve a proposed text; False where it already is. Raises ApprovalRefused for an unknown digest or one's own."""
    moment = now or dt.datetime.now(dt.UTC)
    with write(engine) as connection:
        lock_head(connection)
        row = connection.execute(select(rule_version).where(rule_version.c.unit_digest == unit_digest)).one_or_none()
        if row is None:
            raise ApprovalRefused(f"{unit_digest}: nothing was proposed under this digest")
        if row.approved_by is not None:
            return False
        if row.proposed_by == approved_by:
            raise ApprovalRefused(f"{row.unit_id}: proposed by {approved_by}; someone else has to approve it")
        connection.execute(
            rule_version.update()
            .where(rule_version.c.unit_digest == unit_digest)
            .values(approved_by=approved_by, approved_at=moment)
        )
        data = {"unit_id": row.unit_id, "unit_digest": unit_digest, "proposed_by": row.proposed_by}
        append(connection, [EventDraft("unit.approved", approved_by, data)], recorded_at=moment)
    return True


def approved(engine: Engine) -> frozenset[str]:
    """Digests of unit texts that were approved."""
    with read(engine) as connection:
        query = select(rule_version.c.unit_digest).where(rule_version.c.approved_by.is_not(None))
        return frozenset(connection.execute(query).scalars())
