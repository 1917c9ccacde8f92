"""Tables of penalties: what was agreed, line by line, what became of it, and appeals against it."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKeyConstraint, Index, Integer, String, Table, Text

from fangcuan.store.base import Base, CanonicalJson, DecimalText, UtcDateTime

METADATA = Base.metadata
DIGEST = 64

#: A penalty that an approved proposal made. `computation` is what was proposed, line by line (`cases.penalties.computation`);
#: `claimed` its money, `due` what is left of it after reviews, `settled` what was received in the end.
penalty = Table(
    "penalty",
    METADATA,
    Column("number", Text, primary_key=True),
    Column("penalty", Integer, primary_key=True, autoincrement=False),
    Column("proposal", Integer, nullable=False),
    Column("partner_id", Text, nullable=False),
    Column("offence", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("computation", CanonicalJson, nullable=False),
    Column("computation_digest", String(DIGEST), nullable=False),
    Column("evidence_root", String(DIGEST), nullable=False),
    Column("currency", Text),
    Column("claimed", DecimalText, nullable=False),
    Column("due", DecimalText, nullable=False),
    Column("settled", DecimalText),
    Column("agreed_at", UtcDateTime, nullable=False),
    Column("issued_at", UtcDateTime),
    Column("notice", Integer),
    Column("appeal_until", UtcDateTime),
    Column("ended_at", UtcDateTime),
    ForeignKeyConstraint(["number", "proposal"], ["decision.number", "decision.proposal"]),
    ForeignKeyConstraint(["number", "notice"], ["partner_notice.number", "partner_notice.notice"]),
    CheckConstraint("(issued_at is null) = (notice is null)", name="issued_with_notice"),
    CheckConstraint("(issued_at is null) = (appeal_until is null)", name="issued_with_appeal"),
    CheckConstraint("settled is null or issued_at is not null", name="settled_after_issue"),
    Index("ix_penalty_partner", "partner_id", "offence"),
)

#: What a partner says against a penalty, or what somebody took down for him. Files are listed with name and sha256.
appeal = Table(
    "appeal",
    METADATA,
    Column("number", Text, primary_key=True),
    Column("penalty", Integer, primary_key=True, autoincrement=False),
    Column("appeal", Integer, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("files", CanonicalJson, nullable=False),
    Column("appealed_by", Text, nullable=False),
    Column("appealed_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(["number", "penalty"], ["penalty.number", "penalty.penalty"]),
)
