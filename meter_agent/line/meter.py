"""A meter on a serial line: readouts, single registers, fast samples, each within a stated time.

The conversation is `iec62056.ModeC`, the port `serial_line.SerialLine`; here are the deadlines, the retries, and the habit of
staying in programming mode between samples so that one takes a tenth of a second instead of a whole sign-on.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from meter_agent.line.errors import BadBytes, LineError, MeterRefused, MeterSilent, MeterTooSlow, PortError
from meter_agent.line.iec62056 import Accepted, DataBlock, Event, Hello, Identification, ModeC, Refused, State
from meter_agent.line.reading import MeterMap, MeterReading, MeterSample, Moment, reading_of, sample_of
from meter_agent.line.serial_line import SerialLine
from meter_agent.line.values import DataSet

DEFAULT_PASSWORD = "00000000"  # noqa: S105 - as shipped by makers; it opens registers for reading only
READ_DEADLINE_S = 12.0
SAMPLE_DEADLINE_S = 8.0
ATTEMPTS = 3
# The standard gives a meter 1.5 s to begin and 1.5 s between characters (clause 6.4.3.3); a little more for the port's own delay.
REACTION_MAX_S = 1.6
GAP_MAX_S = 1.6
# An identification is at most 64 characters: 2.2 s at 300 baud, after the reaction time.
IDENTIFICATION_MAX_S = 4.0
# A meter may leave programming mode after 60 s without a question; before that we sign on again of our own accord.
SESSION_IDLE_S = 50.0
# After a break the meter needs a moment to be ready for a sign-on, at another speed.
BREAK_PAUSE_S = 0.1
# A damaged answer is over once the line has been quiet for some characters; a babbling meter is not waited for.
QUIET_S, QUIET_MAX_S = 0.03, 0.5
# Speeds at which a meter may have been left in programming mode by a program that died (a break takes 3 ms to 20 ms each).
LEFT_AT_BAUDS = (19200, 9600, 4800, 2400)

Result = TypeVar("Result")


class Meter(Protocol):
    """What the agent needs of a meter (docs/walls.md)."""

    def read(self, *, deadline_s: float = READ_DEADLINE_S) -> MeterReading: ...
    def read_registers(self, *, deadline_s: float = SAMPLE_DEADLINE_S) -> MeterReading: ...
    def sample(self, with_register: bool = False, *, deadline_s: float = SAMPLE_DEADLINE_S) -> MeterSample: ...
    def close(self) -> None: ...


class ModeCMeter:
    """The `Meter` of IEC 62056-21 mode C. One thread at a time: a second caller waits."""

    def __init__(self, line: SerialLine, *, address: str = "", password: str = DEFAULT_PASSWORD, codes: MeterMap | None = None):
        self._line = line
        self._initial_baud = line.baud
        self._address = address
        self._password = password
        self._codes = codes or MeterMap()
        self._core = ModeC()
        self._lock = threading.Lock()
        self._identified: Identification | None = None
        self._no_programming = ""  # why the meter has none, once it said so
        self._unknown_codes: set[str] = set()
        self._heard_at = 0.0
        self._serial = ""  # of the meter in the open session
        self._lost = True  # the meter may be in a session of somebody who died, at whatever speed

    # the three questions

    def read(self, *, deadline_s: float = READ_DEADLINE_S) -> MeterReading:
        """The whole data readout. Leaves programming mode. Any `LineError`."""
        return self._attempt(self._read_out, deadline_s, lambda found: reading_of(*found, self._codes))

    def read_registers(self, *, deadline_s: float = SAMPLE_DEADLINE_S) -> MeterReading:
        """The codes of the map, one by one, in programming mode. Any `LineError`."""
        codes = self._codes
        wanted = (codes.serial[0], codes.imported, codes.exported, codes.power, codes.current, codes.voltage, codes.status)

        def ask(until: float) -> tuple[list[DataSet], str, Moment]:
            found, moment = self._ask(wanted, until, timed=codes.imported)
            return found, self._identified.text if self._identified else "", moment

        return self._attempt(ask, deadline_s, lambda found: reading_of(*found, codes))

    def sample(self, with_register: bool = False, *, deadline_s: float = SAMPLE_DEADLINE_S) -> MeterSample:
        """Power and downstream voltage (and the import register), as fast as the line allows; any `LineError`.

        Where the meter has no programming mode this is a readout, and takes as long as one.
        """
        codes = self._codes
        # Voltage first: where it is already dead, the power read after it cannot be from before the contact opened.
        wanted = (codes.voltage, codes.power) + ((codes.imported,) if with_register else ())

        def ask(until: float) -> tuple[list[DataSet], str, Moment]:
            if not self._no_programming:
                try:
                    data_sets, moment = self._ask(wanted, until)
                    return data_sets, self._serial, moment
                except MeterRefused:
                    if not self._no_programming:
                        raise
            data_sets, _, moment = self._read_out(until)
            return data_sets, "", moment

        return self._attempt(ask, deadline_s, lambda found: sample_of(*found, codes))

    def close(self) -> None:
        """End programming mode, so that the next reader finds the meter waiting, and close the port. Never fails."""
        with self._lock:
            with suppress(LineError):  # a meter that does not hear this hangs up by itself after its inactivity time
                self._hang_up()
            self._line.close()

    # attempts

    def _attempt(self, ask: Callable[[float], Result], deadline_s: float, build: "Callable[[Result], Built]") -> "Built":
        """Ask up to `ATTEMPTS` times within the deadline; a permanent error and a lost port end it at once."""
        with self._lock:
            until = time.monotonic() + deadline_s
            first: LineError | None = None
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return build(ask(until))
                except PortError:
                    self._core.hang_up()
                    self._lost = True
                    raise
                except LineError as error:
                    self._line.drain(QUIET_S, QUIET_MAX_S)
                    # An open session outlives a damaged answer; anything else may have left the meter anywhere.
                    self._lost = self._lost or self._core.state is not State.OPEN
                    first = first or error
                    if not error.transient:
                        raise
                    if attempt == ATTEMPTS or time.monotonic() + REACTION_MAX_S > until:
                        # An attempt that the deadline cut off says less about the meter than the one before it.
                        told = first if time.monotonic() >= until else error
                        told.add_note(f"after {attempt} attempts")
                        raise told from None
            raise AssertionError("unreachable: the last attempt returns or raises")

    # the conversation

    def _hang_up(self) -> None:
        """To the state before a sign-on, saying goodbye to a meter that is, or may be, in programming mode."""
        in_session = self._core.state is State.OPEN
        bauds = LEFT_AT_BAUDS if self._lost else (self._line.baud,) if in_session else ()
        goodbye = self._core.hang_up()
        if in_session:
            self._pause()
        for baud in bauds:
            self._line.set_baud(baud)
            self._line.send(goodbye)
        self._line.set_baud(self._initial_baud)
        if bauds:
            time.sleep(BREAK_PAUSE_S)
        self._lost = False

    def _sign_on(self, until: float) -> Identification:
        self._hang_up()
        event = self._exchange(self._core.sign_on(self._address), min(until, time.monotonic() + IDENTIFICATION_MAX_S))
        identified = _expect(Identification, event)
        if identified != self._identified:  # another kind of meter than before, or the first
            self._no_programming = ""
            self._unknown_codes.clear()
        self._identified = identified
        return identified

    def _read_out(self, until: float) -> tuple[list[DataSet], str, Moment]:
        started_ns = time.monotonic_ns()
        identified = self._sign_on(until)
        self._pause()
        self._line.send(self._core.select_readout())
        self._line.set_baud(identified.baud)
        event, read_at_s = self._hear(until)
        self._line.set_baud(self._initial_baud)
        moment = Moment(read_at_s, started_ns, time.monotonic_ns())
        return _expect(DataBlock, event).data_sets, identified.text, moment

    def _enter(self, until: float) -> None:
        """Into programming mode, if we are not there (any more)."""
        if self._core.state is State.OPEN and time.monotonic() - self._heard_at < SESSION_IDLE_S:
            return
        identified = self._sign_on(until)
        self._pause()
        self._line.send(self._core.select_programming())
        self._line.set_baud(identified.baud)
        event, _ = self._hear(until)
        if isinstance(event, Refused):
            self._no_programming = event.why
            raise MeterRefused(f"the meter at {self._line.url} has no programming mode: {event.why}")
        _expect(Hello, event)
        event = self._exchange(self._core.password(self._password), until)
        if isinstance(event, Refused):
            self._line.send(self._core.hang_up())
            raise MeterRefused(f"the meter at {self._line.url} refuses the password ({event.why}): set the right one")
        _expect(Accepted, event)
        self._serial = ""
        for code in self._codes.serial:
            if answer := self._ask_one(code, until)[0]:
                self._serial = answer[0].text.strip()
                break

    def _ask(self, wanted: tuple[str, ...], until: float, timed: str = "") -> tuple[list[DataSet], Moment]:
        """Registers in programming mode; those the meter does not know are left out. `timed`: whose time is the reading's."""
        started_ns = time.monotonic_ns()
        self._enter(until)
        found: list[DataSet] = []
        read_at_s = 0
        for code in wanted:
            answer, heard_at_s = self._ask_one(code, until)
            found += answer
            if not read_at_s or code == timed:
                read_at_s = heard_at_s
        return found, Moment(read_at_s, started_ns, time.monotonic_ns())

    def _ask_one(self, code: str, until: float) -> tuple[list[DataSet], int]:
        """One register and when its answer began; nothing where the meter does not know it (asked only once)."""
        if code in self._unknown_codes:
            return [], 0
        self._pause()
        self._line.send(self._core.ask(code, self._codes.read_command))
        event, heard_at_s = self._hear(until)
        if isinstance(event, DataBlock):
            return event.data_sets, heard_at_s
        if isinstance(event, Refused) and event.why != "NAK" and not event.hung_up:
            self._unknown_codes.add(code)
            return [], 0
        raise BadBytes(f"the meter answered {event} to the question for {code}")

    def _exchange(self, message: bytes, until: float) -> Event:
        self._pause()
        self._line.send(message)
        return self._hear(until)[0]

    def _pause(self) -> None:
        """The meter needs its reaction time to turn from sending to listening (clause 6.4.3.3)."""
        if self._identified:
            time.sleep(max(0.0, self._heard_at + self._identified.reaction_s - time.monotonic()))

    def _hear(self, until: float) -> tuple[Event, int]:
        """The next event, and UTC when its first byte was there."""
        received = 0
        read_at_s = 0
        while True:
            patience = GAP_MAX_S if received else REACTION_MAX_S
            try:
                data = self._line.receive(min(until, time.monotonic() + patience))
            except BadBytes:
                self._core.rubbish()
                raise
            if not data:
                self._gave_up(received, time.monotonic() >= until)
            read_at_s = read_at_s or int(time.time())
            received += len(data)
            event = self._core.receive(data)
            self._heard_at = time.monotonic()
            if event is not None:
                return event, read_at_s
            if self._heard_at >= until:
                self._gave_up(received, True)

    def _gave_up(self, received: int, deadline_passed: bool) -> None:
        state = self._core.state.name.lower().replace("_", " ")
        self._core.hang_up()
        if not received:
            raise MeterSilent(
                f"no answer from the meter at {self._line.url} while {state}: "
                "check its supply, the wiring, the optical head and the opening baud rate"
            )
        if deadline_passed:
            raise MeterTooSlow(f"the meter at {self._line.url} sent {received} bytes and was not done in time while {state}")
        raise BadBytes(f"the meter at {self._line.url} stopped after {received} bytes while {state}: the message was cut short")


Built = TypeVar("Built", MeterReading, MeterSample)
Wanted = TypeVar("Wanted", bound=Event)


def _expect(kind: type[Wanted], event: Event) -> Wanted:
    """The event, which the state table has already limited to what can come; a refusal is the meter's word."""
    if not isinstance(event, kind):
        raise MeterRefused(f"the meter refused: {event}")
    return event


def open_meter(
    url: str, *, initial_baud: int = 300, address: str = "", password: str = DEFAULT_PASSWORD, codes: MeterMap | None = None
) -> Meter:
    """A meter on the port `url` (a device path or any pyserial URL). Touches nothing until it is first asked."""
    return ModeCMeter(SerialLine(url, initial_baud), address=address, password=password, codes=codes)
