"""The books, the chain, supply."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NOT_NEGATIVE = "debits_posted >= 0 and credits_posted >= 0 and debits_pending >= 0 and credits_pending >= 0"


def upgrade() -> None:
    _accounts()
    _anchor_links()
    _chain_events()
    _chain_halts()
    _hello_nonces()
    _intents()
    _key_events()
    _known_blocks()
    _agent_messages()
    _attempts()
    _commands()
    _confirmations()
    _transfers()
    _claim_rows()


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", BIG, nullable=False), sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("reference", sa.LargeBinary(32), nullable=False), sa.Column("debits_posted", BIG, nullable=False),
        sa.Column("credits_posted", BIG, nullable=False), sa.Column("debits_pending", BIG, nullable=False),
        sa.Column("credits_pending", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.CheckConstraint(NOT_NEGATIVE, name="ck_accounts_not_negative"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_accounts_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("operator_id", "kind", "reference", name="uq_accounts_operator_id_kind_reference"),
    )  # fmt: skip


def _anchor_links() -> None:
    op.create_table(
        "anchor_links",
        sa.Column("id", BIG, nullable=False), sa.Column("anchorer", sa.LargeBinary(20), nullable=False),
        sa.Column("previous_head", sa.LargeBinary(32), nullable=False), sa.Column("root", sa.LargeBinary(32), nullable=False),
        sa.Column("head", sa.LargeBinary(32), nullable=False), sa.Column("time_s", BIG, nullable=False),
        sa.Column("block_number", BIG, nullable=False), sa.Column("transaction_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_anchor_links_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_anchor_links"), sa.UniqueConstraint("head", name="uq_anchor_links_head"),
    )  # fmt: skip
    op.create_index("ix_anchor_links_anchorer_id", "anchor_links", ["anchorer", "id"])
    op.create_index("ix_anchor_links_root", "anchor_links", ["root"])


def _chain_events() -> None:
    op.create_table(
        "chain_events",
        sa.Column("id", BIG, nullable=False), sa.Column("block_number", BIG, nullable=False),
        sa.Column("block_hash", sa.LargeBinary(32), nullable=False), sa.Column("time_s", BIG, nullable=False),
        sa.Column("log_index", BIG, nullable=False), sa.Column("transaction_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("name", sa.String(40), nullable=False), sa.Column("values", sa.Text(), nullable=False),
        sa.Column("session", sa.LargeBinary(32), nullable=True), sa.Column("applied", sa.Boolean(), nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_chain_events_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_chain_events"),
        sa.UniqueConstraint("block_number", "log_index", name="uq_chain_events_block_number_log_index"),
    )  # fmt: skip
    op.create_index("ix_chain_events_applied_block_number", "chain_events", ["applied", "block_number"])
    op.create_index("ix_chain_events_session", "chain_events", ["session"])


def _chain_halts() -> None:
    op.create_table(
        "chain_halts",
        sa.Column("from_block", BIG, nullable=False, autoincrement=False), sa.Column("from_s", BIG, nullable=False),
        sa.Column("until_s", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_chain_halts_operator_id"),
        sa.PrimaryKeyConstraint("from_block", name="pk_chain_halts"),
    )  # fmt: skip


def _hello_nonces() -> None:
    op.create_table(
        "hello_nonces",
        sa.Column("device", sa.LargeBinary(32), nullable=False), sa.Column("nonce", sa.LargeBinary(32), nullable=False),
        sa.Column("at_s", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_hello_nonces_operator_id"),
        sa.PrimaryKeyConstraint("device", "nonce", name="pk_hello_nonces"),
    )  # fmt: skip
    op.create_index("ix_hello_nonces_at_s", "hello_nonces", ["at_s"])


def _intents() -> None:
    op.create_table(
        "intents",
        sa.Column("id", BIG, nullable=False), sa.Column("sender", sa.LargeBinary(20), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False), sa.Column("what", sa.String(60), nullable=False),
        sa.Column("cause", sa.LargeBinary(32), nullable=False), sa.Column("reference", sa.LargeBinary(32), nullable=False),
        sa.Column("to", sa.LargeBinary(20), nullable=False), sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False), sa.Column("created_at_s", BIG, nullable=False),
        sa.Column("settled_at_s", BIG, nullable=True), sa.Column("mined_transaction", sa.LargeBinary(32), nullable=True),
        sa.Column("mined_block_number", BIG, nullable=True), sa.Column("mined_block_hash", sa.LargeBinary(32), nullable=True),
        sa.Column("mined_succeeded", sa.Boolean(), nullable=True), sa.Column("gas_used", BIG, nullable=True),
        sa.Column("gas_price_wei", sa.String(40), nullable=True), sa.Column("reason_name", sa.String(60), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_intents_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_intents"), sa.UniqueConstraint("cause", name="uq_intents_cause"),
    )  # fmt: skip
    op.create_index("ix_intents_reference", "intents", ["reference"])
    op.create_index("ix_intents_sender_state_id", "intents", ["sender", "state", "id"])


def _key_events() -> None:
    op.create_table(
        "key_events",
        sa.Column("id", BIG, nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("role", BIG, nullable=False), sa.Column("old_key", sa.LargeBinary(20), nullable=False),
        sa.Column("new_key", sa.LargeBinary(20), nullable=False), sa.Column("last_frame", sa.LargeBinary(32), nullable=False),
        sa.Column("head", sa.LargeBinary(32), nullable=False), sa.Column("time_s", BIG, nullable=False),
        sa.Column("block_number", BIG, nullable=False), sa.Column("transaction_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_key_events_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_key_events"),
    )  # fmt: skip
    op.create_index("ix_key_events_device", "key_events", ["device"])


def _known_blocks() -> None:
    op.create_table(
        "known_blocks",
        sa.Column("number", BIG, nullable=False, autoincrement=False), sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_known_blocks_operator_id"),
        sa.PrimaryKeyConstraint("number", name="pk_known_blocks"),
    )  # fmt: skip


def _agent_messages() -> None:
    op.create_table(
        "agent_messages",
        sa.Column("id", BIG, nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("event", sa.String(12), nullable=False), sa.Column("session", sa.LargeBinary(32), nullable=False),
        sa.Column("number", BIG, nullable=True), sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at_s", BIG, nullable=False), sa.Column("done_at_s", BIG, nullable=True),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_agent_messages_device"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_agent_messages_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_agent_messages"),
    )  # fmt: skip
    op.create_index("ix_agent_messages_device_done_at_s_id", "agent_messages", ["device", "done_at_s", "id"])


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", BIG, nullable=False), sa.Column("intent_id", BIG, nullable=False),
        sa.Column("transaction_hash", sa.LargeBinary(32), nullable=False), sa.Column("nonce", BIG, nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False), sa.Column("gas_limit", BIG, nullable=False),
        sa.Column("fee_wei", sa.String(40), nullable=False), sa.Column("tip_wei", sa.String(40), nullable=False),
        sa.Column("created_at_s", BIG, nullable=False), sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.id"], name="fk_attempts_intent_id"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_attempts_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        sa.UniqueConstraint("transaction_hash", name="uq_attempts_transaction_hash"),
    )  # fmt: skip
    op.create_index("ix_attempts_intent_id", "attempts", ["intent_id"])


def _commands() -> None:
    op.create_table(
        "commands",
        sa.Column("id", BIG, nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("channel", BIG, nullable=False), sa.Column("control_generation", BIG, nullable=False),
        sa.Column("number", BIG, nullable=False), sa.Column("action", BIG, nullable=False),
        sa.Column("session", sa.LargeBinary(32), nullable=False), sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("state", sa.String(12), nullable=False), sa.Column("attempt", BIG, nullable=False),
        sa.Column("created_at_s", BIG, nullable=False), sa.Column("retry_at_s", BIG, nullable=False),
        sa.Column("confirmed_at_s", BIG, nullable=True), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_commands_device"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_commands_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_commands"),
        sa.UniqueConstraint("device", "control_generation", "number", name="uq_commands_device_control_generation_number"),
        sa.UniqueConstraint("digest", name="uq_commands_digest"),
    )  # fmt: skip
    op.create_index("ix_commands_session", "commands", ["session"])
    op.create_index("ix_commands_state_retry_at_s", "commands", ["state", "retry_at_s"])


def _confirmations() -> None:
    op.create_table(
        "confirmations",
        sa.Column("id", BIG, nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("channel", BIG, nullable=False), sa.Column("session", sa.LargeBinary(32), nullable=False),
        sa.Column("state", BIG, nullable=False), sa.Column("cause", BIG, nullable=False),
        sa.Column("measured_at_s", BIG, nullable=False), sa.Column("document", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False), sa.Column("signature", sa.LargeBinary(65), nullable=False),
        sa.Column("received_at_s", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_confirmations_device"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_confirmations_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_confirmations"), sa.UniqueConstraint("digest", name="uq_confirmations_digest"),
    )  # fmt: skip
    op.create_index("ix_confirmations_session", "confirmations", ["session"])


def _transfers() -> None:
    op.create_table(
        "transfers",
        sa.Column("id", sa.LargeBinary(32), nullable=False), sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("debit_account_id", BIG, nullable=False), sa.Column("credit_account_id", BIG, nullable=False),
        sa.Column("amount_micro", BIG, nullable=False), sa.Column("pending_id", sa.LargeBinary(32), nullable=True),
        sa.Column("cause", sa.String(30), nullable=False), sa.Column("reference", sa.LargeBinary(32), nullable=False),
        sa.Column("at_s", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.CheckConstraint("amount_micro > 0", name="ck_transfers_amount_positive"),
        sa.CheckConstraint("debit_account_id <> credit_account_id", name="ck_transfers_two_accounts"),
        sa.ForeignKeyConstraint(["credit_account_id"], ["accounts.id"], name="fk_transfers_credit_account_id"),
        sa.ForeignKeyConstraint(["debit_account_id"], ["accounts.id"], name="fk_transfers_debit_account_id"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_transfers_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_transfers"),
    )  # fmt: skip
    op.create_index("ix_transfers_operator_id_reference", "transfers", ["operator_id", "reference"])
    op.create_index("ix_transfers_pending_id", "transfers", ["pending_id"])


def _claim_rows() -> None:
    op.create_table(
        "claim_rows",
        sa.Column("intent_id", BIG, nullable=False), sa.Column("session", sa.LargeBinary(32), nullable=False),
        sa.Column("amount_micro", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["intent_id"], ["intents.id"], name="fk_claim_rows_intent_id"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_claim_rows_operator_id"),
        sa.ForeignKeyConstraint(["session"], ["sessions.session"], name="fk_claim_rows_session"),
        sa.PrimaryKeyConstraint("intent_id", "session", name="pk_claim_rows"),
    )  # fmt: skip
    op.create_index("ix_claim_rows_session", "claim_rows", ["session"])
