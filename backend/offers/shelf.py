"""Offers as kept here: taken when good, published through the outbox, withdrawn, and looked up for quotes and buyers.

An offer that is not good is refused by the name `protocol.offer` gives it (`offer-ceilings`, `offer-signature` …), before anything is sent.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from protocol.eip712 import Domain, digest, from_json, money_domain, to_json
from protocol.errors import BadSignature
from protocol.keys import check_signature
from protocol.offer import Offer, OfferDocument, OfferRefused, SignedOffer, WithdrawOffer, check_offer, parse_document, parse_offer

from .. import jsons
from ..context import Service
from ..devices.points import put_tariff
from ..errors import NotFound, Refused, Unavailable
from ..hexes import to_hex
from ..models import OfferPoint, OfferRow, Operator, Point, PointSeller, ProviderRow
from ..onchain.outbox import intend, intents_of
from .sellers import MAX_SELLERS, may_sell

MAX_AHEAD_S = 366 * 86_400
"""An offer that ends later than in a year is a slip of the pen, and could not be taken back if its key were lost."""
MAX_AT_POINT = 8
"""Offers of one seller that stand at one point: day, night and week-end, each with its successor. More would only crowd out others."""
MAX_LISTED = (MAX_SELLERS + 1) * MAX_AT_POINT
"""Everything that may stand at one point: of its host and of all whom it lets sell there."""


def put_offer(db: Session, service: Service, operator_id: int, body: dict[str, Any]) -> OfferRow:
    """Keep a good offer and want it on the chain. Raises `Refused`. The same again is a success, and tries a failed publication anew."""
    signed = parse_offer(body)
    operator = db.get_one(Operator, operator_id, with_for_update=True)  # one offer of a provider at a time: numbers rise
    if signed.offer.provider != operator.payee:
        detail = f"the offer is of 0x{signed.offer.provider.hex()}; this operator is paid at {to_hex(operator.payee)}"
        raise Refused("offer-foreign-provider", detail, "offer.provider")
    found = _checked(service, signed)
    kept = db.get(OfferRow, found)
    if kept is None:
        _check_here(db, service, operator_id, signed)
        kept = _keep(db, service, operator_id, signed, found, body["document"])
    publish(db, service, kept)
    return kept


def _checked(service: Service, signed: SignedOffer) -> bytes:
    try:
        return check_offer(signed, service.deployment.chain_id, _book(service), service.now_s())
    except OfferRefused as error:
        raise Refused(f"offer-{error.code}", str(error), "offer") from None


def _check_here(db: Session, service: Service, operator_id: int, signed: SignedOffer) -> None:
    """What only this service knows: the book's word on the provider, earlier numbers, and where it may sell."""
    offer = signed.offer
    if offer.valid_until_s > service.now_s() + MAX_AHEAD_S:
        raise Refused("offer-validity", f"may end at most {MAX_AHEAD_S // 86_400} days ahead", "offer.validUntilS")
    if not is_registered(db, offer.provider):
        detail = f"the provider book has not admitted {to_hex(offer.provider)} (or that is not final yet); ask its registrar"
        raise Refused("offer-provider-unregistered", detail, "offer.provider")
    highest = db.scalar(select(func.max(OfferRow.number)).where(OfferRow.provider == offer.provider))
    if highest is not None and offer.number <= highest:
        detail = f"{highest} is signed already; a later offer takes a higher number, so that where two overlap it is known which counts"
        raise Refused("offer-number", detail, "offer.number")
    for point_id in signed.document.points:
        point = db.get(Point, point_id)
        if point is None or not may_sell(db, point, operator_id):
            raise Refused("offer-point", f"this operator does not sell at a point {point_id!r}", "document.points")
    full = _full_point(db, operator_id, signed.document.points, service.now_s())
    if full is not None:
        detail = f"{MAX_AT_POINT} offers of this operator stand at the point {full!r}; withdraw one first"
        raise Refused("offer-many", detail, "document.points")


def _full_point(db: Session, operator_id: int, points: tuple[str, ...], now_s: int) -> str | None:
    """A point of these at which the operator has all the offers it may have, on the chain or on their way there."""
    return db.scalar(
        select(OfferPoint.point_id).join(OfferRow, OfferRow.hash == OfferPoint.offer)
        .where(
            OfferPoint.point_id.in_(points), OfferRow.operator_id == operator_id, OfferRow.valid_until_s > now_s,
            OfferRow.withdraw_asked_at_s.is_(None), OfferRow.withdrawn_at_s.is_(None),
        )
        .group_by(OfferPoint.point_id).having(func.count() >= MAX_AT_POINT).order_by(OfferPoint.point_id).limit(1)
    )  # fmt: skip


def _keep(
    db: Session, service: Service, operator_id: int, signed: SignedOffer, found: bytes, document: dict[str, Any]
) -> OfferRow:  # fmt: skip
    offer = signed.offer
    put_tariff(db, service, operator_id, document["tariff"])
    row = OfferRow(
        hash=found, operator_id=operator_id, provider=offer.provider, number=offer.number, valid_from_s=offer.valid_from_s,
        valid_until_s=offer.valid_until_s, offer=jsons.dumps(to_json(offer)), signature=signed.signature,
        document=jsons.canonical(document), tariff_hash=signed.document.tariff.hash, made_at_s=service.now_s(),
    )  # fmt: skip
    db.add(row)
    db.flush()
    db.add_all(OfferPoint(operator_id=operator_id, offer=found, point_id=point_id) for point_id in signed.document.points)
    db.flush()
    return row


def publish(db: Session, service: Service, row: OfferRow) -> None:
    """Want the offer on the chain, relayed on its provider's signature; again where an earlier attempt failed for good."""
    tries = intents_of(db, row.hash, "publish")
    waiting = tries and tries[-1].state in ("open", "succeeded")
    if row.published_at_s is not None or row.withdraw_asked_at_s is not None or waiting:
        return
    call = service.wallets.publish_offer(from_json(Offer, jsons.loads(row.offer)), row.signature)
    intend(db, service, row.operator_id, call, kind="publish", cause=(row.hash, len(tries)), reference=row.hash)


def withdraw_offer(db: Session, service: Service, operator_id: int, found: bytes, signature: bytes | None = None) -> OfferRow:
    """No quote is made under it from now on, and the chain is told. What was opened under it goes on. The same again is a success.

    `signature`: the provider's over `WithdrawOffer`, where its key is not here.
    """
    row = get_offer(db, found, operator_id)
    if signature is not None:
        try:
            check_signature(digest(book_domain(service), WithdrawOffer(row.hash)), signature, row.provider)
        except BadSignature as error:
            detail = f"{error}; the provider signs WithdrawOffer in the provider book's domain"
            raise Refused("offer-signature", detail, "signature") from None
        row.withdraw_signature = signature
    if row.withdraw_asked_at_s is None:
        row.withdraw_asked_at_s = service.now_s()
    if row.published_at_s is not None:  # else once it is: a withdrawal the chain sees first reverts
        withdraw_on_chain(db, service, row)
    return row


def withdraw_on_chain(db: Session, service: Service, row: OfferRow) -> None:
    """Want the withdrawal on the chain, signed by the provider or with its key where that is here; else the provider sends it itself."""
    key = service.keys.payees.get(row.provider)
    signature = row.withdraw_signature
    if signature is None and key is not None:
        signature = key.sign(digest(book_domain(service), WithdrawOffer(row.hash)))
    if signature is not None and row.withdrawn_at_s is None:
        call = service.wallets.withdraw_offer_by_signature(row.hash, signature)
        intend(db, service, row.operator_id, call, kind="withdraw-offer", cause=(row.hash,), reference=row.hash)


def book_domain(service: Service) -> Domain:
    """The domain offers are signed in. Raises `Unavailable` where the deployment has no provider book."""
    return money_domain(service.deployment.chain_id, _book(service))


def _book(service: Service) -> bytes:
    if service.deployment.provider_book is None:
        raise Unavailable("this deployment has no provider book; `python -m chain deploy` adds one", "offer")
    return service.deployment.provider_book


def get_offer(db: Session, found: bytes, operator_id: int | None = None) -> OfferRow:
    """An offer by its hash (of one operator, where the caller is one). Raises `NotFound`."""
    row = db.get(OfferRow, found)
    if row is None or (operator_id is not None and row.operator_id != operator_id):
        raise NotFound("there is no such offer here", "offerHash")
    return row


def is_registered(db: Session, provider: bytes) -> bool:
    """Whether the provider book has this account, by final events."""
    row = db.get(ProviderRow, provider)
    return row is not None and row.registered


def state_of(db: Session, row: OfferRow, now_s: int) -> str:
    """Where an offer stands: publishing, published, refused (the chain would not have it), expired or withdrawn."""
    if row.withdraw_asked_at_s is not None or row.withdrawn_at_s is not None:
        return "withdrawn"
    if row.valid_until_s <= now_s:
        return "expired"
    if row.published_at_s is not None:
        return "published"
    tries = intents_of(db, row.hash, "publish")
    return "refused" if tries and tries[-1].state in ("refused", "reverted") else "publishing"


def open_offers(db: Session, now_s: int, point_id: str | None = None) -> list[OfferRow]:
    """What stands now or begins later, by provider and number: on the chain, not ended, not withdrawn, its provider on the book.

    At a point that is all there is. Over all points at most `MAX_LISTED`, of each seller its highest numbers first: none hides another.
    """
    rank = func.row_number().over(partition_by=OfferRow.operator_id, order_by=OfferRow.number.desc())
    found = db.scalars(_standing(now_s, point_id).order_by(rank, OfferRow.provider).limit(MAX_LISTED))
    return sorted(found, key=lambda row: (row.provider, -row.number))


def _standing(now_s: int, point_id: str | None) -> Select[OfferRow]:
    query = (
        select(OfferRow).join(ProviderRow, ProviderRow.provider == OfferRow.provider)
        .where(
            ProviderRow.registered.is_(True), OfferRow.published_at_s.is_not(None), OfferRow.withdrawn_at_s.is_(None),
            OfferRow.withdraw_asked_at_s.is_(None), OfferRow.valid_until_s > now_s,
        )
    )  # fmt: skip
    if point_id is None:
        return query
    sells = select(PointSeller.seller_id).where(PointSeller.point_id == point_id)
    host = select(Point.operator_id).where(Point.id == point_id)
    return query.join(OfferPoint, OfferPoint.offer == OfferRow.hash).where(
        OfferPoint.point_id == point_id, OfferRow.operator_id.in_(sells.union_all(host))
    )


def standing_offer(db: Session, found: bytes, point_id: str, now_s: int) -> tuple[OfferRow, OfferDocument]:
    """The offer a quote at this point is asked under, if it counts there now. Raises `Refused`, or `NotFound`."""
    row = get_offer(db, found)
    of_provider = _standing(now_s, point_id).where(OfferRow.provider == row.provider, OfferRow.valid_from_s <= now_s)
    counts = db.scalar(of_provider.order_by(OfferRow.number.desc()).limit(1))
    if counts is not None and counts.hash == row.hash:
        return row, parse_document(jsons.loads(row.document))
    state = state_of(db, row, now_s)
    if state != "published":
        raise Refused(f"offer-{state}", f"the offer is {state}", "offerHash")
    if row.valid_from_s > now_s:
        raise Refused("offer-validity", f"the offer is valid from {row.valid_from_s} on, it is {now_s}", "offerHash")
    if counts is not None and counts.number > row.number:
        raise Refused("offer-replaced", f"offer {counts.number} of the same provider counts here now", "offerHash")
    raise Refused("offer-point", "the offer is not for this point, or its provider does not sell here (any more)", "offerHash")


def offer_document(db: Session, row: OfferRow, now_s: int) -> dict[str, Any]:
    """An offer as it is served."""
    return {
        "offer": jsons.loads(row.offer), "signature": to_hex(row.signature), "document": jsons.loads(row.document),
        "offerHash": to_hex(row.hash), "state": state_of(db, row, now_s),
    }  # fmt: skip
