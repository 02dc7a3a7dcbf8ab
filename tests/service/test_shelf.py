"""The shelf with many offers on it: a seller cannot crowd out another, neither in the list nor in a quote."""

from __future__ import annotations

import os

import pytest
from sqlalchemy.orm import Session

from backend.errors import Refused
from backend.models import OfferPoint, OfferRow, Operator, PointSeller, ProviderRow
from backend.offers.shelf import MAX_AT_POINT, MAX_LISTED, get_offer, open_offers, put_offer, standing_offer, withdraw_offer
from chain import event_types
from chain.wallet_calls import Wallets
from protocol.keys import Signer
from tests.service.bench_agent import Meter
from tests.service.buyers import signed_offer
from tests.service.inside import Inside

BOOK = b"\x0b" * 20


class Market:
    """A point at which two operators may sell: the pushing one's account comes first by address."""

    def __init__(self, inside: Inside) -> None:
        self.inside, service = inside, inside.service
        service.deployment = service.deployment._replace(provider_book=BOOK)
        service.wallets = Wallets(service.deployment)
        self.pushing, self.honest = sorted((Signer.create(), Signer.create()), key=lambda key: key.address)
        self.point_id = inside.enrol(Meter())
        with service.db.writing() as db:
            for number, key in ((2, self.pushing), (3, self.honest)):
                db.add(Operator(id=number, name=f"seller {number}", payee=key.address, created_at_s=0))
                db.flush()
                db.add(PointSeller(operator_id=1, point_id=self.point_id, seller_id=number))
                db.add(ProviderRow(operator_id=number, provider=key.address, registered=True, since_s=0))

    def post(self, operator_id: int, key: Signer, number: int) -> bytes:
        """Kept here and final on the chain."""
        body = signed_offer(BOOK, key, [self.point_id], number)
        with self.inside.service.db.writing() as db:
            found = put_offer(db, self.inside.service, operator_id, body).hash
        offer = body["offer"]
        self.inside.final(event_types.OfferPublished(key.address, found, number, offer["validFromS"], offer["validUntilS"]))
        return found

    def flood(self, db: Session, like: bytes) -> None:
        """More offers of the pushing one than are listed, from before there was a limit at a point."""
        one = get_offer(db, like)
        hashes = [os.urandom(32) for _ in range(MAX_LISTED + 1)]
        db.add_all(
            OfferRow(
                operator_id=one.operator_id, hash=made, provider=one.provider, number=number, valid_from_s=one.valid_from_s,
                valid_until_s=one.valid_until_s, offer=one.offer, signature=one.signature, document=one.document,
                tariff_hash=one.tariff_hash, made_at_s=one.made_at_s, published_at_s=one.made_at_s,
            ) for number, made in enumerate(hashes, 1_000)
        )  # fmt: skip
        db.flush()
        db.add_all(OfferPoint(operator_id=one.operator_id, offer=made, point_id=self.point_id) for made in hashes)


def test_a_seller_has_a_few_offers_at_a_point(inside: Inside) -> None:
    market = Market(inside)
    first, *_ = [market.post(2, market.pushing, number) for number in range(1, MAX_AT_POINT + 1)]
    with pytest.raises(Refused, match="withdraw one first") as refused:
        market.post(2, market.pushing, 50)
    assert refused.value.code == "offer-many"
    market.post(3, market.honest, 1)  # the other one is not kept out
    with inside.service.db.writing() as db:
        withdraw_offer(db, inside.service, 2, first)
    market.post(2, market.pushing, 50)


def test_many_offers_hide_nobody_elses(inside: Inside) -> None:
    market = Market(inside)
    like, other = market.post(2, market.pushing, 1), market.post(3, market.honest, 1)
    now = inside.service.now_s()
    with inside.service.db.writing() as db:
        market.flood(db, like)
    with inside.service.db.reading() as db:
        for point_id in (market.point_id, None):
            listed = open_offers(db, now, point_id)
            assert other in [row.hash for row in listed]
            assert len(listed) == MAX_LISTED
        assert standing_offer(db, other, market.point_id, now)[0].hash == other
        with pytest.raises(Refused, match="counts here now"):
            standing_offer(db, like, market.point_id, now)
