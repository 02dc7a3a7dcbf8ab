"""Accounts, log-ins, API tokens, the record of acts, who acknowledged an alarm; and indexes for the lists that people page through."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
LISTED = (
    ("sessions", ("operator_id", "quoted_at_s", "session")), ("transfers", ("operator_id", "at_s", "id")),
    ("frames", ("operator_id", "epoch_id")), ("commands", ("device", "channel", "id")), ("confirmations", ("device", "channel", "id")),
)  # fmt: skip
"""Lists that people page through."""
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _table("users", _big("id"), _text("name", 64), _text("role", 12), _text("password_hash", 300, True), _bytes("wallet", 20, True),
           sa.Column("enabled", sa.Boolean(), nullable=False), _big("created_at_s"), key="id", unique=("name", "wallet"))  # fmt: skip
    op.create_index("ix_users_operator_id_id", "users", ["operator_id", "id"])
    _table("logins", _bytes("digest", 32), _big("user_id"), _text("method", 10), _big("created_at_s"), _big("seen_at_s"),
           _big("expires_at_s"), key="digest", refers={"user_id": "users.id"})  # fmt: skip
    op.create_index("ix_logins_user_id", "logins", ["user_id"])
    op.create_index("ix_logins_expires_at_s", "logins", ["expires_at_s"])
    _table("api_tokens", _big("id"), _bytes("digest", 32), _big("user_id"), _text("label", 100), _big("created_at_s"), _big("expires_at_s"),
           _big("revoked_at_s", True), key="id", unique=("digest",), refers={"user_id": "users.id"})  # fmt: skip
    op.create_index("ix_api_tokens_user_id", "api_tokens", ["user_id"])
    _table("log_in_attempts", _big("id"), _bytes("subject", 32), _text("address", 64), _big("at_s"), key="id")
    op.create_index("ix_log_in_attempts_at_s", "log_in_attempts", ["at_s"])
    op.create_index("ix_log_in_attempts_subject_at_s", "log_in_attempts", ["subject", "at_s"])
    op.create_index("ix_log_in_attempts_address_at_s", "log_in_attempts", ["address", "at_s"])
    _table("sign_in_texts", _text("nonce", 64), _bytes("wallet", 20), sa.Column("text", sa.LargeBinary(), nullable=False),
           _big("expires_at_s"), key="nonce")  # fmt: skip
    op.create_index("ix_sign_in_texts_expires_at_s", "sign_in_texts", ["expires_at_s"])
    _table("acts", _big("id"), _big("at_s"), _text("who", 80), _text("what", 40), _text("place", 200),
           sa.Column("detail", sa.Text(), nullable=False), key="id")  # fmt: skip
    op.create_index("ix_acts_operator_id_id", "acts", ["operator_id", "id"])
    alarm = sa.Column("alarm_id", BIG, autoincrement=False, nullable=False)
    _table("alarm_notes", alarm, _text("who", 80), _big("at_s"), key="alarm_id", refers={"alarm_id": "alarms.id"})
    for table, columns in LISTED:
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _table(name: str, *columns: sa.Column[Any], key: str, unique: tuple[str, ...] = (), refers: dict[str, str] | None = None) -> None:
    """A table whose rows carry their operator. Constraints are named as the models name them."""
    foreign = {"operator_id": "operators.id"} | (refers or {})
    op.create_table(
        name, *columns, _big("operator_id"), sa.PrimaryKeyConstraint(key, name=f"pk_{name}"),
        *(sa.UniqueConstraint(column, name=f"uq_{name}_{column}") for column in unique),
        *(sa.ForeignKeyConstraint([column], [target], name=f"fk_{name}_{column}") for column, target in foreign.items()),
    )  # fmt: skip


def _big(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, BIG, nullable=nullable)


def _text(name: str, length: int, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _bytes(name: str, length: int, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(length), nullable=nullable)
