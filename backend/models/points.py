"""Devices, their points (a channel of a device that can be switched and billed), tariffs, and vouchers for charge keys."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Address, Base, Big, Hash, Json, Owned, Signature


class Device(Owned, Base):
    """A meter agent: its keys, the number of its control key, and how far its log is held here."""

    __tablename__ = "devices"
    device: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    meter_key: Mapped[bytes] = mapped_column(Address)
    control_generation: Mapped[int] = mapped_column(Big, default=1)
    control_number: Mapped[int] = mapped_column(Big, default=0)  # highest number issued under that control key
    tip_frame_id: Mapped[int | None] = mapped_column(Big)
    owner: Mapped[bytes | None] = mapped_column(Address)
    enrolment: Mapped[str] = mapped_column(String(20))  # not asked, pending, enrolled, refused
    last_heard_at_s: Mapped[int | None] = mapped_column(Big)
    created_at_s: Mapped[int] = mapped_column(Big)


class DeviceKey(Owned, Base):
    """Every meter key a device ever had here. `last_frame` is the old key's last, as its rotation names it."""

    __tablename__ = "device_keys"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"), index=True)
    key: Mapped[bytes] = mapped_column(Address)
    from_s: Mapped[int] = mapped_column(Big)
    until_s: Mapped[int | None] = mapped_column(Big)
    last_frame: Mapped[bytes | None] = mapped_column(Hash)


class Point(Owned, Base):
    """One channel of a device: what can be opened, switched and billed."""

    __tablename__ = "points"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"))
    channel: Mapped[int] = mapped_column(Big)
    name: Mapped[str] = mapped_column(String(100))
    serial: Mapped[str] = mapped_column(String(64))
    placement: Mapped[str] = mapped_column(String(200))
    meter_hash: Mapped[bytes] = mapped_column(Hash)
    rated_watts: Mapped[int] = mapped_column(Big)
    register_modulus_milliwatt_hours: Mapped[int] = mapped_column(Big)  # where the register rolls over
    tariff_hash: Mapped[bytes] = mapped_column(Hash)
    policy: Mapped[str] = mapped_column(Json)
    ocmf_public_key: Mapped[bytes | None] = mapped_column(LargeBinary)  # DER, of a meter that signs OCMF with a key of its own
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    created_at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (UniqueConstraint("device", "channel"), Index("ix_points_operator_id_id", "operator_id", "id"))


class Reading(Owned, Base):
    """The last reading of a point, and the last one that was plausible: what the next is compared with."""

    __tablename__ = "readings"
    point_id: Mapped[str] = mapped_column(ForeignKey("points.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(Big)
    end_s: Mapped[int] = mapped_column(Big)
    import_milliwatt_hours: Mapped[int] = mapped_column(Big)
    export_milliwatt_hours: Mapped[int] = mapped_column(Big)
    power_milliwatts: Mapped[int] = mapped_column(Big)
    voltage_millivolts: Mapped[int] = mapped_column(Big)
    flags: Mapped[int] = mapped_column(Big)
    good_end_s: Mapped[int] = mapped_column(Big)
    good_import_milliwatt_hours: Mapped[int] = mapped_column(Big)
    good_export_milliwatt_hours: Mapped[int] = mapped_column(Big)
    quarantined_since_s: Mapped[int | None] = mapped_column(Big)
    supply: Mapped[int | None] = mapped_column(Big)  # SupplyState last measured
    supply_at_s: Mapped[int | None] = mapped_column(Big)


class TariffRow(Owned, Base):
    """A tariff document, exactly as hashed."""

    __tablename__ = "tariffs"
    operator_id: Mapped[int] = mapped_column(ForeignKey("operators.id"), primary_key=True)
    hash: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    document: Mapped[str] = mapped_column(Json)
    created_at_s: Mapped[int] = mapped_column(Big)


class Voucher(Owned, Base):
    """The meter key's word for a charge key; each serves one session."""

    __tablename__ = "vouchers"
    charge_key: Mapped[bytes] = mapped_column(Address, primary_key=True)
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"))
    channel: Mapped[int] = mapped_column(Big)
    made_at_s: Mapped[int] = mapped_column(Big)
    signature: Mapped[bytes] = mapped_column(Signature)
    session: Mapped[bytes | None] = mapped_column(Hash)
    __table_args__ = (Index("ix_vouchers_device_channel_session", "device", "channel", "session"),)


class HandOverRow(Owned, Base):
    """A meter swap: signed by the meter key, and by the operator's key once an operator approved it."""

    __tablename__ = "hand_overs"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"))
    channel: Mapped[int] = mapped_column(Big)
    sequence: Mapped[int] = mapped_column(Big)
    document: Mapped[str] = mapped_column(Json)
    signature: Mapped[bytes] = mapped_column(Signature)
    operator_signature: Mapped[bytes | None] = mapped_column(Signature)
    received_at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (UniqueConstraint("device", "channel", "sequence"),)
