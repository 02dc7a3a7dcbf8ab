"""The key of a point's own calibrated meter, and which key an OCMF text was signed by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("points", sa.Column("ocmf_public_key", sa.LargeBinary(), nullable=True))
    op.add_column("ocmf_texts", sa.Column("public_key", sa.LargeBinary(), nullable=True))
