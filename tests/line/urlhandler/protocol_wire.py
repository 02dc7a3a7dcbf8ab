"""A serial port whose wire is drawn bit by bit: `serial_for_url("wire://NAME")`.

Loaded by pyserial itself through `serial.protocol_handler_packages`. What is written becomes a waveform at the settings the port
has at that moment; the meter's UART (7E1 at the meter's own speed) samples it in the middle of its bits, and the other way
round. A wrong speed, a missing parity bit or eight data bits therefore show exactly as they would on copper.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from math import lcm
from operator import xor

from serial.serialutil import SerialBase

# A time unit in which a bit of every speed in use has a whole length.
UNITS_PER_SECOND = lcm(300, 600, 1200, 2400, 4800, 9600, 19200) * 4
Waveform = list[tuple[int, int]]  # (how long in units, level)


@dataclass
class Settings:
    baud: int
    data_bits: int
    parity: str
    stop_bits: int = 1

    @property
    def bit(self) -> int:
        return UNITS_PER_SECOND // self.baud


@dataclass
class Received:
    """Characters as a UART hands them over, with what was wrong with them."""

    characters: list[int] = field(default_factory=list)
    parity_errors: int = 0
    framing_errors: int = 0


def draw(data: bytes, settings: Settings) -> Waveform:
    """The levels on the wire: start bit, data bits from the lowest, parity, stop bit."""
    wave: Waveform = []
    for byte in data:
        bits = [byte >> at & 1 for at in range(settings.data_bits)]
        if settings.parity != "N":
            bits.append(reduce(xor, bits) ^ (settings.parity == "O"))
        wave += [(settings.bit, level) for level in [0, *bits, *[1] * settings.stop_bits]]
    return wave


def sample(wave: Waveform, settings: Settings) -> Received:
    """What a UART makes of a waveform, sampling in the middle of its own bits."""
    edges: list[tuple[int, int]] = []
    at = 0
    for length, level in wave:
        edges.append((at, level))
        at += length
    end = at

    def level_at(time: int) -> int:
        if time >= end:
            return 1  # an idle wire rests at the stop level
        low, high = 0, len(edges) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if edges[middle][0] <= time else (low, middle - 1)
        return edges[low][1]

    received = Received()
    time = 0
    while time < end:
        if level_at(time):
            time = next((start for start, level in edges if start > time and level == 0), end)
            continue
        count = settings.data_bits + (settings.parity != "N")
        bits = [level_at(time + settings.bit * (2 * index + 3) // 2) for index in range(count)]
        if settings.parity != "N" and reduce(xor, bits) != (settings.parity == "O"):
            received.parity_errors += 1
        if not level_at(time + settings.bit * (2 * count + 3) // 2):
            received.framing_errors += 1
        received.characters.append(sum(bit << at for at, bit in enumerate(bits[: settings.data_bits])))
        time += settings.bit * (count + 1) + settings.bit // 2
    return received


@dataclass
class FarEnd:
    """A meter's UART and what stands behind it: `hear` gets characters, returns (characters to send, at which speed, speed after)."""

    hear: Callable[[Received], tuple[bytes, int, int] | None]
    settings: Settings
    heard: list[tuple[int, Received]] = field(default_factory=list)


FAR_ENDS: dict[str, FarEnd] = {}


class Serial(SerialBase):  # type: ignore[misc]  # pyserial has no types
    """The near end. Time on this wire does not pass: an answer is there as soon as the question has been written."""

    def open(self) -> None:
        self._far = FAR_ENDS[self.portstr.removeprefix("wire://")]
        self._waiting: list[Waveform] = []
        self._characters: list[int] = []
        self.is_open = True

    def from_url(self, url: str) -> None: ...

    def _reconfigure_port(self) -> None: ...

    @property
    def _settings(self) -> Settings:
        return Settings(self.baudrate, self.bytesize, self.parity, int(self.stopbits))

    def write(self, data: bytes) -> int:
        received = sample(draw(bytes(data), self._settings), self._far.settings)
        self._far.heard.append((self._far.settings.baud, received))
        answer = self._far.hear(received)
        if answer is not None:
            characters, baud, after = answer
            self._waiting.append(draw(characters, Settings(baud, self._far.settings.data_bits, self._far.settings.parity)))
            self._far.settings.baud = after
        return len(data)

    @property
    def in_waiting(self) -> int:
        for wave in self._waiting:
            self._characters += sample(wave, self._settings).characters
        self._waiting.clear()
        return len(self._characters)

    def read(self, size: int = 1) -> bytes:
        taken = self._characters[: min(size, self.in_waiting)]
        del self._characters[: len(taken)]
        return bytes(taken)

    def reset_input_buffer(self) -> None:
        self._waiting.clear()
        self._characters.clear()

    def flush(self) -> None: ...

    def close(self) -> None:
        self.is_open = False
