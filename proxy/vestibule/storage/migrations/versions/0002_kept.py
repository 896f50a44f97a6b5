"""Connections keep what a callback or a token reply said that later requests need."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("connections", sa.Column("kept_sealed", sa.LargeBinary(), nullable=True))
