"""Offers: every golden vector, and what no list of examples can show."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.eip712 import from_json, type_of
from protocol.errors import Malformed
from protocol.money import Terms
from protocol.offer import Offer, OfferRefused, check_offer, check_terms, offer_hash, parse_document, parse_offer, standing
from tests.vectors import offers
from tests.vectors.signed import hexed, signer

ROOT = Path(__file__).parents[2]
VECTORS: list[dict[str, Any]] = json.loads((ROOT / "tests" / "vectors" / "offers.json").read_text("utf-8"))["vectors"]


def test_the_struct_is_the_one_of_the_walls() -> None:
    assert type_of(Offer).encode_type in (ROOT / "docs" / "walls-wallets.md").read_text("utf-8")
    assert len({vector["name"] for vector in VECTORS}) == len(VECTORS)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    book, now_s, good = bytes.fromhex(vector["providerBook"][2:]), vector["nowS"], []
    for item, answer in zip(vector["items"], vector["answers"], strict=True):
        if answer.get("refusal") == "malformed":
            with pytest.raises(Malformed) as malformed:
                parse_offer(item)
            assert malformed.value.where == answer["where"]
            continue
        signed = parse_offer(item)
        if "refusal" in answer:
            with pytest.raises(OfferRefused) as refused:
                check_offer(signed, vector["chainId"], book, now_s)
            assert refused.value.code == answer["refusal"]
            continue
        assert hexed(check_offer(signed, vector["chainId"], book, now_s)) == answer["offerHash"]
        good.append(signed)
    found = standing(good, vector["pointId"], now_s)
    assert [hexed(offer_hash(s.offer, vector["chainId"], book)) for s in found.offers] == vector["counts"]
    assert sorted([hexed(offer_hash(s.offer, vector["chainId"], book)), why.code] for s, why in found.refused) == vector["set aside"]
    if "terms" in vector:
        terms = from_json(Terms, vector["terms"])
        if not vector["termsRefusal"]:
            check_terms(good[0], terms, vector["pointId"])
            return
        with pytest.raises(OfferRefused) as refused:
            check_terms(good[0], terms, vector["pointId"])
        assert refused.value.code == vector["termsRefusal"]


junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8,
)  # fmt: skip
NAMES = tuple(offers.document(signer("provider")))


@given(st.sampled_from(NAMES), junk)
def test_whatever_stands_in_a_field_is_taken_or_malformed(name: str, value: Any) -> None:
    with contextlib.suppress(Malformed):
        parse_document(offers.document(signer("provider")) | {name: value})


@given(junk)
def test_whatever_is_served_as_an_offer_is_taken_or_malformed(value: Any) -> None:
    for item in (value, {"offer": value, "signature": value, "document": value}):
        with pytest.raises(Malformed):
            parse_offer(item)


rows = st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 4), st.integers(-3, 3), st.integers(1, 4), st.integers(1, 3)), max_size=8)


@given(rows, st.integers(-4, 8))
def test_the_offer_that_counts_is_the_naive_one(rows: list[tuple[str, int, int, int, int]], at: int) -> None:
    """Whatever overlaps: at every instant at most one offer a provider counts, and it is the highest number, alone in its rank."""
    signed = []
    for who, number, start, length, price in rows:
        by = signer(f"provider {who}")
        stated = offers.document(by, offers.tariff_document(price))
        valid = (offers.NOW_S + start, offers.NOW_S + start + length)
        signed.append(parse_offer(offers.item(by, stated, number, valid)))
    found = standing(signed, offers.POINT, offers.NOW_S + at)
    for who in "AB":
        provider = signer(f"provider {who}").address
        live = {s.offer for s in signed if s.offer.provider == provider and s.offer.covers(offers.NOW_S + at)}
        top = [offer for offer in live if offer.number == max(o.number for o in live)]
        counting = [s.offer for s in found.offers if s.offer.provider == provider]
        assert counting == (top if len(top) == 1 else [])
        assert live == set(counting) | {s.offer for s, _ in found.refused if s.offer.provider == provider}
