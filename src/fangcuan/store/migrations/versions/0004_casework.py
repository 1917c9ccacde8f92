"""Tables of casework: findings, cases and commands."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def big_integer() -> sa.types.TypeEngine[Any]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


GUARDS = {
    "sqlite": [
        """
        create trigger finding_occurrence_no_update before update on finding_occurrence
        begin select raise(abort, 'finding_occurrence is append-only'); end
        """,
        """
        create trigger finding_occurrence_no_delete before delete on finding_occurrence
        begin select raise(abort, 'finding_occurrence is append-only'); end
        """,
        """
        create trigger finding_occurrence_no_replace before insert on finding_occurrence
        when exists (select 1 from finding_occurrence where night = new.night and reported_id = new.reported_id)
        begin select raise(abort, 'finding_occurrence is append-only'); end
        """,
    ],
    "postgresql": [
        """
        create trigger finding_occurrence_no_change before update or delete on finding_occurrence
        for each row execute function fangcuan_refuse()
        """,
        """
        create trigger finding_occurrence_no_truncate before truncate on finding_occurrence
        execute function fangcuan_refuse()
        """,
        "alter table finding_occurrence enable always trigger finding_occurrence_no_change",
        "alter table finding_occurrence enable always trigger finding_occurrence_no_truncate",
    ],
}


def upgrade() -> None:
    op.create_table(
        "case_file",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("case_key", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("product_line", sa.Text(), nullable=True),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("period", sa.Text(), nullable=True),
        sa.Column("grouping", sa.Text(), nullable=False),
        sa.Column("grouping_version", sa.Integer(), nullable=False),
        sa.Column("opened_night", sa.Date(), nullable=False),
        sa.Column("predecessor", sa.Text(), nullable=True),
        sa.Column("storm", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("wording", sa.Text(), nullable=False),
        sa.Column("allowed_action", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("assignee", sa.Text(), nullable=True),
        sa.Column("regressed", sa.Boolean(), nullable=False),
        sa.Column("decision_cutoff", utc_datetime(), nullable=True),
        sa.Column("decision_evidence_root", sa.String(length=64), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["predecessor"], ["case_file.number"], name=op.f("fk_case_file_predecessor_case_file")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_case_file")),
        sa.UniqueConstraint("case_key", "epoch", name=op.f("uq_case_file_case_key_epoch")),
        sa.UniqueConstraint("year", "serial", name=op.f("uq_case_file_year_serial")),
    )
    op.create_index("ix_case_file_status", "case_file", ["status", "number"], unique=False)
    op.create_index("ix_case_file_subject", "case_file", ["subject_kind", "subject_id", "family"], unique=False)
    op.create_index(
        "uq_case_file_one_open",
        "case_file",
        ["case_key"],
        unique=True,
        sqlite_where=sa.text("is_open"),
        postgresql_where=sa.text("is_open"),
    )
    op.create_table(
        "filing_night",
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("findings_new", sa.Integer(), nullable=False),
        sa.Column("findings_known", sa.Integer(), nullable=False),
        sa.Column("findings_waiting", sa.Integer(), nullable=False),
        sa.Column("cases_opened", sa.Integer(), nullable=False),
        sa.Column("cases_attached", sa.Integer(), nullable=False),
        sa.Column("cases_regressed", sa.Integer(), nullable=False),
        sa.Column("cases_seen_again", sa.Integer(), nullable=False),
        sa.Column("storms", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("night", name=op.f("pk_filing_night")),
    )
    op.create_table(
        "finding",
        sa.Column("finding_id", sa.String(length=64), nullable=False),
        sa.Column("reported_id", sa.String(length=64), nullable=False),
        sa.Column("unit_id", sa.Text(), nullable=False),
        sa.Column("unit_digest", sa.String(length=64), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("family", sa.Text(), nullable=False),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("product_line", sa.Text(), nullable=True),
        sa.Column("region_code", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("lot", sa.Text(), nullable=True),
        sa.Column("window_start", utc_datetime(), nullable=False),
        sa.Column("window_end", utc_datetime(), nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=False),
        sa.Column("p_value", sa.Float(precision=53), nullable=True),
        sa.Column("log_e", sa.Float(precision=53), nullable=True),
        sa.Column("probability", sa.Float(precision=53), nullable=True),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("quantity", sa.String(), nullable=True),
        sa.Column("quantity_low", sa.String(), nullable=True),
        sa.Column("quantity_high", sa.String(), nullable=True),
        sa.Column("money", sa.String(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("explanation_code", sa.Text(), nullable=False),
        sa.Column("explanation_params", sa.Text(), nullable=False),
        sa.Column("observation_ids", sa.Text(), nullable=False),
        sa.Column("fingerprint_keys", sa.Text(), nullable=False),
        sa.Column("grouping", sa.Text(), nullable=False),
        sa.Column("coverage_id", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("evidence_root", sa.String(length=64), nullable=False),
        sa.Column("evidence_sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.Date(), nullable=False),
        sa.Column("last_seen", sa.Date(), nullable=False),
        sa.CheckConstraint("state in ('filed', 'waiting', 'noted')", name=op.f("ck_finding_state")),
        sa.PrimaryKeyConstraint("finding_id", name=op.f("pk_finding")),
    )
    op.create_index("ix_finding_state", "finding", ["state", "unit_id"], unique=False)
    op.create_index("ix_finding_subject", "finding", ["subject_kind", "subject_id", "family"], unique=False)
    op.create_table(
        "rule_version",
        sa.Column("unit_digest", sa.String(length=64), nullable=False),
        sa.Column("unit_id", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("proposed_by", sa.Text(), nullable=False),
        sa.Column("proposed_at", utc_datetime(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("approved_at", utc_datetime(), nullable=True),
        sa.CheckConstraint(
            "(approved_by is null) = (approved_at is null)", name=op.f("ck_rule_version_approval_complete")
        ),
        sa.CheckConstraint("approved_by is null or approved_by <> proposed_by", name=op.f("ck_rule_version_four_eyes")),
        sa.PrimaryKeyConstraint("unit_digest", name=op.f("pk_rule_version")),
    )
    op.create_index(op.f("ix_rule_version_unit_id"), "rule_version", ["unit_id"], unique=False)
    op.create_table(
        "case_finding",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("finding_id", sa.String(length=64), nullable=False),
        sa.Column("support", sa.Boolean(), nullable=False),
        sa.Column("attached_night", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["finding.finding_id"], name=op.f("fk_case_finding_finding_id_finding")
        ),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_case_finding_number_case_file")),
        sa.PrimaryKeyConstraint("number", "finding_id", name=op.f("pk_case_finding")),
    )
    op.create_index(op.f("ix_case_finding_finding_id"), "case_finding", ["finding_id"], unique=False)
    op.create_table(
        "case_link",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("other", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("linked_night", sa.Date(), nullable=False),
        sa.CheckConstraint("number < other", name=op.f("ck_case_link_one_direction")),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_case_link_number_case_file")),
        sa.ForeignKeyConstraint(["other"], ["case_file.number"], name=op.f("fk_case_link_other_case_file")),
        sa.PrimaryKeyConstraint("number", "other", "kind", name=op.f("pk_case_link")),
    )
    op.create_index(op.f("ix_case_link_other"), "case_link", ["other"], unique=False)
    op.create_table(
        "case_machine",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("findings", sa.Integer(), nullable=False),
        sa.Column("occurrences", sa.Integer(), nullable=False),
        sa.Column("seen_after_decision", sa.Integer(), nullable=False),
        sa.Column("window_start", utc_datetime(), nullable=False),
        sa.Column("window_end", utc_datetime(), nullable=False),
        sa.Column("last_finding_night", sa.Date(), nullable=False),
        sa.Column("evidence_root", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_case_machine_number_case_file")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_case_machine")),
    )
    op.create_table(
        "command_log",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("command_digest", sa.String(length=64), nullable=False),
        sa.Column("seq", big_integer(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("recorded_at", utc_datetime(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["event.seq"], name=op.f("fk_command_log_seq_event")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_command_log")),
    )
    op.create_table(
        "filing_unit_night",
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("unit_id", sa.Text(), nullable=False),
        sa.Column("cases", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("storm", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["night"], ["filing_night.night"], name=op.f("fk_filing_unit_night_night_filing_night")
        ),
        sa.PrimaryKeyConstraint("night", "unit_id", name=op.f("pk_filing_unit_night")),
    )
    op.create_table(
        "finding_fingerprint",
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("finding_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["finding.finding_id"], name=op.f("fk_finding_fingerprint_finding_id_finding")
        ),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_finding_fingerprint")),
    )
    op.create_index(op.f("ix_finding_fingerprint_finding_id"), "finding_fingerprint", ["finding_id"], unique=False)
    op.create_table(
        "finding_occurrence",
        sa.Column("night", sa.Date(), nullable=False),
        sa.Column("reported_id", sa.String(length=64), nullable=False),
        sa.Column("finding_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("unit_digest", sa.String(length=64), nullable=False),
        sa.Column("window_start", utc_datetime(), nullable=False),
        sa.Column("window_end", utc_datetime(), nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=False),
        sa.Column("evidence_root", sa.String(length=64), nullable=False),
        sa.Column("evidence_sha256", sa.String(length=64), nullable=False),
        sa.Column("coverage_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["finding_id"], ["finding.finding_id"], name=op.f("fk_finding_occurrence_finding_id_finding")
        ),
        sa.PrimaryKeyConstraint("night", "reported_id", name=op.f("pk_finding_occurrence")),
    )
    op.create_index(op.f("ix_finding_occurrence_finding_id"), "finding_occurrence", ["finding_id"], unique=False)
    for statement in GUARDS[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    op.drop_index(op.f("ix_finding_occurrence_finding_id"), table_name="finding_occurrence")
    op.drop_table("finding_occurrence")
    op.drop_index(op.f("ix_finding_fingerprint_finding_id"), table_name="finding_fingerprint")
    op.drop_table("finding_fingerprint")
    op.drop_table("filing_unit_night")
    op.drop_table("command_log")
    op.drop_table("case_machine")
    op.drop_index(op.f("ix_case_link_other"), table_name="case_link")
    op.drop_table("case_link")
    op.drop_index(op.f("ix_case_finding_finding_id"), table_name="case_finding")
    op.drop_table("case_finding")
    op.drop_index(op.f("ix_rule_version_unit_id"), table_name="rule_version")
    op.drop_table("rule_version")
    op.drop_index("ix_finding_subject", table_name="finding")
    op.drop_index("ix_finding_state", table_name="finding")
    op.drop_table("finding")
    op.drop_table("filing_night")
    op.drop_index(
        "uq_case_file_one_open",
        table_name="case_file",
        sqlite_where=sa.text("is_open"),
        postgresql_where=sa.text("is_open"),
    )
    op.drop_index("ix_case_file_subject", table_name="case_file")
    op.drop_index("ix_case_file_status", table_name="case_file")
    op.drop_table("case_file")
