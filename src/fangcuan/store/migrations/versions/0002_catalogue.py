"""Tables of the catalogue: receipts, lake files, quarantine, runs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def big_integer() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "lake_file",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("event_date", sa.Date(), nullable=True),
        sa.Column("arrived_on", sa.Date(), nullable=False),
        sa.Column("rows", big_integer(), nullable=False),
        sa.Column("size", big_integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_lake_file")),
    )
    op.create_index("ix_lake_file_relation", "lake_file", ["relation", "arrived_on", "event_date"], unique=False)
    op.create_table(
        "load_head",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("version", big_integer(), nullable=False),
        sa.PrimaryKeyConstraint("relation", name=op.f("pk_load_head")),
    )
    op.create_table(
        "model_version",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("detector_id", sa.Text(), nullable=False),
        sa.Column("unit_digest", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column("trained_for", sa.Date(), nullable=False),
        sa.Column("trained_at", utc_datetime(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.CheckConstraint("state in ('kept', 'promoted')", name=op.f("ck_model_version_state")),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_model_version")),
    )
    op.create_index(
        "ix_model_version_detector", "model_version", ["detector_id", "unit_digest", "trained_for"], unique=False
    )
    op.create_table(
        "pull",
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("relations", sa.Text(), nullable=False),
        sa.Column("recorded_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("state in ('landed', 'held', 'refused', 'unavailable')", name=op.f("ck_pull_state")),
        sa.PrimaryKeyConstraint("source_id", "night", name=op.f("pk_pull")),
    )
    op.create_table(
        "quarantine",
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("rows", big_integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("replayed_by", sa.Text(), nullable=True),
        sa.CheckConstraint("state in ('open', 'replayed')", name=op.f("ck_quarantine_state")),
        sa.PrimaryKeyConstraint("receipt_id", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "receipt",
        sa.Column("receipt_id", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("document_name", sa.Text(), nullable=False),
        sa.Column("document_sha256", sa.Text(), nullable=False),
        sa.Column("document_bytes", big_integer(), nullable=False),
        sa.Column("arrived_on", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rows_read", big_integer(), nullable=False),
        sa.Column("rows_loaded", big_integer(), nullable=False),
        sa.Column("rows_duplicate", big_integer(), nullable=False),
        sa.Column("rows_quarantined", big_integer(), nullable=False),
        sa.Column("quarantined_by_reason", sa.Text(), nullable=False),
        sa.Column("issues", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("gate", sa.Text(), nullable=True),
        sa.Column("output_sha256", sa.Text(), nullable=True),
        sa.Column("replays", sa.Text(), nullable=True),
        sa.Column("recorded_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("state in ('loaded', 'duplicate', 'held', 'refused')", name=op.f("ck_receipt_state")),
        sa.PrimaryKeyConstraint("receipt_id", name=op.f("pk_receipt")),
    )
    op.create_index("ix_receipt_arrived_on", "receipt", ["arrived_on"], unique=False)
    op.create_index("ix_receipt_document", "receipt", ["source_id", "relation", "document_sha256"], unique=False)
    op.create_table(
        "run",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("since", sa.Date(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("manifest_digest", sa.Text(), nullable=False),
        sa.Column("master_digest", sa.Text(), nullable=False),
        sa.Column("content_digest", sa.Text(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("coverage", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("opened_at", utc_datetime(), nullable=False),
        sa.Column("judged_at", utc_datetime(), nullable=True),
        sa.CheckConstraint("state in ('open', 'judged')", name=op.f("ck_run_state")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run")),
    )
    op.create_index(
        "uq_run_judged",
        "run",
        ["night"],
        unique=True,
        sqlite_where=sa.text("state = 'judged'"),
        postgresql_where=sa.text("state = 'judged'"),
    )
    op.create_table(
        "source_state",
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("watermark", sa.Text(), nullable=False),
        sa.Column("updated_at", utc_datetime(), nullable=False),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_source_state")),
    )
    op.create_table(
        "unit_result",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("unit_id", sa.Text(), nullable=False),
        sa.Column("unit_digest", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("rows", big_integer(), nullable=False),
        sa.Column("seconds", sa.Text(), nullable=False),
        sa.Column("peak_memory_bytes", big_integer(), nullable=False),
        sa.Column("coverage", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "unit_id", name=op.f("pk_unit_result")),
    )


def downgrade() -> None:
    op.drop_table("unit_result")
    op.drop_table("source_state")
    op.drop_index(
        "uq_run_judged",
        table_name="run",
        sqlite_where=sa.text("state = 'judged'"),
        postgresql_where=sa.text("state = 'judged'"),
    )
    op.drop_table("run")
    op.drop_index("ix_receipt_document", table_name="receipt")
    op.drop_index("ix_receipt_arrived_on", table_name="receipt")
    op.drop_table("receipt")
    op.drop_table("quarantine")
    op.drop_table("pull")
    op.drop_index("ix_model_version_detector", table_name="model_version")
    op.drop_table("model_version")
    op.drop_table("load_head")
    op.drop_index("ix_lake_file_relation", table_name="lake_file")
    op.drop_table("lake_file")
