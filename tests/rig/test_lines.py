"""The rig's two wires as raw bytes: pacing, speeds, parity, and that no bytes whatever upset it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st
from wattproof_rig.meter_wire import MeterWire, with_check, with_parity
from wattproof_rig.relay_wire import RelayWire
from wattproof_rig.tell import tell

VALUES = {"C.1.0": "1", "1.8.0": "000000.000*kWh"}


@pytest.fixture
def port(rig_state: Path) -> Iterator[serial.Serial]:
    """The meter's line, with the meter waiting for a sign-on."""
    tell(rig_state, "lose_power")
    tell(rig_state, "lose_power", on=False)
    with serial.Serial(str(rig_state / "meter"), 300, timeout=2.0) as port:
        yield port


def sign_on(port: serial.Serial, message: bytes = b"/?!\r\n") -> tuple[bytes, float]:
    started = time.monotonic()
    port.write(with_parity(message))
    answer = bytes(byte & 0x7F for byte in port.read_until(with_parity(b"\n"), 64))
    return answer, time.monotonic() - started


def test_bytes_take_their_time_in_both_directions(port: serial.Serial) -> None:
    answer, took = sign_on(port)
    assert answer == b"/WPr6RIG-1\r\n"
    on_the_wire_s = (len(b"/?!\r\n") + len(answer)) * 10 / 300
    assert on_the_wire_s + 0.02 <= took < on_the_wire_s + 0.5


@pytest.mark.parametrize("message", [b"/?999!\r\n", b"\x06060\r\n", b"hello\r\n"])
def test_what_is_not_for_it_is_not_answered(port: serial.Serial, message: bytes) -> None:
    port.timeout = 0.5
    assert sign_on(port, message)[0] == b""


def test_at_the_wrong_speed_it_hears_nothing_and_cannot_be_read(port: serial.Serial) -> None:
    port.timeout = 0.5
    port.baudrate = 9600
    assert sign_on(port)[0] == b""
    port.baudrate = 300
    port.timeout = 2.0
    port.write(with_parity(b"/?!\r\n"))
    time.sleep(0.17)
    port.baudrate = 19200
    assert b"WPr" not in bytes(byte & 0x7F for byte in port.read(8))


def test_wrong_parity_is_not_heard(port: serial.Serial) -> None:
    port.timeout = 0.5
    port.write(bytes(byte ^ 0x80 for byte in with_parity(b"/?!\r\n")))
    assert port.read(1) == b""


def test_a_damaged_question_in_programming_mode_gets_nak() -> None:
    wire = MeterWire(lambda: VALUES, lambda: "1")
    for message in (b"/?!\r\n", b"\x06061\r\n", with_check(b"\x01P1\x02(00000000)")):
        assert wire.receive(with_parity(message)) is not None
    question = with_check(b"\x01R5\x021.8.0()")
    answer = wire.receive(with_parity(question[:-1] + bytes([question[-1] ^ 3])))
    assert answer is not None
    assert answer.data == b"\x15"
    answer = wire.receive(with_parity(question))
    assert answer is not None
    assert answer.data == with_check(b"\x021.8.0(000000.000*kWh)")


@given(st.lists(st.binary(max_size=40), max_size=8), st.booleans())
def test_no_bytes_upset_the_meter(bursts: list[bytes], open_session: bool) -> None:
    wire = MeterWire(lambda: VALUES, lambda: "1")
    if open_session:
        for message in (b"/?!\r\n", b"\x06061\r\n", with_check(b"\x01P1\x02(00000000)")):
            wire.receive(with_parity(message))
    for burst in bursts:
        wire.receive(burst)
        wire.receive(with_parity(bytes(byte & 0x7F for byte in burst)))
    wire.hang_up()
    assert wire.receive(with_parity(b"/?!\r\n")) is not None


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_upset_the_relay(bursts: list[bytes]) -> None:
    driven: list[bool] = []
    relay = RelayWire(driven.append, lambda: False, lambda: False)
    for burst in bursts:
        relay.receive(burst)
        relay.receive(b"\x01" + burst)
    relay.hang_up()
    assert relay.receive(b"\x01\x05\x00\x00\xff\x00\x8c\x3a") == b"\x01\x05\x00\x00\xff\x00\x8c\x3a"
    assert driven[-1] is True
