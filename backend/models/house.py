"""The installation itself: operators, leases, idempotency keys, small facts, alarms and their deliveries."""

from __future__ import annotations

from sqlalchemy import Boolean, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .base import Address, Base, Big, Hash, Json, Owned


class Operator(Base):
    """Who runs points here. Row 0 is the installation itself."""

    __tablename__ = "operators"
    id: Mapped[int] = mapped_column(Big, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    payee: Mapped[bytes] = mapped_column(Address)
    created_at_s: Mapped[int] = mapped_column(Big)


class Lease(Owned, Base):
    """Who runs a loop now. `fence` rises with every holder: work done under an older one is refused."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(80))
    fence: Mapped[int] = mapped_column(Big)
    until_s: Mapped[int] = mapped_column(Big)


class IdempotencyKey(Owned, Base):
    """An answer that was given once to a POST and is given again to the same request."""

    __tablename__ = "idempotency_keys"
    id: Mapped[bytes] = mapped_column(Hash, primary_key=True)  # keccak of caller, call and key
    request_hash: Mapped[bytes] = mapped_column(Hash)
    status: Mapped[int] = mapped_column(Big)
    response: Mapped[str] = mapped_column(Json)
    created_at_s: Mapped[int] = mapped_column(Big, index=True)


class Fact(Owned, Base):
    """A small thing to remember, by name: cursors, the last backup, a restoration that has not caught up yet."""

    __tablename__ = "facts"
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[str] = mapped_column(Json)


class Alarm(Owned, Base):
    """Something a person should know. At most one open row for each kind and place."""

    __tablename__ = "alarms"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    kind: Mapped[str] = mapped_column(String(64))
    place: Mapped[str] = mapped_column(String(200))
    detail: Mapped[str] = mapped_column(String(2000))
    severity: Mapped[str] = mapped_column(String(10))
    raised_at_s: Mapped[int] = mapped_column(Big)
    last_seen_at_s: Mapped[int] = mapped_column(Big)
    times: Mapped[int] = mapped_column(Big, default=1)
    cleared_at_s: Mapped[int | None] = mapped_column(Big)
    __table_args__ = (
        Index("uq_alarms_open", "operator_id", "kind", "place", unique=True, sqlite_where=cleared_at_s.is_(None),
              postgresql_where=cleared_at_s.is_(None)),
    )  # fmt: skip


class Delivery(Owned, Base):
    """One alarm on its way to one place (mail or webhook): tried until taken, or given up by a stated rule."""

    __tablename__ = "deliveries"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    alarm_id: Mapped[int] = mapped_column(Big, index=True)
    channel: Mapped[str] = mapped_column(String(10))
    cleared: Mapped[bool] = mapped_column(Boolean)
    attempts: Mapped[int] = mapped_column(Big, default=0)
    due_at_s: Mapped[int] = mapped_column(Big)
    done_at_s: Mapped[int | None] = mapped_column(Big, index=True)
    last_error: Mapped[str | None] = mapped_column(String(500))
    __table_args__ = (UniqueConstraint("alarm_id", "channel", "cleared"),)
