"""The choice is deterministic and the best there is: against a naive search that prices every offer second by second."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from buyer_agent.choice import Candidate, Course, Running, added_micro, choose, cost_micro, next_change_s
from buyer_agent.settings import Preference
from protocol.evidence import Reason, Record
from protocol.offer import offer_hash, parse_offer
from protocol.pricing import Pricer
from protocol.tariff import Tariff
from protocol.wallet import Policy
from tests.vectors import offers
from tests.vectors.signed import signer

NOON_S = 1_800_014_400  # 2027-01-15 12:00 UTC, 13:00 in Berlin


def element(*prices: dict[str, Any], **restrictions: Any) -> dict[str, Any]:
    return {"priceComponents": [price | {"taxPpm": 190_000} for price in prices]} | ({"restrictions": restrictions} if restrictions else {})


def energy(micro: int) -> dict[str, Any]:
    return {"type": "ENERGY", "microPerKwh": micro}


def tariff(*elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "t", "version": 1, "currency": "EUR", "timeZone": "Europe/Berlin", "elements": list(elements)} | more


def candidate(name: str, document: dict[str, Any], renewable_ppm: int = 700_000, **changes: Any) -> Candidate:
    by = signer(name)
    source = {"renewablePpm": renewable_ppm, "mix": [{"source": "GRID_MIX", "sharePpm": 1_000_000}]}
    stated = offers.document(by, document, name=name, energySource=source, **changes)
    signed = parse_offer(offers.item(by, stated, valid=(NOON_S - 60, NOON_S + 10 * 86_400)))
    return Candidate(offer_hash(signed.offer, offers.CHAIN_ID, offers.BOOK), signed)


def naive_micro(document: dict[str, Any], course: Course) -> int:
    """The price of the load with a record a second."""
    pricer = Pricer(Tariff.from_document(document), course.from_s)
    record = Record(bytes(32), 0, 1, course.from_s, course.from_s, 0, 0, 1, 0, 0, 0, 0, int(Reason.START), bytes(32), bytes(32), bytes(32))
    pricer.add(record)
    for second in range(course.seconds):
        at = course.from_s + second
        record = record._replace(
            sequence=record.sequence + 1, start_s=at, end_s=at + 1, reason=2, power_milliwatts=course.watts * 1_000,
            import_milliwatt_hours=course.milliwatt_hours(at + 1),
        )  # fmt: skip
        pricer.add(record)
    return pricer.total_micro


hours = st.integers(0, 23).map(lambda hour: f"{hour:02d}:00")
parts = st.lists(
    st.sampled_from(["ENERGY", "TIME", "PARKING_TIME", "FLAT"]), min_size=1, max_size=3, unique=True
).flatmap(lambda kinds: st.tuples(*(st.tuples(st.just(kind), st.integers(0, 900_000)) for kind in kinds)))
NAMES = {"ENERGY": "microPerKwh", "TIME": "microPerHour", "PARKING_TIME": "microPerHour", "FLAT": "microPerSession"}


@st.composite
def tariffs(draw: st.DrawFn) -> dict[str, Any]:
    """Bands by hour, steps by energy and duration, flat and time parts, minimum prices."""
    elements = []
    for _ in range(draw(st.integers(0, 3))):
        prices = [{"type": kind, NAMES[kind]: micro} for kind, micro in draw(parts)]
        restrictions: dict[str, Any] = {}
        if draw(st.booleans()):
            first, last = draw(hours), draw(hours)
            if first != last:
                restrictions = {"startTime": first, "endTime": last}
        if all(price["type"] != "FLAT" for price in prices):
            if draw(st.booleans()):
                restrictions["minMilliwattHours"] = draw(st.integers(1, 4_000_000))
            if draw(st.booleans()):
                restrictions["minDurationS"] = draw(st.integers(1, 3_000))
        elements.append(element(*prices, **restrictions))
    elements.append(element(energy(draw(st.integers(0, 900_000)))))
    minimum = {"minPrice": {"microTaxIncluded": draw(st.integers(1, 400_000)), "taxPpm": 190_000}} if draw(st.booleans()) else {}
    return tariff(*elements, **minimum)


@settings(max_examples=60, deadline=None)
@given(tariffs(), st.integers(0, 86_400), st.integers(60, 3_000), st.integers(1, 11_000))
def test_a_load_costs_what_second_by_second_it_costs(document: dict[str, Any], offset: int, seconds: int, watts: int) -> None:
    course = Course(NOON_S + offset, seconds, watts)
    assert cost_micro(Tariff.from_document(document), course) == naive_micro(document, course)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(tariffs(), st.integers(0, 1_000_000)), min_size=1, max_size=4), st.integers(60, 1_200), st.integers(1, 11_000),
    st.sampled_from(("cheapest", "greenest")), st.none() | st.integers(0, 1_000_000), st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_choice_is_the_one_of_a_naive_search_in_whatever_order_the_offers_come(
    sold: list[tuple[dict[str, Any], int]], seconds: int, watts: int, kind: Any, limit: int | None, shuffle: random.Random
) -> None:
    course, wish = Course(NOON_S, seconds, watts), Preference(kind=kind, load_watts=watts, expected_s=seconds, max_micro_per_kwh=limit)
    candidates = [candidate(f"seller {i}", document, green) for i, (document, green) in enumerate(sold)]
    best, best_key = None, None
    for each, (document, green) in zip(candidates, sold, strict=True):
        total = naive_micro(document, course)
        if limit is not None and total * 1_000_000 // max(1, course.energy_milliwatt_hours) > limit:
            continue
        key = ((total, -green) if kind == "cheapest" else (-green, total)) + (each.hash,)
        if best_key is None or key < best_key:
            best, best_key = each, key
    shuffle.shuffle(candidates)
    found = choose(candidates, course, wish, None)
    assert found.best == best
    assert found.why
    assert len(found.document()["offers"]) == len(candidates)


FLAT_RATE = tariff(element(energy(300_000)))
EVENING = tariff(element(energy(200_000), startTime="18:00", endTime="22:00"), element(energy(400_000)))
WISH = Preference(load_watts=2_000)


def test_it_says_why_in_words_and_numbers() -> None:
    sold = [candidate("Sunside", FLAT_RATE, 900_000), candidate("Nightshift", EVENING, 100_000)]
    for order in permutations(sold):
        found = choose(order, Course(NOON_S, 3_600, 2_000), WISH, None)
        assert found.why == (
            "take Sunside: 0.714000 for 2000 W for 1 h (0.357000 a kWh in all), 90 % renewable; against Nightshift 0.952000"
        )
    green = choose(sold, Course(NOON_S, 3_600, 2_000), Preference(kind="greenest", load_watts=2_000, max_micro_per_kwh=300_000), None)
    assert green.best is None
    assert "comes to 357000 micro-units a kWh, and the owner pays at most 300000" in green.why


def test_a_band_changes_the_choice_and_a_flat_part_keeps_it() -> None:
    flat, evening = candidate("Flat", FLAT_RATE), candidate("Evening", EVENING)
    six = NOON_S + 5 * 3_600
    assert next_change_s([flat, evening], NOON_S, NOON_S + 86_400) == six
    noon, night = (choose([flat, evening], Course(at, 3_600, 2_000), WISH, None).best for at in (NOON_S, six))
    assert (noon, night) == (flat, evening)
    pricer = Pricer(flat.signed.document.tariff, NOON_S)
    record = Record(bytes(32), 0, 1, NOON_S, NOON_S, 0, 0, 1, 0, 0, 0, 0, int(Reason.START), bytes(32), bytes(32), bytes(32))
    pricer.add(record)
    running = Running(flat.hash, pricer, record)
    course = Course(six, 3_600, 2_000)
    switched = choose([flat, evening], course, WISH, None, running)
    assert switched.best == evening
    entrance = tariff(element(energy(200_000), {"type": "FLAT", "microPerSession": 300_000}))
    dear = candidate("Entrance", entrance)
    stays = choose([flat, dear], course, WISH, None, running)
    assert stays.best == flat, "0.4 a session is more than an hour saves"
    assert stays.why.startswith("stay with Flat")
    same = candidate("Same", FLAT_RATE)
    assert choose([flat, same], course, WISH, None, running).best == flat, "equally good: nothing is won by switching"


def test_what_runs_is_priced_by_what_it_adds() -> None:
    document = tariff(element(energy(100_000), {"type": "FLAT", "microPerSession": 1_000_000}))
    pricer = Pricer(Tariff.from_document(document), NOON_S)
    record = Record(bytes(32), 0, 1, NOON_S, NOON_S, 7_000, 0, 1, 0, 0, 0, 0, int(Reason.START), bytes(32), bytes(32), bytes(32))
    pricer.add(record)
    course = Course(NOON_S + 60, 3_600, 1_000)
    assert added_micro(pricer, record, course) == 119_000
    assert cost_micro(Tariff.from_document(document), course) == 119_000 + 1_190_000
    assert pricer.total_micro == 1_190_000, "asking changed nothing"


def test_the_wallets_policy_and_the_connection_set_offers_aside() -> None:
    sold = candidate("Seller", FLAT_RATE, maxWatts=1_500)
    provider = sold.signed.document.provider
    policy = Policy(b"\x01" * 20, (), 10**6, 0, 0, 10**9, 10**9, 2**40)

    def against(load: int, policy: Policy | None) -> str:
        return choose([sold], Course(NOON_S, 3_600, load), Preference(load_watts=load), policy).ranked[0].against

    assert against(1_000, policy) == ""
    assert "delivers 1500 W, and 2000 W are expected" in against(2_000, policy)
    assert "not on the wallet's list" in against(1_000, policy._replace(providers=(b"\x02" * 20,)))
    assert against(1_000, policy._replace(providers=(provider,))) == ""
    assert "may ask 357000 micro-units a kWh, and the wallet allows 356999" in against(1_000, policy._replace(max_micro_per_kwh=356_999))
    assert choose([], Course(NOON_S, 3_600, 1_000), WISH, policy).why == "no good offer stands at this point"
