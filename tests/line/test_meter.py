"""The meter driver against a real meter on a real pseudo-terminal, whole and faulty."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meter_agent.line import (
    BadBytes,
    LineError,
    Meter,
    MeterReading,
    MeterRefused,
    MeterSilent,
    MeterTooSlow,
    PortError,
    Relay,
    RelaySilent,
    connect,
    disconnect,
    open_meter,
    open_relay,
)
from protocol.evidence import Flag
from tests.rig.process import Rig, running

DEADLINE_S = 5.0
SLACK_S = 1.0  # two busy cores


def test_readout_and_registers_agree_with_the_truth(rig: Rig, meter: Meter, relay: Relay) -> None:
    connect(meter, relay)
    before = rig.tell("state")
    readings = [meter.read(), meter.read_registers()]
    after = rig.tell("state")
    for reading in readings:
        assert before["import_milliwatt_hours"] <= reading.import_milliwatt_hours <= after["import_milliwatt_hours"]
        assert (reading.serial, reading.step_milliwatt_hours, reading.register_digits) == (before["meter"]["serial"], 1, 9)
        assert reading.power_milliwatts == 1_000_000
        assert abs(reading.voltage_millivolts - after["voltage_millivolts"]) < 100
        assert reading.started_ns < reading.finished_ns
        assert abs(reading.read_at_s - time.time()) < 10
    codes = ["C.1.0", "F.F", "1.8.0", "2.8.0", "16.7.0", "31.7.0", "32.7.0", "C.5.0", "C.7.0"]
    assert [code for code, _ in readings[0].details] == codes
    assert readings[0].details[4] == ("16.7.0", b"(01.0000*kW)")


def test_samples_follow_the_contact_and_know_the_meter(rig: Rig, meter: Meter, relay: Relay) -> None:
    relay.close()
    time.sleep(0.3)
    on = meter.sample(with_register=True)
    assert on.power_milliwatts == 1_000_000
    assert on.voltage_millivolts is not None
    assert on.voltage_millivolts > 200_000
    assert on.import_milliwatt_hours is not None
    relay.open()
    time.sleep(0.3)
    off = meter.sample(with_register=True)
    assert (off.power_milliwatts, off.voltage_millivolts) == (0, 0)
    assert off.serial == rig.tell("state")["meter"]["serial"]
    time.sleep(0.1)
    assert meter.sample(with_register=True).import_milliwatt_hours == off.import_milliwatt_hours


def test_a_sample_in_an_open_session_is_fast(meter: Meter) -> None:
    meter.sample()
    started = time.monotonic()
    for _ in range(5):
        meter.sample()
    assert (time.monotonic() - started) / 5 < 0.4


def test_export_is_negative_power_and_a_register_of_its_own(rig: Rig, meter: Meter, relay: Relay) -> None:
    rig.tell("load", milliwatts=-3_600_000)
    relay.close()
    time.sleep(0.5)
    first, second = meter.read_registers(), meter.read_registers()
    assert first.power_milliwatts == -3_600_000
    assert second.export_milliwatt_hours > first.export_milliwatt_hours > 0
    assert second.import_milliwatt_hours == first.import_milliwatt_hours
    rig.tell("load", profile="steady")


def test_cover_power_failure_glitch_jump_and_rollover_show_as_they_are(rig: Rig, meter: Meter) -> None:
    rig.tell("open_cover")
    assert meter.read().status == Flag.TAMPER
    rig.tell("open_cover", on=False)
    rig.tell("lose_power")
    rig.tell("lose_power", on=False)
    assert meter.read().status == Flag.POWER_FAIL
    rig.tell("jump", milliwatt_hours=5_000_000)
    assert meter.read().import_milliwatt_hours >= 5_000_000
    rig.tell("glitch_zero")
    assert meter.read().import_milliwatt_hours == 0
    assert meter.read().import_milliwatt_hours >= 5_000_000
    rig.tell("roll_over", remaining_milliwatt_hours=1)
    assert meter.read().import_milliwatt_hours == 10**9 - 1
    rig.tell("jump", milliwatt_hours=1)
    assert meter.read().import_milliwatt_hours == 0


def test_a_swapped_meter_shows_in_the_next_sample(rig: Rig, meter: Meter) -> None:
    old = meter.sample(with_register=True)
    rig.tell("swap_meter", serial="NEW9", import_milliwatt_hours=42_000)
    new = meter.sample(with_register=True)
    assert (new.serial, new.import_milliwatt_hours) == ("NEW9", 42_000)
    assert old.serial != "NEW9"


def test_a_reader_that_died_in_programming_mode_does_not_lock_the_next_one_out(rig: Rig) -> None:
    dead = open_meter(str(rig.point() / "meter"), initial_baud=9600)
    dead.sample()
    dead._line.close()  # type: ignore[attr-defined]  # killed: no goodbye
    heir = open_meter(str(rig.point() / "meter"), initial_baud=9600)
    started = time.monotonic()
    heir.read()
    assert time.monotonic() - started < 4
    heir.close()


def test_a_meter_that_loses_power_in_the_middle_is_signed_on_again(rig: Rig, meter: Meter) -> None:
    meter.sample()
    rig.tell("lose_power")
    rig.tell("lose_power", on=False)
    assert meter.sample().power_milliwatts == 0


def test_two_threads_take_turns(meter: Meter) -> None:
    results: list[object] = []

    def work() -> None:
        try:
            for _ in range(3):
                results.append(meter.sample())
        except LineError as error:  # pragma: no cover - the failure this looks for
            results.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert not any(isinstance(result, LineError) for result in results)


def test_ports_that_are_not_there_or_taken(rig: Rig, meter: Meter, tmp_path: Path) -> None:
    nowhere = open_meter(str(tmp_path / "none"))
    with pytest.raises(PortError, match="cannot open"):
        nowhere.read()
    meter.read()
    second = open_meter(str(rig.point() / "meter"))
    with pytest.raises(PortError, match="another program"):
        second.read()


def test_an_unplugged_line_is_named_and_found_again(tmp_path: Path) -> None:
    options = (tmp_path, "--initial-baud", "9600", "--profile", "idle")
    meter, relay = open_meter(str(tmp_path / "meter"), initial_baud=9600), open_relay(str(tmp_path / "relay"))
    with running(*options):
        assert meter.sample().power_milliwatts == 0
        assert relay.auxiliary_open()
    for ask in (meter.sample, meter.read, relay.auxiliary_open, relay.open):
        with pytest.raises((PortError, RelaySilent)):
            ask()
    with running(*options):
        assert meter.sample().power_milliwatts == 0
        assert relay.auxiliary_open()
        meter.close()
        relay.hang_up()


def test_a_wrong_password_is_permanent_and_named(rig: Rig) -> None:
    meter = open_meter(str(rig.point() / "meter"), initial_baud=9600, password="12345678")
    with pytest.raises(MeterRefused, match="password"):
        meter.sample()
    assert not MeterRefused.transient
    assert meter.read().serial
    meter.close()


def test_an_address_calls_only_that_meter(rig: Rig) -> None:
    serial = rig.tell("state")["meter"]["serial"]
    meter = open_meter(str(rig.point() / "meter"), initial_baud=9600, address=serial)
    assert meter.read().serial == serial
    meter.close()


def test_a_meter_without_programming_mode_is_sampled_by_readout(tmp_path: Path) -> None:
    with running(tmp_path, "--no-programming", "--initial-baud", "9600", "--closed", "--profile", "steady") as rig:
        meter = open_meter(str(rig.point() / "meter"), initial_baud=9600)
        relay = open_relay(str(rig.point() / "relay"))
        first = meter.sample(with_register=True)
        assert first.power_milliwatts == 1_000_000
        assert first.import_milliwatt_hours is not None
        with pytest.raises(MeterRefused, match="no programming mode"):
            meter.read_registers()
        started = time.monotonic()
        assert disconnect(meter, relay).state == 1
        assert time.monotonic() - started < 3
        meter.close()
        relay.hang_up()


FAULTS = {
    "silent": MeterSilent,
    "babbling": BadBytes,
    "slow": MeterTooSlow,
    "truncating": BadBytes,
    "wrong_bcc": BadBytes,
    "wrong_parity": BadBytes,
}
Outcome = tuple[MeterReading | LineError, float]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Outcome]]:
    """Each fault met by a first question and in an open session, all at once because each takes seconds to give up."""
    cases = [(fault, when) for fault in FAULTS for when in ("first", "in session")]
    with running(tmp_path_factory.mktemp("faults"), "--points", str(len(cases)), "--profile", "idle") as rig:

        def ask(number: int, fault: str, when: str) -> Outcome:
            meter = open_meter(str(rig.point(number) / "meter"))
            if when == "in session":
                meter.sample()
            rig.tell("meter", number, mode=fault)
            started = time.monotonic()
            result: MeterReading | LineError
            try:
                result = meter.read(deadline_s=DEADLINE_S) if when == "first" else meter.read_registers(deadline_s=DEADLINE_S)
            except LineError as error:
                result = error
            took = time.monotonic() - started
            rig.tell("clear", number)
            time.sleep(0.3)
            meter.read()  # and whole again afterwards
            meter.close()
            return result, took

        with ThreadPoolExecutor(len(cases)) as pool:
            waiting = {case: pool.submit(ask, number, *case) for number, case in enumerate(cases, start=1)}
            yield {case: future.result() for case, future in waiting.items()}


@pytest.mark.parametrize("when", ["first", "in session"])
@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_faulty_meter_ends_in_a_named_error_in_time(outcomes: dict[tuple[str, str], Outcome], fault: str, when: str) -> None:
    result, took = outcomes[fault, when]
    assert isinstance(result, FAULTS[fault]), result
    assert result.transient
    assert took < DEADLINE_S + SLACK_S
