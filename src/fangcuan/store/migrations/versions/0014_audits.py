"""Samples of auditors, and their reviews of cases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

KEYS = {"audit_sample": ("sample",), "audit_review": ("number", "review")}


def utc_datetime() -> sa.types.TypeEngine[Any]:
    return sa.DateTime(timezone=True).with_variant(sa.String(27), "sqlite")


def upgrade() -> None:
    op.create_table(
        "audit_sample",
        sa.Column("sample", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Text(), nullable=False),
        sa.Column("filters", sa.Text(), nullable=False),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("population_digest", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("numbers", sa.Text(), nullable=False),
        sa.Column("drawn_by", sa.Text(), nullable=False),
        sa.Column("drawn_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("asked > 0 and population > 0", name=op.f("ck_audit_sample_of_something")),
        sa.PrimaryKeyConstraint("sample", name=op.f("pk_audit_sample")),
    )
    op.create_table(
        "audit_review",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("review", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sample", sa.Integer(), nullable=True),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("case_version", sa.Integer(), nullable=False),
        sa.Column("evidence_root", sa.String(64), nullable=False),
        sa.Column("decision_evidence_root", sa.String(64), nullable=True),
        sa.Column("decided_person", sa.Text(), nullable=True),
        sa.Column("handled_persons", sa.Text(), nullable=False),
        sa.Column("reviewed_by", sa.Text(), nullable=False),
        sa.Column("reviewed_person", sa.Text(), nullable=False),
        sa.Column("reviewed_persons", sa.Text(), nullable=False),
        sa.Column("reviewed_at", utc_datetime(), nullable=False),
        sa.CheckConstraint("result in ('agrees', 'disagrees', 'cannot_tell')", name=op.f("ck_audit_review_result")),
        sa.CheckConstraint(
            "result = 'agrees' or (note is not null and reasons <> '[]')", name=op.f("ck_audit_review_says_why")
        ),
        sa.CheckConstraint(
            "decided_person is null or decided_person <> reviewed_person", name=op.f("ck_audit_review_not_his_own")
        ),
        sa.ForeignKeyConstraint(["number"], ["case_file.number"], name=op.f("fk_audit_review_number_case_file")),
        sa.ForeignKeyConstraint(["sample"], ["audit_sample.sample"], name=op.f("fk_audit_review_sample_audit_sample")),
        sa.PrimaryKeyConstraint("number", "review", name=op.f("pk_audit_review")),
    )
    op.create_index(op.f("ix_audit_review_sample"), "audit_review", ["sample"])
    for name, keys in KEYS.items():
        for statement in _guards(name, keys):
            op.execute(statement)


def downgrade() -> None:
    # The triggers go with their table.
    op.drop_table("audit_review")
    op.drop_table("audit_sample")


def _guards(name: str, keys: tuple[str, ...]) -> Iterator[str]:
    if op.get_bind().dialect.name == "postgresql":
        refuse = "execute function fangcuan_refuse()"
        yield f"create trigger {name}_no_change before update or delete on {name} for each row {refuse}"
        yield f"create trigger {name}_no_truncate before truncate on {name} {refuse}"
        yield f"alter table {name} enable always trigger {name}_no_change"
        yield f"alter table {name} enable always trigger {name}_no_truncate"
        return
    abort = f"select raise(abort, '{name} is append-only');"
    there = f"exists (select 1 from {name} where {' and '.join(f'{key} = new.{key}' for key in keys)})"
    yield f"create trigger {name}_no_update before update on {name} begin {abort} end"
    yield f"create trigger {name}_no_delete before delete on {name} begin {abort} end"
    yield f"create trigger {name}_no_replace before insert on {name} when {there} begin {abort} end"
