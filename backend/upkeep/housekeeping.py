"""Rows that have served: quotes nobody took, used nonces, kept answers, events long applied."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ..api.idempotency import KEEP_S
from ..context import Service
from ..devices.hello import HELLO_WITHIN_S
from ..models import AgentMessage, HelloNonce, IdempotencyKey, SessionRow
from ..onchain.outbox import Writing
from ..rails.hooks import forget_old
from ..sessions.states import State

QUOTE_KEEP_S = 7 * 86_400
"""A payer may still send the transaction itself; a week after the quote ran out nobody does."""
MESSAGE_KEEP_S = 30 * 86_400
BATCH = 500


def round_(service: Service, writing: Writing) -> None:
    now = service.now_s()
    with writing() as db:
        db.execute(delete(HelloNonce).where(HelloNonce.at_s < now - 2 * HELLO_WITHIN_S))
        db.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at_s < now - KEEP_S))
        db.execute(delete(AgentMessage).where(AgentMessage.done_at_s.is_not(None), AgentMessage.done_at_s < now - MESSAGE_KEEP_S))
        forget_old(db, now)
        _quotes(db, now)


def _quotes(db: Session, now: int) -> None:
    old = (
        select(SessionRow.session).where(SessionRow.state == State.QUOTED, SessionRow.quote_expires_at_s < now - QUOTE_KEEP_S).limit(BATCH)
    )
    db.execute(delete(SessionRow).where(SessionRow.session.in_(old)))
