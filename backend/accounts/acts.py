"""The record of what people and programs did here. Written in the same transaction as the deed, never changed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..models import Act

MAX_DETAIL = 2_000


def note(db: Session, operator_id: int, who: str, what: str, place: str, detail: str, now_s: int) -> None:
    """Keep that `who` did `what`. The detail never holds a secret."""
    db.add(Act(operator_id=operator_id, at_s=now_s, who=who[:80], what=what, place=place[:200], detail=detail[:MAX_DETAIL]))


def page(db: Session, operator_ids: Sequence[int], before: int | None, limit: int) -> list[Act]:
    """Acts, the newest first."""
    query = select(Act).where(Act.operator_id.in_(operator_ids))
    if before is not None:
        query = query.where(Act.id < before)
    return list(db.scalars(query.order_by(Act.id.desc()).limit(limit)))
