"""From the chain into the books: events are kept as they are read, taken back when the chain reorganises, and applied once, at finality.

Guaranteed: reading, rolling back, applying and remembering how far happens in one transaction; money moves in the books only from final
events; an event that was applied can never be taken back (a chain that gives up final blocks stops this loop with an alarm).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from chain import event_types
from chain.client import ChainClient
from chain.errors import ChainMoved
from chain.events import Batch, ChainEvent, EventReader
from chain.rpc import BlockRef

from .. import jsons
from ..context import Service
from ..errors import ServiceError
from ..hexes import to_hex
from ..models import HOUSE, AnchorLinkRow, ChainEventRow, ChainHaltRow, KnownBlock
from ..offers import book
from ..rails import on_chain
from ..store.facts import CHAIN, ChainStatus, chain_status, remember
from ..tasks import following
from ..wallets import follow
from . import apply_registry, apply_sessions
from .outbox import Writing

log = structlog.get_logger()
HALT_S = 60
"""A gap between two blocks from which on the chain counts as having stood still: receipts' times move by it."""


class AppliedRolledBack(ServiceError):
    """An event that moved money was taken back by the chain. The books must be rebuilt from the chain."""


class ChainBooks:
    """Reads the chain into the database, batch by batch."""

    def __init__(self, service: Service, client: ChainClient) -> None:
        self._service, self._client = service, client
        self._reader = EventReader(client)

    def round(self, writing: Writing) -> bool:
        """Read what is new. True if there is more to read at once. Raises `chain.errors.Transient` while the node is away."""
        with self._service.db.reading() as db:
            known = [BlockRef(row.number, row.hash) for row in db.scalars(select(KnownBlock).order_by(KnownBlock.number))]
            before = chain_status(db)
        batch = self._reader.read(known)
        if not batch.known:
            return False  # the deployment is not final yet
        unchanged = batch.rolled_back_to is None and not batch.events and batch.known == tuple(known)
        if before is not None and unchanged and (batch.final.number, batch.caught_up) == (before.final_number, before.caught_up):
            return False  # nothing new: nothing to write
        through, final = self._client.block_of(batch.known[-1].hash), self._client.block_of(batch.final.hash)
        if through is None or final is None:
            raise ChainMoved("a block is gone that the node gave a moment ago; read again")
        with writing() as db:
            self._keep(db, batch)
            self._apply(db, min(final.number, through.number))
            moved = before is None or before.final_number != final.number
            seen_at_s = self._service.now_s() if moved or before is None else before.final_seen_at_s
            status = ChainStatus(through.number, through.time_s, final.number, final.time_s, seen_at_s, batch.caught_up)
            self._halts(db, before, status)
            remember(db, CHAIN, status._asdict())
            for name in ("epochs", "settlement"):
                self._service.after_commit(db, lambda name=name: self._service.hub.wake_loop(name) if moved else None)  # type: ignore[misc]
        return not batch.caught_up

    def _keep(self, db: Session, batch: Batch) -> None:
        if batch.rolled_back_to is not None:
            gone = ChainEventRow.block_number > batch.rolled_back_to
            if db.scalar(select(ChainEventRow.id).where(gone, ChainEventRow.applied.is_(True)).limit(1)) is not None:
                raise AppliedRolledBack(f"the chain went back to block {batch.rolled_back_to}, behind what it called final", "chain")
            db.execute(delete(ChainEventRow).where(gone))
            log.info("chain reorganised", back_to=batch.rolled_back_to)
        for event in follow.known_ones(db, batch.events):
            db.add(_row(event))
        db.execute(delete(KnownBlock))
        db.add_all(KnownBlock(operator_id=HOUSE, number=ref.number, hash=ref.hash) for ref in batch.known)
        db.flush()

    def _apply(self, db: Session, final_number: int) -> None:
        query = select(ChainEventRow).where(ChainEventRow.applied.is_(False), ChainEventRow.block_number <= final_number)
        for row in db.scalars(query.order_by(ChainEventRow.block_number, ChainEventRow.log_index)).all():
            body = _body(row)
            if isinstance(body, event_types.Anchored):
                self._anchored(db, row, body)
            else:
                apply(db, self._service, row, body)
            row.applied = True

    def _anchored(self, db: Session, row: ChainEventRow, body: event_types.Anchored) -> None:
        if body.anchorer != self._service.keys.sender.address and not apply_registry.is_our_meter(db, body.anchorer):
            return
        last = db.scalar(select(AnchorLinkRow).where(AnchorLinkRow.anchorer == body.anchorer).order_by(AnchorLinkRow.id.desc()).limit(1))
        db.add(AnchorLinkRow(
            operator_id=HOUSE, anchorer=body.anchorer, previous_head=bytes(32) if last is None else last.head, root=body.root,
            head=body.head,
            time_s=row.time_s, block_number=row.block_number, transaction_hash=row.transaction_hash,
        ))  # fmt: skip
        db.flush()

    def _halts(self, db: Session, before: ChainStatus | None, now: ChainStatus) -> None:
        """Write down a stretch without blocks. Times of blocks are the chain's own."""
        if before is None or now.final_number == before.final_number:
            return
        previous = before.final_time_s
        for number in range(before.final_number + 1, min(now.final_number, before.final_number + 3) + 1):
            block = self._client.block(number)
            if block is None:
                return
            if block.time_s - previous >= HALT_S and db.get(ChainHaltRow, number - 1) is None:
                db.add(ChainHaltRow(operator_id=HOUSE, from_block=number - 1, from_s=previous, until_s=block.time_s))
            previous = block.time_s


def apply(db: Session, service: Service, row: ChainEventRow, body: event_types.Body) -> bool:
    """Apply a final event, but for anchors. False if none of it matters here."""
    rails = on_chain.apply(db, service, row, body)  # a deposit over a rail concerns the escrow's books too
    return rails | any(room.apply(db, service, row, body) for room in (apply_sessions, apply_registry, book, follow, following))


def _row(event: ChainEvent) -> ChainEventRow:
    values = {name: _shown(value) for name, value in event.body._asdict().items()}
    return ChainEventRow(
        operator_id=HOUSE, block_number=event.block.number, block_hash=event.block.hash, time_s=event.time_s, log_index=event.log_index,
        transaction_hash=event.transaction, name=type(event.body).__name__, values=jsons.dumps(values),
        session=getattr(event.body, "session", None), applied=False,
    )  # fmt: skip


_KINDS: dict[str, Any] = {name: kind for kinds in (*event_types.CONTRACTS.values(), event_types.WALLET) for name, kind in kinds.items()}


def _body(row: ChainEventRow) -> event_types.Body:
    body: event_types.Body = _KINDS[row.name](**{name: _read(value) for name, value in jsons.loads(row.values).items()})
    return body


def _shown(value: Any) -> Any:
    """Bytes as hex and structs as lists: every text among an event's values is hex."""
    if isinstance(value, bytes):
        return to_hex(value)
    return [_shown(each) for each in value] if isinstance(value, tuple) else value


def _read(value: Any) -> Any:
    if isinstance(value, str):
        return bytes.fromhex(value[2:])
    return tuple(_read(each) for each in value) if isinstance(value, list) else value


def pending_events(db: Session, session: bytes) -> Sequence[ChainEventRow]:
    """Events of a session that are on the chain and not final: what the books call *pending*."""
    query = select(ChainEventRow).where(ChainEventRow.session == session, ChainEventRow.applied.is_(False))
    return db.scalars(query.order_by(ChainEventRow.block_number, ChainEventRow.log_index)).all()


def count_unapplied(db: Session) -> int:
    return int(db.scalar(select(func.count()).where(ChainEventRow.applied.is_(False))) or 0)
