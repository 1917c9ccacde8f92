"""The tables, rebuilt from the events alone and compared with what is stored, row by row and column by column.

What is rebuilt: cases with their machine columns, findings and links; approvals of units and policies, with what they wrote
into master tables; accounts, roles and tokens; checkpoints; the counters of nights and units; the occurrences of each night by
their digest, and by them the rows of findings. Stored values are read as the database
holds them, so that a value of the wrong type or spelling differs as well.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Boolean, Connection, Table, inspect

from fangcuan.cases.history import projection_accounts, projection_nights, projection_policies
from fangcuan.cases.history.chain import CHUNK, stream
from fangcuan.cases.history.problems import Problem
from fangcuan.core.canonical import utc_text
from fangcuan.store.audits import audit_review, audit_sample
from fangcuan.store.base import CanonicalJson
from fangcuan.store.casework import (
    case_comment,
    case_file,
    case_finding_move,
    case_link,
    case_machine,
    checkpoint,
    filed_finding,
    filing_unit_night,
    rule_version,
)
from fangcuan.store.correspondence import partner_answer, partner_notice
from fangcuan.store.decisions import case_attachment, decision, legal_hold
from fangcuan.store.jsontext import canonical_text
from fangcuan.store.labels import label, suppression, suppression_hit
from fangcuan.store.penalties import appeal, penalty

#: Differences that are told; a table that was emptied would otherwise tell one per row.
MOST = 100
#: Tables compared row by row, in the order in which differences are told.
TABLES = (
    case_file,
    case_machine,
    filed_finding,
    case_finding_move,
    case_link,
    case_comment,
    case_attachment,
    decision,
    legal_hold,
    rule_version,
    checkpoint,
    *projection_nights.TABLES,
    partner_notice,
    partner_answer,
    penalty,
    appeal,
    label,
    suppression,
    suppression_hit,
    audit_sample,
    audit_review,
    *projection_accounts.TABLES,
    *projection_policies.TABLES,
)
#: Tables whose key begins with the number of a case.
_OF_CASES = frozenset(
    table.name
    for table in (
        case_file,
        case_machine,
        filed_finding,
        case_finding_move,
        case_link,
        case_comment,
        case_attachment,
        decision,
        legal_hold,
        label,
        partner_notice,
        partner_answer,
        penalty,
        appeal,
        audit_review,
    )
)
#: Columns of which the events hold the sha256.
_DIGESTED = frozenset({(rule_version.name, "text")}) | projection_accounts.DIGESTED | projection_policies.DIGESTED
#: Rows that a command writes beside a case: under this name its event holds the row as it is from then on.
_BESIDE = {"decision": decision, "attachment": case_attachment, "legal_hold": legal_hold, "link": case_link}
_BESIDE |= {"partner_notice": partner_notice, "partner_answer": partner_answer, "penalty": penalty, "appeal": appeal}
_BESIDE |= {"audit_review": audit_review}
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)

Key = tuple[Any, ...]


@dataclass
class Rebuilt:
    """What the events add up to: table → key → column → value as JSON, and what each night says of what it reported."""

    rows: dict[str, dict[Key, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    nights: projection_nights.Nights = field(default_factory=projection_nights.Nights)
    #: Master table → row_digest → the proposal whose approval wrote it.
    versions: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def apply(self, body: Mapping[str, Any]) -> None:
        """Replay one event; kinds that change no table are passed over."""
        kind, data = body["kind"], body["data"]
        known = _KINDS.get(kind)
        if known is not None:
            known(self, body, data)
        elif kind.startswith("case."):
            self.command(body, data)

    def command(self, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Every command of the workflow, and the waking of a case: what it did to the row of the case, and rows beside it."""
        if "after" in data:
            row = self.rows[case_file.name].setdefault((body["case"],), {"number": body["case"]})
            row.update(data["after"], version=data["version"])
        for name, table in _BESIDE.items():
            if name in data:
                key = tuple(data[name][column.name] for column in table.primary_key.columns)
                self.rows[table.name].setdefault(key, {}).update(data[name])
        if "machine" in data:
            self.rows[case_machine.name][(body["case"],)] = {"number": body["case"], **data["machine"]}
        self.moved(body, data)
        if "comment" in data:
            self.commented(body, data)
        for row in data.get("labels", ()):
            key = (row["number"], row["case_version"], row["finding_id"])
            self.rows[label.name][key] = {**row, "decided_by": body["actor"], "decided_at": body["recorded_at"]}

    def opened(self, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        number = body["case"]
        self.rows[case_file.name][(number,)] = dict(data["case"])
        for other in data["links"]:
            first, second = sorted((number, other))
            link = {"number": first, "other": second, "kind": "same_subject", "linked_night": body["night"]}
            self.rows[case_link.name].setdefault((first, second, "same_subject"), link)

    def findings(self, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        number = body["case"]
        self.rows[case_machine.name][(number,)] = {"number": number, **data["after"]}
        new: dict[Key, dict[str, Any]] = {}
        for one in data["findings"]:
            if one["fresh"]:
                key = (number, one["finding_id"])
                row = new.setdefault(
                    key,
                    {"number": number, "finding_id": key[1], "support": True, "attached_night": body["night"]},
                )
                # What came by a split was attached on the night on which the case it left got it.
                row["attached_night"] = one.get("attached_night", row["attached_night"])
                row["support"] = row["support"] and one["support"]
        self.rows[filed_finding.name].update(new)
        self.moved(body, data)

    def moved(self, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """What left a case and what came back to it."""
        for row in data.get("moves", ()):
            key = (row["number"], row["finding_id"], row["move"])
            self.rows[case_finding_move.name][key] = {**row, "moved_at": body["recorded_at"]}

    def commented(self, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        row = {**data["comment"], "author": body["actor"], "written_at": body["recorded_at"]}
        self.rows[case_comment.name][(row["number"], row["comment"])] = row

    def proposed(self, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        row = {name: data[name] for name in ("unit_id", "unit_digest", "status")}
        row |= {"proposed_by": body["actor"], "proposed_at": body["recorded_at"]}
        row |= {"approved_by": None, "approved_at": None}
        row |= {"proposed_persons": data.get("persons"), "approved_persons": None}
        if "text_sha256" in data:
            row["text"] = data["text_sha256"]
        self.rows[rule_version.name][(data["unit_digest"],)] = row

    def approved(self, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        row = self.rows[rule_version.name].setdefault((data["unit_digest"],), {"unit_digest": data["unit_digest"]})
        row.update(approved_by=body["actor"], approved_at=body["recorded_at"], approved_persons=data.get("persons"))

    def checkpointed(self, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        row = {name: data[name] for name in ("size", "root", "origin", "note")}
        self.rows[checkpoint.name][(data["size"],)] = {**row, "made_at": body["recorded_at"]}

    def suppressed(self, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        row = data["suppression"]
        self.rows[suppression.name].setdefault((row["suppression_id"],), {}).update(row)

    def sampled(self, body: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        row = {**data["sample"], "drawn_by": body["actor"], "drawn_at": body["recorded_at"]}
        self.rows[audit_sample.name][(row["sample"],)] = row


_KINDS: dict[str, Callable[[Rebuilt, Mapping[str, Any], Mapping[str, Any]], None]] = {
    "case.opened": Rebuilt.opened,
    "case.findings": Rebuilt.findings,
    "unit.proposed": Rebuilt.proposed,
    "unit.approved": Rebuilt.approved,
    "checkpoint.made": Rebuilt.checkpointed,
    "suppression.proposed": Rebuilt.suppressed,
    "suppression.approved": Rebuilt.suppressed,
    "suppression.ended": Rebuilt.suppressed,
    "audit.sample_drawn": Rebuilt.sampled,
    **projection_nights.KINDS,
    **projection_accounts.KINDS,
    **projection_policies.KINDS,
}


def compare(connection: Connection) -> tuple[int, list[Problem]]:
    """Rows compared, and the differences: at most MOST, the first of each table and key order first."""
    rebuilt = Rebuilt()
    with stream(connection) as rows:
        for seq, _, _, text in rows:
            try:
                rebuilt.apply(json.loads(text))
            except _UNREADABLE as error:
                why = f"{type(error).__name__}: {error}"
                return 0, [Problem("event_unreadable", {"seq": seq, "why": why}, seq=seq)]
    problems: list[Problem] = []
    compared = 0
    present = set(inspect(connection).get_table_names())
    with _raw(connection):
        for table in TABLES:
            if table.name in present:
                unknown = rebuilt.nights.silent if table is filing_unit_night else frozenset()
                compared += _compare_table(connection, table, rebuilt.rows[table.name], problems, unknown)
        findings, differences = projection_nights.compare_findings(connection, rebuilt.nights, MOST)
    compared += findings
    problems += projection_nights.compare_occurrences(connection, rebuilt.nights) + differences
    problems += projection_policies.compare_versions(connection, rebuilt, present)
    return compared, problems[:MOST]


def _compare_table(
    connection: Connection,
    table: Table,
    expected: dict[Key, dict[str, Any]],
    problems: list[Problem],
    unknown: Collection[str],
) -> int:
    """Rows compared; differences go to `problems`. Rows whose key begins with one of `unknown` are passed over."""
    sqlite = connection.dialect.name == "sqlite"
    names = [column.name for column in table.columns]
    keys = [column.name for column in table.primary_key.columns]
    order = ", ".join(keys)
    query = f"select {', '.join(names)} from {table.name} order by {order}"
    left = {tuple(str(part) for part in key): row for key, row in expected.items() if key[0] not in unknown}
    compared = 0
    for values in connection.exec_driver_sql(query, execution_options={"yield_per": CHUNK}):
        stored = {name: _stored(value) for name, value in zip(names, values, strict=True)}
        key = tuple(str(stored[name]) for name in keys)
        if key[0] in unknown:
            continue
        row = left.pop(key, None)
        compared += 1
        if row is None:
            problems.append(_problem("row_invented", table, key))
        else:
            problems += _differences(table, key, stored, row, sqlite)
        if len(problems) >= MOST:
            return compared
    problems += [_problem("row_missing", table, key) for key in sorted(left)]
    return compared


def _differences(
    table: Table, key: tuple[str, ...], stored: Mapping[str, Any], row: Mapping[str, Any], sqlite: bool
) -> Iterator[Problem]:
    for column in table.columns:
        if column.name not in row:
            continue
        found = stored[column.name]
        value = row[column.name]
        if (table.name, column.name) in _DIGESTED:
            found = found and hashlib.sha256(str(found).encode("utf-8", "surrogateescape")).hexdigest()
        elif isinstance(column.type, CanonicalJson) and value is not None:
            value = canonical_text(value).decode()
        elif isinstance(column.type, Boolean) and sqlite and value is not None:
            value = int(value)
        if found != value:
            shown = {"field": column.name, "found": _shown(found), "expected": _shown(value)}
            yield _problem("row_differs", table, key, **shown)


def _problem(kind: str, table: Table, key: tuple[str, ...], **more: Any) -> Problem:
    case = key[0] if table.name in _OF_CASES else None
    return Problem(kind, {"table": table.name, "row": " ".join(key), **more}, case=case, field=more.get("field"))


def _stored(value: Any) -> Any:
    """A value as the driver gives it, in the spelling of the events."""
    if isinstance(value, dt.datetime):
        return utc_text(value)
    return value.isoformat() if isinstance(value, dt.date) else value


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


@contextmanager
def _raw(connection: Connection) -> Iterator[None]:
    """SQLite keeps any bytes as text; what is not UTF-8 has to differ, not to fail."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    before, driver.text_factory = driver.text_factory, lambda data: data.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = before
