"""Parity, seven-bit framing and changes of speed, on a wire drawn bit by bit (a pseudo-terminal has none of them)."""

from collections.abc import Iterator

import pytest
import serial
from wattproof_rig.meter_wire import MeterWire, with_parity

from meter_agent.line import BadBytes, Meter, MeterSilent, open_meter
from meter_agent.line import meter as meter_module
from meter_agent.line.framing import add_parity, strip_parity
from meter_agent.line.meter import LEFT_AT_BAUDS
from tests.line.urlhandler.protocol_wire import FAR_ENDS, FarEnd, Received, Settings, draw, sample

VALUES = {
    "C.1.0": "4711", "1.8.0": "001234.567*kWh", "2.8.0": "000000.001*kWh", "16.7.0": "-01.2345*kW",
    "31.7.0": "005.36*A", "32.7.0": "230.1*V", "C.5.0": "00000001",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _handler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(serial, "protocol_handler_packages", ["tests.line.urlhandler"])
    # Time on the drawn wire does not pass: an answer is there at once or never.
    monkeypatch.setattr(meter_module, "REACTION_MAX_S", 0.05)
    monkeypatch.setattr(meter_module, "GAP_MAX_S", 0.05)
    yield
    FAR_ENDS.clear()


def far_end(*, parity: str = "E", deaf_to_speed: bool = False) -> FarEnd:
    """A whole mode C meter behind a UART of 7E1 (or another parity, or one that does not follow its own change of speed)."""
    wire = MeterWire(lambda: VALUES, lambda: "4711", initial_baud=300, top_baud=19200)
    far = FarEnd(hear=lambda _: None, settings=Settings(300, 7, parity))

    def hear(received: Received) -> tuple[bytes, int, int] | None:
        reply = wire.receive(with_parity(bytes(received.characters)))
        if reply is None:
            far.settings.baud = wire.baud
            return None
        return reply.data, 300 if deaf_to_speed else reply.baud_before, reply.baud_after

    far.hear = hear
    return far


def connect(far: FarEnd) -> Meter:
    FAR_ENDS["meter"] = far
    return open_meter("wire://meter")


def test_eight_bits_with_our_parity_are_seven_bits_with_even_parity_on_the_wire() -> None:
    for character in range(128):
        ours = draw(add_parity(bytes([character])), Settings(300, 8, "N"))
        standard = draw(bytes([character]), Settings(300, 7, "E"))
        assert ours == standard


def test_the_simulated_uart_sees_what_is_wrong() -> None:
    wave = draw(b"Watt", Settings(9600, 7, "E"))
    assert bytes(sample(wave, Settings(9600, 7, "E")).characters) == b"Watt"
    assert sample(wave, Settings(9600, 7, "O")).parity_errors == 4
    wrong = sample(wave, Settings(300, 7, "E"))
    assert bytes(wrong.characters) != b"Watt"
    assert sample(draw(b"\x00\x00\x00", Settings(300, 8, "N")), Settings(9600, 7, "E")).framing_errors


def test_every_character_we_send_is_seven_even_one_at_the_meters_speed() -> None:
    far = far_end()
    meter = connect(far)
    reading = meter.read()
    sample_ = meter.sample(with_register=True)
    heard = far.heard[len(LEFT_AT_BAUDS) :]  # first come goodbyes at the speeds a dead reader may have left it at
    assert all(received.parity_errors == received.framing_errors == 0 for _, received in heard)
    assert [baud for baud, _ in heard] == [300] * 4 + [19200] * 5
    assert (reading.serial, reading.import_milliwatt_hours, reading.export_milliwatt_hours) == ("4711", 1_234_567_000, 1_000)
    assert (reading.step_milliwatt_hours, reading.register_digits) == (1_000, 9)
    assert (sample_.power_milliwatts, sample_.voltage_millivolts) == (-1_234_500, 230_100)
    assert sample_.import_milliwatt_hours == 1_234_567_000
    meter.close()


def test_the_speed_goes_back_for_the_next_sign_on() -> None:
    far = far_end()
    meter = connect(far)
    meter.sample()
    meter.read()
    meter.read()
    assert far.settings.baud == 300
    assert all(received.framing_errors == 0 for _, received in far.heard[len(LEFT_AT_BAUDS) :])


def test_a_meter_with_odd_parity_is_named() -> None:
    meter = connect(far_end(parity="O"))
    with pytest.raises((BadBytes, MeterSilent)):
        meter.read()


def test_odd_parity_in_a_burst_is_named_with_its_place() -> None:
    good = add_parity(b"/WPr6")
    assert strip_parity(good) == b"/WPr6"
    with pytest.raises(BadBytes, match=r"character 2 of a burst of 5 .* parity is odd"):
        strip_parity(good[:2] + bytes([good[2] ^ 0x80]) + good[3:])


def test_a_meter_that_does_not_follow_its_own_change_of_speed() -> None:
    meter = connect(far_end(deaf_to_speed=True))
    with pytest.raises(BadBytes):
        meter.read()
