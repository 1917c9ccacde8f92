"""A finding with everything filing asks of it, computed once: identity, names, record, case key, evidence artefact."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fangcuan.cases.evidence.store import EvidenceBackend
from fangcuan.cases.filing.grouping import Candidate, CaseKey, GroupingPolicy, case_key
from fangcuan.core.finding import Finding
from fangcuan.store.jsontext import canonical_text

Evidence = Callable[[Finding], Mapping[str, Any]]

#: Artefacts held in memory at a time.
_SLICE = 500
ARTEFACT_VERSION = 1
#: Explanation code of a unit whose circuit breaker fell.
STORM = "filing.storm"


@dataclass(frozen=True)
class Prepared:
    """`opens` says whether the finding may open or wake a case; `support` whether it may join open ones without that."""

    finding: Finding
    reported_id: str
    names: tuple[str, ...]
    record: Mapping[str, Any]
    key: CaseKey
    opens: bool
    support: bool
    evidence_sha256: str = ""

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.reported_id, self.finding.unit_id, self.finding.window_end)


def prepare(findings: Sequence[Finding], support: Sequence[Finding], policy: GroupingPolicy) -> list[Prepared]:
    """Findings that are to be stored, each once, in order of their identity. Facts are not stored.

    Of two findings with the same identity the one whose record sorts first stands, whatever order they came in; one that
    came as support as well never opens a case.
    """
    chosen: dict[str, Prepared] = {}
    for supporting, group in ((False, findings), (True, support)):
        for finding in group:
            if finding.role == "fact":
                continue
            prepared = _prepared(finding, supporting, policy)
            earlier = chosen.get(prepared.reported_id)
            if earlier is None or _rank(prepared) < _rank(earlier):
                chosen[prepared.reported_id] = prepared
    return [chosen[reported_id] for reported_id in sorted(chosen)]


def with_artefacts(prepared: Iterable[Prepared], evidence: Evidence, store: EvidenceBackend) -> list[Prepared]:
    """Snapshot the evidence of each finding into the store: `{"version", "finding", "snapshot"}` as canonical JSON."""
    pending = list(prepared)
    done: list[Prepared] = []
    for start in range(0, len(pending), _SLICE):
        part = pending[start : start + _SLICE]
        digests = store.put_many([artefact(one, evidence(one.finding)) for one in part])
        done += [_with_digest(one, digest) for one, digest in zip(part, digests, strict=True)]
    return done


def artefact(prepared: Prepared, snapshot: Mapping[str, Any]) -> bytes:
    return canonical_text({"version": ARTEFACT_VERSION, "finding": prepared.record, "snapshot": snapshot})


def storm_finding(unit_id: str, unit_digest: str, night: dt.date, would_open: int, limit: int) -> Finding:
    """What filing itself reports about a unit that is over its limit. The subject is the unit, the window the night."""
    start = dt.datetime.combine(night, dt.time(), dt.UTC)
    return Finding(
        unit_id=unit_id,
        unit_digest=unit_digest,
        role="case",
        family="data_quality",
        subject_kind="source",
        subject_id=unit_id,
        window_start=start,
        window_end=start + dt.timedelta(days=1),
        score=float(would_open),
        explanation_code=STORM,
        explanation_params={"unit_id": unit_id, "night": night, "cases": would_open, "limit": limit},
        severity="high",
        fingerprint_keys={"storm": unit_id},
        grouping={"storm": unit_id},
    )


def waiting_row(one: Prepared) -> dict[str, Any]:
    """A finding as evidence of its unit's storm, in the form that rows of other evidence have."""
    told = ("subject_kind", "subject_id", "product_line", "sku", "region_code", "window_start", "window_end", "score")
    row = {**{name: one.record[name] for name in told}, "case_key": one.key.value}
    return {"relation": "finding", "key": one.reported_id, "row": row}


def _prepared(finding: Finding, supporting: bool, policy: GroupingPolicy) -> Prepared:
    record = finding.as_record()
    reported_id = record["finding_id"]
    return Prepared(
        finding=finding,
        reported_id=reported_id,
        names=(f"id:{reported_id}", *record["fingerprints"]),
        record=record,
        key=case_key(finding, policy),
        opens=finding.role == "case" and not supporting,
        support=supporting,
    )


def _rank(prepared: Prepared) -> tuple[bool, bytes]:
    return (not prepared.support, canonical_text(prepared.record))


def _with_digest(prepared: Prepared, digest: str) -> Prepared:
    # dataclasses.replace would rebuild every field; this runs once per finding of the night.
    copy = object.__new__(Prepared)
    copy.__dict__.update(prepared.__dict__, evidence_sha256=digest)
    return copy
