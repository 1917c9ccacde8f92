"""What each night reported of a finding's row, by digest, and what filing made of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("finding_occurrence", sa.Column("row_sha256", sa.String(64), nullable=True))
    op.add_column("finding_occurrence", sa.Column("state", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("finding_occurrence", "state")
    op.drop_column("finding_occurrence", "row_sha256")
