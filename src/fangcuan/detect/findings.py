"""Rows of a unit's query become findings; the rows they rest on are fetched and digested."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pyarrow as pa

from fangcuan.core.canonical import canonical_json, plain, quantise, sha256_hex
from fangcuan.core.feeds import FEEDS
from fangcuan.core.finding import SEVERITIES, EvidenceRef, Finding
from fangcuan.core.masters import MASTERS
from fangcuan.detect.relations import Night
from fangcuan.detect.units import AnyUnit
from fangcuan.settings import Settings
from fangcuan.warehouse.engine import quote

_OBJECT = ("sku", "product_line", "region_code", "channel", "lot")
_NUMBERS = ("quantity", "quantity_low", "quantity_high", "money")
_FLOATS = ("p_value", "log_e", "probability")
_PREFIX = "evidence_"
#: Columns of a query that mean the same in every unit.
STANDARD = frozenset(
    {
        *("subject_id", "window_start", "window_end", "score", "severity", "currency", "period", "observation_ids"),
        *_OBJECT,
        *_NUMBERS,
        *_FLOATS,
    }
)


class UnitError(Exception):
    """A unit's query ran but its rows do not fit the contract of findings; the message names column and row."""


def check_columns(unit: AnyUnit, names: Sequence[str]) -> None:
    """Raises UnitError when a column is missing or means nothing."""
    rule = unit.rule
    missing = {"subject_id", "window_start", "window_end", "score"} - set(names)
    missing |= set(rule.explanation_names) - set(names)
    missing |= set(rule.fingerprint) - set(names) - {"subject"}
    if missing:
        raise UnitError(f"{rule.id}: the query gives no column {', '.join(sorted(missing))}; add it to the select")
    for name in names:
        relation = name.removeprefix(_PREFIX)
        if name.startswith(_PREFIX) and relation not in FEEDS and relation not in MASTERS:
            raise UnitError(f"{rule.id}: column {name}: {relation!r} is no relation; name evidence_<relation>")
        if not name.startswith(_PREFIX) and name not in STANDARD and name not in rule.explanation_names:
            if name in rule.fingerprint:
                continue
            raise UnitError(f"{rule.id}: column {name} is not used; drop it or name it in the explanation")


def to_findings(
    unit: AnyUnit, table: pa.Table, coverage_id: str, settings: Settings
) -> list[tuple[Finding, list[tuple[str, str]]]]:
    """(finding without evidence, its evidence keys) per row, sorted by finding id. Raises UnitError."""
    check_columns(unit, table.column_names)
    pairs = [_finding(unit, row, coverage_id, settings) for row in table.to_pylist()]
    pairs.sort(key=lambda pair: pair[0].finding_id)
    for (first, _), (second, _) in pairwise(pairs):
        if first.finding_id == second.finding_id:
            raise UnitError(
                f"{unit.id}: two rows about subject {first.subject_id}, {first.object_keys}, window "
                f"{first.window_start:%Y-%m-%d}; a query gives one row per subject, object and window"
            )
    return pairs


def _moment(value: Any, settings: Settings) -> dt.datetime:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC)
    if isinstance(value, dt.date):
        return dt.datetime.combine(value, dt.time(), settings.zone).astimezone(dt.UTC)
    raise UnitError(f"window bound {value!r} is neither date nor time")


def _finding(
    unit: AnyUnit, row: Mapping[str, Any], coverage_id: str, settings: Settings
) -> tuple[Finding, list[tuple[str, str]]]:
    rule = unit.rule
    if row["subject_id"] is None or row["score"] is None:
        raise UnitError(f"{rule.id}: a row without subject_id or score: {row!r:.200}")
    start, end = _moment(row["window_start"], settings), _moment(row["window_end"], settings)
    severity = row.get("severity") or rule.severity
    if severity not in SEVERITIES:
        raise UnitError(f"{rule.id}: severity {severity!r} is not one of {', '.join(SEVERITIES)}")
    values: dict[str, Any] = {name: row.get(name) for name in _OBJECT}
    for name in _NUMBERS:
        value = row.get(name)
        values[name] = None if value is None else Decimal(str(value)).quantize(Decimal("0.0001"))
    for name in _FLOATS:
        value = row.get(name)
        values[name] = None if value is None else quantise(float(value))
    finding = Finding(
        unit_id=rule.id,
        unit_digest=unit.digest,
        role=rule.role,
        family=rule.family,
        subject_kind=rule.subject,
        subject_id=str(row["subject_id"]),
        window_start=start,
        window_end=end,
        score=quantise(float(row["score"])) or 0.0,
        severity=severity,
        currency=row.get("currency"),
        explanation_code=rule.id,
        explanation_params={name: plain(row[name]) for name in rule.explanation_names},
        observation_ids=tuple(sorted(str(item) for item in row.get("observation_ids") or ())),
        fingerprint_keys={name: plain(row[name]) for name in rule.fingerprint if name != "subject"},
        grouping=_grouping(unit, row, end - dt.timedelta(microseconds=1), settings),
        coverage_id=coverage_id,
        **values,
    )
    keys = [
        (name.removeprefix(_PREFIX), str(key))
        for name, value in row.items()
        if name.startswith(_PREFIX)
        for key in value or ()
        if key is not None
    ]
    return finding, sorted(set(keys))


def _grouping(unit: AnyUnit, row: Mapping[str, Any], last: dt.datetime, settings: Settings) -> dict[str, Any]:
    case = unit.rule.case
    grouping: dict[str, Any] = {name: row.get(name) for name in case.group_by}
    local = last.astimezone(settings.zone)
    periods = {
        "none": None,
        "month": f"{local:%Y-%m}",
        "quarter": f"{local.year}Q{(local.month + 2) // 3}",
        "year": str(local.year),
        "policy": row.get("period"),
    }
    if periods[case.period] is not None:
        grouping["period"] = str(periods[case.period])
    return grouping


def fetch_evidence(night: Night, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Exact contract rows, plain JSON values, by (relation, row key). Raises UnitError for a key nobody finds."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for relation, key in keys:
        wanted[relation].add(key)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for relation, names in sorted(wanted.items()):
        night.open(relation)
        contract = FEEDS.get(relation) or MASTERS[relation]
        # Evidence is what was given, an empty beginning included.
        given = {"valid_from": "given_from as valid_from"} if contract.kind == "master" else {}
        columns = ", ".join(given.get(name, quote(name)) for name in contract.column_names)
        night.engine.register("evidence_keys", pa.table({"row_key": sorted(names)}))
        rows = night.engine.arrow(f"select row_key, {columns} from {relation} semi join evidence_keys using (row_key)")
        for row in rows.to_pylist():
            key = row.pop("row_key")
            found[relation, key] = plain(row)
        missing = sorted(names - {key for name, key in found if name == relation})
        if missing:
            raise UnitError(f"evidence {relation} {missing[0]!r} is not a row_key of that relation")
    return found


def attach_evidence(
    pairs: Sequence[tuple[Finding, list[tuple[str, str]]]], rows: Mapping[tuple[str, str], Mapping[str, Any]]
) -> tuple[list[Finding], dict[tuple[str, str], str]]:
    """Findings with evidence references, and the digest of each row."""
    digests = {key: sha256_hex(canonical_json(row)) for key, row in rows.items()}
    findings = [
        finding.with_evidence(tuple(EvidenceRef(relation, key, digests[relation, key]) for relation, key in keys))
        for finding, keys in pairs
    ]
    return findings, digests


def record_line(value: Any) -> bytes:
    """One canonical JSON line."""
    return canonical_json(value) + b"\n"


def read_lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines() if line]
