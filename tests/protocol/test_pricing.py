"""Prices worked out by hand, and laws that hold for every session."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.bill import Line
from protocol.errors import PricingError, RegisterFell
from protocol.evidence import Flag, HandOver, Reason, Record
from protocol.money import Terms, ceiling_micro
from protocol.pricing import MAX_SPAN_S, Pricer, price
from protocol.tariff import PPM, Tariff, boundaries, ceilings

from .sessions import DEVICE, METER, OTHER_METER, T0, Log, element, random_session
from .sessions import tariff_document as document_of

seeds = st.integers(0, 2**32)


def tariff(*elements: dict[str, Any], **more: Any) -> Tariff:
    return Tariff.from_document(document_of(*elements, **more))


def short(lines: tuple[Line, ...]) -> list[tuple[str, int | None, int, int]]:
    return [(line.component.value, line.element, line.quantity, line.amount_micro) for line in lines]


# --- worked out by hand ---


def test_a_line_is_rounded_once_and_down() -> None:
    log = Log()
    for _ in range(7):
        log.use(900, 333)  # 333 mWh at 300,000/kWh are 99.9 micro: rounded each, seven would lose 6.3
    bill = price(tariff(element(ENERGY=300_000, tax=190_000)), T0, log.records)
    (line,) = bill.lines
    assert line.quantity == bill.energy_milliwatt_hours == 2331
    assert line.net_micro == 2331 * 300_000 // 1_000_000 == 699
    assert line.tax_micro == 699 * 190_000 // 1_000_000 == 132
    assert bill.total_micro == 831
    assert (line.first_sequence, line.last_sequence) == (2, 8)


def test_flat_is_due_with_the_start_record_and_nothing_before() -> None:
    agreed = tariff(element(ENERGY=1, FLAT=500, tax=190_000))
    pricer = Pricer(agreed, T0)
    assert pricer.total_micro == 0
    assert pricer.bill().lines == ()
    pricer.add(Log().records[0])
    assert short(pricer.bill().lines) == [("FLAT", 0, 1, 595)]


def test_flat_is_of_the_element_that_holds_at_opening() -> None:
    agreed = tariff(element({"startTime": "08:00"}, FLAT=7), element({"endTime": "08:00"}, FLAT=5), element(ENERGY=1))
    eight = T0 + 7 * 3600
    assert short(price(agreed, eight - 1, Log(eight).records).lines) == [("FLAT", 1, 1, 5)]
    assert short(price(agreed, eight, Log(eight).records).lines) == [("FLAT", 0, 1, 7)]


def test_a_minimum_price_is_a_line_of_its_own_until_it_is_reached() -> None:
    agreed = tariff(element(ENERGY=300_000, tax=190_000), minPrice={"microTaxIncluded": 119, "taxPpm": 190_000})
    log = Log()
    bill = price(agreed, T0, log.records)
    assert [(x.component.value, x.net_micro, x.tax_micro) for x in bill.lines] == [("MINIMUM_PRICE", 100, 19)]
    log.use(900, 300)  # 90 net, 17 tax
    bill = price(agreed, T0, log.records)
    assert [(x.component.value, x.net_micro, x.tax_micro) for x in bill.lines] == [("ENERGY", 90, 17), ("MINIMUM_PRICE", 11, 1)]
    assert bill.total_micro == 119
    log.use(900, 300)
    assert short(price(agreed, T0, log.records).lines) == [("ENERGY", 0, 600, 180 + 34)]


def test_time_while_energy_flows_and_parking_while_it_does_not() -> None:
    agreed = tariff(element(TIME=3_600, PARKING_TIME=7_200))
    log = Log()
    log.use(100, 50)  # the register rose
    log.use(10, 0, power_milliwatts=1)  # a coarse register stood still, the power did not
    log.use(1000, 0)  # connected, nothing flows
    log.use(1000, 0, flags=int(Flag.DISCONNECTED))  # nobody pays for a dead socket
    log.use(5, 1, flags=int(Flag.DISCONNECTED))  # disconnected at its end, supplied until then
    log.use(3, 0, power_milliwatts=-9)  # feeding in is not drawing
    bill = price(agreed, T0, log.records)
    assert short(bill.lines) == [("ENERGY", None, 51, 0), ("TIME", 0, 115, 115), ("PARKING_TIME", 0, 1003, 2006)]


def test_time_before_opening_costs_nothing() -> None:
    log = Log()
    log.use(100, 50)
    log.use(100, 50)
    assert short(price(tariff(element(TIME=3_600)), T0 + 150, log.records).lines) == [("ENERGY", None, 100, 0), ("TIME", 0, 50, 50)]


def test_a_record_across_a_boundary_is_billed_at_the_cheaper_whichever_comes_first() -> None:
    agreed = tariff(element({"startTime": "08:00", "endTime": "20:00"}, ENERGY=400), element(ENERGY=200))
    eight = T0 + 7 * 3600
    for boundary in (eight, eight + 12 * 3600):
        log = Log(boundary - 900)
        log.use(899, 1_000_000)
        log.use(2, 1_000_000)
        log.use(899, 1_000_000)
        lines = price(agreed, T0, log.records).lines
        assert sorted((x.element, x.quantity, x.spanning_records) for x in lines) == [(0, 1_000_000, 0), (1, 2_000_000, 1)]


def test_a_record_that_ends_at_a_boundary_does_not_span_it() -> None:
    agreed = tariff(element({"startTime": "08:00"}, ENERGY=400), element(ENERGY=200))
    log = Log(T0 + 7 * 3600 - 900)
    log.use(900, 1_000_000)
    log.use(900, 1_000_000)
    assert short(price(agreed, T0, log.records).lines) == [("ENERGY", 0, 1_000_000, 400), ("ENERGY", 1, 1_000_000, 200)]


def test_where_no_element_prices_energy_it_stands_at_nothing() -> None:
    agreed = tariff(element({"startTime": "08:00"}, ENERGY=400))
    log = Log(T0 + 7 * 3600 - 900)
    log.use(900, 1_000)
    log.use(900, 2_000_000)
    bill = price(agreed, T0, log.records)
    assert short(bill.lines) == [("ENERGY", 0, 2_000_000, 800), ("ENERGY", None, 1_000, 0)]


def test_cheaper_is_with_tax_and_between_equals_the_first() -> None:
    eight = T0 + 7 * 3600
    log = Log(eight - 10)
    log.use(20, 1_000_000)
    dear_tax = tariff(element({"startTime": "08:00"}, ENERGY=100, tax=500_000), element(ENERGY=140))
    assert short(price(dear_tax, T0, log.records).lines) == [("ENERGY", 1, 1_000_000, 140)]
    equal = tariff(element({"startTime": "08:00"}, ENERGY=100, tax=500_000), element(ENERGY=150))
    assert short(price(equal, T0, log.records).lines) == [("ENERGY", 0, 1_000_000, 150)]


def test_steps_by_energy_duration_and_power() -> None:
    by_energy = tariff(element({"maxMilliwattHours": 1_000}, ENERGY=0), element(ENERGY=1_000_000))
    log = Log()
    for _ in range(4):
        log.use(900, 400)  # the third passes 1,000 mWh: cheaper
    assert short(price(by_energy, T0, log.records).lines) == [("ENERGY", 0, 1200, 0), ("ENERGY", 1, 400, 400)]
    exact = Log()
    exact.use(900, 1000)
    exact.use(900, 1000)
    assert short(price(by_energy, T0, exact.records).lines) == [("ENERGY", 0, 1000, 0), ("ENERGY", 1, 1000, 1000)]
    by_duration = tariff(element({"minDurationS": 1800}, PARKING_TIME=3600), element(ENERGY=0))
    parked = Log()
    for _ in range(4):
        parked.use(900, 0)
    assert short(price(by_duration, T0, parked.records).lines) == [("PARKING_TIME", 0, 1800, 1800), ("PARKING_TIME", None, 1800, 0)]
    by_power = tariff(element({"minPowerMilliwatts": 1_600}, ENERGY=2_000_000), element(ENERGY=1_000_000))
    assert short(price(by_power, T0, log.records).lines) == [("ENERGY", 0, 1600, 3200)]
    log.use(900, 399)
    assert short(price(by_power, T0, log.records).lines)[1] == ("ENERGY", 1, 399, 399)


@pytest.mark.parametrize(("day", "quarters", "in_band"), [("2026-03-29", 92, 0), ("2026-10-25", 100, 8), ("2026-10-26", 96, 4)])
def test_a_day_of_23_or_25_hours(day: str, quarters: int, in_band: int) -> None:
    midnight = int(datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    log = Log(midnight)
    for _ in range(quarters):
        log.use(900, 1_000)
    assert datetime.fromtimestamp(log.at_s, ZoneInfo("Europe/Berlin")).hour == 0
    agreed = tariff(element({"startTime": "02:00", "endTime": "03:00"}, ENERGY=3_000_000), element(ENERGY=1_000_000))
    lines = price(agreed, midnight, log.records).lines
    assert {line.element: line.quantity for line in lines} == {
        element: n * 1000 for element, n in ((0, in_band), (1, quarters - in_band)) if n
    }
    assert not any(line.spanning_records for line in lines)


def test_quarantined_energy_is_billed_with_the_next_good_register_by_the_cheapest_rule() -> None:
    agreed = tariff(element({"startTime": "08:00"}, ENERGY=400, TIME=3600), element(ENERGY=200, TIME=7200))
    log = Log(T0 + 7 * 3600 - 900)
    log.use(900, 1_000_000, flags=int(Flag.QUARANTINED_REGISTER), import_milliwatt_hours=0)
    log.use(900, 1_000_000)
    bill = price(agreed, T0, log.records)
    assert bill.quarantined_records == 1
    assert short(bill.lines) == [("ENERGY", 1, 2_000_000, 400), ("TIME", 0, 900, 900)]
    assert bill.lines[0].spanning_records == 1
    assert price(agreed, T0, log.records[:2]).total_micro == 0


def test_a_quarantined_start_leaves_the_first_good_register_as_the_start() -> None:
    log = Log()
    log.records[0] = log.records[0]._replace(flags=int(Flag.QUARANTINED_REGISTER), import_milliwatt_hours=7)
    log.use(900, 1_000_000)
    log.use(900, 1_000_000)
    assert price(tariff(element(ENERGY=100)), T0, log.records).total_micro == 100


def test_a_rollover_is_explained_by_the_modulus_or_refused() -> None:
    log = Log(register=9_999_500)
    log.use(900, 600, import_milliwatt_hours=100, flags=int(Flag.ROLLOVER))
    agreed = tariff(element(ENERGY=1_000_000))
    assert price(agreed, T0, log.records, register_modulus_milliwatt_hours=10_000_000).total_micro == 600
    for modulus in (0, 9_000_000, 100):
        with pytest.raises(RegisterFell, match="record 2"):
            price(agreed, T0, log.records, register_modulus_milliwatt_hours=modulus)
    log.records[1] = log.records[1]._replace(flags=0)
    with pytest.raises(RegisterFell, match="without a rollover"):
        price(agreed, T0, log.records, register_modulus_milliwatt_hours=10_000_000)


def test_a_rollover_in_a_quarantined_record_still_explains_the_fall() -> None:
    log = Log(register=9_999_500)
    log.use(900, 600, import_milliwatt_hours=7, flags=int(Flag.ROLLOVER | Flag.QUARANTINED_REGISTER))
    log.use(900, 100, import_milliwatt_hours=200)
    agreed = tariff(element(ENERGY=1_000_000))
    assert price(agreed, T0, log.records, register_modulus_milliwatt_hours=10_000_000).total_micro == 700


def swapped() -> tuple[Log, HandOver]:
    log = Log()
    last = log.use(900, 1_000, reason=Reason.SWAP)
    hand_over = HandOver(DEVICE, 1, last.sequence, log.at_s, METER, log.register, 0, OTHER_METER, 5, 0)
    log.meter, log.register = OTHER_METER, 5
    log.use(900, 2_000)
    return log, hand_over


def test_a_swap_goes_on_from_the_new_meters_start_register() -> None:
    log, hand_over = swapped()
    assert price(tariff(element(ENERGY=1_000_000)), T0, log.records, [hand_over]).total_micro == 3_000


def test_a_swap_without_its_hand_over_or_with_another_is_refused() -> None:
    log, hand_over = swapped()
    agreed = tariff(element(ENERGY=1_000_000))
    with pytest.raises(PricingError, match="hand-over must come first"):
        price(agreed, T0, log.records)
    wrong = [
        {"old_import_milliwatt_hours": 1}, {"device": bytes(32)}, {"channel": 2}, {"old_meter_hash": OTHER_METER},
    ]  # fmt: skip
    for change in wrong:
        with pytest.raises(PricingError, match="hand-over"):
            price(agreed, T0, log.records, [hand_over._replace(**change)])
    pricer = Pricer(agreed, T0)
    for other in (hand_over, hand_over._replace(sequence=1)):
        with pytest.raises(PricingError, match="hand-over"):
            pricer.hand_over(other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence": 2}, "comes after record 2"),
        ({"start_s": T0 + 899}, "before the record before it ended"),
        ({"end_s": T0 + 899, "start_s": T0 + 900}, "ends before it starts"),
        ({"meter_hash": OTHER_METER}, "another meter"),
        ({"device": bytes(32)}, "another device or channel"),
        ({"channel": 2}, "another device or channel"),
        ({"import_milliwatt_hours": 1_000_999}, "fell by 1 mWh"),
        ({"end_s": T0 + 900 + MAX_SPAN_S + 1}, "more than any session lasts"),
        ({"start_s": 2**52, "end_s": 2**53 - 1}, "more than any session lasts"),
    ],
)
def test_a_refused_record_is_named_and_changes_nothing(change: dict[str, Any], message: str) -> None:
    agreed = tariff(element({"startTime": "08:00"}, ENERGY=400, FLAT=3), element(ENERGY=200, TIME=100))
    log = Log()
    log.use(900, 1_000)
    good = log.use(900, 500)
    pricer = Pricer(agreed, T0)
    pricer.add(log.records[0])
    pricer.add(log.records[1])
    before = pricer.bill()
    with pytest.raises(PricingError, match=message) as error:
        pricer.add(good._replace(**change))
    assert error.value.where == f"record {good._replace(**change).sequence}"
    assert pricer.bill() == before
    pricer.add(good)
    assert pricer.bill() == price(agreed, T0, log.records)


def test_a_session_begins_with_a_start_record() -> None:
    log = Log()
    record = log.use(900, 1_000)
    with pytest.raises(PricingError, match="must have reason START"):
        Pricer(tariff(element(ENERGY=1)), T0).add(record)


# --- laws ---


@given(seeds)
def test_the_fold_equals_the_bill_and_the_total_never_falls(seed: int) -> None:
    session = random_session(seed)
    agreed = Tariff.from_document(session.tariff)
    pricer = Pricer(agreed, session.opened_at_s, session.register_modulus_milliwatt_hours)
    hand_overs = {h.sequence: h for h in session.hand_overs}
    total = 0
    for record in session.records:
        pricer.add(record)
        if record.reason == Reason.SWAP:
            pricer.hand_over(hand_overs[record.sequence])
        assert pricer.total_micro >= total
        total = pricer.total_micro
    assert pricer.bill() == price(agreed, *session[1:])
    assert pricer.bill().total_micro == total


@given(seeds, st.integers(0, 10**6))
def test_a_copy_goes_its_own_way(seed: int, pick: int) -> None:
    session = random_session(seed)
    agreed = Tariff.from_document(session.tariff)
    hand_overs = {h.sequence: h for h in session.hand_overs}
    pricers = [Pricer(agreed, session.opened_at_s, session.register_modulus_milliwatt_hours)]
    at = pick % len(session.records)
    for i, record in enumerate(session.records):
        if i == at:
            before = pricers[0].bill()
            pricers.append(pricers[0].copy())
            pricers[1].add(record)
            assert pricers[0].bill() == before
            pricers[1] = pricers[0].copy()
        for pricer in pricers:
            pricer.add(record)
            if record.reason == Reason.SWAP:
                pricer.hand_over(hand_overs[record.sequence])
    assert [pricer.bill() for pricer in pricers] == [price(agreed, *session[1:])] * 2


@given(seeds)
def test_lines_add_up_and_account_for_all_energy(seed: int) -> None:
    session = random_session(seed)
    bill = price(Tariff.from_document(session.tariff), *session[1:])
    assert sum(line.amount_micro for line in bill.lines) == bill.total_micro == bill.net_micro + bill.tax_micro
    assert sum(line.quantity for line in bill.lines if line.component == "ENERGY") == bill.energy_milliwatt_hours
    assert len({(line.component, line.element) for line in bill.lines}) == len(bill.lines)
    document = bill.to_document()
    assert [line["amountMicro"] for line in document["lines"]] == [line.amount_micro for line in bill.lines]
    for line in bill.lines:
        assert bill.first_sequence <= line.first_sequence <= line.last_sequence <= bill.last_sequence


@given(seeds)
def test_no_bill_passes_the_ceilings_as_the_escrow_computes_them(seed: int) -> None:
    session = random_session(seed)
    agreed = Tariff.from_document(session.tariff)
    pricer = Pricer(agreed, session.opened_at_s, session.register_modulus_milliwatt_hours)
    hand_overs = {h.sequence: h for h in session.hand_overs}
    zero = bytes(20)
    terms = Terms(zero, zero, zero, bytes(32), True, zero, agreed.hash, bytes(32), *ceilings(agreed), 0, 0, 0, 0, 0, bytes(32))
    for record in session.records:
        pricer.add(record)
        if record.reason == Reason.SWAP:
            pricer.hand_over(hand_overs[record.sequence])
        assert pricer.total_micro <= ceiling_micro(terms, pricer.energy_milliwatt_hours, pricer.elapsed_s)


def exact(lines: tuple[Line, ...]) -> Fraction:
    """What energy costs before any rounding."""
    return sum((Fraction(x.quantity * x.price_micro * (PPM + x.tax_ppm)) for x in lines if x.component == "ENERGY"), Fraction(0))


def merged(first: Record, second: Record) -> Record:
    return second._replace(start_s=first.start_s, flags=first.flags | second.flags)


@given(seeds, st.integers(0, 10**6))
def test_fewer_longer_records_never_make_energy_dearer(seed: int, pick: int) -> None:
    session = random_session(seed, plain=True)
    agreed = Tariff.from_document(session.tariff)
    assume(not any(r.limits.min_power_milliwatts > 0 or r.limits.max_power_milliwatts < 1 << 60 for r in agreed.elements))
    assume(len(session.records) > 2)
    i = 1 + pick % (len(session.records) - 2)
    fewer = [*session.records[:i], merged(*session.records[i : i + 2]), *session.records[i + 2 :]]
    fine, coarse = price(agreed, *session[1:]), price(agreed, session.opened_at_s, fewer, (), session.register_modulus_milliwatt_hours)
    assert coarse.energy_milliwatt_hours == fine.energy_milliwatt_hours
    assert exact(coarse.lines) <= exact(fine.lines)


@given(seeds, st.integers(0, 10**6), st.integers(0, 10**6))
def test_cutting_a_record_within_one_element_changes_nothing(seed: int, at: int, used: int) -> None:
    """For tariffs by the clock: a cut inside a stretch without boundaries leaves every line as it was."""
    session = random_session(seed, plain=True, limits=False)
    agreed = Tariff.from_document(session.tariff)
    cut, previous = [], session.records[0]
    for record in session.records:
        energy = record.import_milliwatt_hours - previous.import_milliwatt_hours
        whole = not boundaries(agreed, record.start_s, record.end_s)
        if record.reason != Reason.START and whole and energy > 1 and record.end_s - record.start_s > 1:
            middle_s = record.start_s + 1 + at % (record.end_s - record.start_s - 1)
            register = previous.import_milliwatt_hours + 1 + used % (energy - 1)
            cut.append(record._replace(sequence=len(cut) + 1, end_s=middle_s, import_milliwatt_hours=register, flags=0))
            cut.append(record._replace(sequence=len(cut) + 1, start_s=middle_s))
        else:
            cut.append(record._replace(sequence=len(cut) + 1))
        previous = record
    renumbered = [record._replace(sequence=i + 1) for i, record in enumerate(session.records)]
    plain = price(agreed, session.opened_at_s, renumbered, (), session.register_modulus_milliwatt_hours)
    finer = price(agreed, session.opened_at_s, cut, (), session.register_modulus_milliwatt_hours)
    assert short(plain.lines) == short(finer.lines)


@given(seeds)
def test_records_cut_at_every_boundary_span_nothing(seed: int) -> None:
    session = random_session(seed, plain=True, limits=False)
    agreed = Tariff.from_document(session.tariff)
    pricer = Pricer(agreed, session.opened_at_s)
    start, end = session.records[0].end_s, session.records[-1].end_s
    edges = [start, *boundaries(agreed, start, end, session.opened_at_s), end]
    pricer.add(session.records[0])
    for i, (from_s, to_s) in enumerate(pairwise(edges)):
        register = session.records[0].import_milliwatt_hours + i + 1
        record = session.records[0]._replace(sequence=10_000 + i, start_s=from_s, end_s=to_s, import_milliwatt_hours=register)
        pricer.add(record._replace(reason=Reason.PERIODIC))
    assert not any(line.spanning_records for line in pricer.bill().lines)
