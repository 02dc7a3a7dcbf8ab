"""The tables of accounts. Digests of secrets, never secrets; every row that has one carries its operator."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from .base import Address, Base, Big, Hash, Owned


class User(Owned, Base):
    """A person or program. `operator_id` 0: belongs to the installation and may act for any operator."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)  # lower case
    role: Mapped[str] = mapped_column(String(12))
    password_hash: Mapped[str | None] = mapped_column(String(300))  # none: logs in with a wallet or token only
    wallet: Mapped[bytes | None] = mapped_column(Address, unique=True)
    enabled: Mapped[bool] = mapped_column(Boolean, default=True)
    created_at_s: Mapped[int] = mapped_column(Big)
    __table_args__ = (Index("ix_users_operator_id_id", "operator_id", "id"),)


class Login(Owned, Base):
    """One browser that is logged in. `operator_id` is whom it acts for."""

    __tablename__ = "logins"
    digest: Mapped[bytes] = mapped_column(Hash, primary_key=True)  # SHA-256 of the cookie
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    method: Mapped[str] = mapped_column(String(10))  # password, wallet
    created_at_s: Mapped[int] = mapped_column(Big)
    seen_at_s: Mapped[int] = mapped_column(Big)
    expires_at_s: Mapped[int] = mapped_column(Big, index=True)


class ApiToken(Owned, Base):
    """A program's key to the API. It can do what its user can, for one operator."""

    __tablename__ = "api_tokens"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    digest: Mapped[bytes] = mapped_column(Hash, unique=True)  # SHA-256 of the token
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    label: Mapped[str] = mapped_column(String(100))
    created_at_s: Mapped[int] = mapped_column(Big)
    expires_at_s: Mapped[int] = mapped_column(Big)
    revoked_at_s: Mapped[int | None] = mapped_column(Big)


class LogInAttempt(Owned, Base):
    """A log-in that was tried and has not succeeded. Written before the password is looked at; pruned after the window."""

    __tablename__ = "log_in_attempts"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    subject: Mapped[bytes] = mapped_column(Hash)  # SHA-256 of the name or wallet that was claimed
    address: Mapped[str] = mapped_column(String(64))  # where the request came from
    at_s: Mapped[int] = mapped_column(Big, index=True)
    __table_args__ = (
        Index("ix_log_in_attempts_subject_at_s", "subject", "at_s"),
        Index("ix_log_in_attempts_address_at_s", "address", "at_s"),
    )


class SignInText(Owned, Base):
    """An EIP-4361 text this service wrote for a wallet to sign, byte for byte. Used once."""

    __tablename__ = "sign_in_texts"
    nonce: Mapped[str] = mapped_column(String(64), primary_key=True)
    wallet: Mapped[bytes] = mapped_column(Address)
    text: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at_s: Mapped[int] = mapped_column(Big, index=True)


class Act(Owned, Base):
    """Something a person or program did here: who, what, where, when. Rows are only ever added."""

    __tablename__ = "acts"
    id: Mapped[int] = mapped_column(Big, primary_key=True)
    at_s: Mapped[int] = mapped_column(Big)
    who: Mapped[str] = mapped_column(String(80))
    what: Mapped[str] = mapped_column(String(40))
    place: Mapped[str] = mapped_column(String(200))
    detail: Mapped[str] = mapped_column(Text, default="")
    __table_args__ = (Index("ix_acts_operator_id_id", "operator_id", "id"),)


class AlarmNote(Owned, Base):
    """Who acknowledged an alarm first, and when."""

    __tablename__ = "alarm_notes"
    alarm_id: Mapped[int] = mapped_column(ForeignKey("alarms.id"), primary_key=True, autoincrement=False)
    who: Mapped[str] = mapped_column(String(80))
    at_s: Mapped[int] = mapped_column(Big)
