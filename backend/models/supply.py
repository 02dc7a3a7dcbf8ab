"""Grants, supply commands, confirmations, and the messages that carry them to agents."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Base, Big, Hash, Json, Owned, Signature


class AgentMessage(Owned, Base):
    """One event on an agent's stream: the row is there before it is sent, and sent again until it is done."""

    __tablename__ = "agent_messages"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"))
    event: Mapped[str] = mapped_column(String(12))
    session: Mapped[bytes] = mapped_column(Hash)
    number: Mapped[int | None] = mapped_column(Big)  # of the grant or command
    data: Mapped[str] = mapped_column(Json)
    created_at_s: Mapped[int] = mapped_column(Big)
    done_at_s: Mapped[int | None] = mapped_column(Big)
    __table_args__ = (Index("ix_agent_messages_device_done_at_s_id", "device", "done_at_s", "id"),)


class Command(Owned, Base):
    """One numbered supply command and what became of it."""

    __tablename__ = "commands"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"))
    channel: Mapped[int] = mapped_column(Big)
    control_generation: Mapped[int] = mapped_column(Big)
    number: Mapped[int] = mapped_column(Big)
    action: Mapped[int] = mapped_column(Big)
    session: Mapped[bytes] = mapped_column(Hash)
    digest: Mapped[bytes] = mapped_column(Hash, unique=True)
    state: Mapped[str] = mapped_column(String(12))  # sent, confirmed, failed, superseded
    attempt: Mapped[int] = mapped_column(Big)  # from 1: how often the same wish was commanded
    created_at_s: Mapped[int] = mapped_column(Big)
    retry_at_s: Mapped[int] = mapped_column(Big)
    confirmed_at_s: Mapped[int | None] = mapped_column(Big)
    __table_args__ = (
        UniqueConstraint("device", "control_generation", "number"), Index("ix_commands_state_retry_at_s", "state", "retry_at_s"),
        Index("ix_commands_session", "session"), Index("ix_commands_device_channel_id", "device", "channel", "id"),
    )  # fmt: skip


class Confirmation(Owned, Base):
    """The meter key's word on what was measured, as signed."""

    __tablename__ = "confirmations"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    device: Mapped[bytes] = mapped_column(ForeignKey("devices.device"))
    channel: Mapped[int] = mapped_column(Big)
    session: Mapped[bytes] = mapped_column(Hash, index=True)
    state: Mapped[int] = mapped_column(Big)
    cause: Mapped[int] = mapped_column(Big)
    measured_at_s: Mapped[int] = mapped_column(Big)
    document: Mapped[str] = mapped_column(Json)
    digest: Mapped[bytes] = mapped_column(Hash, unique=True)
    signature: Mapped[bytes] = mapped_column(Signature)
    received_at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (Index("ix_confirmations_device_channel_id", "device", "channel", "id"),)


class DisconnectionRow(Owned, Base):
    """One order to disconnect points, who asked, who approved, and how far it has gone."""

    __tablename__ = "disconnections"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    points: Mapped[str] = mapped_column(Json)  # ids, in the order in which they are commanded
    point_count: Mapped[int] = mapped_column(Big)
    reason: Mapped[str] = mapped_column(String(200))
    asked_by: Mapped[str] = mapped_column(String(80))
    asked_at_s: Mapped[int] = mapped_column(Big)
    approved_by: Mapped[str | None] = mapped_column(String(80))  # empty: so few that one operator suffices
    approved_at_s: Mapped[int | None] = mapped_column(Big)
    done_count: Mapped[int] = mapped_column(Big)
    __table_args__ = (Index("ix_disconnections_operator_id_id", "operator_id", "id"),)


class HelloNonce(Owned, Base):
    """Nonces of agents' hellos that were used; kept a little longer than a hello is taken."""

    __tablename__ = "hello_nonces"
    device: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    nonce: Mapped[bytes] = mapped_column(Hash, primary_key=True)
    at_s: Mapped[int] = mapped_column(Big, index=True)
