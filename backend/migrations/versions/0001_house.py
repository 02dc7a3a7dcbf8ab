"""Operators, leases, idempotency keys, alarms; devices and points."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _operators()
    _alarms()
    _deliveries()
    _devices()
    _facts()
    _idempotency_keys()
    _leases()
    _tariffs()
    _device_keys()
    _hand_overs()
    _points()
    _vouchers()
    _readings()


def _operators() -> None:
    op.create_table(
        "operators",
        sa.Column("id", BIG, nullable=False, autoincrement=False), sa.Column("name", sa.String(100), nullable=False),
        sa.Column("payee", sa.LargeBinary(20), nullable=False), sa.Column("created_at_s", BIG, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_operators"), sa.UniqueConstraint("name", name="uq_operators_name"),
    )  # fmt: skip


def _alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", BIG, nullable=False), sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("place", sa.String(200), nullable=False), sa.Column("detail", sa.String(2000), nullable=False),
        sa.Column("severity", sa.String(10), nullable=False), sa.Column("raised_at_s", BIG, nullable=False),
        sa.Column("last_seen_at_s", BIG, nullable=False), sa.Column("times", BIG, nullable=False),
        sa.Column("cleared_at_s", BIG, nullable=True), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_alarms_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_alarms"),
    )  # fmt: skip
    where = sa.text("cleared_at_s IS NULL")
    op.create_index("uq_alarms_open", "alarms", ["operator_id", "kind", "place"], unique=True, sqlite_where=where, postgresql_where=where)


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", BIG, nullable=False), sa.Column("alarm_id", BIG, nullable=False),
        sa.Column("channel", sa.String(10), nullable=False), sa.Column("cleared", sa.Boolean(), nullable=False),
        sa.Column("attempts", BIG, nullable=False), sa.Column("due_at_s", BIG, nullable=False),
        sa.Column("done_at_s", BIG, nullable=True), sa.Column("last_error", sa.String(500), nullable=True),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_deliveries_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("alarm_id", "channel", "cleared", name="uq_deliveries_alarm_id_channel_cleared"),
    )  # fmt: skip
    op.create_index("ix_deliveries_alarm_id", "deliveries", ["alarm_id"])
    op.create_index("ix_deliveries_done_at_s", "deliveries", ["done_at_s"])


def _devices() -> None:
    op.create_table(
        "devices",
        sa.Column("device", sa.LargeBinary(32), nullable=False), sa.Column("meter_key", sa.LargeBinary(20), nullable=False),
        sa.Column("control_generation", BIG, nullable=False), sa.Column("control_number", BIG, nullable=False),
        sa.Column("tip_frame_id", BIG, nullable=True), sa.Column("owner", sa.LargeBinary(20), nullable=True),
        sa.Column("enrolment", sa.String(20), nullable=False), sa.Column("last_heard_at_s", BIG, nullable=True),
        sa.Column("created_at_s", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_devices_operator_id"),
        sa.PrimaryKeyConstraint("device", name="pk_devices"),
    )  # fmt: skip


def _facts() -> None:
    op.create_table(
        "facts",
        sa.Column("name", sa.String(100), nullable=False), sa.Column("value", sa.Text(), nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_facts_operator_id"),
        sa.PrimaryKeyConstraint("name", name="pk_facts"),
    )  # fmt: skip


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.LargeBinary(32), nullable=False), sa.Column("request_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("status", BIG, nullable=False), sa.Column("response", sa.Text(), nullable=False),
        sa.Column("created_at_s", BIG, nullable=False), sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_idempotency_keys_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_idempotency_keys"),
    )  # fmt: skip
    op.create_index("ix_idempotency_keys_created_at_s", "idempotency_keys", ["created_at_s"])


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False), sa.Column("holder", sa.String(80), nullable=False),
        sa.Column("fence", BIG, nullable=False), sa.Column("until_s", BIG, nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_leases_operator_id"),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )  # fmt: skip


def _tariffs() -> None:
    op.create_table(
        "tariffs",
        sa.Column("operator_id", BIG, nullable=False), sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("document", sa.Text(), nullable=False), sa.Column("created_at_s", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_tariffs_operator_id"),
        sa.PrimaryKeyConstraint("operator_id", "hash", name="pk_tariffs"),
    )  # fmt: skip


def _device_keys() -> None:
    op.create_table(
        "device_keys",
        sa.Column("id", BIG, nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("key", sa.LargeBinary(20), nullable=False), sa.Column("from_s", BIG, nullable=False),
        sa.Column("until_s", BIG, nullable=True), sa.Column("last_frame", sa.LargeBinary(32), nullable=True),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_device_keys_device"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_device_keys_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_device_keys"),
    )  # fmt: skip
    op.create_index("ix_device_keys_device", "device_keys", ["device"])


def _hand_overs() -> None:
    op.create_table(
        "hand_overs",
        sa.Column("id", BIG, nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("channel", BIG, nullable=False), sa.Column("sequence", BIG, nullable=False),
        sa.Column("document", sa.Text(), nullable=False), sa.Column("signature", sa.LargeBinary(65), nullable=False),
        sa.Column("operator_signature", sa.LargeBinary(65), nullable=True), sa.Column("received_at_s", BIG, nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_hand_overs_device"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_hand_overs_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_hand_overs"),
        sa.UniqueConstraint("device", "channel", "sequence", name="uq_hand_overs_device_channel_sequence"),
    )  # fmt: skip


def _points() -> None:
    op.create_table(
        "points",
        sa.Column("id", sa.String(32), nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("channel", BIG, nullable=False), sa.Column("name", sa.String(100), nullable=False),
        sa.Column("serial", sa.String(64), nullable=False), sa.Column("placement", sa.String(200), nullable=False),
        sa.Column("meter_hash", sa.LargeBinary(32), nullable=False), sa.Column("rated_watts", BIG, nullable=False),
        sa.Column("register_modulus_milliwatt_hours", BIG, nullable=False),
        sa.Column("tariff_hash", sa.LargeBinary(32), nullable=False), sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False), sa.Column("created_at_s", BIG, nullable=False),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_points_device"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_points_operator_id"),
        sa.PrimaryKeyConstraint("id", name="pk_points"), sa.UniqueConstraint("device", "channel", name="uq_points_device_channel"),
    )  # fmt: skip
    op.create_index("ix_points_operator_id_id", "points", ["operator_id", "id"])


def _vouchers() -> None:
    op.create_table(
        "vouchers",
        sa.Column("charge_key", sa.LargeBinary(20), nullable=False), sa.Column("device", sa.LargeBinary(32), nullable=False),
        sa.Column("channel", BIG, nullable=False), sa.Column("made_at_s", BIG, nullable=False),
        sa.Column("signature", sa.LargeBinary(65), nullable=False), sa.Column("session", sa.LargeBinary(32), nullable=True),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["device"], ["devices.device"], name="fk_vouchers_device"),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_vouchers_operator_id"),
        sa.PrimaryKeyConstraint("charge_key", name="pk_vouchers"),
    )  # fmt: skip
    op.create_index("ix_vouchers_device_channel_session", "vouchers", ["device", "channel", "session"])


def _readings() -> None:
    op.create_table(
        "readings",
        sa.Column("point_id", sa.String(32), nullable=False), sa.Column("sequence", BIG, nullable=False),
        sa.Column("end_s", BIG, nullable=False), sa.Column("import_milliwatt_hours", BIG, nullable=False),
        sa.Column("export_milliwatt_hours", BIG, nullable=False), sa.Column("power_milliwatts", BIG, nullable=False),
        sa.Column("voltage_millivolts", BIG, nullable=False), sa.Column("flags", BIG, nullable=False),
        sa.Column("good_end_s", BIG, nullable=False), sa.Column("good_import_milliwatt_hours", BIG, nullable=False),
        sa.Column("good_export_milliwatt_hours", BIG, nullable=False), sa.Column("quarantined_since_s", BIG, nullable=True),
        sa.Column("supply", BIG, nullable=True), sa.Column("supply_at_s", BIG, nullable=True),
        sa.Column("operator_id", BIG, nullable=False),
        sa.ForeignKeyConstraint(["operator_id"], ["operators.id"], name="fk_readings_operator_id"),
        sa.ForeignKeyConstraint(["point_id"], ["points.id"], name="fk_readings_point_id"),
        sa.PrimaryKeyConstraint("point_id", name="pk_readings"),
    )  # fmt: skip
