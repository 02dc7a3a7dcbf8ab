"""Transactions the service wants or has under way, and why each is pending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..models import IntentRow
from ..onchain.outbox import OPEN
from .anchors import intent_words
from .cursors import number_in
from .pages import Page, page_of

MAX_SHOWN = 50


class UnderWay(NamedTuple):
    """One transaction that is not settled."""

    what: str
    at_s: int
    why: str


class TransactionLine(NamedTuple):
    """One transaction, and why it is pending (empty: it is not)."""

    intent: IntentRow
    pending: str


def under_way(db: Session, operator_ids: Sequence[int]) -> list[UnderWay]:
    """The oldest transactions that are not settled."""
    query = (
        select(IntentRow).where(IntentRow.operator_id.in_(operator_ids), IntentRow.state == OPEN).order_by(IntentRow.id).limit(MAX_SHOWN)
    )
    return [UnderWay(intent.what, intent.created_at_s, intent_words(db, intent)) for intent in db.scalars(query)]


def page(db: Session, operator_ids: Sequence[int], after: str | None, limit: int) -> Page[TransactionLine]:
    """All transactions, the newest first."""
    query = select(IntentRow).where(IntentRow.operator_id.in_(operator_ids))
    before = number_in(after)
    if before is not None:
        query = query.where(IntentRow.id < before)
    rows = db.scalars(query.order_by(IntentRow.id.desc()).limit(limit + 1)).all()
    return page_of([TransactionLine(row, intent_words(db, row)) for row in rows], limit, lambda line: str(line.intent.id))
