"""Offers: what a provider sells at which points, at which tariff, from when until when, signed by the account that is paid.

The document says it to people and machines; the `Offer` binds the document's hash, a number that rises with each offer of the provider, and
the validity, in the money domain of `ProviderBook`. The *offer hash* is that digest; the chain keeps nothing else of an offer.

Pure. Not checked here, because only the chain knows: whether the provider is registered and the offer not withdrawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from .documents import check_fields, integer
from .eip712 import MAX_JSON_INTEGER, canonical_hex, digest, from_json, hex_bytes, money_domain, struct
from .errors import BadSignature, Malformed, ProtocolError
from .hashing import document_hash
from .keys import SIGNATURE_SIZE, check_signature
from .money import Terms
from .tariff import Tariff, ceilings

VERSION = 1
PPM = 1_000_000
MAX_NAME = 100
MAX_AREA = 200
"""Words for a line on a screen."""
MAX_POINTS = 256
"""Points of one offer: a larger site makes several. A buyer reads every offer whole, on a small computer."""
MAX_WATTS = 100_000_000
"""As an agent's own limit: above any one connection."""
_POINT_ID = re.compile(r"[0-9A-Za-z_-]{1,32}")
_FIELDS = ("version", "name", "provider", "tariff", "ceilings", "points", "area", "maxWatts", "energySource")
_CEILINGS = ("maxMicroPerKwh", "maxMicroPerHour", "maxFlatMicro")


@struct("Offer(address provider,bytes32 documentHash,uint64 number,uint64 validFromS,uint64 validUntilS)")
class Offer(NamedTuple):
    """What the provider signs. Valid at every second s with valid_from_s <= s < valid_until_s."""

    provider: bytes
    document_hash: bytes
    number: int
    valid_from_s: int
    valid_until_s: int

    def covers(self, at_s: int) -> bool:
        return self.valid_from_s <= at_s < self.valid_until_s


@struct("WithdrawOffer(bytes32 offerHash)")
class WithdrawOffer(NamedTuple):
    """The provider's word that an offer stands no more, in the same domain; anyone may take it to the chain."""

    offer_hash: bytes


class Source(StrEnum):
    """Where energy comes from."""

    SOLAR = "SOLAR"
    WIND = "WIND"
    HYDRO = "HYDRO"
    BIOMASS = "BIOMASS"
    GEOTHERMAL = "GEOTHERMAL"
    NUCLEAR = "NUCLEAR"
    COAL = "COAL"
    GAS = "GAS"
    GRID_MIX = "GRID_MIX"
    OTHER = "OTHER"


RENEWABLE = frozenset({Source.SOLAR, Source.WIND, Source.HYDRO, Source.BIOMASS, Source.GEOTHERMAL})
MIXED = frozenset({Source.GRID_MIX, Source.OTHER})
"""May hold any share of renewables, so the stated one must lie between what is surely renewable and that with all of these."""


class OfferRefused(ProtocolError):
    """An offer, or terms under it, that a buyer does not take. `code` is one short word."""

    def __init__(self, code: str, what: str) -> None:
        self.code = code
        super().__init__(what)


class OfferDocument(NamedTuple):
    """What is offered, as read and checked. `ceilings` as in terms, tax included; `mix` in parts per million."""

    name: str
    provider: bytes
    tariff: Tariff
    ceilings: tuple[int, int, int]  # micro-units a kWh, an hour, once
    points: tuple[str, ...]
    area: str
    max_watts: int
    renewable_ppm: int
    mix: tuple[tuple[Source, int], ...]
    hash: bytes


class SignedOffer(NamedTuple):
    """An offer with its document and signature, whether or not they agree: `check_offer` says."""

    offer: Offer
    signature: bytes
    document: OfferDocument


def offer_hash(offer: Offer, chain_id: int, provider_book: bytes) -> bytes:
    """The offer's identity everywhere: its money-domain digest, with `ProviderBook` as verifying contract."""
    return digest(money_domain(chain_id, provider_book), offer)


def parse_document(document: Any) -> OfferDocument:
    """An offer's document. Raises `Malformed` naming the field; unknown fields are refused. Ceilings are not compared here."""
    check_fields(document, "document", _FIELDS)
    if document["version"] != VERSION or type(document["version"]) is not int:
        raise Malformed(f"must be {VERSION}, not {document['version']!r}: a newer program may read it", "document.version")
    try:
        tariff = Tariff.from_document(document["tariff"])
    except Malformed as error:
        raise Malformed(error.what, f"document.tariff.{error.where}") from None
    limits, source = document["ceilings"], document["energySource"]
    check_fields(limits, "document.ceilings", _CEILINGS)
    check_fields(source, "document.energySource", ("renewablePpm", "mix"))
    mix = _mix(source["mix"])
    per_kwh, per_hour, flat = (integer(limits[name], 0, MAX_JSON_INTEGER, f"document.ceilings.{name}") for name in _CEILINGS)
    return OfferDocument(
        _words(document["name"], MAX_NAME, "document.name"),
        canonical_hex(document["provider"], 20, "document.provider"),
        tariff,
        (per_kwh, per_hour, flat),
        _points(document["points"]),
        _words(document["area"], MAX_AREA, "document.area"),
        integer(document["maxWatts"], 1, MAX_WATTS, "document.maxWatts"),
        _renewable(source["renewablePpm"], mix),
        mix,
        document_hash(document),
    )


def parse_offer(item: Any) -> SignedOffer:
    """`{"offer", "signature", "document"}` as the service takes and serves it; other members are the service's own. Raises `Malformed`."""
    if type(item) is not dict:
        raise Malformed("must be an object", "offer")
    for name in ("offer", "signature", "document"):
        if name not in item:
            raise Malformed(f"field {name!r} is missing", "offer")
    signature = hex_bytes(item["signature"], SIGNATURE_SIZE, "signature")
    return SignedOffer(from_json(Offer, item["offer"]), signature, parse_document(item["document"]))


def check_offer(signed: SignedOffer, chain_id: int, provider_book: bytes, now_s: int) -> bytes:
    """The offer's hash, if it is good as far as anybody can tell without the chain, and has not ended. Raises `OfferRefused`.

    One that begins later is good: whether it counts now is asked of `standing`.
    """
    offer, document = signed.offer, signed.document
    if offer.provider == bytes(20):
        raise OfferRefused("provider", "the provider is the zero address, which nobody can sign for")
    if document.hash != offer.document_hash:
        raise OfferRefused("document", "the document is not the one that was signed: its hash differs")
    if document.provider != offer.provider:
        raise OfferRefused("provider", "the document names another provider than the signed offer")
    if offer.valid_from_s >= offer.valid_until_s:
        raise OfferRefused("validity", f"valid from {offer.valid_from_s} until {offer.valid_until_s}: no time at all")
    if offer.valid_until_s <= now_s:
        raise OfferRefused("expired", f"was valid until {offer.valid_until_s}, it is {now_s}")
    asked = ceilings(document.tariff)
    if any(a > b for a, b in zip(asked, document.ceilings, strict=True)):
        raise OfferRefused("ceilings", f"the tariff can ask {asked} a kWh, an hour and once, the ceilings allow only {document.ceilings}")
    found = offer_hash(offer, chain_id, provider_book)
    try:
        check_signature(found, signed.signature, offer.provider)
    except BadSignature as error:
        raise OfferRefused("signature", f"not signed by its provider for this chain and provider book: {error}") from None
    return found


def check_terms(signed: SignedOffer, terms: Terms, point_id: str) -> None:
    """Raise `OfferRefused` unless terms quoted under a checked offer say what it says."""
    document = signed.document
    if point_id not in document.points:
        raise OfferRefused("point", f"the offer is not for point {point_id}")
    if terms.payee != document.provider:
        raise OfferRefused("payee", f"the terms pay 0x{terms.payee.hex()}, the offer is of 0x{document.provider.hex()}")
    if terms.tariff_hash != document.tariff.hash:
        raise OfferRefused("tariff", "the terms name another tariff than the offer")
    agreed = (terms.max_micro_per_kwh, terms.max_micro_per_hour, terms.max_flat_micro)
    if any(a > b for a, b in zip(agreed, document.ceilings, strict=True)):
        raise OfferRefused("ceilings", f"the terms allow {agreed} a kWh, an hour and once, the offer at most {document.ceilings}")


class Standing(NamedTuple):
    """What counts at a point at an instant: one offer a provider, and why others do not."""

    offers: tuple[SignedOffer, ...]  # by provider, then number
    refused: tuple[tuple[SignedOffer, OfferRefused], ...]


def standing(offers: Iterable[SignedOffer], point_id: str, at_s: int) -> Standing:
    """Of checked offers those that count at a point at an instant: of overlapping ones of a provider the highest number.

    Two different offers under one number cannot be told apart in rank: neither counts, and no lower one, since the provider replaced it.
    """
    here = [signed for signed in offers if point_id in signed.document.points and signed.offer.covers(at_s)]
    kept: list[SignedOffer] = []
    refused: list[tuple[SignedOffer, OfferRefused]] = []
    for provider in sorted({signed.offer.provider for signed in here}):
        own = {signed.offer: signed for signed in here if signed.offer.provider == provider}  # the same offer twice is one offer
        ranked = sorted(own.values(), key=lambda signed: (signed.offer.number, signed.offer), reverse=True)
        highest = [signed for signed in ranked if signed.offer.number == ranked[0].offer.number]
        if len(highest) > 1:
            twice = OfferRefused("twice", f"the provider signed {len(highest)} offers with number {highest[0].offer.number} for one time")
            refused += [(signed, twice) for signed in highest]
        else:
            kept.append(highest[0])
        replaced = OfferRefused("replaced", f"offer {highest[0].offer.number} of the same provider overlaps it and counts")
        refused += [(signed, replaced) for signed in ranked[len(highest) :]]
    return Standing(tuple(kept), tuple(refused))


def _words(value: Any, most: int, where: str) -> str:
    if type(value) is not str or not 1 <= len(value) <= most or not value.isprintable() or value != value.strip():
        raise Malformed(f"must be 1…{most} printable characters without space at the ends", where)
    return value


def _points(value: Any) -> tuple[str, ...]:
    where = "document.points"
    if type(value) is not list or not 1 <= len(value) <= MAX_POINTS:
        raise Malformed(f"must be a list of 1…{MAX_POINTS} point ids", where)
    for i, point in enumerate(value):
        if type(point) is not str or not _POINT_ID.fullmatch(point):
            raise Malformed(f"must be a point id: 1…32 letters, digits, _ or -, not {point!r}", f"{where}[{i}]")
    if len(set(value)) != len(value):
        raise Malformed("names a point twice", where)
    return tuple(value)


def _mix(value: Any) -> tuple[tuple[Source, int], ...]:
    where = "document.energySource.mix"
    if type(value) is not list or not 1 <= len(value) <= len(Source):
        raise Malformed(f"must be a list of 1…{len(Source)} sources", where)
    mix: dict[Source, int] = {}
    for i, item in enumerate(value):
        check_fields(item, f"{where}[{i}]", ("source", "sharePpm"))
        if item["source"] not in tuple(Source):
            raise Malformed(f"must be one of {', '.join(Source)}, not {item['source']!r}", f"{where}[{i}].source")
        source = Source(item["source"])
        if source in mix:
            raise Malformed(f"names {source} twice", f"{where}[{i}]")
        mix[source] = integer(item["sharePpm"], 1, PPM, f"{where}[{i}].sharePpm")
    if sum(mix.values()) != PPM:
        raise Malformed(f"shares must sum to {PPM}, these to {sum(mix.values())}", where)
    return tuple(mix.items())


def _renewable(value: Any, mix: tuple[tuple[Source, int], ...]) -> int:
    where = "document.energySource.renewablePpm"
    stated = integer(value, 0, PPM, where)
    sure = sum(share for source, share in mix if source in RENEWABLE)
    most = sure + sum(share for source, share in mix if source in MIXED)
    if not sure <= stated <= most:
        raise Malformed(f"the mix allows {sure}…{most}, not {stated}", where)
    return stated
