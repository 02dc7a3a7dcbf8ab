"""Evidence and sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _epochs()
    _ocmf_texts()
    _conflicts()
    _frames()
    _incarnations()
    _receipts()
    _sessions()
    _session_frames()
    _session_steps()
    _signed_amounts()
    _signed_requests()


def _epochs() -> None:
    op.create_table(
        "epochs",
        sa.Column("id", BIG, nullable=False), sa.Column("anchorer", sa.LargeBinary(20), nullable=False),
        sa.Column("root", sa.LargeBinary(32), nullable=False), sa.Column("frame_count", BIG, nullable=False),
        sa.Column("state", sa.String(20), nullable=False), sa.Column("closed_at_s", BIG, nullable=False),
        sa.Column("intent_id", BIG, nullable=True), sa.Column("link_id", BIG, nullable=True),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_epochs_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_epochs"), sa.UniqueConstraint("anchorer", "root", name="uq_epochs_anchorer_root"),
    )  # fmt: skip
    op.create_index("ix_epochs_state", "epochs", ["state"])


def _ocmf_texts() -> None:
    op.create_table(
        "ocmf_texts",
        sa.Column("id", BIG, nullable=False), sa.Column("session", sa.LargeBinary(32), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False), sa.Column("text", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(200), nullable=False), sa.Column("received_at_s", BIG, nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_ocmf_texts_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ocmf_texts"), sa.UniqueConstraint("session", "hash", name="uq_ocmf_texts_session_hash"),
    )  # fmt: skip
    op.create_index("ix_ocmf_texts_session", "ocmf_texts", ["session"])


def _conflicts() -> None:
    op.create_table(
        "conflicts",
        sa.Column("id", BIG, nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("incarnation", sa.LargeBinary(32), nullable=False), sa.Column("first_sequence", BIG, nullable=False),
        sa.Column("kind", sa.String(30), nullable=False), sa.Column("accepted_frame_id", BIG, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False), sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at_s", BIG, nullable=False), sa.Column("disputed_from_s", BIG, nullable=False),
        sa.Column("ruled_at_s", BIG, nullable=True), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_conflicts_device"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_conflicts_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_conflicts"), sa.UniqueConstraint("digest", name="uq_conflicts_digest"),
    )  # fmt: skip
    op.create_index("ix_conflicts_device", "conflicts", ["device"])


def _frames() -> None:
    op.create_table(
        "frames",
        sa.Column("id", BIG, nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("incarnation", sa.LargeBinary(32), nullable=False), sa.Column("first_sequence", BIG, nullable=False),
        sa.Column("last_sequence", BIG, nullable=False), sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("previous", sa.LargeBinary(32), nullable=False), sa.Column("head_seen", sa.LargeBinary(32), nullable=False),
        sa.Column("meter_key", sa.LargeBinary(20), nullable=False), sa.Column("start_s", BIG, nullable=False),
        sa.Column("end_s", BIG, nullable=False), sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at_s", BIG, nullable=False), sa.Column("anchor_by_s", BIG, nullable=False),
        sa.Column("flagged", sa.Text(), nullable=False), sa.Column("epoch_id", BIG, nullable=True),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_frames_device"),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_frames_epoch_id"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_frames_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_frames"),
        sa.UniqueConstraint("device", "incarnation", "first_sequence", name="uq_frames_device_incarnation_first_sequence"),
        sa.UniqueConstraint("digest", name="uq_frames_digest"),
    )  # fmt: skip
    op.create_index("ix_frames_device_end_s", "frames", ["device", "end_s"])
    op.create_index("ix_frames_epoch_id", "frames", ["epoch_id"])


def _incarnations() -> None:
    op.create_table(
        "incarnations",
        sa.Column("device", sa.LargeBinary(32), nullable=False), sa.Column("incarnation", sa.LargeBinary(32), nullable=False),
        sa.Column("parent_frame_id", BIG, nullable=True), sa.Column("first_frame_id", BIG, nullable=False),
        sa.Column("tip_frame_id", BIG, nullable=False), sa.Column("rolled_back", sa.Boolean(), nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_incarnations_device"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_incarnations_operator_id"),
        sa.PrimaryKeyConstraint("device", "incarnation", name="pk_incarnations"),
    )  # fmt: skip


def _receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("device", sa.LargeBinary(32), nullable=False), sa.Column("incarnation", sa.LargeBinary(32), nullable=False),
        sa.Column("through_sequence", BIG, nullable=False), sa.Column("frame", sa.LargeBinary(32), nullable=False),
        sa.Column("received_at_s", BIG, nullable=False), sa.Column("anchor_by_s", BIG, nullable=False),
        sa.Column("signature", sa.LargeBinary(65), nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_receipts_device"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_receipts_operator_id"),
        sa.PrimaryKeyConstraint("device", name="pk_receipts"),
    )  # fmt: skip


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("session", sa.LargeBinary(32), nullable=False), sa.Column("quote_id", sa.String(64), nullable=False),
        sa.Column("point_id", sa.String(32), nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("channel", BIG, nullable=False), sa.Column("state", sa.String(10), nullable=False),
        sa.Column("payer", sa.LargeBinary(20), nullable=False), sa.Column("signer", sa.LargeBinary(20), nullable=False),
        sa.Column("metered", sa.Boolean(), nullable=False), sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("tariff_hash", sa.LargeBinary(32), nullable=False), sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("point_salt", sa.LargeBinary(32), nullable=False), sa.Column("quoted_at_s", BIG, nullable=False),
        sa.Column("quote_expires_at_s", BIG, nullable=False), sa.Column("wanted_lock_micro", BIG, nullable=False),
        sa.Column("lock_micro", BIG, nullable=False), sa.Column("opened_at_s", BIG, nullable=True),
        sa.Column("opened_block", BIG, nullable=True), sa.Column("running_at_s", BIG, nullable=True),
        sa.Column("ending_at_s", BIG, nullable=True), sa.Column("ended_at_s", BIG, nullable=True),
        sa.Column("settled_at_s", BIG, nullable=True), sa.Column("end_cause", BIG, nullable=False),
        sa.Column("end_detail", sa.String(300), nullable=False), sa.Column("close_requested_at_s", BIG, nullable=True),
        sa.Column("energy_milliwatt_hours", BIG, nullable=False), sa.Column("bill_micro", BIG, nullable=False),
        sa.Column("charge_micro", BIG, nullable=False), sa.Column("claimed_micro", BIG, nullable=False),
        sa.Column("returned_micro", BIG, nullable=False), sa.Column("tail_micro", BIG, nullable=False),
        sa.Column("credit_note_micro", BIG, nullable=False), sa.Column("after_frame_id", BIG, nullable=False),
        sa.Column("first_frame_id", BIG, nullable=True), sa.Column("last_frame_id", BIG, nullable=True),
        sa.Column("first_sequence", BIG, nullable=True), sa.Column("last_sequence", BIG, nullable=True),
        sa.Column("last_record_end_s", BIG, nullable=True), sa.Column("stop_record_seen", sa.Boolean(), nullable=False),
        sa.Column("blocked", sa.String(300), nullable=False), sa.Column("ready_nonce", sa.LargeBinary(32), nullable=True),
        sa.Column("disconnected_at_s", BIG, nullable=True), sa.Column("disputed_from_s", BIG, nullable=True),
        sa.Column("closed_at_s", BIG, nullable=True), sa.Column("claim_not_before_s", BIG, nullable=False),
        sa.Column("claim_skips", BIG, nullable=False), sa.Column("blind_since_s", BIG, nullable=True),
        sa.Column("blind_from_milliwatt_hours", BIG, nullable=True), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_sessions_operator_id"),
        sa.ForeignKeyConstraint(["point_id"], ["points.id"], name="fk_sessions_point_id"),
        sa.PrimaryKeyConstraint("session", name="pk_sessions"), sa.UniqueConstraint("quote_id", name="uq_sessions_quote_id"),
    )  # fmt: skip
    op.create_index("ix_sessions_device_channel", "sessions", ["device", "channel"])
    op.create_index("ix_sessions_operator_id_state", "sessions", ["operator_id", "state"])
    where = sa.text("state in ('opening','open','running','ending')")
    op.create_index("uq_sessions_live_point", "sessions", ["point_id"], unique=True, sqlite_where=where, postgresql_where=where)


def _session_frames() -> None:
    op.create_table(
        "session_frames",
        sa.Column("session", sa.LargeBinary(32), nullable=False), sa.Column("frame_id", BIG, nullable=False),
        sa.Column("total_micro", BIG, nullable=False), sa.Column("energy_milliwatt_hours", BIG, nullable=False),
        sa.Column("end_s", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["frame_id"], ["frames.id"], name="fk_session_frames_frame_id"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_session_frames_operator_id"),
        sa.ForeignKeyConstraint(["session"], ["sessions.session"], name="fk_session_frames_session"),
        sa.PrimaryKeyConstraint("session", "frame_id", name="pk_session_frames"),
    )  # fmt: skip


def _session_steps() -> None:
    op.create_table(
        "session_steps",
        sa.Column("id", BIG, nullable=False), sa.Column("session", sa.LargeBinary(32), nullable=False),
        sa.Column("from_state", sa.String(10), nullable=False), sa.Column("to_state", sa.String(10), nullable=False),
        sa.Column("why", sa.String(300), nullable=False), sa.Column("at_s", BIG, nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_session_steps_operator_id"),
        sa.ForeignKeyConstraint(["session"], ["sessions.session"], name="fk_session_steps_session"),
        sa.PrimaryKeyConstraint("id", name="pk_session_steps"),
    )  # fmt: skip
    op.create_index("ix_session_steps_session", "session_steps", ["session"])


def _signed_amounts() -> None:
    op.create_table(
        "signed_amounts",
        sa.Column("id", BIG, nullable=False), sa.Column("session", sa.LargeBinary(32), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False), sa.Column("amount_micro", BIG, nullable=False),
        sa.Column("energy_milliwatt_hours", BIG, nullable=False), sa.Column("elapsed_s", BIG, nullable=False),
        sa.Column("frame", sa.LargeBinary(32), nullable=False), sa.Column("signature", sa.LargeBinary(65), nullable=False),
        sa.Column("received_at_s", BIG, nullable=False), sa.Column("claimable", sa.Boolean(), nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_signed_amounts_operator_id"),
        sa.ForeignKeyConstraint(["session"], ["sessions.session"], name="fk_signed_amounts_session"),
        sa.PrimaryKeyConstraint("id", name="pk_signed_amounts"),
        sa.UniqueConstraint("session", "amount_micro", "frame", name="uq_signed_amounts_session_amount_micro_frame"),
    )  # fmt: skip


def _signed_requests() -> None:
    op.create_table(
        "signed_requests",
        sa.Column("id", BIG, nullable=False), sa.Column("session", sa.LargeBinary(32), nullable=False),
        sa.Column("kind", sa.String(15), nullable=False), sa.Column("document", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False), sa.Column("intent_id", BIG, nullable=True),
        sa.Column("received_at_s", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_signed_requests_operator_id"),
        sa.ForeignKeyConstraint(["session"], ["sessions.session"], name="fk_signed_requests_session"),
        sa.PrimaryKeyConstraint("id", name="pk_signed_requests"),
        sa.UniqueConstraint("session", "kind", "document", name="uq_signed_requests_session_kind_document"),
    )  # fmt: skip
    op.create_index("ix_signed_requests_session", "signed_requests", ["session"])
