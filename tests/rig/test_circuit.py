"""The rig's own electrical truth: energy counts exactly, voltage and power follow the contacts. Time is ours here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wattproof_rig.circuit import MW_NS_PER_MWH, OPERATE_NS, Circuit
from wattproof_rig.meter_unit import MeterUnit
from wattproof_rig.profiles import SECOND_NS, SHIPPED, Profile, ProfileError, load_profile, shipped

STEADY = Profile("steady", (3_600_000,))  # 3.6 kW: one milliwatt-hour a microsecond... exactly 1000 mWh a second
HOUR_NS = 3_600 * SECOND_NS


def test_a_steady_load_counts_to_the_milliwatt_hour() -> None:
    circuit = Circuit(STEADY, 0, closed=True)
    circuit.advance(HOUR_NS)
    assert circuit.import_milliwatt_hours == 3_600_000


@given(
    st.lists(st.integers(-5_000_000, 12_000_000), min_size=1, max_size=8),
    st.lists(st.integers(0, 3 * SECOND_NS), max_size=30),
    st.booleans(),
)
def test_energy_does_not_depend_on_when_anybody_looked(powers: list[int], steps: list[int], repeats: bool) -> None:
    profile = Profile("any", tuple(powers), repeats=repeats)
    often, once = Circuit(profile, 0, closed=True), Circuit(profile, 0, closed=True)
    now = 0
    for step in steps:
        now += step
        often.advance(now)
    once.advance(now)
    assert (often.import_mw_ns, often.export_mw_ns) == (once.import_mw_ns, once.export_mw_ns)
    naive = 0
    for second in range(now // SECOND_NS + 1):
        length = min(SECOND_NS, now - second * SECOND_NS)
        naive += length * (powers[second % len(powers)] if repeats else powers[min(second, len(powers) - 1)])
    assert once.import_mw_ns - once.export_mw_ns == naive


def test_power_and_voltage_follow_the_contact_after_its_operating_time() -> None:
    circuit = Circuit(STEADY, 0)
    assert (circuit.power_milliwatts, circuit.voltage_millivolts) == (0, 0)
    circuit.drive(True)
    circuit.advance(OPERATE_NS - 1)
    assert not circuit.contact_closed
    circuit.advance(OPERATE_NS)
    assert circuit.auxiliary_closed
    assert circuit.power_milliwatts == 3_600_000
    assert 220_000 < circuit.voltage_millivolts < 230_000  # sags under load
    circuit.drive(False)
    circuit.advance(HOUR_NS)
    assert circuit.contact_opened_ns == 2 * OPERATE_NS
    assert circuit.import_mw_ns == 3_600_000 * OPERATE_NS
    assert (circuit.power_milliwatts, circuit.voltage_millivolts) == (0, 0)


def test_a_coil_that_changes_its_mind_in_time_moves_nothing() -> None:
    circuit = Circuit(STEADY, 0)
    circuit.drive(True)
    circuit.advance(OPERATE_NS // 2)
    circuit.drive(False)
    circuit.advance(HOUR_NS)
    assert circuit.import_mw_ns == 0


def test_weld_holds_and_lets_go_when_mended() -> None:
    circuit = Circuit(STEADY, 0, closed=True)
    circuit.welded = True
    circuit.drive(False)
    circuit.advance(SECOND_NS)
    assert circuit.auxiliary_closed
    assert circuit.power_milliwatts == 3_600_000
    circuit.welded = False
    circuit.reconsider()
    circuit.advance(2 * SECOND_NS)
    assert not circuit.contact_closed


def test_jam_stays_open_and_lie_says_open_while_power_flows() -> None:
    circuit = Circuit(STEADY, 0)
    circuit.jammed = True
    circuit.drive(True)
    circuit.advance(SECOND_NS)
    assert not circuit.contact_closed
    circuit.jammed = False
    circuit.lying = True
    circuit.reconsider()
    circuit.advance(2 * SECOND_NS)
    assert circuit.contact_closed
    assert not circuit.auxiliary_closed
    assert circuit.power_milliwatts == 3_600_000


def test_a_leak_flows_through_an_open_contact_and_is_counted() -> None:
    circuit = Circuit(STEADY, 0)
    circuit.leak_milliwatts = 20_000
    circuit.advance(HOUR_NS)
    assert circuit.import_milliwatt_hours == 20_000
    assert circuit.voltage_millivolts > 200_000
    assert circuit.load_ns == 0


def test_lost_supply_drops_the_contactor_and_counts_nothing() -> None:
    circuit = Circuit(STEADY, 0, closed=True)
    circuit.supply_present = False
    circuit.reconsider()
    circuit.advance(SECOND_NS)
    assert not circuit.contact_closed
    assert circuit.import_mw_ns == 0


def test_the_loads_time_runs_only_while_it_is_supplied() -> None:
    circuit = Circuit(Profile("two", (1_000_000, 2_000_000)), 0)
    circuit.advance(10 * SECOND_NS)
    circuit.drive(True)
    circuit.advance(10 * SECOND_NS + OPERATE_NS + SECOND_NS // 2)
    assert circuit.power_milliwatts == 1_000_000
    circuit.advance(12 * SECOND_NS)
    assert circuit.power_milliwatts == 2_000_000


@given(st.integers(0, 10**12), st.sampled_from([1, 10, 1000, 10**6]), st.integers(7, 12))
def test_a_register_shows_whole_steps_modulo_its_width(energy: int, step: int, digits: int) -> None:
    unit = MeterUnit("1", step, digits)
    circuit = Circuit(STEADY, 0, import_mw_ns=energy * MW_NS_PER_MWH)
    shown = unit.data_sets(circuit)["1.8.0"].removesuffix("*kWh")
    assert len(shown.replace(".", "")) == digits
    assert int(shown.replace(".", "")) == energy // step % 10**digits
    assert len(shown.partition(".")[2]) == 6 - len(str(step)) + 1


def test_a_glitch_lasts_as_many_readings_as_told() -> None:
    unit = MeterUnit("1", import_offset=5_000_000, zero_readings=1)
    circuit = Circuit(STEADY, 0)
    assert [unit.data_sets(circuit)["1.8.0"] for _ in range(2)] == ["000000.000*kWh", "000005.000*kWh"]


def test_every_shipped_profile_loads_and_a_wrong_name_lists_them() -> None:
    for name in SHIPPED:
        assert shipped(name).milliwatts
    with pytest.raises(ProfileError, match=r"kettle.*FILE\.csv:COLUMN"):
        load_profile("ketle")


def test_a_profile_that_does_not_repeat_stays_at_its_last_slot() -> None:
    profile = shipped("charger")
    assert profile.milliwatts[profile.slot_at(10**15)] == 0
