"""API tokens: shown once when made, kept as a digest, valid until they expire or are revoked."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import BadRequest, NotFound, TooMany
from ..models import ApiToken, User

PREFIX = "wpt_"
"""So that scanners of repositories and logs can recognise a leaked token."""
MAX_DAYS = 366
MAX_TOKENS_A_USER = 20
"""More programs than one account should speak for."""


def digest(token: str) -> bytes:
    """SHA-256 suffices: a token has 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(token.encode()).digest()


def create(db: Session, user: User, operator_id: int, label: str, days: int, now_s: int) -> tuple[ApiToken, str]:
    """A new token and its row; the token is not recoverable later."""
    if not 1 <= days <= MAX_DAYS:
        raise BadRequest(f"is between 1 and {MAX_DAYS}", "days")
    if len(of_user(db, user.id, now_s)) >= MAX_TOKENS_A_USER:
        raise TooMany(f"{MAX_TOKENS_A_USER} tokens of this account are valid already; revoke one", "label")
    token = PREFIX + secrets.token_urlsafe(32)
    row = ApiToken(
        operator_id=operator_id, digest=digest(token), user_id=user.id, label=label, created_at_s=now_s, expires_at_s=now_s + days * 86_400
    )
    db.add(row)
    db.flush()
    return row, token


def find(db: Session, token: str, now_s: int) -> tuple[ApiToken, User] | None:
    """The row and the user of a valid token."""
    query = (
        select(ApiToken, User)
        .join(User, User.id == ApiToken.user_id)
        .where(ApiToken.digest == digest(token), ApiToken.revoked_at_s.is_(None), ApiToken.expires_at_s > now_s, User.enabled)
    )
    row = db.execute(query).first()
    return None if row is None else (row[0], row[1])


def of_user(db: Session, user_id: int, now_s: int) -> list[ApiToken]:
    """Tokens that are valid now, the newest first."""
    query = select(ApiToken).where(ApiToken.user_id == user_id, ApiToken.revoked_at_s.is_(None), ApiToken.expires_at_s > now_s)
    return list(db.scalars(query.order_by(ApiToken.id.desc())))


def revoke(db: Session, user_id: int, token_id: int, now_s: int) -> ApiToken:
    """End a token of this user; the same again is a success. Raises `NotFound`."""
    row = db.get(ApiToken, token_id)
    if row is None or row.user_id != user_id:
        raise NotFound("this account has no such token", "tokenId")
    if row.revoked_at_s is None:
        row.revoked_at_s = now_s
    return row
