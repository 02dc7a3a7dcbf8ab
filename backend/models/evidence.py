"""What agents signed: frames as received, incarnations, conflicts kept as proof, epochs, OCMF texts."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Address, Base, Big, Hash, Json, Owned, Signature


class FrameRow(Owned, Base):
    """A frame that was accepted: its bytes as received, its place in the log, and the epoch that anchors it."""

    __tablename__ = "frames"
    id: Mapped[int] = mapped_column(Big, primary_key=True)  # in the order of arrival
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"))
    incarnation: Mapped[bytes] = mapped_column(Hash)
    first_sequence: Mapped[int] = mapped_column(Big)
    last_sequence: Mapped[int] = mapped_column(Big)
    digest: Mapped[bytes] = mapped_column(Hash, unique=True)
    previous: Mapped[bytes] = mapped_column(Hash)
    head_seen: Mapped[bytes] = mapped_column(Hash)
    meter_key: Mapped[bytes] = mapped_column(Address)
    start_s: Mapped[int] = mapped_column(Big)
    end_s: Mapped[int] = mapped_column(Big)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    received_at_s: Mapped[int] = mapped_column(Big)
    anchor_by_s: Mapped[int] = mapped_column(Big)
    flagged: Mapped[str] = mapped_column(Text, default="")  # rolled-back, quarantined …, in words
    epoch_id: Mapped[int | None] = mapped_column(ForeignKey("epochs.id"), index=True)
    __table_args__ = (
        UniqueConstraint("device", "incarnation", "first_sequence"), Index("ix_frames_device_end_s", "device", "end_s"),
        Index("ix_frames_operator_id_epoch_id", "operator_id", "epoch_id"),
    )  # fmt: skip


class Incarnation(Owned, Base):
    """One start of an agent: where its branch of the log begins, and its last frame."""

    __tablename__ = "incarnations"
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"), primary_key=True)
    incarnation: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    parent_frame_id: Mapped[int | None] = mapped_column(Big)  # the frame its first one names; none: the very first
    first_frame_id: Mapped[int] = mapped_column(Big)
    tip_frame_id: Mapped[int] = mapped_column(Big)
    rolled_back: Mapped[bool] = mapped_column(Boolean, default=False)


class ConflictRow(Owned, Base):
    """Proof of equivocation: a validly signed frame that was refused, beside the one that was accepted before it."""

    __tablename__ = "conflicts"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"), index=True)
    incarnation: Mapped[bytes] = mapped_column(Hash)
    first_sequence: Mapped[int] = mapped_column(Big)
    kind: Mapped[str] = mapped_column(String(30))  # same-place, overlap-in-time
    accepted_frame_id: Mapped[int] = mapped_column(Big)
    digest: Mapped[bytes] = mapped_column(Hash, unique=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    received_at_s: Mapped[int] = mapped_column(Big)
    disputed_from_s: Mapped[int] = mapped_column(Big)
    ruled_at_s: Mapped[int | None] = mapped_column(Big)  # the first ruling on it


class RulingRow(Owned, Base):
    """A ruling on a disputed stretch of a session's evidence, as signed. Rows are only ever added."""

    __tablename__ = "rulings"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    session: Mapped[bytes] = mapped_column(ForeignKey("sessions.session"), index=True)
    digest: Mapped[bytes] = mapped_column(Hash, unique=True)
    document: Mapped[str] = mapped_column(Json)
    signatures: Mapped[str] = mapped_column(Json)  # operator's and payer's, or the arbiter's alone
    incarnation: Mapped[bytes] = mapped_column(Hash)
    first_sequence: Mapped[int] = mapped_column(Big)
    last_sequence: Mapped[int] = mapped_column(Big)
    accepted_frame: Mapped[bytes] = mapped_column(Hash)  # zero: none
    received_at_s: Mapped[int] = mapped_column(Big)


class RuledOutFrame(Owned, Base):
    """A frame that stood in a device's log until a ruling said that another stands there. Its anchor stays what it is."""

    __tablename__ = "ruled_out_frames"
    digest: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"), index=True)
    ruling_id: Mapped[int] = mapped_column(ForeignKey("rulings.id"))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    received_at_s: Mapped[int] = mapped_column(Big)
    epoch_id: Mapped[int] = mapped_column(ForeignKey("epochs.id"), index=True)


class ReceiptRow(Owned, Base):
    """The latest receipt given to a device: the latest suffices, it covers all before."""

    __tablename__ = "receipts"
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"), primary_key=True)
    incarnation: Mapped[bytes] = mapped_column(Hash)
    through_sequence: Mapped[int] = mapped_column(Big)
    frame: Mapped[bytes] = mapped_column(Hash)
    received_at_s: Mapped[int] = mapped_column(Big)
    anchor_by_s: Mapped[int] = mapped_column(Big)
    signature: Mapped[bytes] = mapped_column(Signature)


class Epoch(Owned, Base):
    """Frames of many devices under one root. It is anchored once a final link carries the root."""

    __tablename__ = "epochs"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    anchorer: Mapped[bytes] = mapped_column(Address)
    root: Mapped[bytes] = mapped_column(Hash)
    frame_count: Mapped[int] = mapped_column(Big)
    state: Mapped[str] = mapped_column(String(20), index=True)  # closed, anchored
    closed_at_s: Mapped[int] = mapped_column(Big)
    intent_id: Mapped[int | None] = mapped_column(Big)
    link_id: Mapped[int | None] = mapped_column(Big)
    __table_args__ = (UniqueConstraint("anchorer", "root"),)


class OcmfText(Owned, Base):
    """An OCMF text, byte for byte, and what checking it said."""

    __tablename__ = "ocmf_texts"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    session: Mapped[bytes] = mapped_column(Hash, index=True)
    hash: Mapped[bytes] = mapped_column(Hash)
    text: Mapped[str] = mapped_column(Text)
    verdict: Mapped[str] = mapped_column(String(200))
    public_key: Mapped[bytes | None] = mapped_column(LargeBinary)  # of the foreign meter that signed it, as the operator stated it
    received_at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (UniqueConstraint("session", "hash"),)
