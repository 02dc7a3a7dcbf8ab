"""Quotes: the terms of a session at a point, whole and unsigned.

A quote is a session in state `quoted`: its id is fixed, so the payer signs exactly what is stored. Without an offer the point's host sells
at the point's own tariff; under one its seller does, at its tariff and ceilings, and the session is that seller's.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from protocol.eip712 import to_json
from protocol.money import Terms, point_commitment, session_id
from protocol.tariff import ceilings

from .. import jsons
from ..context import Service
from ..devices.points import free_vouchers, get_device, get_point, tariff_of
from ..devices.policies import parse_policy
from ..errors import BadRequest, Conflict, TooMany, Unavailable
from ..models import Operator, Point, SessionRow
from ..offers.shelf import standing_offer
from .life import live_session
from .states import State

MAX_OPEN_QUOTES = 50
"""Unexpired quotes of one point: anybody may ask for one, and nobody may fill the table."""


class Wish(NamedTuple):
    """What a payer asks a quote for. `signer`: the pay key, in payment mode only. `follows`: its session that runs there now."""

    point_id: str
    payer: bytes
    refund_to: bytes
    metered: bool
    signer: bytes | None
    lock_micro: int
    offer: bytes | None = None
    follows: bytes | None = None


class Sale(NamedTuple):
    """Who sells, at what: of an offer, or of the point itself."""

    operator_id: int
    payee: bytes
    tariff_hash: bytes
    ceilings: tuple[int, int, int]  # micro-units a kWh, an hour, once
    rated_watts: int


def quote(db: Session, service: Service, wish: Wish) -> SessionRow:
    """Terms for a session at a point. Raises `Conflict` where it is taken, `Unavailable` where its agent gave no charge key."""
    point = get_point(db, wish.point_id)
    now = service.now_s()
    if not point.enabled:
        raise Unavailable("this point is out of service", "pointId")
    _check_free(db, point, wish)
    waiting = select(func.count()).where(
        SessionRow.point_id == point.id, SessionRow.state == State.QUOTED, SessionRow.quote_expires_at_s > now
    )
    if (db.scalar(waiting) or 0) >= MAX_OPEN_QUOTES:
        raise TooMany(f"{MAX_OPEN_QUOTES} quotes for this point wait to be taken; they run out within minutes", "pointId")
    sale, point_salt = _sale(db, service, point, wish, now), secrets.token_bytes(32)
    terms = _terms(db, service, point, wish, sale, point_salt)
    row = SessionRow(
        session=session_id(terms, service.deployment.chain_id, service.deployment.escrow), operator_id=sale.operator_id,
        quote_id=secrets.token_hex(16), point_id=point.id, device=point.device, channel=point.channel, state=State.QUOTED.value,
        payer=wish.payer, signer=terms.signer, metered=wish.metered, terms=jsons.dumps(to_json(terms)), tariff_hash=sale.tariff_hash,
        policy=point.policy, point_salt=point_salt, quoted_at_s=now,
        quote_expires_at_s=now + service.settings.terms.quote_valid_seconds, wanted_lock_micro=wish.lock_micro, offer=wish.offer,
        follows=wish.follows,
    )  # fmt: skip
    db.add(row)
    db.flush()
    return row


def _check_free(db: Session, point: Point, wish: Wish) -> None:
    """A quote is for a free point, or for what follows the payer's own session there."""
    holder = live_session(db, point.device, point.channel)
    if holder is None:
        return  # also where the session to follow has just ended: then this one need not wait
    if wish.follows is None:
        raise Conflict("this point is taken; ask again when its session has ended", "pointId")
    if holder.session != wish.follows or holder.payer != wish.payer:
        raise Conflict("the session that runs here now is not that one of this payer", "follows")


def _sale(db: Session, service: Service, point: Point, wish: Wish, now: int) -> Sale:
    if wish.offer is None:
        tariff = tariff_of(db, service, point.operator_id, point.tariff_hash)
        payee = db.get_one(Operator, point.operator_id).payee
        return Sale(point.operator_id, payee, point.tariff_hash, ceilings(tariff), point.rated_watts)
    offer, document = standing_offer(db, wish.offer, point.id, now)
    watts = min(point.rated_watts, document.max_watts)  # never more than the connection, whatever an offer says
    return Sale(offer.operator_id, offer.provider, offer.tariff_hash, document.ceilings, watts)


def _terms(db: Session, service: Service, point: Point, wish: Wish, sale: Sale, point_salt: bytes) -> Terms:
    if wish.refund_to in (sale.payee, bytes(20)):
        raise BadRequest("what was not used cannot go to the payee or to nobody", "refundTo")
    settings = service.settings.terms
    device = get_device(db, point.device)
    return Terms(
        wish.payer, sale.payee, wish.refund_to, point_commitment(point.device, point.channel, device.meter_key, point_salt), wish.metered,
        _signer(db, point, wish), sale.tariff_hash, parse_policy(jsons.loads(point.policy)).hash, *sale.ceilings, sale.rated_watts,
        service.now_s() + settings.session_seconds, settings.stop_grace_seconds,
        max(settings.close_delay_seconds, settings.stop_grace_seconds), settings.close_delay_blocks, secrets.token_bytes(32),
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


def take_voucher(db: Session, row: SessionRow) -> None:
    """A charge key serves one session."""
    if not row.metered:
        return
    voucher = next((v for v in free_vouchers(db, row.device, row.channel) if v.charge_key == row.signer), None)
    if voucher is None:
        raise Conflict("the charge key of this quote serves another session by now; ask for another quote", "quoteId")
    voucher.session = row.session


def queue(db: Session, row: SessionRow, holder: SessionRow | None) -> None:
    """A session quoted to follow the one that holds the point waits for its end. Raises `Conflict` where another does already."""
    if holder is None:
        return
    behind = (SessionRow.follows == holder.session, SessionRow.waits.is_(True), SessionRow.state.in_((State.OPENING, State.OPEN)))
    if db.scalar(select(SessionRow.session).where(*behind)) is not None:
        raise Conflict("another session waits for the end of this one already", "quoteId")
    row.waits = True
