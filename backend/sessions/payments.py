"""Payments by a session's pay key. Cumulative; every one that is taken is kept as signed."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from protocol.eip712 import digest, to_json
from protocol.errors import BadSignature
from protocol.keys import check_signature
from protocol.money import Payment

from ..context import Service
from ..errors import BadRequest, Conflict
from ..hexes import to_hex
from ..models import SessionRow, SignedAmount
from ..money.settlement import last_claimable
from ..supply.commands import close_messages, send
from .life import highest_amount, ready
from .states import State


def pay(db: Session, service: Service, row: SessionRow, payment: Payment, signature: bytes) -> SignedAmount:
    """Take a signed payment, keep it and pass it to the agent. The same again is a success."""
    if row.metered:
        raise BadRequest("this session is metered: its charges are signed by the agent", "session")
    if payment.session != row.session:
        raise BadRequest("names another session than the path", "session")
    try:
        check_signature(digest(service.money, payment), signature, row.signer)
    except BadSignature as error:
        raise BadRequest(f"{error}; the pay key of the terms signs payments", "signature") from None
    found = db.scalar(select(SignedAmount).where(
        SignedAmount.session == row.session, SignedAmount.amount_micro == payment.amount_micro, SignedAmount.frame == payment.frame
    ))  # fmt: skip
    if found is not None:
        return found
    if row.state in (State.QUOTED, State.SETTLING, State.SETTLED):
        raise Conflict(f"the session is {row.state}", "session")
    highest = highest_amount(db, row)
    later = highest is None or payment.amount_micro > highest.amount_micro
    if highest is not None and not later:
        _check_correction(db, row, payment, highest)
    most = row.lock_micro or row.wanted_lock_micro
    if payment.amount_micro > most:
        raise BadRequest(f"is above the lock ({most}); top up first", "amountMicro")
    amount = SignedAmount(
        operator_id=row.operator_id, session=row.session, kind="payment", amount_micro=payment.amount_micro, frame=payment.frame,
        signature=signature, received_at_s=service.now_s(), claimable=row.disputed_from_s is None,
    )  # fmt: skip
    db.add(amount)
    db.flush()
    row.charge_micro = max(payment.amount_micro, row.charge_micro) if amount.claimable else row.charge_micro
    if later:
        close_messages(db, service, row, "payment")  # cumulative: the newest says it all, also to an agent that missed some
    if later and row.granted_at_s is not None:  # before that the agent knows nothing of the session; it comes with the grant
        send(db, service, row, "payment", to_json(payment) | {"signature": to_hex(signature)})
    if row.state == State.OPEN and row.ready_nonce is not None and highest is None:
        nonce, row.ready_nonce = row.ready_nonce, None
        ready(db, service, row, nonce)
    return amount


def _check_correction(db: Session, row: SessionRow, payment: Payment, highest: SignedAmount) -> None:
    """Payments rise. Below one that was signed ahead of use only what can be claimed helps: above the last such one, up to the bill."""
    covered = last_claimable(db, row)
    least = 0 if covered is None else covered.amount_micro
    if payment.amount_micro == highest.amount_micro or not least < payment.amount_micro <= row.bill_micro:
        raise Conflict(f"payments are cumulative; {highest.amount_micro} is signed already", "amountMicro")
