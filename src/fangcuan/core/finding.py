"""A finding: what one unit says about one subject, object and window. The contract between `detect` and `cases`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from fangcuan.core.canonical import digest, plain

Role = Literal["fact", "watch", "case", "prior", "quality"]
Family = Literal["diversion", "price", "code_integrity", "loading", "data_quality"]
SubjectKind = Literal["partner", "seller", "serial", "source"]

ROLES: tuple[Role, ...] = ("fact", "watch", "case", "prior", "quality")
FAMILIES: tuple[Family, ...] = ("diversion", "price", "code_integrity", "loading", "data_quality")
SUBJECT_KINDS: tuple[SubjectKind, ...] = ("partner", "seller", "serial", "source")
SEVERITIES = ("low", "medium", "high")
#: Version of the fingerprint recipe; a new recipe adds an alias and never replaces the old one.
FINGERPRINT_VERSION = 1


@dataclass(frozen=True, order=True)
class EvidenceRef:
    """One row a finding rests on: the relation, the row's key there, and sha256 over the row's canonical JSON."""

    relation: str
    key: str
    digest: str


@dataclass(frozen=True)
class Finding:
    """See `findings export` in docs/reference for the exported columns.

    Times are UTC; `quantity` counts consumer units; `money` is in `currency`. `grouping` holds the parts of the case key
    beside family and subject (product line or sku, period), as the unit declares them.
    """

    unit_id: str
    unit_digest: str
    role: Role
    family: Family
    subject_kind: SubjectKind
    subject_id: str
    window_start: dt.datetime
    window_end: dt.datetime
    score: float
    explanation_code: str
    explanation_params: Mapping[str, Any]
    sku: str | None = None
    product_line: str | None = None
    region_code: str | None = None
    channel: str | None = None
    lot: str | None = None
    p_value: float | None = None
    log_e: float | None = None
    probability: float | None = None
    severity: str = "medium"
    quantity: Decimal | None = None
    quantity_low: Decimal | None = None
    quantity_high: Decimal | None = None
    money: Decimal | None = None
    currency: str | None = None
    evidence: tuple[EvidenceRef, ...] = ()
    observation_ids: tuple[str, ...] = ()
    fingerprint_keys: Mapping[str, Any] = field(default_factory=dict)
    grouping: Mapping[str, Any] = field(default_factory=dict)
    coverage_id: str | None = None

    @property
    def object_keys(self) -> dict[str, Any]:
        return {
            "sku": self.sku,
            "product_line": self.product_line,
            "region_code": self.region_code,
            "channel": self.channel,
            "lot": self.lot,
        }

    @property
    def finding_id(self) -> str:
        """Deterministic identity: unit digest + subject + object + window."""
        return digest(
            {
                "unit_digest": self.unit_digest,
                "subject": [self.subject_kind, self.subject_id],
                "object": self.object_keys,
                "window": [self.window_start, self.window_end],
            }
        )

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Stable business identity, the same for the same wrong on another night and after a change of the unit's text."""
        keys = self.fingerprint_keys or {**self.object_keys, "window_start": self.window_start}
        recipe = {"version": FINGERPRINT_VERSION, "unit": self.unit_id, "subject": self.subject_id, "keys": dict(keys)}
        return (f"v{FINGERPRINT_VERSION}:{digest(recipe)}",)

    @property
    def evidence_root(self) -> str:
        """sha256 over the sorted evidence references."""
        return digest([[ref.relation, ref.key, ref.digest] for ref in sorted(self.evidence)])

    def with_evidence(self, evidence: tuple[EvidenceRef, ...]) -> Finding:
        return replace(self, evidence=tuple(sorted(set(evidence))))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Finding:
        """The finding that `as_record` wrote down; same id, same bytes."""
        values = {name: record[name] for name in RECORD_FIELDS}
        for name in ("window_start", "window_end"):
            values[name] = dt.datetime.fromisoformat(values[name])
        for name in ("quantity", "quantity_low", "quantity_high", "money"):
            values[name] = None if values[name] is None else Decimal(values[name])
        values["observation_ids"] = tuple(values["observation_ids"])
        refs = sorted(EvidenceRef(r["relation"], r["key"], r["digest"]) for r in record["evidence"])
        return cls(**values, evidence=tuple(refs))

    def as_record(self) -> dict[str, Any]:
        """Plain JSON values, keys as in the exported contract; the byte form of this record is what runs are compared by."""
        record = {
            "finding_id": self.finding_id,
            **{name: getattr(self, name) for name in RECORD_FIELDS},
            "evidence": [{"relation": r.relation, "key": r.key, "digest": r.digest} for r in sorted(self.evidence)],
            "evidence_root": self.evidence_root,
            "fingerprints": list(self.fingerprints),
        }
        return plain(record)


#: Fields in the order of the record; the casebook stores the same ones.
RECORD_FIELDS = (
    "unit_id",
    "unit_digest",
    "role",
    "family",
    "subject_kind",
    "subject_id",
    "sku",
    "product_line",
    "region_code",
    "channel",
    "lot",
    "window_start",
    "window_end",
    "score",
    "p_value",
    "log_e",
    "probability",
    "severity",
    "quantity",
    "quantity_low",
    "quantity_high",
    "money",
    "currency",
    "explanation_code",
    "explanation_params",
    "observation_ids",
    "fingerprint_keys",
    "grouping",
    "coverage_id",
)
