"""The tariff document: strict, hashed, and what can be read off it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import Malformed
from protocol.hashing import keccak
from protocol.tariff import Tariff, boundaries, ceilings

from .sessions import Dice, random_tariff
from .strategies import damaged, json_values

ENERGY = {"type": "ENERGY", "microPerKwh": 300_000, "taxPpm": 190_000}
FLAT = {"id": "flat", "version": 1, "currency": "EUR", "timeZone": "Europe/Berlin", "elements": [{"priceComponents": [ENERGY]}]}


def with_restrictions(restrictions: Any) -> dict[str, Any]:
    return FLAT | {"elements": [{"priceComponents": [ENERGY], "restrictions": restrictions}]}


@given(st.integers(0, 2**32))
def test_a_document_comes_back_and_hashes_canonically(seed: int) -> None:
    document = random_tariff(Dice(seed))
    tariff = Tariff.from_document(document)
    assert tariff.document == document
    assert tariff.hash == keccak(rfc8785.dumps(document))
    shuffled = json.loads(json.dumps(dict(reversed(document.items()))))
    assert Tariff.from_document(shuffled).hash == tariff.hash
    tariff.document["id"] = "changed"
    assert tariff.document == document


@given(st.data())
def test_any_json_is_a_tariff_or_malformed(data: st.DataObject) -> None:
    good = random_tariff(Dice(data.draw(st.integers(0, 2**32))))
    document = data.draw(json_values | damaged(good))
    try:
        tariff = Tariff.from_document(document)
    except Malformed:
        return
    assert tariff.document == document
    ceilings(tariff)


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], "tariff"),
        ({}, "tariff"),
        (FLAT | {"name": "x"}, "tariff"),
        (FLAT | {"id": ""}, "id"),
        (FLAT | {"id": "x" * 37}, "id"),
        (FLAT | {"version": 0}, "version"),
        (FLAT | {"version": True}, "version"),
        (FLAT | {"currency": "eur"}, "currency"),
        (FLAT | {"timeZone": "Europe/Nowhere"}, "timeZone"),
        (FLAT | {"elements": []}, "elements"),
        (FLAT | {"elements": [{"priceComponents": [ENERGY]}] * 33}, "elements"),
        (FLAT | {"elements": [{"priceComponents": []}]}, "elements[0].priceComponents"),
        (FLAT | {"elements": [{"priceComponents": [ENERGY, ENERGY]}]}, "elements[0].priceComponents[1]"),
        (FLAT | {"elements": [{"priceComponents": [ENERGY | {"type": "POWER"}]}]}, "elements[0].priceComponents[0]"),
        (FLAT | {"elements": [{"priceComponents": [ENERGY | {"microPerKwh": 0.3}]}]}, "elements[0].priceComponents[0].microPerKwh"),
        (FLAT | {"elements": [{"priceComponents": [ENERGY | {"microPerKwh": 10**12 + 1}]}]}, "elements[0].priceComponents[0].microPerKwh"),
        (FLAT | {"elements": [{"priceComponents": [ENERGY | {"taxPpm": -1}]}]}, "elements[0].priceComponents[0].taxPpm"),
        (FLAT | {"elements": [{"priceComponents": [{"type": "TIME", "microPerKwh": 1, "taxPpm": 0}]}]}, "elements[0].priceComponents[0]"),
        (FLAT | {"minPrice": 1}, "minPrice"),
        (FLAT | {"minPrice": {"microTaxIncluded": 0, "taxPpm": 0}}, "minPrice.microTaxIncluded"),
        (with_restrictions({}), "elements[0].restrictions"),
        (with_restrictions({"startTime": "24:00"}), "elements[0].restrictions.startTime"),
        (with_restrictions({"startTime": "08:00\n"}), "elements[0].restrictions.startTime"),
        (with_restrictions({"startTime": "08:00", "endTime": "08:00"}), "elements[0].restrictions"),
        (with_restrictions({"startTime": "00:00"}), "elements[0].restrictions"),
        (with_restrictions({"dayOfWeek": []}), "elements[0].restrictions.dayOfWeek"),
        (with_restrictions({"dayOfWeek": ["MONDAY", "MONDAY"]}), "elements[0].restrictions.dayOfWeek"),
        (with_restrictions({"dayOfWeek": [["MONDAY"]]}), "elements[0].restrictions.dayOfWeek"),
        (with_restrictions({"startDate": "2026-02-29"}), "elements[0].restrictions.startDate"),
        (with_restrictions({"startDate": "2026-02-01", "endDate": "2026-02-01"}), "elements[0].restrictions"),
        (with_restrictions({"minPowerMilliwatts": 0}), "elements[0].restrictions.minPowerMilliwatts"),
        (with_restrictions({"minDurationS": 60, "maxDurationS": 60}), "elements[0].restrictions.maxDurationS"),
        (with_restrictions({"maxMilliwattHours": 2**53}), "elements[0].restrictions.maxMilliwattHours"),
        (
            FLAT
            | {
                "elements": [
                    {"priceComponents": [{"type": "FLAT", "microPerSession": 1, "taxPpm": 0}], "restrictions": {"minDurationS": 1}}
                ]
            },
            "elements[0]",
        ),
    ],
)
def test_what_is_wrong_is_named(document: Any, where: str) -> None:
    with pytest.raises(Malformed) as error:
        Tariff.from_document(document)
    assert error.value.where == where


def test_ceilings_include_tax_rounded_up_and_a_minimum_counts_as_flat() -> None:
    document = FLAT | {
        "minPrice": {"microTaxIncluded": 500, "taxPpm": 190_000},
        "elements": [
            {
                "priceComponents": [
                    {"type": "ENERGY", "microPerKwh": 1, "taxPpm": 190_000},
                    {"type": "TIME", "microPerHour": 100, "taxPpm": 0},
                ]
            },
            {"priceComponents": [{"type": "PARKING_TIME", "microPerHour": 90, "taxPpm": 190_000}]},
            {"priceComponents": [{"type": "FLAT", "microPerSession": 400, "taxPpm": 190_000}]},
        ],
    }
    assert ceilings(Tariff.from_document(document)) == (2, 108, 500)
    del document["minPrice"]
    assert ceilings(Tariff.from_document(document)) == (2, 108, 476)
    assert ceilings(Tariff.from_document(FLAT)) == (357_000, 0, 0)


def test_boundaries_by_clock_and_by_duration() -> None:
    tariff = Tariff.from_document(with_restrictions({"startTime": "08:00", "endTime": "20:00", "minDurationS": 5_000}))
    start = 1_774_738_800  # 2026-03-29 00:00 in Berlin: an hour is skipped at 02:00
    assert boundaries(tariff, start, start + 86_400) == [start + 7 * 3600, start + 19 * 3600]
    assert boundaries(tariff, start, start + 86_400, opened_at_s=start) == [start + 5_000, start + 7 * 3600, start + 19 * 3600]
    assert boundaries(tariff, start + 7 * 3600, start + 19 * 3600) == []
    assert boundaries(Tariff.from_document(FLAT), start, start + 10**7, opened_at_s=start) == []
