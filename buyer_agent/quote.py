"""A quote, read as what it is: somebody else's words. Everything that can be recomputed is.

Pure. What the payer is about to sign is bound to the device, channel and meter key, to the tariff and to the agreement, each by a hash that
is worked out here from the thing itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from protocol.eip712 import from_json, hex_bytes
from protocol.errors import Malformed
from protocol.hashing import document_hash
from protocol.money import MAX_CLOSE_DELAY_BLOCKS, MAX_CLOSE_DELAY_S, MAX_SESSION_S, Terms, point_commitment, session_id
from protocol.offer import OfferRefused, SignedOffer, check_terms
from protocol.tariff import Tariff, ceilings
from protocol.wallet import Policy, refusal

from .errors import Refused

MAX_QUOTE_BYTES = 256 * 1_024
"""The journal keeps the quote and writes it again with every change of state; a tariff and a supply policy have a few kilobytes."""


class Wish(NamedTuple):
    """What was asked for. `payer` is the wallet, or the pay key's own account; `policy` the wallet's."""

    point: str
    payer: bytes
    pay_key: bytes
    chain_id: int
    escrow: bytes
    policy: Policy | None


class Agreed(NamedTuple):
    """A quote whose every part agrees with every other."""

    session: bytes
    quote_id: str
    terms: Terms
    tariff: Tariff
    device: bytes
    channel: int
    meter_key: bytes
    access_token: str


def read_quote(answer: Any, wish: Wish, offer: SignedOffer | None, now_s: int) -> Agreed:
    """The quote's parts, checked against the wish and the offer chosen. Raises `Refused`; `Malformed` for what is no quote."""
    agreed = parse_quote(answer, wish.chain_id, wish.escrow)
    if len(orjson.dumps(answer)) > MAX_QUOTE_BYTES:
        raise Malformed(f"is larger than {MAX_QUOTE_BYTES} bytes", "quote")
    terms = agreed.terms
    if hex_bytes(answer.get("session"), 32, "quote.session") != agreed.session:
        raise Refused("session", "the quote's session id is not the hash of its terms on this chain and escrow")
    _check_parties(terms, wish)
    _check_limits(terms, wish, now_s)
    if offer is None:
        if (terms.max_micro_per_kwh, terms.max_micro_per_hour, terms.max_flat_micro) != ceilings(agreed.tariff):
            raise Refused("ceilings", "the terms' ceilings are not those of their tariff")
        return agreed
    try:
        check_terms(offer, terms, wish.point)
    except OfferRefused as error:
        raise Refused(error.code, str(error)) from None
    if terms.rated_watts > offer.document.max_watts:
        raise Refused("rating", f"the terms name {terms.rated_watts} W, the offer delivers at most {offer.document.max_watts} W")
    return agreed


def parse_quote(answer: Any, chain_id: int, escrow: bytes) -> Agreed:
    """The parts of a quote, hashes recomputed: also how a session kept in the journal is read again. Raises `Refused`, `Malformed`."""
    if type(answer) is not dict:
        raise Malformed("must be an object", "quote")
    terms = from_json(Terms, answer.get("terms"), "quote.terms")
    tariff_document, policy, point = answer.get("tariff"), answer.get("policy"), answer.get("point")
    if type(tariff_document) is not dict or type(policy) is not dict or type(point) is not dict:
        raise Malformed("must hold the documents tariff, policy and point", "quote")
    tariff = Tariff.from_document(tariff_document)
    if tariff.hash != terms.tariff_hash:
        raise Refused("tariff", "the tariff shown is not the one the terms name")
    if document_hash(policy) != terms.agreement_hash:
        raise Refused("agreement", "the supply policy shown is not the agreement the terms name")
    device = hex_bytes(point.get("device"), 32, "quote.point.device")
    meter_key = hex_bytes(point.get("meterKey"), 20, "quote.point.meterKey")
    channel, salt = point.get("channel"), hex_bytes(point.get("pointSalt"), 32, "quote.point.pointSalt")
    if type(channel) is not int or not 0 <= channel < 1 << 32:
        raise Malformed("must be a channel", "quote.point.channel")
    if point_commitment(device, channel, meter_key, salt) != terms.point_commitment:
        raise Refused("point", "the terms commit to another device, channel or meter key than the quote shows")
    quote_id, token = answer.get("quoteId"), answer.get("accessToken")
    if type(quote_id) is not str or type(token) is not str:
        raise Malformed("must hold quoteId and accessToken", "quote")
    return Agreed(session_id(terms, chain_id, escrow), quote_id, terms, tariff, device, channel, meter_key, token)


def _check_parties(terms: Terms, wish: Wish) -> None:
    if terms.metered:
        raise Refused("metered", "the terms let the meter sign amounts; this buyer signs its own")
    if terms.payer != wish.payer or terms.refund_to != wish.payer:
        raise Refused("payer", "the terms name another payer, or send what is not used elsewhere")
    if terms.signer != wish.pay_key:
        raise Refused("signer", "the terms name another pay key")
    if wish.policy is not None and (found := refusal(wish.policy, terms, wish.payer, registered=True)):
        raise Refused("policy", f"the wallet would refuse these terms: {found}")


def _check_limits(terms: Terms, wish: Wish, now_s: int) -> None:
    if not now_s < terms.latest_end_s <= now_s + MAX_SESSION_S + 60:
        raise Refused("times", f"the session could last until {terms.latest_end_s}, it is {now_s}")
    if terms.close_delay_s > MAX_CLOSE_DELAY_S or terms.close_delay_blocks > MAX_CLOSE_DELAY_BLOCKS:
        raise Refused("times", "the terms keep what is not used for longer than the escrow allows")
