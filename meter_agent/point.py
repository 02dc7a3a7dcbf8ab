"""The point itself: one meter and one relay on their serial lines, what they said last, and whether supply is on.

Looks are taken by a thread of their own (`Looker`), so that a meter that is silent or slow never keeps the loop from
opening the contact: relay and meter are different lines. What a look saw counts only once the loop has taken it, and
not if the loop used the meter itself meanwhile.
"""

from __future__ import annotations

import queue
from typing import NamedTuple

from .config import Config
from .line import (
    Disconnection,
    LineError,
    MeterReading,
    MeterRefused,
    MeterSample,
    SupplyState,
    connect,
    disconnect,
    open_meter,
    open_relay,
    supply_is_on,
)
from .worker import Inbox, Message, Worker

DISCONNECT_DEADLINE_S = 1.0
"""One attempt: the contactor moves in 30 ms and four looks fit. Between attempts the loop goes on recording and
listening.
"""
CONNECT_DEADLINE_S = 3.0


class Look(NamedTuple):
    """What was seen: a sample or a whole reading, and the auxiliary contact (None: the relay did not answer)."""

    auxiliary_open: bool | None
    sample: MeterSample
    reading: MeterReading | None


class Point:
    """Meter, relay, and the last looks at them. `on` is None until the first look that succeeded."""

    def __init__(self, config: Config) -> None:
        line, relay = config.meter_line, config.relay_line
        self._meter = open_meter(config.meter, initial_baud=line.initial_baud, address=line.address, password=line.password)
        self._relay = open_relay(
            config.relay, unit=relay.unit, coil=relay.coil, auxiliary_input=relay.auxiliary_input, baud=relay.baud
        )
        self._starting_power = config.starting_power_milliwatts
        self._programming = True
        self.on: bool | None = None
        self.looks = 0
        """How many looks running have shown the same `on`."""
        self.failed = ""
        """Why the last attempt to disconnect failed; empty once the point was measured disconnected."""
        self.last: MeterSample | None = None
        self.auxiliary_open: bool | None = None
        self.heard_ns = 0
        """Monotonic time of the last answer of the meter."""
        self.generation = 0
        """Rises whenever the loop uses the meter itself."""

    # I/O, by whichever thread

    def look(self, *, record: bool, whole: bool) -> Look:
        """One look: the billing registers (or the `whole` readout) for a record, else a sample with the import
        register.
        """
        auxiliary = self.contact()
        if not record:
            return Look(auxiliary, self._meter.sample(with_register=True), None)
        reading = self._read(whole)
        return Look(auxiliary, _as_sample(reading), reading)

    def contact(self) -> bool | None:
        """Whether the auxiliary contact says open; None where the relay does not answer."""
        try:
            return self._relay.auxiliary_open()
        except LineError:
            return None

    def _read(self, whole: bool) -> MeterReading:
        if not whole and self._programming:
            try:
                return self._meter.read_registers()
            except MeterRefused:
                self._programming = False
        return self._meter.read()

    # By the loop

    def took(self, look: Look) -> None:
        """The loop takes what was seen."""
        self.auxiliary_open, self.last = look.auxiliary_open, look.sample
        self.heard_ns = max(self.heard_ns, look.sample.finished_ns)
        # Without the auxiliary contact only power can tell; no power is then no proof of "off" (nor of "on").
        open_ = look.auxiliary_open if look.auxiliary_open is not None else not self.on
        self._saw(supply_is_on(open_, look.sample, self._starting_power))

    def missed(self, auxiliary_open: bool | None) -> None:
        """The meter did not answer. A contact that says closed is supply all the same; one that says open proves nothing
        alone.
        """
        if auxiliary_open is False:
            self.auxiliary_open = False
            self._saw(True)

    def read(self, *, whole: bool) -> MeterReading:
        """A reading now."""
        self.generation += 1
        reading = self._read(whole)
        self.heard_ns = reading.finished_ns
        return reading

    def disconnect(self) -> Disconnection:
        """Open the contact at once and measure; one attempt."""
        self.generation += 1
        result = disconnect(
            self._meter, self._relay, starting_power_milliwatts=self._starting_power, deadline_s=DISCONNECT_DEADLINE_S
        )
        self.auxiliary_open = result.auxiliary_open
        self.failed = "" if result.state is SupplyState.DISCONNECTED else result.detail
        self._saw(result.state is not SupplyState.DISCONNECTED)
        return result

    def connect(self) -> Disconnection:
        """Close the contact and measure; one attempt, the contact is opened again if it fails."""
        self.generation += 1
        result = connect(self._meter, self._relay, deadline_s=CONNECT_DEADLINE_S)
        self.auxiliary_open = result.auxiliary_open
        self._saw(result.state is SupplyState.CONNECTED)
        return result

    def close(self) -> None:
        """Let go of both lines; the contact stays as it is."""
        self._meter.close()
        self._relay.hang_up()

    def _saw(self, on: bool) -> None:
        self.looks = self.looks + 1 if on == self.on else 1
        self.on = on


def _as_sample(reading: MeterReading) -> MeterSample:
    return MeterSample(
        reading.power_milliwatts, reading.voltage_millivolts, reading.import_milliwatt_hours, reading.read_at_s, reading.started_ns,
        reading.finished_ns, reading.serial,
    )  # fmt: skip


class Seen(NamedTuple):
    """The document of a `looked` message. `look` is None where the meter failed, and `error` says why; `auxiliary_open` is
    what the relay said after that.
    """

    generation: int
    look: Look | None
    error: str = ""
    auxiliary_open: bool | None = None


class Looker(Worker):
    """Takes looks when asked, one at a time, and puts what it saw into the inbox as `looked`."""

    def __init__(self, point: Point, inbox: Inbox) -> None:
        super().__init__("looker", inbox)
        self._point = point
        self._asked: queue.SimpleQueue[tuple[int, bool, bool]] = queue.SimpleQueue()
        self.busy = False

    def ask(self, *, record: bool, whole: bool = False) -> None:
        """Take a look; the answer comes through the inbox. Not to be called while `busy`."""
        self.busy = True
        self._asked.put((self._point.generation, record, whole))

    def work(self) -> None:
        while True:
            generation, record, whole = self._asked.get()
            try:
                seen = Seen(generation, self._point.look(record=record, whole=whole))
            except LineError as error:
                seen = Seen(generation, None, str(error), self._point.contact())
            self.inbox.put(Message("looked", seen))
