"""What final events of the provider book do here. Each is applied once, in the order of the chain."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain import event_types as events

from ..context import Service
from ..models import HOUSE, ChainEventRow, OfferRow, ProviderRow
from .shelf import withdraw_on_chain


def apply(db: Session, service: Service, row: ChainEventRow, body: events.Body) -> bool:
    """Apply an event of the provider book. False if it is none."""
    if isinstance(body, events.ProviderAdmitted | events.ProviderDismissed):
        _provider(db, row, body.provider, registered=isinstance(body, events.ProviderAdmitted))
        return True
    if not isinstance(body, events.OfferPublished | events.OfferWithdrawn):
        return False
    offer = db.get(OfferRow, body.offer_hash)
    if offer is None or offer.provider != body.provider:
        return True  # of somebody else; another's hash under one's own name is no word on it
    if isinstance(body, events.OfferWithdrawn):
        offer.withdrawn_at_s = row.time_s
    elif (body.valid_from_s, body.valid_until_s) == (offer.valid_from_s, offer.valid_until_s):
        offer.published_at_s = row.time_s
        if offer.withdraw_asked_at_s is not None:
            withdraw_on_chain(db, service, offer)
    return True


def _provider(db: Session, row: ChainEventRow, provider: bytes, *, registered: bool) -> None:
    known = db.get(ProviderRow, provider)
    if known is None:
        db.add(ProviderRow(operator_id=HOUSE, provider=provider, registered=registered, since_s=row.time_s))
    else:
        known.registered, known.since_s = registered, row.time_s
    db.flush()
