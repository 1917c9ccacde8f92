"""Proposals of policies: rows of a master table that somebody wants in force, and what somebody else decided about them."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, String, Table, Text

from fangcuan.store.base import Base, CanonicalJson, UtcDateTime

DIGEST = 64
#: `source_id` of master rows that an approval in the casebook wrote; no source has such a name.
CASEBOOK = "casebook"
#: Beginning of their `receipt_id`; the number of the proposal follows.
BY_PROPOSAL = "proposal:"
#: Execution option of an engine: the jurisdiction of cases whose policies and regions tell none (setting `jurisdiction`).
JURISDICTION = "fangcuan_jurisdiction"

#: `content` is the rows, without the columns that the approval fills in; `content_digest` is the sha256 of its text. `base` says
#: which version of each business key the proposal was made against (its row_digest, null where there was none). `persons`
#: are those who may have been behind an account, as `cases.people.access.persons` has them.
policy_proposal = Table(
    "policy_proposal",
    Base.metadata,
    Column("proposal", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("content_digest", String(DIGEST), nullable=False),
    Column("content", CanonicalJson, nullable=False),
    Column("base", CanonicalJson, nullable=False),
    Column("note", Text),
    Column("proposed_by", Text, nullable=False),
    Column("proposed_persons", CanonicalJson, nullable=False),
    Column("proposed_at", UtcDateTime, nullable=False),
    Column("decision", Text),
    Column("reason", Text),
    Column("decided_by", Text),
    Column("decided_persons", CanonicalJson),
    Column("decided_at", UtcDateTime),
    CheckConstraint("decision in ('approve', 'reject', 'withdraw')", name="decision"),
    CheckConstraint("(decision = 'withdraw') = (decided_by = proposed_by)", name="four_eyes"),
    CheckConstraint("decision = 'withdraw' or decided_persons <> proposed_persons", name="other_persons"),
    CheckConstraint(
        "(decision is null) = (decided_by is null) and (decision is null) = (decided_at is null) "
        "and (decision is null) = (decided_persons is null)",
        name="decision_complete",
    ),
    Index("ix_policy_proposal_kind", "kind", "proposal"),
)
