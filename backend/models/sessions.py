"""Sessions, what was signed for them, and how they came to their state."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from .base import Address, Base, Big, Hash, Json, Owned, Signature

LIVE = "state in ('opening','open','running','ending') and not waits"


class SessionRow(Owned, Base):
    """One session, from quote to settlement. Amounts in micro-units, energy in milliwatt-hours, both since it opened."""

    __tablename__ = "sessions"
    session: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    quote_id: Mapped[str] = mapped_column(String(64), unique=True)
    point_id: Mapped[str] = mapped_column(ForeignKey("points.id"))
    device: Mapped[bytes] = mapped_column(Hash)
    channel: Mapped[int] = mapped_column(Big)
    state: Mapped[str] = mapped_column(String(10))
    payer: Mapped[bytes] = mapped_column(Address)
    signer: Mapped[bytes] = mapped_column(Address)
    metered: Mapped[bool] = mapped_column(Boolean)
    terms: Mapped[str] = mapped_column(Json)
    tariff_hash: Mapped[bytes] = mapped_column(Hash)
    policy: Mapped[str] = mapped_column(Json)
    point_salt: Mapped[bytes] = mapped_column(Hash)
    quoted_at_s: Mapped[int] = mapped_column(Big)
    quote_expires_at_s: Mapped[int] = mapped_column(Big)
    wanted_lock_micro: Mapped[int] = mapped_column(Big)
    lock_micro: Mapped[int] = mapped_column(Big, default=0)  # as final on the chain
    opened_at_s: Mapped[int | None] = mapped_column(Big)  # block time
    opened_block: Mapped[int | None] = mapped_column(Big)
    unlocked_micro: Mapped[int | None] = mapped_column(Big)  # granted on the operator's credit while the chain stood still
    locked_at_s: Mapped[int | None] = mapped_column(Big)  # block time of the lock of such a session
    running_at_s: Mapped[int | None] = mapped_column(Big)
    ending_at_s: Mapped[int | None] = mapped_column(Big)
    ended_at_s: Mapped[int | None] = mapped_column(Big)
    settled_at_s: Mapped[int | None] = mapped_column(Big)
    end_cause: Mapped[int] = mapped_column(Big, default=0)
    end_detail: Mapped[str] = mapped_column(String(300), default="")
    close_requested_at_s: Mapped[int | None] = mapped_column(Big)  # final on the chain
    energy_milliwatt_hours: Mapped[int] = mapped_column(Big, default=0)
    bill_micro: Mapped[int] = mapped_column(Big, default=0)
    charge_micro: Mapped[int] = mapped_column(Big, default=0)  # highest signed amount that may be claimed
    claimed_micro: Mapped[int] = mapped_column(Big, default=0)  # final on the chain
    returned_micro: Mapped[int] = mapped_column(Big, default=0)
    tail_micro: Mapped[int] = mapped_column(Big, default=0)  # bill - charge, written off
    credit_note_micro: Mapped[int] = mapped_column(Big, default=0)
    after_frame_id: Mapped[int] = mapped_column(Big, default=0)  # the device's last frame when power was granted
    first_frame_id: Mapped[int | None] = mapped_column(Big)  # has the START record
    last_frame_id: Mapped[int | None] = mapped_column(Big)  # priced up to and including it
    first_sequence: Mapped[int | None] = mapped_column(Big)
    last_sequence: Mapped[int | None] = mapped_column(Big)
    last_record_end_s: Mapped[int | None] = mapped_column(Big)
    stop_record_seen: Mapped[bool] = mapped_column(Boolean, default=False)
    blocked: Mapped[str] = mapped_column(String(300), default="")  # why pricing cannot go on, in words
    ready_nonce: Mapped[bytes | None] = mapped_column(Hash)
    disconnected_at_s: Mapped[int | None] = mapped_column(Big)  # measured, for this session
    disputed_from_s: Mapped[int | None] = mapped_column(Big)  # nothing measured after this is claimed
    bill_version: Mapped[int] = mapped_column(Big, default=0)  # how often the bill was taken back to its last undisputed frame
    closed_at_s: Mapped[int | None] = mapped_column(Big)  # final on the chain
    claim_not_before_s: Mapped[int] = mapped_column(Big, default=0)
    claim_skips: Mapped[int] = mapped_column(Big, default=0)
    blind_since_s: Mapped[int | None] = mapped_column(Big)
    blind_from_milliwatt_hours: Mapped[int | None] = mapped_column(Big)
    offer: Mapped[bytes | None] = mapped_column(Hash)  # the offer it was quoted under; none: the point's own tariff
    follows: Mapped[bytes | None] = mapped_column(Hash)  # the session whose end it was quoted to wait for
    waits: Mapped[bool] = mapped_column(Boolean, default=False)  # opened behind that one, which still holds the point
    granted_at_s: Mapped[int | None] = mapped_column(Big)  # when its first grant left
    __table_args__ = (
        Index("uq_sessions_live_point", "point_id", unique=True, sqlite_where=text(LIVE), postgresql_where=text(LIVE)),
        Index("ix_sessions_follows", "follows"),
        Index("ix_sessions_payer", "payer"),
        Index("ix_sessions_operator_id_state", "operator_id", "state"),
        Index("ix_sessions_operator_id_quoted_at_s_session", "operator_id", "quoted_at_s", "session"),
        Index("ix_sessions_device_channel", "device", "channel"),
    )


class SessionStep(Owned, Base):
    """One step of a session's state machine: when, from where, to where and why."""

    __tablename__ = "session_steps"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    session: Mapped[bytes] = mapped_column(ForeignKey("sessions.session"), index=True)
    from_state: Mapped[str] = mapped_column(String(10))
    to_state: Mapped[str] = mapped_column(String(10))
    why: Mapped[str] = mapped_column(String(300))
    at_s: Mapped[int] = mapped_column(Big)


class SessionFrame(Owned, Base):
    """What a session cost and used after a frame: what a charge naming that frame is compared with."""

    __tablename__ = "session_frames"
    session: Mapped[bytes] = mapped_column(ForeignKey("sessions.session"), primary_key=True)
    frame_id: Mapped[int] = mapped_column(ForeignKey("frames.id"), primary_key=True)
    total_micro: Mapped[int] = mapped_column(Big)
    energy_milliwatt_hours: Mapped[int] = mapped_column(Big)
    end_s: Mapped[int] = mapped_column(Big)


class SignedAmount(Owned, Base):
    """A payment or metered charge as signed; cumulative."""

    __tablename__ = "signed_amounts"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    session: Mapped[bytes] = mapped_column(ForeignKey("sessions.session"))
    kind: Mapped[str] = mapped_column(String(10))  # charge, payment
    amount_micro: Mapped[int] = mapped_column(Big)
    energy_milliwatt_hours: Mapped[int] = mapped_column(Big, default=0)
    elapsed_s: Mapped[int] = mapped_column(Big, default=0)
    frame: Mapped[bytes] = mapped_column(Hash)
    signature: Mapped[bytes] = mapped_column(Signature)
    received_at_s: Mapped[int] = mapped_column(Big)
    claimable: Mapped[bool] = mapped_column(Boolean)
    __table_args__ = (UniqueConstraint("session", "amount_micro", "frame"),)


class SignedRequest(Owned, Base):
    """What the payer signed for the chain: Open, TopUp, RequestClose. Kept as proof and relayed."""

    __tablename__ = "signed_requests"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    session: Mapped[bytes] = mapped_column(ForeignKey("sessions.session"), index=True)
    kind: Mapped[str] = mapped_column(String(15))
    document: Mapped[str] = mapped_column(Json)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    intent_id: Mapped[int | None] = mapped_column(Big)
    received_at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (UniqueConstraint("session", "kind", "document"),)
