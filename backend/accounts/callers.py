"""Who is calling: the operator token, an API token, or a log-in's cookie; and whether that caller may.

A caller acts for exactly one operator (`operator_id`); queries take it and nothing else. A cookie alone never changes anything: unsafe
requests that come with a cookie also carry the log-in's CSRF token, in the `X-CSRF-Token` header or the form field `csrf`.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

from sqlalchemy.orm import Session

from ..errors import Forbidden, Unauthorized
from ..models import User
from ..models.base import HOUSE
from . import log_ins, tokens
from .roles import GRANTS, Permission, Role

BOOTSTRAP_NAME = "operator token"
BOOTSTRAP_OPERATOR = 1
"""The operator that the settings name; the operator token acts for it."""


class Caller(NamedTuple):
    """Somebody who proved who they are. `user_id` is None for the operator token; `home` is the operator the account belongs to."""

    user_id: int | None
    name: str
    role: Role
    operator_id: int
    home: int
    login: bytes | None = None
    csrf: str = ""

    def may(self, permission: Permission | str) -> bool:
        return Permission(permission) in GRANTS[self.role]

    @property
    def of_installation(self) -> bool:
        """Whether this account may act for any operator."""
        return self.home == HOUSE

    @property
    def scope(self) -> tuple[int, ...]:
        """Whose alarms and acts this caller sees: its operator's; an account of the installation also those of the installation itself."""
        return (self.operator_id, HOUSE) if self.of_installation else (self.operator_id,)

    def require(self, permission: Permission) -> None:
        """Raise `Forbidden` unless the caller's role grants this."""
        if not self.may(permission):
            allowed = ", ".join(role.value for role in Role if permission in GRANTS[role])
            raise Forbidden(f"the role {self.role.value} may not {permission.value}; it takes one of: {allowed}", "role")


def bootstrap() -> Caller:
    """The caller who holds the operator token's file."""
    return Caller(None, BOOTSTRAP_NAME, Role.ADMIN, BOOTSTRAP_OPERATOR, HOUSE)


def by_bearer(db: Session, operator_token: str, bearer: str, now_s: int) -> Caller:
    """The caller with this token. Raises `Unauthorized`."""
    if hmac.compare_digest(bearer.encode(), operator_token.encode()):
        return bootstrap()
    found = tokens.find(db, bearer, now_s)
    if found is None:
        raise Unauthorized("this token is unknown, expired or revoked", "Authorization")
    token, user = found
    return _caller(user, token.operator_id)


def by_cookie(db: Session, cookie: str, now_s: int) -> tuple[Caller, bool]:
    """The caller with this log-in, and whether it is time to write down that it was seen. Raises `Unauthorized`."""
    found = log_ins.find(db, cookie, now_s)
    if found is None:
        raise Unauthorized("log in again: the session is over", "Cookie")
    login, user = found
    caller = _caller(user, login.operator_id)._replace(login=login.digest, csrf=log_ins.csrf_token(cookie))
    return caller, log_ins.is_stale(login, now_s)


def _caller(user: User, operator_id: int) -> Caller:
    acting_for = operator_id if user.operator_id == HOUSE else user.operator_id
    return Caller(user.id, user.name, Role(user.role), acting_for, user.operator_id)
