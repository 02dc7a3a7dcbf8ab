"""What final events of the factory and of wallets do here, and which of them are kept at all.

Anybody can emit a log that looks like a wallet's. Kept is what a wallet of the factory said: one that is known, or whose creation stands
before it, final or not.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from chain import event_types as events
from chain.events import ChainEvent
from protocol.wallet import Policy, policy_document

from .. import jsons
from ..context import Service
from ..models import HOUSE, ChainEventRow, WalletRow

SAID_BY_WALLETS = (events.PolicySet, events.Frozen, events.Unfrozen)


def known_ones(db: Session, batch: Iterable[ChainEvent]) -> list[ChainEvent]:
    """The events of a batch without what only looks like a wallet's word."""
    found = list(batch)
    speakers = {event.body.wallet for event in found if isinstance(event.body, SAID_BY_WALLETS)}
    if not speakers:
        return found
    known = set(db.scalars(select(WalletRow.wallet).where(WalletRow.wallet.in_(speakers))))
    waiting = select(ChainEventRow.values).where(ChainEventRow.name == "WalletCreated", ChainEventRow.applied.is_(False))
    known |= {bytes.fromhex(jsons.loads(values)["wallet"][2:]) for values in db.scalars(waiting)}
    kept = []
    for event in found:
        if isinstance(event.body, events.WalletCreated):
            known.add(event.body.wallet)
        if not isinstance(event.body, SAID_BY_WALLETS) or event.body.wallet in known:
            kept.append(event)
    return kept


def apply(db: Session, _service: Service, row: ChainEventRow, body: events.Body) -> bool:
    """Apply an event of the factory or a wallet. False if it is none."""
    if isinstance(body, events.WalletCreated):
        if db.get(WalletRow, body.wallet) is None:
            db.add(WalletRow(
                operator_id=HOUSE, wallet=body.wallet, device=body.device, owner=body.owner, frozen=False, withdrawn_micro=0,
                created_at_s=row.time_s,
            ))  # fmt: skip
            db.flush()
        return True
    if not isinstance(body, SAID_BY_WALLETS):
        return False
    wallet = db.get(WalletRow, body.wallet)
    if wallet is None:
        return True
    if isinstance(body, events.PolicySet):
        document = policy_document(Policy(*body.policy))
        wallet.policy_hash, wallet.policy, wallet.policy_at_s = body.policy_hash, jsons.dumps(document), row.time_s
    else:
        wallet.frozen = isinstance(body, events.Frozen)
    return True


def withdrawn(db: Session, body: events.Withdrawn) -> None:
    """A free balance was paid out by its owner: it may be a wallet's."""
    wallet = db.get(WalletRow, body.account)
    if wallet is not None:
        wallet.withdrawn_micro += body.amount_micro
