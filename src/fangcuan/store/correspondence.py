"""Tables of what goes out to a partner about a case, and what he answers."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, ForeignKeyConstraint, Integer, String, Table, Text

from fangcuan.store.base import Base, CanonicalJson, UtcDateTime

METADATA = Base.metadata
DIGEST = 64

#: A notice as it went out: its text in the evidence store by sha256, the row of the legal gate that allowed it, and the link
#: that opens this one case for an answer (kept as the sha256 of 256 random bits, like a token).
partner_notice = Table(
    "partner_notice",
    METADATA,
    Column("number", Text, ForeignKey("case_file.number"), primary_key=True),
    Column("notice", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("partner_id", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("sha256", String(DIGEST), nullable=False),
    Column("gate_row", Text, nullable=False),
    Column("evidence_root", String(DIGEST), nullable=False),
    Column("link_id", Text, unique=True),
    Column("link_hash", String(DIGEST), unique=True),
    Column("due_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("extensions", Integer, nullable=False),
    Column("overdue_at", UtcDateTime),
    Column("issued_by", Text, nullable=False),
    Column("issued_at", UtcDateTime, nullable=False),
    CheckConstraint("(link_id is null) = (link_hash is null)", name="link_complete"),
    CheckConstraint("expires_at is null or expires_at >= due_at", name="open_until_due"),
)

#: What the partner says, once for each time he says something. Files are listed with name and sha256.
partner_answer = Table(
    "partner_answer",
    METADATA,
    Column("number", Text, primary_key=True),
    Column("answer", Integer, primary_key=True, autoincrement=False),
    Column("notice", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("files", CanonicalJson, nullable=False),
    Column("answered_by", Text, nullable=False),
    Column("answered_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(["number", "notice"], ["partner_notice.number", "partner_notice.notice"]),
)
