"""Money over rails: deposits, payouts, movements of the provider's balance, events heard."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _table("deposits", _bytes("id", 32), _text("rail", 20), _bytes("account", 20), _big("amount_micro"), _text("state", 12),
           _text("why", 300), _text("payment_id", 255, True), _text("pay_url", 2000, True), _big("expires_at_s", True),
           _text("charge_id", 255, True), _bytes("receipt_id", 32, True), _big("paid_micro"), _big("refunded_micro"),
           _big("disputed_micro"), _text("dispute", 8), _big("mint_micro", True), _big("tries"),
           sa.Column("look_again", sa.Boolean(), nullable=False), _big("created_at_s"), _big("paid_at_s", True),
           _big("credited_at_s", True), key=("id",), unique=(("receipt_id",), ("rail", "charge_id")))  # fmt: skip
    _indexes("deposits", ("state",), ("account",), ("created_at_s", "id"))
    _table("payouts", _bytes("id", 32), _text("rail", 20), _bytes("account", 20), _big("amount_micro"), _big("nonce"),
           _big("deadline_s"), sa.Column("signature", sa.LargeBinary(), nullable=False), _text("state", 12), _text("why", 300),
           _big("created_at_s"), _big("done_at_s", True), key=("id",))  # fmt: skip
    _indexes("payouts", ("state",), ("account",), ("created_at_s", "id"))
    _table("payout_parts", _bytes("payout_id", 32), _bytes("deposit_id", 32), _big("amount_micro"), _text("state", 8), _big("tries"),
           _bytes("name", 32), _text("refund_id", 255, True), _text("why", 300), key=("payout_id", "deposit_id"), unique=(("name",),),
           refers={"payout_id": "payouts.id", "deposit_id": "deposits.id"})  # fmt: skip
    _indexes("payout_parts", ("deposit_id",))
    _table("rail_movements", _text("rail", 20), _text("movement_id", 255), _text("kind", 20), _big("amount_micro"), _big("fee_micro"),
           _bytes("deposit_id", 32, True), _big("moved_at_s"), key=("rail", "movement_id"))  # fmt: skip
    _indexes("rail_movements", ("rail", "moved_at_s"))
    _table("rail_events", _text("rail", 20), _text("event_id", 255), _text("kind", 80), _big("received_at_s"), key=("rail", "event_id"))
    _indexes("rail_events", ("received_at_s",))


def _table(
    name: str, *columns: sa.Column[Any], key: tuple[str, ...], unique: tuple[tuple[str, ...], ...] = (),
    refers: dict[str, str] | None = None,
) -> None:  # fmt: skip
    """A table whose rows carry their operator. Constraints are named as the models name them."""
    foreign = {"operator_id": "operators.id"} | (refers or {})
    op.create_table(
        name, *columns, _big("operator_id"), sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"),
        *(sa.UniqueConstraint(*each, name=f"uq_{name}_{'_'.join(each)}") for each in unique),
        *(sa.ForeignKeyConstraint([column], [target], name=f"fk_{name}_{column}") for column, target in foreign.items()),
    )  # fmt: skip


def _indexes(table: str, *columns: tuple[str, ...]) -> None:
    for each in columns:
        op.create_index(f"ix_{table}_{'_'.join(each)}", table, list(each))


def _big(name: str, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, BIG, nullable=nullable)


def _text(name: str, length: int, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def _bytes(name: str, length: int, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.LargeBinary(length), nullable=nullable)
