"""Accepted code, kept for later executions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "accepted_code",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("atom_id", sa.Text, nullable=False),
        sa.Column("plan_name", sa.Text, nullable=False),
        sa.Column("source", sa.String(36), nullable=False),
        sa.Column("code", sa.LargeBinary, nullable=False),
        sa.Column("cost_usd", sa.Double, nullable=False),
        sa.Column("written_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("last_used_at", sa.Double, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_accepted_code")),
    )
    op.create_index(op.f("ix_accepted_code_last_used_at"), "accepted_code", ["last_used_at"])


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("accepted_code")
