"""Tables of what decisions teach: labels of findings, and suppressions of what is known to be innocent."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Date, ForeignKey, Integer, String, Table, Text

from fangcuan.store.base import Base, CanonicalJson, DecimalText, UtcDateTime

METADATA = Base.metadata
DIGEST = 64

#: What a decision says about each finding it rested on. A later decision about the same case adds rows; the latest holds.
label = Table(
    "label",
    METADATA,
    Column("number", Text, ForeignKey("case_file.number"), primary_key=True),
    Column("case_version", Integer, primary_key=True, autoincrement=False),
    Column("finding_id", String(DIGEST), ForeignKey("finding.finding_id"), primary_key=True, index=True),
    Column("label", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("outcome_class", Text),
    Column("route", Text),
    Column("unit_id", Text, nullable=False),
    Column("unit_digest", String(DIGEST), nullable=False),
    Column("evidence_root", String(DIGEST), nullable=False),
    Column("support", Boolean(create_constraint=False), nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    CheckConstraint("label in ('right', 'wrong', 'unclear')", name="label"),
)

#: Findings that fit `matcher` open no case from `starts_on` to before `ends_on`, but for the share that is sampled.
suppression = Table(
    "suppression",
    METADATA,
    Column("suppression_id", Integer, primary_key=True, autoincrement=False),
    Column("matcher", CanonicalJson, nullable=False),
    Column("reason", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("starts_on", Date, nullable=False),
    Column("ends_on", Date, nullable=False),
    Column("sampled_share", DecimalText, nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("proposed_person", Text, nullable=False),
    Column("proposed_persons", CanonicalJson, nullable=False),
    Column("proposed_at", UtcDateTime, nullable=False),
    Column("approved_by", Text),
    Column("approved_person", Text),
    Column("approved_at", UtcDateTime),
    Column("ended_by", Text),
    Column("ended_at", UtcDateTime),
    CheckConstraint("ends_on > starts_on", name="expires"),
    CheckConstraint("approved_by is null or approved_by <> proposed_by", name="four_eyes"),
    CheckConstraint("approved_person is null or approved_person <> proposed_person", name="two_persons"),
    CheckConstraint(
        "(approved_by is null) = (approved_at is null) and (approved_by is null) = (approved_person is null)",
        name="approval_complete",
    ),
    CheckConstraint("(ended_by is null) = (ended_at is null)", name="end_complete"),
)

#: What was hidden on which night, and what was shown all the same so that it can be told how often hiding is wrong.
suppression_hit = Table(
    "suppression_hit",
    METADATA,
    Column("night", Date, primary_key=True),
    Column("reported_id", String(DIGEST), primary_key=True),
    Column("suppression_id", Integer, ForeignKey("suppression.suppression_id"), nullable=False, index=True),
    Column("sampled", Boolean(create_constraint=False), nullable=False),
)
