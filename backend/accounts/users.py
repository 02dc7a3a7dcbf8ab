"""Accounts: names, passwords, roles. Queries about users are here and nowhere else."""

from __future__ import annotations

import re
import threading
from functools import cache

from pwdlib import PasswordHash
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import BadRequest, Conflict, NotFound, TooMany
from ..models import Operator, User
from ..models.base import HOUSE
from . import log_ins
from .roles import Role

MIN_PASSWORD, MAX_PASSWORD = 12, 256
"""Twelve is beyond guessing through the log-in's limits; 256 bounds the work a stranger's long password costs."""
NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_HASHES = PasswordHash.recommended()
_HASHING = threading.BoundedSemaphore(4)
"""Argon2 takes 64 MiB each: this many at once, so that log-ins cannot take all memory."""


@cache
def _nobody() -> str:
    """A hash checked for names that do not exist, so that the time of an answer does not say which names do."""
    return _HASHES.hash("nobody has this password")


def add(db: Session, operator_id: int, name: str, role: Role, *, password: str | None, wallet: bytes | None, now_s: int) -> User:
    """A new account. Raises `BadRequest` or `Conflict` naming the field."""
    name = check_name(name)
    if db.get(Operator, operator_id) is None:
        raise NotFound(f"there is no operator {operator_id}", "operatorId")
    if db.scalar(select(User.id).where(User.name == name)) is not None:
        raise Conflict(f"the name {name} is taken", "name")
    if wallet is not None and by_wallet(db, wallet) is not None:
        raise Conflict("this wallet belongs to another account", "wallet")
    hashed = None if password is None else hash_password(password)
    user = User(operator_id=operator_id, name=name, role=role.value, password_hash=hashed, wallet=wallet, enabled=True, created_at_s=now_s)
    db.add(user)
    db.flush()
    return user


def check_name(name: str) -> str:
    """The name in the form it is kept. Raises `BadRequest`."""
    name = name.strip().lower()
    if not NAME.fullmatch(name):
        raise BadRequest("is 1 to 64 of a-z, 0-9, dot, dash, underscore and @, and begins with a letter or digit", "name")
    return name


def hash_password(password: str) -> str:
    """An Argon2id hash. Raises `BadRequest` where the password is too short or too long."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise BadRequest(f"has {MIN_PASSWORD} to {MAX_PASSWORD} characters", "password")
    with _HASHING:
        return _HASHES.hash(password)


def right_password(user: User | None, password: str) -> bool:
    """Whether this is the user's password. Takes as long for a user that does not exist. Raises `TooMany` when overrun."""
    if len(password) > MAX_PASSWORD:
        return False
    hashed = _nobody() if user is None or user.password_hash is None else user.password_hash
    if not _HASHING.acquire(timeout=5):
        raise TooMany("many people are logging in; try again in a moment", "password")
    try:
        same = _HASHES.verify(password, hashed)
    finally:
        _HASHING.release()
    return same and user is not None and user.password_hash is not None and user.enabled


def by_name(db: Session, name: str) -> User | None:
    return db.scalar(select(User).where(User.name == name.strip().lower()))


def by_wallet(db: Session, wallet: bytes) -> User | None:
    return db.scalar(select(User).where(User.wallet == wallet))


def get(db: Session, user_id: int, home: int) -> User:
    """A user that an administrator of `home` may see: the installation's sees all, an operator's its own. Raises `NotFound`."""
    user = db.get(User, user_id)
    if user is None or (home != HOUSE and user.operator_id != home):
        raise NotFound(f"no account {user_id}", "userId")
    return user


def page(db: Session, home: int, after: int, limit: int) -> list[User]:
    """Users by id: all for the installation, else one operator's."""
    query = select(User).where(User.id > after)
    if home != HOUSE:
        query = query.where(User.operator_id == home)
    return list(db.scalars(query.order_by(User.id).limit(limit)))


def change(db: Session, user: User, *, role: Role | None = None, enabled: bool | None = None, password: str | None = None) -> list[str]:
    """Change an account, and log it out everywhere if anything changed; what changed. The last administrator stays one."""
    changed = []
    loses_admin = (role is not None and role != Role.ADMIN) or enabled is False
    if loses_admin and user.role == Role.ADMIN and user.enabled and _is_last_admin(db, user):
        raise Conflict("this is the last administrator here; make another one first", "role")
    if role is not None and role.value != user.role:
        user.role = role.value
        changed.append(f"role {role.value}")
    if enabled is not None and enabled != user.enabled:
        user.enabled = enabled
        changed.append("enabled" if enabled else "disabled")
    if password is not None:
        user.password_hash = hash_password(password)
        changed.append("password")
    if changed:
        log_ins.end_all(db, user.id)
    return changed


def _is_last_admin(db: Session, user: User) -> bool:
    query = select(User.id).where(User.operator_id == user.operator_id, User.role == Role.ADMIN.value, User.enabled, User.id != user.id)
    return db.scalar(query.limit(1)) is None
