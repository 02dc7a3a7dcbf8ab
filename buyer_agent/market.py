"""What is for sale at the point, as far as it is good: the offers the service lists, each checked by the buyer itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import structlog

from protocol.errors import Malformed
from protocol.offer import OfferRefused, SignedOffer, check_offer, offer_hash, parse_offer, standing

from .choice import Candidate
from .settings import Settings

MAX_OFFERS = 1_000
"""Read at most: each costs a signature check."""

logger = structlog.get_logger("wattproof.buyer.market")


class Market(NamedTuple):
    """Offers that count now, and the good ones that begin later."""

    candidates: tuple[Candidate, ...]
    later: tuple[Candidate, ...]


def read_market(items: list[Any], settings: Settings, now_s: int) -> Market:
    """The good ones of the offers listed. What is refused is said once in the log, with its reason."""
    book = settings.provider_book or bytes(20)
    good: list[SignedOffer] = []
    for item in items[:MAX_OFFERS]:
        try:
            signed = parse_offer(item)
            found = check_offer(signed, settings.chain_id, book, now_s)
        except (Malformed, OfferRefused) as error:
            logger.warning("offer refused", reason=str(error))
            continue
        if item.get("state", "published") == "published":
            good.append(signed)
        else:
            logger.info("offer passed over", offer="0x" + found.hex(), state=str(item.get("state"))[:20])
    found_now = standing(good, settings.point, now_s)
    for signed, why in found_now.refused:
        logger.info("offer set aside", offer="0x" + offer_hash(signed.offer, settings.chain_id, book).hex(), reason=str(why))

    def candidates(offers: list[SignedOffer] | tuple[SignedOffer, ...]) -> tuple[Candidate, ...]:
        return tuple(Candidate(offer_hash(signed.offer, settings.chain_id, book), signed) for signed in offers)

    later = [signed for signed in good if signed.offer.valid_from_s > now_s and settings.point in signed.document.points]
    return Market(candidates(found_now.offers), candidates(later))
