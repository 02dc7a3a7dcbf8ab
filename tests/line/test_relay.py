"""The relay driver, and switching as a measured fact, against a circuit that can be broken in every way it says."""

import os
import select
import threading
import time
import tty
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from meter_agent.line import (
    LineError,
    Meter,
    PortError,
    Relay,
    RelayRefused,
    RelaySilent,
    SupplyState,
    connect,
    disconnect,
    open_relay,
    supply_is_on,
)
from meter_agent.line import relay as relay_module
from tests.rig.process import Rig


def test_the_input_is_the_contact_not_the_coils_echo(rig: Rig, relay: Relay) -> None:
    assert relay.auxiliary_open()
    rig.tell("jam")
    relay.close()
    time.sleep(0.05)
    state = rig.tell("state")
    assert state["coil"]
    assert relay.auxiliary_open()
    rig.tell("clear")
    time.sleep(0.05)
    assert not relay.auxiliary_open()


def test_a_silent_relay_is_named_within_a_second_and_found_again(rig: Rig, relay: Relay) -> None:
    rig.tell("lose_power")
    started = time.monotonic()
    with pytest.raises(RelaySilent, match="check its supply"):
        relay.open()
    assert time.monotonic() - started < 1.5
    rig.tell("lose_power", on=False)
    assert relay.auxiliary_open()


def test_a_wrong_coil_or_unit_is_named(rig: Rig, relay: Relay) -> None:
    port = str(rig.point() / "relay")
    relay.hang_up()
    wrong_coil, wrong_unit = open_relay(port, coil=7), open_relay(port, unit=9)
    with pytest.raises(RelayRefused, match="Modbus exception 2"):
        wrong_coil.close()
    wrong_coil.hang_up()
    with pytest.raises(RelaySilent):
        wrong_unit.close()
    wrong_unit.hang_up()
    assert not rig.tell("state")["coil"]


def test_a_port_that_is_not_there_or_taken(rig: Rig, relay: Relay, tmp_path: Path) -> None:
    with pytest.raises(PortError, match="cannot open"):
        open_relay(str(tmp_path / "none")).open()
    relay.auxiliary_open()
    with pytest.raises(PortError, match="another program"):
        open_relay(str(rig.point() / "relay")).open()


def test_connect_and_disconnect_are_measured(rig: Rig, meter: Meter, relay: Relay) -> None:
    meter.sample()
    on = connect(meter, relay)
    assert (on.state, on.auxiliary_open, on.attempts) == (SupplyState.CONNECTED, False, 1)
    assert supply_is_on(relay.auxiliary_open(), meter.sample())
    rig.tell("mark")
    ordered_ns = time.monotonic_ns()
    off = disconnect(meter, relay)
    measured_ns = time.monotonic_ns()
    state = rig.tell("state")
    assert (off.state, off.auxiliary_open, off.voltage_millivolts, off.power_milliwatts) == (SupplyState.DISCONNECTED, True, 0, 0)
    assert ordered_ns < state["coil_written_ns"] < state["contact_opened_ns"] < measured_ns
    assert measured_ns - ordered_ns < 1_000_000_000
    assert state["since_mark_milliwatt_hours"] * 3_600_000_000_000 <= 1_000_000 * (state["contact_opened_ns"] - ordered_ns) + 2 * 10**16
    assert not supply_is_on(relay.auxiliary_open(), meter.sample())


@pytest.mark.parametrize("faults", [["weld"], ["weld", "lie"]])
def test_a_weld_is_seen_whatever_the_auxiliary_says_ordered_again_and_escalated(
    rig: Rig, meter: Meter, relay: Relay, faults: list[str]
) -> None:
    connect(meter, relay)
    for fault in faults:
        rig.tell(fault)
    result = disconnect(meter, relay, deadline_s=0.8)
    assert result.state is SupplyState.FAILED
    assert result.attempts >= 2
    assert result.auxiliary_open is ("lie" in faults)
    assert result.power_milliwatts == 1_000_000
    assert "not disconnected" in result.detail
    rig.tell("clear")
    assert disconnect(meter, relay).state is SupplyState.DISCONNECTED


def test_a_leak_above_the_starting_current_is_not_disconnected_and_one_below_is(rig: Rig, meter: Meter, relay: Relay) -> None:
    rig.tell("leak", milliwatts=20_000)
    assert disconnect(meter, relay, deadline_s=0.4).state is SupplyState.FAILED
    rig.tell("leak", milliwatts=2_000)
    time.sleep(0.25)
    result = disconnect(meter, relay)
    assert result.state is SupplyState.DISCONNECTED
    assert result.voltage_millivolts
    assert result.voltage_millivolts > 200_000


def test_a_jammed_contact_is_not_connected_and_is_left_undriven(rig: Rig, meter: Meter, relay: Relay) -> None:
    rig.tell("jam")
    assert connect(meter, relay, deadline_s=0.5).state is SupplyState.FAILED
    assert not rig.tell("state")["coil"]


def test_lines_that_fail_are_no_exception_but_a_failure_with_a_reason(rig: Rig, meter: Meter, relay: Relay) -> None:
    connect(meter, relay)
    rig.tell("meter", mode="silent")
    started = time.monotonic()
    result = disconnect(meter, relay, deadline_s=0.3)
    assert time.monotonic() - started < 6
    assert result.state is SupplyState.FAILED
    assert result.auxiliary_open is True  # opened all the same; only not measured
    assert "no answer from the meter" in result.detail
    rig.tell("clear")
    assert disconnect(meter, relay).state is SupplyState.DISCONNECTED


def test_lost_power_everywhere_is_a_failure_until_it_is_back(rig: Rig, meter: Meter, relay: Relay) -> None:
    connect(meter, relay)
    rig.tell("lose_power")
    result = disconnect(meter, relay, deadline_s=0.3)
    assert (result.state, result.auxiliary_open) == (SupplyState.FAILED, None)
    rig.tell("lose_power", on=False)
    assert disconnect(meter, relay).state is SupplyState.DISCONNECTED


class Impostor:
    """Something else at the relay's end of a pseudo-terminal, that answers every request with the bytes it was given."""

    def __init__(self, answers: list[bytes]):
        self._near, self._far = os.openpty()
        tty.setraw(self._far)
        self.port = os.ttyname(self._far)
        self._answers = answers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            if select.select([self._near], [], [], 0.05)[0]:
                os.read(self._near, 4096)
                if self._answers:
                    os.write(self._near, self._answers.pop(0))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._near)
        os.close(self._far)


def framed(body: bytes) -> bytes:
    """A Modbus RTU frame with a right check."""
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.binary(max_size=12).map(lambda b: framed(b"\x01" + b))), max_size=3))
@example([framed(b"\x01\x02\x00")])  # no bit at all
@example([framed(b"\x01\x05\x00\x00\xff\x00")])  # the answer to another question
@example([framed(b"\x01\x82\x02")])
@example([b"\x01\x02\x01\x01\x00\x00"])  # wrong check
def test_any_bytes_from_a_relay_end_in_one_error_tree_in_time(answers: list[bytes]) -> None:
    impostor = Impostor(answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay_module, "ANSWER_TIMEOUT_S", 0.05)  # the impostor answers at once or never
        relay = open_relay(impostor.port)
    started = time.monotonic()
    try:
        assert isinstance(relay.auxiliary_open(), bool)
    except LineError:
        pass
    finally:
        assert time.monotonic() - started < 1
        relay.hang_up()
        impostor.close()
