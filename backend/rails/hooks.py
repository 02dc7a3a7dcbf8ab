"""Webhooks: proven, counted once, and taken as hints. What is true is read from the rail by the loop that they wake."""

from __future__ import annotations

from typing import Any, NamedTuple

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from .. import jsons
from ..context import Service
from ..errors import BadRequest
from ..models import HOUSE, Deposit, RailEvent
from ..providers import signature
from ..providers.accounts import RailAccount

log = structlog.get_logger()
MAX_WEBHOOK_BYTES = 64 << 10
"""Ten times the longest event this service takes a hint from."""
KEEP_S = 30 * 86_400
"""Providers send an event again for some days; a month later none comes."""


class Heard(NamedTuple):
    """What became of one webhook."""

    event_id: str
    repeated: bool


def hear(db: Session, service: Service, account: RailAccount, body: bytes, header: str | None) -> Heard:
    """Take one webhook. Raises `BadRequest` naming what is wrong; nothing of it is believed before its signature is."""
    if len(body) > MAX_WEBHOOK_BYTES:
        raise BadRequest(f"a webhook has at most {MAX_WEBHOOK_BYTES} bytes", "body")
    signature.check(body, header, account.webhook_secrets, service.now_s())
    event_id, kind, about = _event(body)
    if db.get(RailEvent, (account.name, event_id)) is not None:
        return Heard(event_id, True)
    db.add(RailEvent(operator_id=HOUSE, rail=account.name, event_id=event_id, kind=kind, received_at_s=service.now_s()))
    charge, payment = about.get("charge") or about.get("id"), about.get("id")
    mine = (Deposit.rail == account.name, (Deposit.charge_id == str(charge)[:255]) | (Deposit.payment_id == str(payment)[:255]))
    db.execute(update(Deposit).where(*mine).values(look_again=True))
    hints: set[str] = service.caches.setdefault("rail-hints", set())
    service.after_commit(db, lambda: hints.add(account.name))
    service.after_commit(db, lambda: service.hub.wake_loop("rails"))
    log.info("webhook heard", rail=account.name, event_id=event_id, kind=kind)
    return Heard(event_id, False)


def newest_event_s(db: Session, rail: str) -> int:
    """When an event of this rail was last heard, by whichever process."""
    query = select(RailEvent.received_at_s).where(RailEvent.rail == rail).order_by(RailEvent.received_at_s.desc()).limit(1)
    return int(db.scalar(query) or 0)


def forget_old(db: Session, now_s: int) -> None:
    db.execute(delete(RailEvent).where(RailEvent.received_at_s < now_s - KEEP_S))


def _event(body: bytes) -> tuple[str, str, dict[str, Any]]:
    try:
        document = jsons.loads(body)
        event_id, kind, about = document["id"], document["type"], document["data"]["object"]
    except (ValueError, KeyError, TypeError):
        raise BadRequest('is no event: {"id", "type", "data": {"object"}}', "body") from None
    if not (isinstance(event_id, str) and 1 <= len(event_id) <= 255 and isinstance(kind, str) and isinstance(about, dict)):
        raise BadRequest('is no event: {"id", "type", "data": {"object"}}', "body")
    return event_id, kind[:80], about
