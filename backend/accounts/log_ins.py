"""Log-ins of browsers: kept here, not in the cookie. The cookie is a random number; the table has its digest.

Guaranteed: a log-in always gets a new number, whatever the browser brought (no session fixation); it ends when it was idle for
`IDLE_S`, at `LIFETIME_S` whatever happens, when its account is disabled or its password changes, and when its user logs out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from ..models import Login, User

COOKIE = "wattproof_login"
LIFETIME_S = 12 * 3600
"""One working day."""
IDLE_S = 3600
"""A console left alone in an office."""
SEEN_EVERY_S = 60
"""How stale `seen_at_s` may be: a write for every request would cost more than the minute it is wrong by."""


def digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()


def csrf_token(cookie: str) -> str:
    """What forms of this log-in carry. A function of the cookie: another site cannot know it, and it is stored nowhere."""
    return hmac.new(cookie.encode(), b"wattproof csrf", hashlib.sha256).hexdigest()


def start(db: Session, user: User, operator_id: int, method: str, now_s: int) -> str:
    """Log a user in; the cookie's value."""
    cookie = secrets.token_urlsafe(32)
    db.add(
        Login(
            digest=digest(cookie),
            operator_id=operator_id,
            user_id=user.id,
            method=method,
            created_at_s=now_s,
            seen_at_s=now_s,
            expires_at_s=now_s + LIFETIME_S,
        )
    )
    db.execute(delete(Login).where(Login.expires_at_s <= now_s))
    db.flush()
    return cookie


def find(db: Session, cookie: str, now_s: int) -> tuple[Login, User] | None:
    """The log-in with this cookie and its user, if both are still good."""
    query = (
        select(Login, User)
        .join(User, User.id == Login.user_id)
        .where(Login.digest == digest(cookie), Login.expires_at_s > now_s, Login.seen_at_s > now_s - IDLE_S, User.enabled)
    )
    row = db.execute(query).first()
    return None if row is None else (row[0], row[1])


def is_stale(login: Login, now_s: int) -> bool:
    """Whether `seen_at_s` should be written again."""
    return login.seen_at_s <= now_s - SEEN_EVERY_S


def seen(db: Session, login: bytes, now_s: int) -> None:
    """The log-in was used now."""
    db.execute(update(Login).where(Login.digest == login).values(seen_at_s=now_s))


def act_for(db: Session, login: bytes, operator_id: int) -> None:
    """From now on this log-in acts for another operator (accounts of the installation only)."""
    db.execute(update(Login).where(Login.digest == login).values(operator_id=operator_id))


def end(db: Session, login: bytes) -> None:
    """Log out; the same again is a success."""
    db.execute(delete(Login).where(Login.digest == login))


def end_all(db: Session, user_id: int) -> None:
    """Log a user out everywhere."""
    db.execute(delete(Login).where(Login.user_id == user_id))
