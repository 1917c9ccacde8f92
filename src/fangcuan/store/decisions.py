"""Tables of what people decide about a case: proposals and their verdicts, attachments, legal holds."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint, text

from fangcuan.store.base import Base, CanonicalJson, UtcDateTime

METADATA = Base.metadata
DIGEST = 64

#: One proposal about a case, bound to the evidence it rests on, and its verdict. `*_persons` are the persons who may stand
#: behind an actor; the first of them is `*_person`. At most one proposal of a case is open.
decision = Table(
    "decision",
    METADATA,
    Column("number", Text, ForeignKey("case_file.number"), primary_key=True),
    Column("proposal", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("from_status", Text, nullable=False),
    Column("case_version", Integer, nullable=False),
    Column("evidence_root", String(DIGEST), nullable=False),
    Column("evidence_cutoff", UtcDateTime, nullable=False),
    Column("attachments", Integer, nullable=False),
    Column("params", CanonicalJson, nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("proposed_person", Text, nullable=False),
    Column("proposed_persons", CanonicalJson, nullable=False),
    Column("proposed_at", UtcDateTime, nullable=False),
    Column("verdict", Text),
    Column("decided_by", Text),
    Column("decided_person", Text),
    Column("decided_at", UtcDateTime),
    Column("decision_note", Text),
    CheckConstraint("verdict in ('approved', 'returned', 'rejected', 'withdrawn')", name="verdict"),
    CheckConstraint(
        "(verdict is null) = (decided_by is null) and (verdict is null) = (decided_at is null)"
        " and (verdict is null) = (decided_person is null)",
        name="complete",
    ),
    CheckConstraint(
        "verdict is null or (verdict = 'withdrawn') = (decided_person = proposed_person)",
        name="four_eyes",
    ),
    CheckConstraint("verdict is null or verdict = 'withdrawn' or decided_by <> proposed_by", name="other_account"),
    Index(
        "uq_decision_one_open",
        "number",
        unique=True,
        sqlite_where=text("verdict is null"),
        postgresql_where=text("verdict is null"),
    ),
)

#: What was put beside a case: a file in the evidence store by its sha256, from a document of a feed where there is one.
case_attachment = Table(
    "case_attachment",
    METADATA,
    Column("number", Text, ForeignKey("case_file.number"), primary_key=True),
    Column("attachment", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("sha256", String(DIGEST), nullable=False),
    Column("document_id", Text),
    Column("note", Text),
    Column("attached_by", Text, nullable=False),
    Column("attached_at", UtcDateTime, nullable=False),
    UniqueConstraint("number", "kind", "sha256"),
)

#: While one of them is not lifted, the case is neither closed nor sealed.
legal_hold = Table(
    "legal_hold",
    METADATA,
    Column("number", Text, ForeignKey("case_file.number"), primary_key=True),
    Column("hold", Integer, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("placed_by", Text, nullable=False),
    Column("placed_at", UtcDateTime, nullable=False),
    Column("lifted_by", Text),
    Column("lifted_at", UtcDateTime),
    CheckConstraint("(lifted_by is null) = (lifted_at is null)", name="complete"),
)
