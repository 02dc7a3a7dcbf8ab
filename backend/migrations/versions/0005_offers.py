"""Offers and who sells where, device wallets and what their agents say, sessions under an offer and sessions that wait for another."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
HOLDS = "state in ('opening','open','running','ending') and not waits"


def upgrade() -> None:
    _offers()
    _wallets()
    _sessions()


def _offers() -> None:
    _table("offers", _bytes("hash", 32), _bytes("provider", 20), _big("number"), _big("valid_from_s"), _big("valid_until_s"),
           _json("offer"), _bytes("signature", 65), _json("document"), _bytes("tariff_hash", 32), _big("made_at_s"),
           _big("published_at_s", True), _bytes("withdraw_signature", 65, True), _big("withdraw_asked_at_s", True),
           _big("withdrawn_at_s", True),
           sa.UniqueConstraint("provider", "number", name="uq_offers_provider_number"), key=("hash",))  # fmt: skip
    op.create_index("ix_offers_operator_id_made_at_s", "offers", ["operator_id", "made_at_s"])
    _table("offer_points", _bytes("offer", 32), _text("point_id", 32), key=("offer", "point_id"),
           refers={"offer": "offers.hash", "point_id": "points.id"})  # fmt: skip
    op.create_index("ix_offer_points_point_id", "offer_points", ["point_id"])
    _table("point_sellers", _text("point_id", 32), sa.Column("seller_id", BIG, autoincrement=False, nullable=False),
           key=("point_id", "seller_id"), refers={"point_id": "points.id", "seller_id": "operators.id"})  # fmt: skip
    _table("providers", _bytes("provider", 20), _flag("registered"), _big("since_s"), key=("provider",))


def _wallets() -> None:
    _table("wallets", _bytes("wallet", 20), _bytes("device", 32), _bytes("owner", 20), _bytes("policy_hash", 32, True),
           _json("policy", True), _big("policy_at_s", True), _flag("frozen"), _big("withdrawn_micro"), _big("created_at_s"),
           key=("wallet",))  # fmt: skip
    _table("wallet_notes", _big("id"), _bytes("wallet", 20), _bytes("digest", 32), _text("kind", 10), _bytes("session", 32, True),
           _json("document"), _big("made_at_s"), _bytes("signature", 65), _big("received_at_s"),
           sa.UniqueConstraint("digest", name="uq_wallet_notes_digest"), key=("id",), refers={"wallet": "wallets.wallet"})  # fmt: skip
    op.create_index("ix_wallet_notes_wallet_id", "wallet_notes", ["wallet", "id"])


def _sessions() -> None:
    """Sessions before this were quoted at the point's own tariff, waited for no other, and were granted power as they opened."""
    op.add_column("sessions", _bytes("offer", 32, True))
    op.add_column("sessions", _bytes("follows", 32, True))
    op.add_column("sessions", sa.Column("waits", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("sessions", _big("granted_at_s", True))
    op.execute("UPDATE sessions SET granted_at_s = opened_at_s WHERE opened_at_s IS NOT NULL")
    op.drop_index("uq_sessions_live_point", "sessions")
    op.create_index(
        "uq_sessions_live_point", "sessions", ["point_id"], unique=True, sqlite_where=sa.text(HOLDS), postgresql_where=sa.text(HOLDS)
    )
    op.create_index("ix_sessions_follows", "sessions", ["follows"])
    op.create_index("ix_sessions_payer", "sessions", ["payer"])


def _table(name: str, *parts: Any, key: tuple[str, ...], refers: dict[str, str] | None = None) -> None:
    """A table whose rows carry their operator. Constraints are named as the models name them."""
    foreign = {"operator_id": "operators.id"} | (refers or {})
    op.create_table(
        name, *parts, _big("operator_id"), sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"),
        *(sa.ForeignKeyConstraint([column], [target], name=f"fk_{name}_{column}") for column, target in foreign.items()),
    )  # fmt: skip


def _big(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, BIG, nullable=nullable)


def _text(name: str, length: int) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=False)


def _json(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _bytes(name: str, length: int, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(length), nullable=nullable)
