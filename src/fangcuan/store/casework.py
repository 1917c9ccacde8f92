"""Casework tables: findings, cases, commands and the event chain.

Columns that a run updates and columns that people's commands update never share a row: `finding` and `case_machine`
belong to filing, `case_file` to the command executor. A night is a local date in the brand's time zone.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    column,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from fangcuan.store.base import Base, BigInt, CanonicalJson, DecimalText, UtcDateTime

METADATA = Base.metadata
DIGEST = 64

rule_version = Table(
    "rule_version",
    METADATA,
    Column("unit_digest", String(DIGEST), primary_key=True),
    Column("unit_id", Text, nullable=False, index=True),
    Column("text", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("proposed_at", UtcDateTime, nullable=False),
    Column("approved_by", Text),
    Column("approved_at", UtcDateTime),
    #: Everybody who may have been behind the proposal, and behind the approval: persons, as `cases.people.access` has them.
    Column("proposed_persons", CanonicalJson),
    Column("approved_persons", CanonicalJson),
    CheckConstraint("approved_by is null or approved_by <> proposed_by", name="four_eyes"),
    CheckConstraint("(approved_by is null) = (approved_at is null)", name="approval_complete"),
)

#: Contract columns hold what the latest night reported; `finding_id` stays the one under which it was first stored, and
#: `reported_id` is the identity that the contract columns add up to.
finding = Table(
    "finding",
    METADATA,
    Column("finding_id", String(DIGEST), primary_key=True),
    Column("reported_id", String(DIGEST), nullable=False),
    Column("unit_id", Text, nullable=False),
    Column("unit_digest", String(DIGEST), nullable=False),
    Column("role", Text, nullable=False),
    Column("family", Text, nullable=False),
    Column("subject_kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("sku", Text),
    Column("product_line", Text),
    Column("region_code", Text),
    Column("channel", Text),
    Column("lot", Text),
    Column("window_start", UtcDateTime, nullable=False),
    Column("window_end", UtcDateTime, nullable=False),
    Column("score", Float(53), nullable=False),
    Column("p_value", Float(53)),
    Column("log_e", Float(53)),
    Column("probability", Float(53)),
    Column("severity", Text, nullable=False),
    Column("quantity", DecimalText),
    Column("quantity_low", DecimalText),
    Column("quantity_high", DecimalText),
    Column("money", DecimalText),
    Column("currency", Text),
    Column("explanation_code", Text, nullable=False),
    Column("explanation_params", CanonicalJson, nullable=False),
    Column("observation_ids", CanonicalJson, nullable=False),
    Column("fingerprint_keys", CanonicalJson, nullable=False),
    Column("grouping", CanonicalJson, nullable=False),
    Column("coverage_id", Text),
    Column("evidence", CanonicalJson, nullable=False),
    Column("evidence_root", String(DIGEST), nullable=False),
    Column("evidence_sha256", String(DIGEST), nullable=False),
    Column("state", Text, nullable=False),
    Column("first_seen", Date, nullable=False),
    Column("last_seen", Date, nullable=False),
    CheckConstraint("state in ('filed', 'waiting', 'noted')", name="state"),
    Index("ix_finding_subject", "subject_kind", "subject_id", "family"),
    Index("ix_finding_state", "state", "unit_id"),
)

#: Every name a finding goes by: `v1:<digest>` fingerprints and `id:<finding_id>` of each version of its unit.
finding_fingerprint = Table(
    "finding_fingerprint",
    METADATA,
    Column("fingerprint", Text, primary_key=True),
    Column("finding_id", String(DIGEST), ForeignKey("finding.finding_id"), nullable=False, index=True),
)

#: `row_sha256` is over the contract columns of the finding's row as this night reported them (`cases.history.digests`), `state`
#: what filing made of it; NULL in nights filed before there were these columns.
finding_occurrence = Table(
    "finding_occurrence",
    METADATA,
    Column("night", Date, primary_key=True),
    Column("reported_id", String(DIGEST), primary_key=True),
    Column("finding_id", String(DIGEST), ForeignKey("finding.finding_id"), nullable=False, index=True),
    Column("run_id", Text, nullable=False),
    Column("unit_digest", String(DIGEST), nullable=False),
    Column("window_start", UtcDateTime, nullable=False),
    Column("window_end", UtcDateTime, nullable=False),
    Column("score", Float(53), nullable=False),
    Column("evidence_root", String(DIGEST), nullable=False),
    Column("evidence_sha256", String(DIGEST), nullable=False),
    Column("coverage_id", Text),
    Column("row_sha256", String(DIGEST)),
    Column("state", Text),
)

case_file = Table(
    "case_file",
    METADATA,
    Column("number", Text, primary_key=True),
    Column("year", Integer, nullable=False),
    Column("serial", Integer, nullable=False),
    Column("case_key", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("family", Text, nullable=False),
    Column("subject_kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("product_line", Text),
    Column("sku", Text),
    Column("period", Text),
    Column("grouping", CanonicalJson, nullable=False),
    Column("grouping_version", Integer, nullable=False),
    Column("opened_night", Date, nullable=False),
    Column("predecessor", Text, ForeignKey("case_file.number")),
    Column("storm", Boolean(create_constraint=False), nullable=False),
    Column("status", Text, nullable=False),
    Column("is_open", Boolean(create_constraint=False), nullable=False),
    Column("outcome", Text),
    Column("wording", Text, nullable=False),
    Column("allowed_action", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("assignee", Text),
    Column("regressed", Boolean(create_constraint=False), nullable=False),
    Column("outcome_class", Text),
    Column("merged_into", Text),
    Column("attention", Text),
    Column("snoozed_until", UtcDateTime),
    Column("snooze_condition", Text),
    Column("snooze_evidence_root", String(DIGEST)),
    Column("decision_cutoff", UtcDateTime),
    Column("decision_evidence_root", String(DIGEST)),
    Column("version", Integer, nullable=False),
    UniqueConstraint("year", "serial"),
    UniqueConstraint("case_key", "epoch"),
    Index(
        "uq_case_file_one_open",
        "case_key",
        unique=True,
        sqlite_where=text("is_open"),
        postgresql_where=text("is_open"),
    ),
    Index("ix_case_file_subject", "subject_kind", "subject_id", "family"),
    Index("ix_case_file_status", "status", "number"),
)

case_machine = Table(
    "case_machine",
    METADATA,
    Column("number", Text, ForeignKey("case_file.number"), primary_key=True),
    Column("severity", Text, nullable=False),
    Column("findings", Integer, nullable=False),
    Column("occurrences", Integer, nullable=False),
    Column("seen_after_decision", Integer, nullable=False),
    Column("window_start", UtcDateTime, nullable=False),
    Column("window_end", UtcDateTime, nullable=False),
    Column("last_finding_night", Date, nullable=False),
    Column("evidence_root", String(DIGEST), nullable=False),
)

#: Every finding that ever came to a case, written once. Which of them a case has now is `case_finding`.
filed_finding = Table(
    "case_finding",
    METADATA,
    Column("number", Text, ForeignKey("case_file.number"), primary_key=True),
    Column("finding_id", String(DIGEST), ForeignKey("finding.finding_id"), primary_key=True, index=True),
    Column("support", Boolean(create_constraint=False), nullable=False),
    Column("attached_night", Date, nullable=False),
)

#: A finding that left a case (odd `move`) for `other`, by the proposal of that number, or came back from there (even `move`).
case_finding_move = Table(
    "case_finding_move",
    METADATA,
    Column("number", Text, primary_key=True),
    Column("finding_id", String(DIGEST), primary_key=True, index=True),
    Column("move", Integer, primary_key=True, autoincrement=False),
    Column("other", Text, ForeignKey("case_file.number"), nullable=False),
    Column("proposal", Integer),
    Column("moved_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(["number", "finding_id"], ["case_finding.number", "case_finding.finding_id"]),
    CheckConstraint("move > 0", name="counted"),
    CheckConstraint("other <> number", name="elsewhere"),
)

_moves = (
    select(func.max(case_finding_move.c.move))
    .where(
        case_finding_move.c.number == filed_finding.c.number,
        case_finding_move.c.finding_id == filed_finding.c.finding_id,
    )
    .scalar_subquery()
)
#: The findings that a case has now: those that came and did not leave. Columns as in `filed_finding`; read, never written.
case_finding = select(filed_finding).where(func.coalesce(_moves, 0) % 2 == 0).subquery("case_finding_now")

case_link = Table(
    "case_link",
    METADATA,
    Column("number", Text, ForeignKey("case_file.number"), primary_key=True),
    Column("other", Text, ForeignKey("case_file.number"), primary_key=True, index=True),
    Column("kind", Text, primary_key=True),
    Column("linked_night", Date, nullable=False),
    CheckConstraint("number < other", name="one_direction"),
)

#: What people wrote beside a case. A text is never changed: its amendment is a row of its own, one at most.
case_comment = Table(
    "case_comment",
    METADATA,
    Column("number", Text, ForeignKey("case_file.number"), primary_key=True),
    Column("comment", Integer, primary_key=True, autoincrement=False),
    Column("author", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("amends", Integer),
    Column("written_at", UtcDateTime, nullable=False),
    UniqueConstraint("number", "amends"),
    CheckConstraint("amends < comment", name="of_an_earlier_one"),
)

#: What each night did, so that filing it again can answer without doing it again.
filing_night = Table(
    "filing_night",
    METADATA,
    Column("night", Date, primary_key=True),
    Column("findings_new", Integer, nullable=False),
    Column("findings_known", Integer, nullable=False),
    Column("findings_waiting", Integer, nullable=False),
    Column("cases_opened", Integer, nullable=False),
    Column("cases_attached", Integer, nullable=False),
    Column("cases_regressed", Integer, nullable=False),
    Column("cases_seen_again", Integer, nullable=False),
    Column("storms", Integer, nullable=False),
)

#: How many cases a unit opened or woke per night: the history its circuit breaker compares with.
filing_unit_night = Table(
    "filing_unit_night",
    METADATA,
    Column("night", Date, ForeignKey("filing_night.night"), primary_key=True),
    Column("unit_id", Text, primary_key=True),
    Column("cases", Integer, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("storm", Boolean(create_constraint=False), nullable=False),
)

command_log = Table(
    "command_log",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("command_digest", String(DIGEST), nullable=False),
    Column("seq", BigInt, ForeignKey("event.seq"), nullable=False),
    Column("result", CanonicalJson, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
)


class body_field(FunctionElement[str]):
    """`body_field("case")`: a text field of an event's body. Read from the body itself, it cannot disagree with it."""

    inherit_cache = True
    type = Text()

    def __init__(self, name: str) -> None:
        super().__init__(column("body", Text), literal_column(name))


@compiles(body_field, "sqlite")
def _sqlite_body_field(element: body_field, compiler: Any, **options: Any) -> str:
    body, name = element.clauses
    return f"json_extract({compiler.process(body, **options)}, '$.{name.name}')"


@compiles(body_field, "postgresql")
def _postgresql_body_field(element: body_field, compiler: Any, **options: Any) -> str:
    body, name = element.clauses
    return f"({compiler.process(body, **options)}::jsonb ->> '{name.name}'::text)"


#: `hash` = sha256(0x00 ‖ prev_hash as 32 bytes ‖ body as UTF-8), in hex; `prev_hash` of the first event is 64 zeros.
event = Table(
    "event",
    METADATA,
    Column("seq", BigInt, primary_key=True, autoincrement=False),
    Column("prev_hash", String(DIGEST), nullable=False, unique=True),
    Column("hash", String(DIGEST), nullable=False, unique=True),
    Column("body", Text, nullable=False),
    Index("ix_event_case", body_field("case"), "seq"),
)

event_head = Table(
    "event_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInt, nullable=False),
    Column("hash", String(DIGEST), nullable=False),
    CheckConstraint("id = 1", name="single_row"),
)

#: What was signed: `note` is a C2SP signed note over the Merkle root (64 hex digits) of the first `size` events.
checkpoint = Table(
    "checkpoint",
    METADATA,
    Column("size", BigInt, primary_key=True, autoincrement=False),
    Column("root", String(DIGEST), nullable=False),
    Column("origin", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    CheckConstraint("size > 0", name="of_something"),
)

#: Where a checkpoint went, one row per place it has reached; `receipt` is what the place gave back (a timestamp authority:
#: its whole answer in base64; else a path, URL, commit or message id).
checkpoint_anchor = Table(
    "checkpoint_anchor",
    METADATA,
    Column("size", BigInt, ForeignKey("checkpoint.size"), primary_key=True, autoincrement=False),
    Column("place", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("receipt", Text, nullable=False),
    Column("anchored_at", UtcDateTime, nullable=False),
)
