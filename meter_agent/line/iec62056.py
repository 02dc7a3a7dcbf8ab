"""IEC 62056-21 mode C, the reader's side, without I/O: bytes in, events and bytes out.

The states and what may happen in each are one table. Whatever bytes come in, `receive` raises nothing but `BadBytes`; our own
misuse raises `IllegalStep`. Characters are seven-bit here (`framing` does parity) and time is not known here (`meter` has the
deadlines). Sources: IEC 62056-21:2002 clauses 5, 6 and annex A. Not spoken: modes A, B, D, E, partial blocks (EOT).
"""

import re
from enum import Enum, auto
from typing import NamedTuple

from meter_agent.line.errors import BadBytes
from meter_agent.line.framing import ACK, EOT, ETX, NAK, SOH, STX, block, check_character
from meter_agent.line.values import DataSet, parse_data_sets

# The longest data block we take: 500 lines; a block at 19200 baud takes 8 s to send.
MAX_BLOCK = 16_384
# Turn-round noise and wake-up characters before a message; beyond this the meter babbles.
MAX_NOISE = 64
# '/', three letters, baud, up to 16 characters (more with '\\W' marks), CR LF.
MAX_IDENTIFICATION = 64
BAUDS = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}

_IDENTIFICATION = re.compile(rb"/([A-Za-z]{3})(.)([\x20-\x7e]*)", re.ASCII)


class IllegalStep(RuntimeError):
    """Our own mistake: something sent, in a state that does not allow it."""


class State(Enum):
    HUNG_UP = auto()
    SIGNING_ON = auto()  # waits for the identification
    IDENTIFIED = auto()
    READING_OUT = auto()  # waits for the data block
    ENTERING = auto()  # waits for the meter's P0
    LOCKED = auto()
    UNLOCKING = auto()  # waits for the answer to the password
    OPEN = auto()
    ASKING = auto()  # waits for a value


class Step(Enum):
    """What we send, what we hear, and what is worse than silence."""

    SIGN_ON = auto()
    SELECT_READOUT = auto()
    SELECT_PROGRAMMING = auto()
    PASSWORD = auto()
    ASK = auto()
    HEARD_IDENTIFICATION = auto()
    HEARD_DATA = auto()
    HEARD_HELLO = auto()
    HEARD_ACK = auto()
    HEARD_NAK = auto()
    HEARD_BREAK = auto()
    HEARD_RUBBISH = auto()


S, T = State, Step
TABLE: dict[tuple[State, Step], State] = {
    (S.HUNG_UP, T.SIGN_ON): S.SIGNING_ON,
    (S.SIGNING_ON, T.HEARD_IDENTIFICATION): S.IDENTIFIED,
    (S.IDENTIFIED, T.SELECT_READOUT): S.READING_OUT,
    (S.IDENTIFIED, T.SELECT_PROGRAMMING): S.ENTERING,
    (S.READING_OUT, T.HEARD_DATA): S.HUNG_UP,
    (S.ENTERING, T.HEARD_HELLO): S.LOCKED,
    (S.ENTERING, T.HEARD_DATA): S.HUNG_UP,  # a meter without programming mode reads out instead
    (S.ENTERING, T.HEARD_BREAK): S.HUNG_UP,  # or hangs up
    (S.LOCKED, T.PASSWORD): S.UNLOCKING,
    (S.UNLOCKING, T.HEARD_ACK): S.OPEN,
    (S.UNLOCKING, T.HEARD_DATA): S.HUNG_UP,  # an error message
    (S.UNLOCKING, T.HEARD_NAK): S.HUNG_UP,
    (S.UNLOCKING, T.HEARD_BREAK): S.HUNG_UP,
    (S.OPEN, T.ASK): S.ASKING,
    (S.OPEN, T.HEARD_RUBBISH): S.OPEN,
    (S.ASKING, T.HEARD_DATA): S.OPEN,
    (S.ASKING, T.HEARD_NAK): S.OPEN,
    (S.ASKING, T.HEARD_BREAK): S.HUNG_UP,
    (S.ASKING, T.HEARD_RUBBISH): S.OPEN,  # one damaged answer is asked for again, without a second sign-on
}
_MESSAGES = {T.HEARD_IDENTIFICATION, T.HEARD_DATA, T.HEARD_HELLO, T.HEARD_ACK, T.HEARD_NAK, T.HEARD_BREAK}
_HEARD_BY_STATE = {state: {step for (at, step) in TABLE if at is state} & _MESSAGES for state in State}


class Identification(NamedTuple):
    """`reaction_s`: how long each side waits before answering; 20 ms where the third letter is lower case, else 200 ms."""

    text: str
    baud_character: str
    baud: int
    reaction_s: float


class DataBlock(NamedTuple):
    data_sets: list[DataSet]


class Hello(NamedTuple):
    """The meter's P0: programming mode entered, here is the operand for the password."""

    operand: str


class Accepted(NamedTuple):
    """ACK."""


class Refused(NamedTuple):
    """NAK, an error message, or a break: `why` says which."""

    why: str
    hung_up: bool


Event = Identification | DataBlock | Hello | Accepted | Refused


class ModeC:
    """One conversation. Ask a method for bytes to send, feed what comes back to `receive`."""

    def __init__(self) -> None:
        self.state = State.HUNG_UP
        self._buffer = b""
        self._baud_character = "0"
        self._asked = ""

    def _go(self, step: Step) -> None:
        if (self.state, step) not in TABLE:
            raise IllegalStep(f"{step.name} is not possible while {self.state.name}")
        self.state = TABLE[self.state, step]
        self._buffer = b""

    def hang_up(self) -> bytes:
        """Give the conversation up in any state; the bytes end programming mode (and disturb nobody else)."""
        self.state = State.HUNG_UP
        self._buffer = b""
        return block(SOH + b"B0")

    def sign_on(self, address: str = "") -> bytes:
        self._go(Step.SIGN_ON)
        return f"/?{address}!\r\n".encode("ascii")

    def select_readout(self) -> bytes:
        self._go(Step.SELECT_READOUT)
        return ACK + f"0{self._baud_character}0\r\n".encode("ascii")

    def select_programming(self) -> bytes:
        self._go(Step.SELECT_PROGRAMMING)
        return ACK + f"0{self._baud_character}1\r\n".encode("ascii")

    def password(self, password: str) -> bytes:
        self._go(Step.PASSWORD)
        return block(SOH + b"P1" + STX + f"({password})".encode("ascii"))

    def ask(self, code: str, command: str = "R5") -> bytes:
        """Ask for one register: R5 (formatted) or R1 (ASCII coded)."""
        self._go(Step.ASK)
        self._asked = code
        return block(SOH + command.encode("ascii") + STX + f"{code}()".encode("ascii"))

    def receive(self, data: bytes) -> Event | None:
        """Take what came; the event once its message is whole. What follows a whole message is not ours and is dropped.

        After `BadBytes` the conversation is over (`HUNG_UP`), except that a register may simply be asked for again.
        """
        heard = _HEARD_BY_STATE[self.state]
        if not heard:
            self.rubbish()
            raise BadBytes(f"{len(data)} bytes from the meter that nobody asked for: {data[:20]!r}")
        self._buffer += data
        try:
            if any(byte > 0x7F for byte in data):
                raise BadBytes(f"characters with eight bits from the meter: {data[:20]!r}")
            found = self._identification() if self.state is State.SIGNING_ON else self._message()
            if found is None:
                return None
            step, event = found
            if step not in heard:
                raise BadBytes(f"the meter sent {step.name[6:].lower()} while {self.state.name.lower().replace('_', ' ')}")
        except BadBytes:
            self.rubbish()
            raise
        self._go(step)
        return event

    def rubbish(self) -> None:
        """What came was unreadable (found here, or below as wrong parity)."""
        self.state = TABLE.get((self.state, Step.HEARD_RUBBISH), State.HUNG_UP)
        self._buffer = b""

    def _start(self, *openers: bytes) -> bool:
        """Drop noise before the first opener; False while there is none yet."""
        starts = [at for opener in openers if (at := self._buffer.find(opener)) >= 0]
        skipped = min(starts, default=len(self._buffer))
        if skipped > MAX_NOISE:
            raise BadBytes(
                f"{skipped} bytes from the meter and no message in them, e.g. {self._buffer[:20]!r}: "
                "check baud rate and wiring, or the meter babbles"
            )
        if starts:
            self._buffer = self._buffer[skipped:]
        return bool(starts)

    def _identification(self) -> tuple[Step, Event] | None:
        if not self._start(b"/"):
            return None
        end = self._buffer.find(b"\r\n")
        if end < 0 and len(self._buffer) <= MAX_IDENTIFICATION:
            return None
        match = _IDENTIFICATION.fullmatch(self._buffer[: max(end, 0)])
        if match is None or end > MAX_IDENTIFICATION:
            raise BadBytes(f"no identification: {self._buffer[:MAX_IDENTIFICATION]!r}")
        character = match[2].decode("ascii")
        if character not in BAUDS:
            raise BadBytes(f"the meter offers baud character {character!r}: only mode C (0 to 6) is spoken here")
        self._baud_character = character
        reaction_s = 0.020 if match[1][2:].islower() else 0.200
        text = (match[1] + match[3]).decode("ascii")
        return Step.HEARD_IDENTIFICATION, Identification(text, character, BAUDS[character], reaction_s)

    def _message(self) -> tuple[Step, Event] | None:
        if not self._start(SOH, STX, ACK, NAK):
            return None
        first = self._buffer[:1]
        if first == ACK:
            return Step.HEARD_ACK, Accepted()
        if first == NAK:
            return Step.HEARD_NAK, Refused("NAK", hung_up=self.state is not State.ASKING)
        end = self._buffer.find(ETX)
        if EOT in self._buffer[: end if end >= 0 else None]:
            raise BadBytes("the meter sends its data in partial blocks (EOT), which are not spoken here")
        if end < 0 or len(self._buffer) < end + 2:
            if len(self._buffer) > MAX_BLOCK:
                raise BadBytes(f"a block of more than {MAX_BLOCK} bytes without an end: the meter babbles")
            return None
        check = check_character(self._buffer[1 : end + 1])
        if check != self._buffer[end + 1]:
            raise BadBytes(
                f"block check is {self._buffer[end + 1]:#04x}, the {end + 1} bytes received give {check:#04x}: "
                "noise on the line, or a meter that computes it wrongly"
            )
        return self._block(first, self._buffer[1:end])

    def _block(self, first: bytes, body: bytes) -> tuple[Step, Event]:
        if first == SOH:
            command, _, operand = body.partition(STX)
            if command == b"P0":
                return Step.HEARD_HELLO, Hello(operand.decode("ascii"))
            if command == b"B0":
                return Step.HEARD_BREAK, Refused("it hung up", hung_up=True)
            raise BadBytes(f"unknown command {command[:8]!r} from the meter")
        if self.state is State.READING_OUT or body.endswith(b"!\r\n"):
            if not body.endswith(b"!\r\n"):
                raise BadBytes("the data block does not end in '!' CR LF")
            body = body[:-3]
        data_sets = parse_data_sets(body)
        if self.state is State.ENTERING:
            return Step.HEARD_DATA, Refused("it read out instead of entering programming mode", hung_up=True)
        if self.state is State.UNLOCKING or (data_sets and data_sets[0].text.startswith("ER")):
            why = body[:40].decode("ascii")
            return Step.HEARD_DATA, Refused(f"error {why}", hung_up=self.state is State.UNLOCKING)
        return Step.HEARD_DATA, DataBlock(self._answers(data_sets) if self.state is State.ASKING else data_sets)

    def _answers(self, data_sets: list[DataSet]) -> list[DataSet]:
        """The answer to a question may leave the address out (it was in the question); another's address is a late answer."""
        if len(data_sets) != 1 or (data_sets[0].address and self._asked not in (data_sets[0].address, data_sets[0].code)):
            raise BadBytes(f"asked for {self._asked}, the meter answered {[one.address for one in data_sets][:5]}")
        return [DataSet(data_sets[0].address or self._asked, data_sets[0].raw)]
