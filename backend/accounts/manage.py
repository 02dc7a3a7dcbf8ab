"""What callers do to accounts and tokens, checked against who they are, and put on record."""

from __future__ import annotations

from sqlalchemy.orm import Session

from ..errors import BadRequest, Conflict, Forbidden
from ..hexes import address_in
from ..models import ApiToken, User
from . import operators, tokens, users
from .acts import note
from .callers import Caller
from .roles import Role


def add(
    db: Session, caller: Caller, name: str, role: Role, operator_id: int | None, password: str | None, wallet: str | None, now_s: int
) -> User:
    """A new account of the caller's operator; the installation's choose whose. Raises a `ServiceError` naming the field."""
    of = caller.home if operator_id is None else operator_id
    if of not in operators.names(db, caller.home):
        raise Forbidden("an administrator of an operator makes accounts of that operator only", "operatorId")
    if password is None and wallet is None:
        raise BadRequest("give a password, a wallet, or both: there must be a way to log in", "password")
    address = None if wallet is None else address_in(wallet, "wallet")
    user = users.add(db, of, name, role, password=password, wallet=address, now_s=now_s)
    note(db, of, caller.name, "account added", user.name, role.value, now_s)
    return user


def change(db: Session, caller: Caller, user_id: int, role: Role | None, enabled: bool | None, password: str | None, now_s: int) -> User:
    """Change an account of those the caller administers; it is logged out everywhere. Raises `NotFound`, `Conflict`."""
    user = users.get(db, user_id, caller.home)
    changed = users.change(db, user, role=role, enabled=enabled, password=password)
    if changed:
        note(db, user.operator_id, caller.name, "account changed", user.name, ", ".join(changed), now_s)
    return user


def make_token(db: Session, caller: Caller, label: str, days: int, now_s: int) -> tuple[ApiToken, str]:
    """A token of the caller's own account, for the operator it acts for. Raises `Conflict` for the operator token, which is no account."""
    user = _own(db, caller)
    row, token = tokens.create(db, user, caller.operator_id, label, days, now_s)
    note(db, caller.operator_id, caller.name, "token made", label, f"{days} days", now_s)
    return row, token


def revoke_token(db: Session, caller: Caller, token_id: int, now_s: int) -> ApiToken:
    """End a token of the caller's own account. Raises `NotFound`."""
    user = _own(db, caller)
    row = tokens.revoke(db, user.id, token_id, now_s)
    note(db, caller.operator_id, caller.name, "token revoked", row.label, "", now_s)
    return row


def _own(db: Session, caller: Caller) -> User:
    if caller.user_id is None:
        raise Conflict("the operator token is not an account; make one with it first", "Authorization")
    return users.get(db, caller.user_id, caller.home)
