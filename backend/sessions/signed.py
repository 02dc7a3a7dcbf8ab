"""What payers sign for the chain: Open, TopUp, RequestClose. Kept as proof and relayed, to the escrow or to the payer's wallet.

About a payer that is an account with code the chain is asked *before* the transaction (`wallets.door`); here only its answer is taken.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from chain.calls import Call
from protocol.control import Cause
from protocol.eip712 import to_json
from protocol.money import Open, RequestClose, TopUp

from .. import jsons
from ..context import Service
from ..errors import BadRequest, Conflict, NotFound
from ..models import IntentRow, SessionRow, SignedRequest
from ..onchain.outbox import intend
from ..supply.commands import terms_of
from ..wallets.door import Proof, by_key
from .life import end, get_session, live_session, require_live
from .quotes import queue, take_voucher
from .states import State, step

LEAST_DEADLINE_S = 15
"""A relayed signature that runs out sooner might reach the chain too late."""


def open_session(
    db: Session, service: Service, quote_id: str, opening: tuple[int, int], signature: bytes, proof: Proof | None = None
) -> SessionRow:  # fmt: skip
    """Take the payer's signed Open (lock_micro, deadline_s) and relay it. The same again is a success.

    `proof`: what the chain said of the signature, where the payer is an account with code; without it the payer's own key has signed.
    """
    session = db.scalar(select(SessionRow.session).where(SessionRow.quote_id == quote_id))
    if session is None:
        raise NotFound("no such quote; quotes run out within minutes", "quoteId")
    row = get_session(db, session, lock=True)  # one opening at a time at a point
    lock_micro, deadline_s = opening
    message = Open(row.session, lock_micro, deadline_s)
    if row.state != State.QUOTED:
        if not is_known(db, row.session, message):
            raise Conflict(f"this quote was taken with another lock or deadline; the session is {row.state}", "quoteId")
        return row
    _check_deadline(service, deadline_s)
    if service.now_s() > row.quote_expires_at_s:
        raise Conflict("the quote has run out; ask for another", "quoteId")
    if lock_micro < 1:
        raise BadRequest("must be at least 1", "lockMicro")
    proof = proof or by_key(service, row, message, signature)
    holder = live_session(db, row.device, row.channel)
    if holder is not None and holder.session != row.follows:
        raise Conflict("this point has been taken since; ask for another quote when it is free", "quoteId")
    queue(db, row, holder)
    take_voucher(db, row)
    row.wanted_lock_micro = lock_micro
    step(db, row, State.OPENING, "the payer signed", service.now_s())
    _relay(db, service, row, "open", message, proof.signature, proof.open(service, terms_of(row), message))
    return row


def is_known(db: Session, session: bytes, message: Any) -> bool:
    """Whether exactly this was signed and taken before: its repeat is a success, whatever the chain says by now."""
    document = jsons.dumps(to_json(message))
    same = select(SignedRequest.id).where(SignedRequest.session == session, SignedRequest.document == document)
    return db.scalar(same.limit(1)) is not None


def top_up(
    db: Session, service: Service, row: SessionRow, message: TopUp, signature: bytes, proof: Proof | None = None
) -> SignedRequest:  # fmt: skip
    """Relay a signed TopUp. The same again is a success."""
    require_live(row)
    _check_deadline(service, message.deadline_s)
    if message.total_lock_micro <= row.lock_micro:
        raise Conflict(f"the lock is {row.lock_micro} already; a top-up names the new total, which must be higher", "totalLockMicro")
    proof = proof or by_key(service, row, message, signature)
    return _relay(db, service, row, "top-up", message, proof.signature, proof.top_up(service, terms_of(row), message))


def stop(
    db: Session, service: Service, row: SessionRow, message: RequestClose, signature: bytes, proof: Proof | None = None
) -> SignedRequest:  # fmt: skip
    """The stop button: supply goes off, and the request goes to the chain. By the payer's key or, in payment mode, the pay key.

    One request is enough; another is relayed only where the chain did not take the one before, also when supply is off already.
    """
    if row.state in (State.QUOTED, State.OPENING):
        raise Conflict(f"the session is {row.state}; there is nothing to stop yet", "session")
    proof = proof or by_key(service, row, message, signature, or_pay_key=not row.metered)
    asked = select(SignedRequest).where(SignedRequest.session == row.session, SignedRequest.kind == "request-close")
    kept = db.scalar(asked.order_by(SignedRequest.id.desc()).limit(1))
    if kept is not None and (is_known(db, row.session, message) or not _failed(db, row, kept)):
        return kept
    if kept is None or row.state != State.ENDED:
        require_live(row)
    _check_deadline(service, message.deadline_s)
    end(db, service, row, Cause.PAYER_STOP, "the payer asked")
    return _relay(db, service, row, "request-close", message, proof.signature, proof.close(service, terms_of(row), message))


def _failed(db: Session, row: SessionRow, kept: SignedRequest) -> bool:
    """Whether the chain did not take a request to close, and has no other either."""
    refused = db.scalar(select(IntentRow.id).where(IntentRow.id == kept.intent_id, IntentRow.state.in_(("refused", "reverted"))))
    return refused is not None and row.close_requested_at_s is None and row.closed_at_s is None


def _relay(db: Session, service: Service, row: SessionRow, kind: str, message: Any, signature: bytes, call: Call) -> SignedRequest:
    """Keep what the payer signed and want it on the chain."""
    document = jsons.dumps(to_json(message))
    kept = db.scalar(select(SignedRequest).where(
        SignedRequest.session == row.session, SignedRequest.kind == kind, SignedRequest.document == document
    ))  # fmt: skip
    if kept is not None:
        return kept
    intent = intend(db, service, row.operator_id, call, kind=kind, cause=(row.session, document.encode()), reference=row.session)
    kept = SignedRequest(
        operator_id=row.operator_id, session=row.session, kind=kind, document=document, signature=signature, intent_id=intent.id,
        received_at_s=service.now_s(),
    )  # fmt: skip
    db.add(kept)
    db.flush()
    return kept


def _check_deadline(service: Service, deadline_s: int) -> None:
    if deadline_s < service.now_s() + LEAST_DEADLINE_S:
        raise BadRequest(f"must lie at least {LEAST_DEADLINE_S} s ahead, or the chain may refuse it", "deadlineS")
