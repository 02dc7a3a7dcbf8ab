"""Operators of an installation: each with its own points, books, accounts, and payee."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..errors import Conflict
from ..models import Operator
from ..models.base import HOUSE


def names(db: Session, home: int, *, with_house: bool = True) -> dict[int, str]:
    """Names by id: all for the installation, else the one."""
    query = select(Operator.id, Operator.name).order_by(Operator.id)
    if home != HOUSE:
        query = query.where(Operator.id == home)
    if not with_house:
        query = query.where(Operator.id != HOUSE)
    return {operator_id: name for operator_id, name in db.execute(query)}


def add(db: Session, name: str, payee: bytes, now_s: int) -> Operator:
    """A new operator; the same again is a success. Raises `Conflict` where the name has another payee."""
    found = db.scalar(select(Operator).where(Operator.name == name))
    if found is not None:
        if found.payee != payee:
            raise Conflict("an operator of this name has another payee", "name")
        return found
    newest = int(db.scalar(select(func.max(Operator.id))) or 0)
    row = Operator(id=newest + 1, name=name, payee=payee, created_at_s=now_s)
    db.add(row)
    db.flush()
    return row


def rows(db: Session, home: int) -> list[Operator]:
    """Operators an administrator of `home` may see; the installation itself is not one."""
    query = select(Operator).where(Operator.id != HOUSE).order_by(Operator.id)
    return list(db.scalars(query if home == HOUSE else query.where(Operator.id == home)))
