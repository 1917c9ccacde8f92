"""What was received, what lies in the lake, which nights were judged. The catalogue is what makes a lake file exist."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from fangcuan.store.base import Base, BigInt, CanonicalJson

RECEIPT_STATES = ("loaded", "duplicate", "held", "refused")
PULL_STATES = ("landed", "held", "refused", "unavailable")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} in ({', '.join(repr(value) for value in values)})"


class Receipt(Base):
    """What became of one batch: one document, as one relation, on one night. The first thing an auditor asks for.

    `receipt_id` is the digest of source, relation, document and night, so the same load repeated is the same receipt.
    """

    __tablename__ = "receipt"
    __table_args__ = (
        CheckConstraint(_one_of("state", RECEIPT_STATES), name="state"),
        Index("ix_receipt_document", "source_id", "relation", "document_sha256"),
        Index("ix_receipt_arrived_on", "arrived_on"),
    )

    receipt_id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[str]
    relation: Mapped[str]
    document_name: Mapped[str]
    document_sha256: Mapped[str]
    document_bytes: Mapped[int] = mapped_column(BigInt)
    arrived_on: Mapped[dt.date]
    state: Mapped[str]
    rows_read: Mapped[int] = mapped_column(BigInt)
    rows_loaded: Mapped[int] = mapped_column(BigInt)
    rows_duplicate: Mapped[int] = mapped_column(BigInt)
    rows_quarantined: Mapped[int] = mapped_column(BigInt)
    quarantined_by_reason: Mapped[Any] = mapped_column(CanonicalJson)
    issues: Mapped[Any] = mapped_column(CanonicalJson)
    reason: Mapped[str | None]
    message: Mapped[str | None]
    gate: Mapped[Any | None] = mapped_column(CanonicalJson)
    output_sha256: Mapped[str | None]
    replays: Mapped[str | None]
    recorded_at: Mapped[dt.datetime]


class LakeFileRow(Base):
    """One committed Parquet file of the lake; readers see no other."""

    __tablename__ = "lake_file"
    __table_args__ = (Index("ix_lake_file_relation", "relation", "arrived_on", "event_date"),)

    path: Mapped[str] = mapped_column(primary_key=True)
    receipt_id: Mapped[str]
    relation: Mapped[str]
    event_date: Mapped[dt.date | None]
    arrived_on: Mapped[dt.date]
    rows: Mapped[int] = mapped_column(BigInt)
    size: Mapped[int] = mapped_column(BigInt)
    sha256: Mapped[str]


class Quarantine(Base):
    """Rows of one batch that broke a row rule, kept as a Parquet file until someone corrects or discards them."""

    __tablename__ = "quarantine"
    __table_args__ = (CheckConstraint(_one_of("state", ("open", "replayed")), name="state"),)

    receipt_id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[str]
    relation: Mapped[str]
    path: Mapped[str]
    rows: Mapped[int] = mapped_column(BigInt)
    sha256: Mapped[str]
    state: Mapped[str]
    replayed_by: Mapped[str | None]


class Pull(Base):
    """How asking one source for one night ended; what was not looked at is told apart from what was clean."""

    __tablename__ = "pull"
    __table_args__ = (CheckConstraint(_one_of("state", PULL_STATES), name="state"),)

    source_id: Mapped[str] = mapped_column(primary_key=True)
    night: Mapped[dt.date] = mapped_column(primary_key=True)
    state: Mapped[str]
    message: Mapped[str | None]
    documents: Mapped[int]
    relations: Mapped[Any] = mapped_column(CanonicalJson)
    recorded_at: Mapped[dt.datetime]


class SourceState(Base):
    """What a connector remembers between nights (watermarks)."""

    __tablename__ = "source_state"

    source_id: Mapped[str] = mapped_column(primary_key=True)
    watermark: Mapped[Any] = mapped_column(CanonicalJson)
    updated_at: Mapped[dt.datetime]


class LoadHead(Base):
    """One row per relation, bumped by every load, so that a load notices another one that ran at the same time."""

    __tablename__ = "load_head"

    relation: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInt)


class Run(Base):
    """One judging of one night. At most one judged run per night and digests of everything it depends on."""

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint(_one_of("state", ("open", "judged")), name="state"),
        Index(
            "uq_run_judged",
            "night",
            unique=True,
            sqlite_where=text("state = 'judged'"),
            postgresql_where=text("state = 'judged'"),
        ),
    )

    run_id: Mapped[str] = mapped_column(primary_key=True)
    night: Mapped[dt.date]
    since: Mapped[dt.date | None]
    state: Mapped[str]
    manifest_digest: Mapped[str]
    master_digest: Mapped[str]
    content_digest: Mapped[str]
    code_version: Mapped[str]
    plan: Mapped[Any] = mapped_column(CanonicalJson)
    coverage: Mapped[Any] = mapped_column(CanonicalJson)
    counts: Mapped[Any] = mapped_column(CanonicalJson)
    opened_at: Mapped[dt.datetime]
    judged_at: Mapped[dt.datetime | None]


class ModelVersion(Base):
    """A trained model: where its bytes lie and the sha256 they must have; without a row no file is ever loaded.

    `model_id` is the digest of detector, training data, versions and night. Only promoted models judge; the latest whose
    `trained_for` is before the night does.
    """

    __tablename__ = "model_version"
    __table_args__ = (
        CheckConstraint(_one_of("state", ("kept", "promoted")), name="state"),
        Index("ix_model_version_detector", "detector_id", "unit_digest", "trained_for"),
    )

    model_id: Mapped[str] = mapped_column(primary_key=True)
    detector_id: Mapped[str]
    unit_digest: Mapped[str]
    sha256: Mapped[str]
    path: Mapped[str]
    envelope: Mapped[Any] = mapped_column(CanonicalJson)
    trained_for: Mapped[dt.date]
    trained_at: Mapped[dt.datetime]
    state: Mapped[str]


class UnitResult(Base):
    """What one unit gave in one run: where its findings lie, and what it cost."""

    __tablename__ = "unit_result"

    run_id: Mapped[str] = mapped_column(primary_key=True)
    unit_id: Mapped[str] = mapped_column(primary_key=True)
    unit_digest: Mapped[str]
    state: Mapped[str]
    path: Mapped[str | None]
    sha256: Mapped[str | None]
    rows: Mapped[int] = mapped_column(BigInt)
    seconds: Mapped[str]
    peak_memory_bytes: Mapped[int] = mapped_column(BigInt)
    coverage: Mapped[Any] = mapped_column(CanonicalJson)
    message: Mapped[str | None] = mapped_column(Text)
