"""The database's half of the outbox: intents written with the business change that wants them, and the store `chain.outbox` works on.

Guaranteed: an intent's cause is unique, so the same change wants it once; signed bytes are committed before they are broadcast; an intent
is settled once, when its block is final, by the one process that holds the sender's lease.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from chain.calls import Call
from chain.errors import Reverted
from chain.outbox import Intent, Mined, Outcome
from chain.rpc import BlockRef
from chain.transactions import SignedTransaction
from protocol.hashing import keccak

from ..context import Service
from ..hexes import to_hex
from ..models import AttemptRow, IntentRow
from ..people.alarms import AlarmKind, raise_alarm

OPEN = "open"
MAX_UNSIGNED = 1_024
"""Intents without a nonce handed to the sender at once: far more than can be blocked (`tasks.opening.MAX_OPENING`), else those would
hide the others from it."""
RETRY_S = 30
"""Between a failed try and the next."""
EXPECTED_REFUSALS = frozenset({
    "HeadMoved", "SessionIsClosed", "CloseAlreadyRequested", "LockMustRise", "SessionIdUsed", "DeviceKnown", "KeyStands",
    "DailyCapReached", "TaskIdUsed", "TaskIsClosed", "NothingNew", "EndsAlready", "CloseNotDue",
})  # fmt: skip
"""Refusals that mean that it is done already, or will be wanted anew: nobody needs to be woken for them."""


def intend(
    db: Session, service: Service, operator_id: int, call: Call, *, kind: str, cause: tuple[bytes | int, ...], reference: bytes,
    sender: bytes | None = None,
) -> IntentRow:  # fmt: skip
    """Write an intent (of the sender key, unless another is named). The same cause again returns the one that stands."""
    address = service.keys.sender.address if sender is None else sender
    parts = [kind.encode(), address, *(part if isinstance(part, bytes) else part.to_bytes(16, "big") for part in cause)]
    identity = keccak(b"".join(len(part).to_bytes(4, "big") + part for part in parts))
    found = db.scalar(select(IntentRow).where(IntentRow.cause == identity))
    if found is not None:
        return found
    row = IntentRow(
        operator_id=operator_id, sender=address, kind=kind, what=call.what, cause=identity, reference=reference, to=call.to, data=call.data,
        state=OPEN, created_at_s=service.now_s(),
    )  # fmt: skip
    db.add(row)
    db.flush()
    service.after_commit(db, lambda: service.hub.wake_loop(f"sender {to_hex(address)}"))
    return row


def intents_of(db: Session, reference: bytes, kind: str | None = None) -> list[IntentRow]:
    """Intents about a session, epoch …, oldest first."""
    query = select(IntentRow).where(IntentRow.reference == reference)
    if kind is not None:
        query = query.where(IntentRow.kind == kind)
    return list(db.scalars(query.order_by(IntentRow.id)))


def tries_of(db: Session, reference: bytes, kind: str) -> int | None:
    """How many tries failed, where another may be wanted; None: one is on its way, or succeeded."""
    tries = intents_of(db, reference, kind)
    return None if tries and tries[-1].state in (OPEN, Outcome.SUCCEEDED.value) else len(tries)


def rests(service: Service, intent: IntentRow) -> bool:
    """Whether an intent failed so lately that it is not to be wanted again yet."""
    return intent.state != OPEN and service.now_s() < (intent.settled_at_s or 0) + RETRY_S


Writing = Callable[[], AbstractContextManager[Session]]
"""Opens a transaction that is refused once the lease is lost."""


class DatabaseStore:
    """What `chain.outbox.Sender` keeps its intents in. Every method has committed when it returns."""

    def __init__(self, service: Service, writing: Writing) -> None:
        self._service = service
        self._writing = writing

    def open_intents(self, sender: bytes) -> Sequence[Intent]:
        with self._service.db.reading() as db:
            rows = db.scalars(select(IntentRow).where(IntentRow.sender == sender, IntentRow.state == OPEN).order_by(IntentRow.id)).all()
            attempts: dict[int, list[SignedTransaction]] = {row.id: [] for row in rows}
            kept = select(AttemptRow).where(AttemptRow.intent_id.in_(attempts), AttemptRow.released.is_(False)).order_by(AttemptRow.id)
            for a in db.scalars(kept):
                attempts[a.intent_id].append(
                    SignedTransaction(a.nonce, a.transaction_hash, a.raw, a.gas_limit, int(a.fee_wei), int(a.tip_wei))
                )
        intents = [
            Intent(str(row.id), Call(row.to, row.data, row.what), tuple(attempts[row.id]), _mined(row)) for row in rows
        ]  # fmt: skip
        unsigned = {intent.id for intent in [intent for intent in intents if not intent.attempts][:MAX_UNSIGNED]}
        return [intent for intent in intents if intent.attempts or intent.id in unsigned]

    def save_attempt(self, intent_id: str, attempt: SignedTransaction) -> None:
        with self._writing() as db:
            row = db.get_one(IntentRow, int(intent_id))
            db.add(AttemptRow(
                operator_id=row.operator_id, intent_id=row.id, transaction_hash=attempt.hash, nonce=attempt.nonce, raw=attempt.raw,
                gas_limit=attempt.gas_limit, fee_wei=str(attempt.fee_wei), tip_wei=str(attempt.tip_wei), created_at_s=self._service.now_s(),
            ))  # fmt: skip

    def save_mined(self, intent_id: str, mined: Mined | None) -> None:
        with self._writing() as db:
            _set_mined(db.get_one(IntentRow, int(intent_id)), mined)

    def release(self, intent_id: str) -> None:
        with self._writing() as db:
            db.execute(update(AttemptRow).where(AttemptRow.intent_id == int(intent_id)).values(released=True))
            _set_mined(db.get_one(IntentRow, int(intent_id)), None)

    def settle(self, intent_id: str, outcome: Outcome, mined: Mined | None, reason: Reverted | None) -> None:
        with self._writing() as db:
            row = db.get_one(IntentRow, int(intent_id))
            row.state, row.settled_at_s = outcome.value, self._service.now_s()
            if mined is not None:
                _set_mined(row, mined)
            if reason is not None:
                row.reason_name, row.reason = reason.name[:60], str(reason)[:500]
            if outcome is not Outcome.SUCCEEDED and row.reason_name not in EXPECTED_REFUSALS:
                place = f"{row.what} of {to_hex(row.reference)}"
                detail = row.reason or "mined without effect; the receipt is on the chain"
                raise_alarm(db, self._service, row.operator_id, AlarmKind.TRANSACTION_REVERTED, place, detail)
            for name in ("epochs", "settlement", "chain", "rails", "tasks"):
                self._service.after_commit(db, lambda name=name: self._service.hub.wake_loop(name))  # type: ignore[misc]


def _mined(row: IntentRow) -> Mined | None:
    if row.mined_transaction is None or row.mined_block_number is None or row.mined_block_hash is None:
        return None
    block = BlockRef(row.mined_block_number, row.mined_block_hash)
    return Mined(row.mined_transaction, block, bool(row.mined_succeeded), row.gas_used or 0, int(row.gas_price_wei or 0))


def _set_mined(row: IntentRow, mined: Mined | None) -> None:
    row.mined_transaction = None if mined is None else mined.transaction
    row.mined_block_number = None if mined is None else mined.block.number
    row.mined_block_hash = None if mined is None else mined.block.hash
    row.mined_succeeded = None if mined is None else mined.succeeded
    row.gas_used = None if mined is None else mined.gas_used
    row.gas_price_wei = None if mined is None else str(mined.price_wei)
