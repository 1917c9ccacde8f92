"""Tables of the auditor's own work: samples he drew, and what he found when he looked at a case again."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, String, Table, Text

from fangcuan.store.base import Base, BigInt, CanonicalJson, UtcDateTime

METADATA = Base.metadata
DIGEST = 64

#: A draw: out of how many cases, as of which event, by which seed, and the numbers in the order they were drawn.
audit_sample = Table(
    "audit_sample",
    METADATA,
    Column("sample", Integer, primary_key=True, autoincrement=False),
    Column("asked", Integer, nullable=False),
    Column("seed", Text, nullable=False),
    Column("filters", CanonicalJson, nullable=False),
    Column("population", Integer, nullable=False),
    Column("population_digest", String(DIGEST), nullable=False),
    Column("seq", BigInt, nullable=False),
    Column("hash", String(DIGEST), nullable=False),
    Column("numbers", CanonicalJson, nullable=False),
    Column("drawn_by", Text, nullable=False),
    Column("drawn_at", UtcDateTime, nullable=False),
    CheckConstraint("asked > 0 and population > 0", name="of_something"),
)

#: What an auditor found about a case as it was at `case_version`. `handled_persons` are the persons who had worked on it by
#: then; `decided_person` is who decided it last, where anybody has.
audit_review = Table(
    "audit_review",
    METADATA,
    Column("number", Text, ForeignKey("case_file.number"), primary_key=True),
    Column("review", Integer, primary_key=True, autoincrement=False),
    Column("sample", Integer, ForeignKey("audit_sample.sample"), index=True),
    Column("result", Text, nullable=False),
    Column("reasons", CanonicalJson, nullable=False),
    Column("note", Text),
    Column("case_version", Integer, nullable=False),
    Column("evidence_root", String(DIGEST), nullable=False),
    Column("decision_evidence_root", String(DIGEST)),
    Column("decided_person", Text),
    Column("handled_persons", CanonicalJson, nullable=False),
    Column("reviewed_by", Text, nullable=False),
    Column("reviewed_person", Text, nullable=False),
    Column("reviewed_persons", CanonicalJson, nullable=False),
    Column("reviewed_at", UtcDateTime, nullable=False),
    CheckConstraint("result in ('agrees', 'disagrees', 'cannot_tell')", name="result"),
    CheckConstraint("result = 'agrees' or (note is not null and reasons <> '[]')", name="says_why"),
    CheckConstraint("decided_person is null or decided_person <> reviewed_person", name="not_his_own"),
)
