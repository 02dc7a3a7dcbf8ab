"""The meter's side of IEC 62056-21 mode C: sign-on, readout, programming mode with R1 and R5. Sans-I/O.

Bytes in are as they stand on the wire, even parity in the eighth bit; so are bytes out. Sources: IEC 62056-21:2002 clauses
5 and 6, annex A. What a meter does not understand it ignores; a damaged programming message is answered with NAK.
"""

from collections.abc import Callable
from functools import reduce
from operator import xor
from typing import NamedTuple

SOH, STX, ETX, ACK, NAK = b"\x01", b"\x02", b"\x03", b"\x06", b"\x15"
BAUD_CHARACTERS = {300: "0", 600: "1", 1200: "2", 2400: "3", 4800: "4", 9600: "5", 19200: "6"}
# A meter with a lower-case third letter answers from 20 ms on; after a change of speed it gives the reader time to follow.
REACTION_S = 0.022
REACTION_AFTER_BAUD_CHANGE_S = 0.060
MAX_PENDING = 256  # no message a reader sends to this meter is longer
IDENTITY = "WPr{baud}RIG-1"
PASSWORD = "00000000"  # noqa: S105 - printed on the manual of every such meter; it protects nothing


class Reply(NamedTuple):
    """Set `baud_before`, wait, send, set `baud_after`."""

    data: bytes
    after_s: float
    baud_before: int
    baud_after: int


def with_parity(data: bytes) -> bytes:
    """Seven-bit characters with even parity in the eighth bit."""
    return bytes(byte | (byte.bit_count() & 1) << 7 for byte in data)


def with_check(block: bytes) -> bytes:
    """A block (beginning with SOH or STX) with its ETX and block check character."""
    return block + ETX + bytes([reduce(xor, block[1:] + ETX)])


class MeterWire:
    """`data_sets` gives the values at the moment of asking; `serial` the present meter's number."""

    def __init__(
        self,
        data_sets: Callable[[], dict[str, str]],
        serial: Callable[[], str],
        *,
        initial_baud: int = 300,
        top_baud: int = 19200,
        programming: bool = True,
    ):
        self._data_sets = data_sets
        self._serial = serial
        self.initial_baud = initial_baud
        self.top_baud = top_baud
        self.programming = programming
        self.baud = initial_baud
        self.state = "idle"  # idle → identified → (readout →) idle | locked → open → idle
        self._pending = b""

    def hang_up(self) -> None:
        """Back to waiting for a sign-on (power lost, or nothing heard for too long)."""
        self.state, self.baud, self._pending = "idle", self.initial_baud, b""

    def receive(self, data: bytes) -> Reply | None:
        """The answer to what has arrived so far, if it makes one."""
        if any(byte.bit_count() & 1 for byte in data):
            self._pending = b""
            return None
        self._pending = (self._pending + bytes(byte & 0x7F for byte in data))[-MAX_PENDING:]
        if self.state in ("idle", "identified"):
            return self._line()
        return self._block()

    def _line(self) -> Reply | None:
        end = self._pending.find(b"\r\n")
        if end < 0:
            return None
        line, self._pending = self._pending[:end], self._pending[end + 2 :]
        sign_on = line.rfind(b"/?")
        if sign_on >= 0 and line.endswith(b"!"):
            address = line[sign_on + 2 : -1].decode("ascii", "replace")
            if address and address.lstrip("0") != self._serial().lstrip("0"):
                return None  # another meter on the same line is being called
            self.state = "identified"
            text = f"/{IDENTITY.format(baud=BAUD_CHARACTERS[self.top_baud])}\r\n"
            return self._reply(text.encode())
        if self.state == "identified" and len(line) == 4 and line[:2] == ACK + b"0":
            return self._selected(chr(line[2]), chr(line[3]))
        return None

    def _selected(self, baud_character: str, mode: str) -> Reply | None:
        bauds = {"0": self.initial_baud, BAUD_CHARACTERS[self.top_baud]: self.top_baud}
        if baud_character not in bauds or mode not in "01":
            self.hang_up()
            return None
        baud = bauds[baud_character]
        if mode == "0":
            lines = "".join(f"{code}({value})\r\n" for code, value in self._data_sets().items())
            self.hang_up()
            return Reply(with_check(STX + f"{lines}!\r\n".encode()), REACTION_AFTER_BAUD_CHANGE_S, baud, self.initial_baud)
        if not self.programming:
            self.hang_up()
            return Reply(with_check(SOH + b"B0"), REACTION_AFTER_BAUD_CHANGE_S, baud, self.initial_baud)
        self.state, self.baud, self._pending = "locked", baud, b""
        hello = with_check(SOH + b"P0" + STX + f"({self._serial()})".encode())
        return Reply(hello, REACTION_AFTER_BAUD_CHANGE_S, baud, baud)

    def _block(self) -> Reply | None:
        start = self._pending.find(SOH)
        end = self._pending.find(ETX, start)
        if start < 0 or end < 0 or len(self._pending) < end + 2:
            return None
        block, check = self._pending[start:end], self._pending[end + 1]
        self._pending = self._pending[end + 2 :]
        if check != reduce(xor, block[1:] + ETX):
            return self._reply(NAK)
        command, _, argument = block[1:].partition(STX)
        if command == b"B0":
            self.hang_up()
            return None
        if self.state == "locked":
            if command == b"P1" and argument == f"({PASSWORD})".encode():
                self.state = "open"
                return self._reply(ACK)
            return self._reply(with_check(STX + b"(ER01 password)"))
        return self._value(command, argument.decode("ascii", "replace"))

    def _value(self, command: bytes, argument: str) -> Reply:
        code, bracket, rest = argument.partition("(")
        if command not in (b"R1", b"R5") or bracket + rest != "()":
            return self._reply(with_check(STX + b"(ER03 command)"))
        value = self._data_sets().get(code)
        if value is None:
            return self._reply(with_check(STX + b"(ER02 address)"))
        return self._reply(with_check(STX + f"{code}({value})".encode()))

    def _reply(self, data: bytes) -> Reply:
        return Reply(data, REACTION_S, self.baud, self.baud)
