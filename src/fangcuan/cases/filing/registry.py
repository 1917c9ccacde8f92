"""Stored findings: telling which are known under any of their names, and writing what a night reported about them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, select

from fangcuan.cases.filing.prepared import Prepared
from fangcuan.cases.history.digests import row_digest, spelled
from fangcuan.core.finding import RECORD_FIELDS
from fangcuan.store.casework import finding, finding_fingerprint, finding_occurrence

Item = TypeVar("Item")
#: Values per IN list: well below what either database allows.
IN_LIST = 5_000

#: Stored as times and decimals, not as the text of the record.
_FROM_FINDING = ("window_start", "window_end", "quantity", "quantity_low", "quantity_high", "money")
_FROM_RECORD = (*(name for name in RECORD_FIELDS if name not in _FROM_FINDING), "evidence", "evidence_root")


def chunks(items: Iterable[Item], size: int = IN_LIST) -> Iterator[list[Item]]:
    values = list(items)
    for start in range(0, len(values), size):
        yield values[start : start + size]


def filed_on(connection: Connection, night: dt.date) -> set[str]:
    """Identities that this night has already reported."""
    rows = connection.execute(select(finding_occurrence.c.reported_id).where(finding_occurrence.c.night == night))
    return set(rows.scalars())


def match(connection: Connection, reported: Sequence[Prepared]) -> tuple[dict[str, str], dict[str, str]]:
    """Which stored finding each reported one is, by identity or any fingerprint; a new one becomes its own.

    Gives (reported_id → finding_id) and the names that are new (name → finding_id). `reported` must be sorted by identity,
    so that several findings of one night that share a name come together in the same way every time.
    """
    names = sorted({name for one in reported for name in one.names})
    known: dict[str, str] = {}
    for part in chunks(names):
        rows = connection.execute(select(finding_fingerprint).where(finding_fingerprint.c.fingerprint.in_(part)))
        known.update((row.fingerprint, row.finding_id) for row in rows)
    stored = set(known)
    resolved: dict[str, str] = {}
    for one in reported:
        candidates = [known[name] for name in one.names if name in known]
        # The identity stands first among the names: the same unit text about the same thing beats a shared fingerprint.
        exact = known.get(one.names[0])
        resolved[one.reported_id] = exact or (min(candidates) if candidates else one.reported_id)
        for name in one.names:
            known.setdefault(name, resolved[one.reported_id])
    return resolved, {name: finding_id for name, finding_id in known.items() if name not in stored}


def write_findings(
    connection: Connection,
    night: dt.date,
    run_id: str,
    reported: Sequence[Prepared],
    resolved: Mapping[str, str],
    new_names: Mapping[str, str],
    states: Mapping[str, str],
) -> tuple[set[str], set[str]]:
    """Store findings, names and occurrences; (ids of new findings, ids of known ones). `states` is by finding_id."""
    latest: dict[str, Prepared] = {}
    for one in reported:
        finding_id = resolved[one.reported_id]
        rival = latest.get(finding_id)
        if rival is None or _recency(one) > _recency(rival):
            latest[finding_id] = one
    before = _load(connection, latest)
    columns = {one.reported_id: _columns(one) for one in reported}
    inserts, updates = [], []
    for finding_id, one in latest.items():
        old = before.get(finding_id)
        if old is None:
            dates = {"first_seen": night, "last_seen": night, "state": states[finding_id]}
            inserts.append({"finding_id": finding_id, **columns[one.reported_id], **dates})
            continue
        newest = (night, *_recency(one)) >= (old["last_seen"], old["window_end"], old["reported_id"])
        state = states[finding_id]
        updates.append(
            {
                **(columns[one.reported_id] if newest else {name: old[name] for name in _updated()}),
                "key": finding_id,
                "first_seen": min(night, old["first_seen"]),
                "last_seen": max(night, old["last_seen"]),
                "state": old["state"] if state == "noted" else state,
            }
        )
    if inserts:
        connection.execute(finding.insert(), inserts)
    if updates:
        connection.execute(_update_statement(), updates)
    if new_names:
        rows = [{"fingerprint": name, "finding_id": finding_id} for name, finding_id in sorted(new_names.items())]
        connection.execute(finding_fingerprint.insert(), rows)
    if reported:
        rows = [
            _occurrence(one, night, run_id, resolved)
            | _told(columns[one.reported_id], states[resolved[one.reported_id]])
            for one in reported
        ]
        connection.execute(finding_occurrence.insert(), rows)
    return latest.keys() - before.keys(), set(before)


def _recency(one: Prepared) -> tuple[dt.datetime, str]:
    return (one.finding.window_end, one.reported_id)


def _columns(one: Prepared) -> dict[str, Any]:
    return {
        "reported_id": one.reported_id,
        "evidence_sha256": one.evidence_sha256,
        **{name: one.record[name] for name in _FROM_RECORD},
        **{name: getattr(one.finding, name) for name in _FROM_FINDING},
    }


def _updated() -> tuple[str, ...]:
    return ("reported_id", "evidence_sha256", *_FROM_RECORD, *_FROM_FINDING)


def _update_statement() -> Any:
    changed = (*_updated(), "first_seen", "last_seen", "state")
    values = {name: bindparam(name, type_=finding.c[name].type) for name in changed}
    return finding.update().where(finding.c.finding_id == bindparam("key")).values(values)


def _load(connection: Connection, finding_ids: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    loaded: dict[str, Any] = {}
    for part in chunks(sorted(finding_ids)):
        rows = connection.execute(select(finding).where(finding.c.finding_id.in_(part))).mappings()
        loaded.update((row["finding_id"], row) for row in rows)
    return loaded


def _told(columns: Mapping[str, Any], state: str) -> dict[str, Any]:
    """What binds the finding's row to this occurrence, and so to the event of the night."""
    return {"row_sha256": row_digest(spelled(columns)), "state": state}


def _occurrence(one: Prepared, night: dt.date, run_id: str, resolved: Mapping[str, str]) -> dict[str, Any]:
    return {
        "night": night,
        "reported_id": one.reported_id,
        "finding_id": resolved[one.reported_id],
        "run_id": run_id,
        "unit_digest": one.finding.unit_digest,
        "window_start": one.finding.window_start,
        "window_end": one.finding.window_end,
        "score": one.record["score"],
        "evidence_root": one.record["evidence_root"],
        "evidence_sha256": one.evidence_sha256,
        "coverage_id": one.finding.coverage_id,
    }
