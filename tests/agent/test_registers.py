"""Plausibility of registers, and the estimate between their steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meter_agent.clock import NANO
from meter_agent.gauge import Gauge
from meter_agent.journal import Good
from meter_agent.registers import Reading, judge
from protocol.evidence import Flag
from protocol.plausibility import most_milliwatt_hours

RATED = 3_680
MODULUS = 10**9 * 1_000
GOOD = Good(
    serial="M1", placement="p", import_milliwatt_hours=5_000_000, export_milliwatt_hours=0, at_s=1_000, modulus_milliwatt_hours=MODULUS,
    step_milliwatt_hours=1_000,
)  # fmt: skip


def reading(register: int, at_s: int, serial: str = "M1") -> Reading:
    return Reading(serial, "p", register, 0, at_s, 1_000, MODULUS)


@given(st.integers(0, 86_400), st.integers(0, RATED * 1_000))
def test_what_the_connection_can_carry_is_believed(seconds: int, milliwatts: int) -> None:
    register = GOOD.import_milliwatt_hours + milliwatts * seconds // 3_600
    verdict = judge(reading(register, 1_000 + seconds), GOOD, RATED, None, False)
    assert verdict.flags == 0
    assert verdict.good.import_milliwatt_hours == register


@given(st.integers(0, 86_400), st.integers(1, 10**9))
def test_more_than_that_is_quarantined_and_the_reference_stays(seconds: int, more: int) -> None:
    register = GOOD.import_milliwatt_hours + most_milliwatt_hours(RATED, seconds, 1_000) + more
    verdict = judge(reading(register, 1_000 + seconds), GOOD, RATED, None, False)
    assert verdict.flags == Flag.QUARANTINED_REGISTER
    assert verdict.good == GOOD
    assert "not billed" in verdict.detail


def test_zero_for_one_reading_is_quarantined_and_the_next_is_believed() -> None:
    assert judge(reading(0, 1_060), GOOD, RATED, None, False).flags == Flag.QUARANTINED_REGISTER
    assert judge(reading(5_050_000, 1_120), GOOD, RATED, 50_000, True).flags == 0


def test_time_alone_never_makes_a_jump_plausible() -> None:
    jumped = GOOD.import_milliwatt_hours + 1_000_000
    for hours in range(1, 100):
        sampled = 20 * hours  # the load is a pilot lamp
        assert judge(reading(jumped, 1_000 + 3_600 * hours), GOOD, RATED, sampled, True).flags == Flag.QUARANTINED_REGISTER


@given(st.integers(0, 20_000), st.integers(0, 20_000))
def test_a_rollover_that_fits_is_believed_and_flagged(below: int, above: int) -> None:
    good = GOOD.model_copy(update={"import_milliwatt_hours": MODULUS - 1_000 - below})
    verdict = judge(reading(above, 1_060), good, RATED, None, False)
    assert verdict.flags == Flag.ROLLOVER
    assert verdict.good.import_milliwatt_hours == above


def test_another_width_is_no_rollover() -> None:
    good = GOOD.model_copy(update={"import_milliwatt_hours": MODULUS - 1_000, "modulus_milliwatt_hours": MODULUS * 10})
    assert judge(reading(500, 1_060), good, RATED, None, False).flags == Flag.QUARANTINED_REGISTER


def test_the_first_reading_and_another_meter_are_taken_as_they_are() -> None:
    assert judge(reading(7, 1_000), None, RATED, None, False).good.import_milliwatt_hours == 7
    assert judge(reading(7, 1_000, "M2"), GOOD, RATED, None, False).good.serial == "M2"


@given(
    st.lists(st.integers(0, RATED * 1_000), min_size=2, max_size=60),
    st.sampled_from([1, 10, 100, 1_000]),
    st.integers(0, 999),
)
def test_the_gauge_is_never_behind_the_register_nor_a_step_ahead(powers: list[int], step: int, offset: int) -> None:
    """The truth is the integral of a power that changes each second; the meter shows it rounded down to its step."""
    gauge = Gauge(RATED)
    true_nanos = offset * 3_600 * NANO
    base = offset // step * step
    gauge.recorded(base, step, MODULUS, powers[0], NANO, good=True)
    for i, power in enumerate(powers):
        true_nanos += power * NANO
        register = true_nanos // (3_600 * NANO) // step * step
        gauge.sampled(power, register, (i + 2) * NANO)
        counted = register - base
        assert counted <= gauge.energy_milliwatt_hours <= counted + step - 1 + (step == 1)


def test_the_gauge_ignores_a_glitch_and_follows_a_rollover() -> None:
    gauge = Gauge(RATED)
    gauge.recorded(MODULUS - 2_000, 1_000, MODULUS, 3_600_000, NANO, good=True)
    gauge.sampled(3_600_000, 0, 2 * NANO)  # rolled over: two steps
    assert 2_000 <= gauge.energy_milliwatt_hours < 3_000
    gauge.sampled(3_600_000, 700_000_000, 3 * NANO)  # impossible
    assert gauge.energy_milliwatt_hours < 4_000
    gauge.sampled(3_600_000, 2_000, 4 * NANO)
    assert 4_000 <= gauge.energy_milliwatt_hours < 5_000


def test_the_gauge_says_when_its_integral_has_gaps() -> None:
    gauge = Gauge(RATED)
    gauge.recorded(0, 1_000, MODULUS, 1_000_000, NANO, good=True)
    gauge.sampled(1_000_000, None, 2 * NANO)
    assert gauge.sampled_milliwatt_hours == 277
    gauge.sampled(1_000_000, None, 60 * NANO)
    assert gauge.sampled_milliwatt_hours is None
