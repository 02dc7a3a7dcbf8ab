"""What all tables share. Times are UTC seconds; money is micro-units; energy is milliwatt-hours; ids and hashes are bytes."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Integer, LargeBinary, MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

HOUSE = 0
"""The operator id of rows that belong to the installation itself: blocks, leases, loops."""

Big = BigInteger().with_variant(Integer, "sqlite")
"""64 bits everywhere (SQLite's INTEGER has them, and only INTEGER can count up by itself)."""
Hash = LargeBinary(32)
Address = LargeBinary(20)
Signature = LargeBinary(65)
Json = Text
"""JSON is stored as the text it was made or received as: what was hashed or signed is never re-encoded."""


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s", "fk": "fk_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s",
    })  # fmt: skip


class Owned:
    """Every row carries its operator, from the first migration on."""

    operator_id: Mapped[int] = mapped_column(ForeignKey("operators.id"), nullable=False)
