"""offers.json: offers that a buyer takes, and offers that it refuses, each for one named reason."""

from __future__ import annotations

import copy
from typing import Any

from protocol.eip712 import EVIDENCE, control_domain, digest, money_domain, to_json
from protocol.errors import Malformed
from protocol.hashing import document_hash
from protocol.keys import Signer
from protocol.money import Terms
from protocol.offer import Offer, OfferRefused, check_offer, check_terms, offer_hash, parse_offer, standing
from protocol.tariff import Tariff, ceilings

from .signed import hexed, high_s, signer, word

CHAIN_ID = 31_337
BOOK, ESCROW, FOREIGN = (word(name)[:20] for name in ("provider book", "escrow", "a foreign contract"))
DOMAIN = money_domain(CHAIN_ID, BOOK)
NOW_S = 1_800_000_000
DAY_S = 86_400
POINT = "0123456789abcdef"


def tariff_document(micro_per_kwh: int = 300_000, **more: Any) -> dict[str, Any]:
    prices = [
        {"type": "ENERGY", "microPerKwh": micro_per_kwh, "taxPpm": 190_000}, {"type": "FLAT", "microPerSession": 500, "taxPpm": 190_000},
    ]  # fmt: skip
    return {
        "id": "offered", "version": 1, "currency": "EUR", "timeZone": "Europe/Berlin", "elements": [{"priceComponents": prices}],
    } | more  # fmt: skip


def document(by: Signer, tariff: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A good document, with `changes`."""
    tariff = tariff or tariff_document()
    per_kwh, per_hour, flat = ceilings(Tariff.from_document(tariff))
    mix = [{"source": "SOLAR", "sharePpm": 700_000}, {"source": "GRID_MIX", "sharePpm": 300_000}]
    return {
        "version": 1, "name": "Sunside", "provider": hexed(by.address), "tariff": tariff,
        "ceilings": {"maxMicroPerKwh": per_kwh, "maxMicroPerHour": per_hour, "maxFlatMicro": flat}, "points": [POINT],
        "area": "the yard behind the station", "maxWatts": 22_000,
        "energySource": {"renewablePpm": 800_000, "mix": mix},
    } | changes  # fmt: skip


def item(by: Signer, stated: dict[str, Any], number: int = 1, valid: tuple[int, int] = (NOW_S - 60, NOW_S + DAY_S)) -> dict[str, Any]:
    """A document offered and signed."""
    offer = Offer(by.address, document_hash(stated), number, *valid)
    return {"offer": to_json(offer), "signature": hexed(by.sign(digest(DOMAIN, offer))), "document": stated}


def entry(name: str, items: list[dict[str, Any]], terms: Terms | None = None) -> dict[str, Any]:
    """What this implementation says to offers served together, at one point and instant (and to terms under the first)."""
    answers, good = [], []
    for each in items:
        try:
            signed = parse_offer(each)
            answers.append({"offerHash": hexed(check_offer(signed, CHAIN_ID, BOOK, NOW_S))})
            good.append(signed)
        except Malformed as error:
            answers.append({"refusal": "malformed", "where": error.where})
        except OfferRefused as error:
            answers.append({"refusal": error.code})
    found = standing(good, POINT, NOW_S)
    made: dict[str, Any] = {
        "items": items, "answers": answers, "counts": [hexed(offer_hash(signed.offer, CHAIN_ID, BOOK)) for signed in found.offers],
        "set aside": sorted([hexed(offer_hash(signed.offer, CHAIN_ID, BOOK)), why.code] for signed, why in found.refused),
    }  # fmt: skip
    faults = [answer["refusal"] for answer in answers if "refusal" in answer] + [why for _, why in made["set aside"]]
    if terms is not None:
        made["terms"], made["termsRefusal"] = to_json(terms), ""
        try:
            check_terms(good[0], terms, POINT)
        except OfferRefused as error:
            made["termsRefusal"] = error.code
            faults.append(error.code)
    where = {"chainId": CHAIN_ID, "providerBook": hexed(BOOK), "nowS": NOW_S, "pointId": POINT}
    return {"name": name, "good": not faults, "fault": name if faults else ""} | where | made


def terms_under(stated: dict[str, Any], **changes: Any) -> Terms:
    """Terms that repeat an offer, with `changes`."""
    limits = stated["ceilings"]
    made = Terms(
        word("payer")[:20], bytes.fromhex(stated["provider"][2:]), word("refund")[:20], word("commitment"), False, word("pay")[:20],
        Tariff.from_document(stated["tariff"]).hash, word("agreement"), limits["maxMicroPerKwh"], limits["maxMicroPerHour"],
        limits["maxFlatMicro"], 3_680, NOW_S + 3_600, 60, 60, 2, word("salt"),
    )  # fmt: skip
    return made._replace(**changes)


def _malformed(by: Signer) -> list[dict[str, Any]]:
    def changed(*path: Any, to: Any) -> dict[str, Any]:
        stated: Any = document(by)
        place = stated = copy.deepcopy(stated)
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to
        return item(by, stated)

    def missing(name: str) -> dict[str, Any]:
        stated = document(by)
        del stated[name]
        return item(by, stated)

    mix = ("energySource", "mix")
    return [
        entry("unknown field in the document", [changed("colour", to="green")]),
        entry("document without its ceilings", [missing("ceilings")]),
        entry("another version", [changed("version", to=2)]),
        entry("tariff that is none", [changed("tariff", "elements", to=[])]),
        entry("provider not in lower case", [changed("provider", to=hexed(by.address).upper().replace("0X", "0x"))]),
        entry("no point", [changed("points", to=[])]),
        entry("a point twice", [changed("points", to=[POINT, POINT])]),
        entry("a point id that is none", [changed("points", to=["../admin"])]),
        entry("name with a line break", [changed("name", to="Sun\nside")]),
        entry("power of zero", [changed("maxWatts", to=0)]),
        entry("shares that do not sum to one", [changed(*mix, 0, "sharePpm", to=700_001)]),
        entry("a source nobody knows", [changed(*mix, 0, "source", to="FUSION")]),
        entry("a source twice", [changed(*mix, 1, "source", to="SOLAR")]),
        entry("more renewable than the mix can hold", [changed("energySource", "renewablePpm", to=1_000_001)]),
        entry("less renewable than the mix holds for sure", [changed("energySource", "renewablePpm", to=699_999)]),
        entry("ceiling that is true", [changed("ceilings", "maxFlatMicro", to=True)]),
        entry("signature cut short", [item(by, document(by)) | {"signature": "0x00"}]),
        entry("not an offer", [item(by, document(by)) | {"offer": {"provider": hexed(by.address)}}]),
    ]


def _refused(by: Signer) -> list[dict[str, Any]]:
    stated = document(by)
    good = item(by, stated)
    offer = Offer(by.address, document_hash(stated), 1, NOW_S - 60, NOW_S + DAY_S)

    def signed(signature: bytes) -> list[dict[str, Any]]:
        return [good | {"signature": hexed(signature)}]

    limits = stated["ceilings"]
    lower = [document(by, ceilings=limits | {name: limits[name] - 1}) for name in ("maxMicroPerKwh", "maxFlatMicro")]
    return [
        entry("document changed after signing: broken hash", [good | {"document": stated | {"name": "Sunnyside"}}]),
        entry("signed by a stranger", signed(signer("a stranger").sign(digest(DOMAIN, offer)))),
        entry("signed for a foreign chain", signed(by.sign(digest(money_domain(1, BOOK), offer)))),
        entry("signed for a foreign book", signed(by.sign(digest(money_domain(CHAIN_ID, FOREIGN), offer)))),
        entry("signed for the escrow", signed(by.sign(digest(money_domain(CHAIN_ID, ESCROW), offer)))),
        entry("signed in the evidence domain", signed(by.sign(digest(EVIDENCE, offer)))),
        entry("signed in the control domain", signed(by.sign(digest(control_domain(CHAIN_ID, BOOK), offer)))),
        entry("high-s", signed(high_s(bytes.fromhex(good["signature"][2:])))),
        entry("number changed after signing", [good | {"offer": good["offer"] | {"number": 2}}]),
        entry("document of another provider", [item(by, document(signer("another provider")))]),
        entry("ceiling a kWh below its own tariff", [item(by, lower[0])]),
        entry("flat ceiling below its own tariff", [item(by, lower[1])]),
        entry("no time at all", [item(by, stated, valid=(NOW_S, NOW_S))]),
        entry("over", [item(by, stated, valid=(NOW_S - DAY_S, NOW_S))]),
    ]


def _sets(by: Signer) -> list[dict[str, Any]]:
    dear, cheap, other = document(by), document(by, tariff_document(200_000)), signer("another provider")
    later = (NOW_S + 60, NOW_S + DAY_S)
    return [
        entry("one that begins later does not count yet", [item(by, dear, 1), item(by, cheap, 2, later)]),
        entry("overlapping validity: the higher number counts", [item(by, dear, 2), item(by, cheap, 1)]),
        entry("overlapping validity: two under one number, neither counts", [item(by, dear, 2), item(by, cheap, 2), item(by, dear, 1)]),
        entry("the same offer served twice is one", [item(by, dear), item(by, dear)]),
        entry("two providers with the same number", [item(by, dear), item(other, document(other))]),
        entry("for another point", [item(by, document(by, points=["elsewhere"]))]),
    ]


def _terms(by: Signer) -> list[dict[str, Any]]:
    stated = document(by)
    offered = [item(by, stated)]
    most = stated["ceilings"]["maxMicroPerKwh"]
    return [
        entry("terms that repeat the offer", offered, terms_under(stated)),
        entry("terms with lower ceilings", offered, terms_under(stated, max_micro_per_kwh=most - 1)),
        entry("terms with a higher ceiling", offered, terms_under(stated, max_micro_per_kwh=most + 1)),
        entry("terms that pay somebody else", offered, terms_under(stated, payee=word("somebody")[:20])),
        entry("terms with another tariff", offered, terms_under(stated, tariff_hash=word("tariff"))),
    ]


def entries() -> list[dict[str, Any]]:
    """The whole file."""
    by = signer("provider")
    typical = entry("typical", [item(by, document(by))])
    return [typical, *_malformed(by), *_refused(by), *_sets(by), *_terms(by)]
