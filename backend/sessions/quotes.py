"""Quotes, and what payers sign on them: Open, TopUp, RequestClose, Payment.

A quote is a session in state `quoted`: its terms are whole and its id is fixed, so the payer signs exactly what is stored.
"""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chain.calls import Call
from protocol.control import Cause
from protocol.eip712 import digest, to_json
from protocol.errors import BadSignature
from protocol.keys import check_signature
from protocol.money import Open, Payment, RequestClose, Terms, TopUp, point_commitment, session_id
from protocol.tariff import ceilings

from .. import jsons
from ..context import Service
from ..devices.points import free_vouchers, get_device, get_point, tariff_of
from ..devices.policies import parse_policy
from ..errors import BadRequest, Conflict, NotFound, TooMany, Unavailable
from ..hexes import to_hex
from ..models import Operator, Point, SessionFrame, SessionRow, SignedAmount, SignedRequest
from ..onchain.outbox import intend
from ..supply.commands import send, terms_of
from .life import end, get_session, highest_amount, live_session, ready, require_live
from .states import State, step

MAX_OPEN_QUOTES = 50
"""Unexpired quotes of one point: anybody may ask for one, and nobody may fill the table."""
LEAST_DEADLINE_S = 15
"""A relayed signature that runs out sooner might reach the chain too late."""


class Wish(NamedTuple):
    """What a payer asks a quote for. `signer`: the pay key, in payment mode only."""

    point_id: str
    payer: bytes
    refund_to: bytes
    metered: bool
    signer: bytes | None
    lock_micro: int


def quote(db: Session, service: Service, wish: Wish) -> SessionRow:
    """Terms for a session at a point. Raises `Conflict` where it is taken, `Unavailable` where its agent gave no charge key."""
    point = get_point(db, wish.point_id)
    now = service.now_s()
    if not point.enabled:
        raise Unavailable("this point is out of service", "pointId")
    if live_session(db, point.device, point.channel) is not None:
        raise Conflict("this point is taken; ask again when its session has ended", "pointId")
    waiting = select(func.count()).where(
        SessionRow.point_id == point.id, SessionRow.state == State.QUOTED, SessionRow.quote_expires_at_s > now
    )
    if (db.scalar(waiting) or 0) >= MAX_OPEN_QUOTES:
        raise TooMany(f"{MAX_OPEN_QUOTES} quotes for this point wait to be taken; they run out within minutes", "pointId")
    point_salt = secrets.token_bytes(32)
    terms = _terms(db, service, point, wish, point_salt, now)
    row = SessionRow(
        session=session_id(terms, service.deployment.chain_id, service.deployment.escrow), operator_id=point.operator_id,
        quote_id=secrets.token_hex(16), point_id=point.id, device=point.device, channel=point.channel, state=State.QUOTED.value,
        payer=wish.payer, signer=terms.signer, metered=wish.metered, terms=jsons.dumps(to_json(terms)), tariff_hash=point.tariff_hash,
        policy=point.policy, point_salt=point_salt, quoted_at_s=now,
        quote_expires_at_s=now + service.settings.terms.quote_valid_seconds, wanted_lock_micro=wish.lock_micro,
    )  # fmt: skip
    db.add(row)
    db.flush()
    return row


def _terms(db: Session, service: Service, point: Point, wish: Wish, point_salt: bytes, now: int) -> Terms:
    tariff = tariff_of(db, service, point.operator_id, point.tariff_hash)
    payee = db.get_one(Operator, point.operator_id).payee
    if wish.refund_to in (payee, bytes(20)):
        raise BadRequest("what was not used cannot go to the payee or to nobody", "refundTo")
    settings = service.settings.terms
    device = get_device(db, point.device)
    return Terms(
        wish.payer, payee, wish.refund_to, point_commitment(point.device, point.channel, device.meter_key, point_salt), wish.metered,
        _signer(db, point, wish), point.tariff_hash, parse_policy(jsons.loads(point.policy)).hash, *ceilings(tariff), point.rated_watts,
        now + settings.session_seconds, settings.stop_grace_seconds, max(settings.close_delay_seconds, settings.stop_grace_seconds),
        settings.close_delay_blocks, secrets.token_bytes(32),
    )  # fmt: skip


def _signer(db: Session, point: Point, wish: Wish) -> bytes:
    if not wish.metered:
        if wish.signer is None or wish.signer == bytes(20):
            raise BadRequest("in payment mode the quote names the pay key that will sign payments", "signer")
        return wish.signer
    if wish.signer is not None:
        raise BadRequest("in metered mode the meter's agent signs charges; leave it out", "signer")
    vouchers = free_vouchers(db, point.device, point.channel)
    if not vouchers:
        raise Unavailable("the point's agent has given no charge key for a next session; it gives one when it is online", "pointId")
    return vouchers[0].charge_key


def estimate(terms: Terms, lock_micro: int) -> dict[str, int | None]:
    """What the lock buys at the ceilings: energy, and seconds at rated power."""
    left = max(0, lock_micro - terms.max_flat_micro)
    energy = left * 1_000_000 // terms.max_micro_per_kwh if terms.max_micro_per_kwh else None
    per_hour = terms.max_micro_per_kwh * terms.rated_watts // 1_000 + terms.max_micro_per_hour
    return {"milliwattHours": energy, "secondsAtRatedPower": left * 3_600 // per_hour if per_hour else None}


def open_session(db: Session, service: Service, quote_id: str, opening: tuple[int, int], signature: bytes) -> SessionRow:
    """Take the payer's signed Open (lock_micro, deadline_s) and relay it. The same again is a success."""
    session = db.scalar(select(SessionRow.session).where(SessionRow.quote_id == quote_id))
    if session is None:
        raise NotFound("no such quote; quotes run out within minutes", "quoteId")
    row = get_session(db, session, lock=True)  # one opening at a time at a point
    lock_micro, deadline_s = opening
    message = Open(row.session, lock_micro, deadline_s)
    document = jsons.dumps(to_json(message))
    if row.state != State.QUOTED:
        same = select(SignedRequest.id).where(SignedRequest.session == row.session, SignedRequest.document == document)
        if db.scalar(same) is None:
            raise Conflict(f"this quote was taken with another lock or deadline; the session is {row.state}", "quoteId")
        return row
    _check_deadline(service, deadline_s)
    if service.now_s() > row.quote_expires_at_s:
        raise Conflict("the quote has run out; ask for another", "quoteId")
    if lock_micro < 1:
        raise BadRequest("must be at least 1", "lockMicro")
    _check_payer(service, row, message, signature)
    if live_session(db, row.device, row.channel) is not None:
        raise Conflict("this point has been taken since; ask for another quote when it is free", "quoteId")
    take_voucher(db, row)
    row.wanted_lock_micro = lock_micro
    step(db, row, State.OPENING, "the payer signed", service.now_s())
    _relay(db, service, row, "open", message, signature, service.calls.open_by_signature(terms_of(row), message, signature))
    return row


def take_voucher(db: Session, row: SessionRow) -> None:
    """A charge key serves one session."""
    if not row.metered:
        return
    voucher = next((v for v in free_vouchers(db, row.device, row.channel) if v.charge_key == row.signer), None)
    if voucher is None:
        raise Conflict("the charge key of this quote serves another session by now; ask for another quote", "quoteId")
    voucher.session = row.session


def top_up(db: Session, service: Service, row: SessionRow, message: TopUp, signature: bytes) -> SignedRequest:
    """Relay a signed TopUp. The same again is a success."""
    require_live(row)
    _check_deadline(service, message.deadline_s)
    if message.total_lock_micro <= row.lock_micro:
        raise Conflict(f"the lock is {row.lock_micro} already; a top-up names the new total, which must be higher", "totalLockMicro")
    _check_payer(service, row, message, signature)
    return _relay(db, service, row, "top-up", message, signature, service.calls.top_up_by_signature(terms_of(row), message, signature))


def stop(db: Session, service: Service, row: SessionRow, message: RequestClose, signature: bytes) -> SignedRequest:
    """The stop button: supply goes off, and the request goes to the chain. By the payer's key or, in payment mode, the pay key."""
    if row.state in (State.QUOTED, State.OPENING):
        raise Conflict(f"the session is {row.state}; there is nothing to stop yet", "session")
    _check_payer(service, row, message, signature, or_pay_key=not row.metered)
    kept = db.scalar(select(SignedRequest).where(SignedRequest.session == row.session, SignedRequest.kind == "request-close"))
    if kept is not None:
        return kept
    require_live(row)
    _check_deadline(service, message.deadline_s)
    end(db, service, row, Cause.PAYER_STOP, "the payer asked")
    call = service.calls.request_close_by_signature(terms_of(row), message, signature)
    return _relay(db, service, row, "request-close", message, signature, call)


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
    if highest is not None and payment.amount_micro <= highest.amount_micro:
        raise Conflict(f"payments are cumulative; {highest.amount_micro} is signed already", "amountMicro")
    most = row.lock_micro or row.wanted_lock_micro
    if payment.amount_micro > most:
        raise BadRequest(f"is above the lock ({most}); top up first", "amountMicro")
    amount = SignedAmount(
        operator_id=row.operator_id, session=row.session, kind="payment", amount_micro=payment.amount_micro, frame=payment.frame,
        signature=signature, received_at_s=service.now_s(), claimable=row.disputed_from_s is None,
    )  # fmt: skip
    db.add(amount)
    db.flush()
    row.charge_micro = payment.amount_micro if amount.claimable else row.charge_micro
    send(db, service, row, "payment", to_json(payment) | {"signature": to_hex(signature)})
    if row.state == State.OPEN and row.ready_nonce is not None and highest is None:
        nonce, row.ready_nonce = row.ready_nonce, None
        ready(db, service, row, nonce)
    return amount


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


def _check_payer(service: Service, row: SessionRow, message: Any, signature: bytes, *, or_pay_key: bool = False) -> None:
    signed = digest(service.money, message)
    for address in (row.payer, row.signer) if or_pay_key else (row.payer,):
        try:
            check_signature(signed, signature, address)
            return
        except BadSignature as error:
            problem = error
    raise BadRequest(f"{problem}; the payer signs {type(message).__name__} in the money domain", "signature")


def price_at(db: Session, row: SessionRow, frame_id: int) -> SessionFrame | None:
    """What the session cost after a frame."""
    return db.get(SessionFrame, (row.session, frame_id))
