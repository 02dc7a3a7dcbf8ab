"""Small things to remember, by name, as JSON: how far the chain was read, a restoration that has not caught up."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from .. import jsons
from ..models import HOUSE, Fact

CHAIN = "chain"
RESTORED = "restored"


def remember(db: Session, name: str, value: Any) -> None:
    row = db.get(Fact, name)
    if row is None:
        db.add(Fact(name=name, operator_id=HOUSE, value=jsons.dumps(value)))
    else:
        row.value = jsons.dumps(value)


def recall(db: Session, name: str) -> Any:
    """The value, or None."""
    row = db.get(Fact, name)
    return None if row is None else jsons.loads(row.value)


def forget(db: Session, name: str) -> None:
    row = db.get(Fact, name)
    if row is not None:
        db.delete(row)


class ChainStatus(NamedTuple):
    """Where the chain stood when it was last read. `final_seen_at_s`: when, by our clock, its final block last moved."""

    head_number: int
    head_time_s: int
    final_number: int
    final_time_s: int
    final_seen_at_s: int
    caught_up: bool


def chain_status(db: Session) -> ChainStatus | None:
    """None before the chain was read for the first time."""
    value = recall(db, CHAIN)
    return None if value is None else ChainStatus(**value)
