"""The point itself: one meter and one relay on their serial lines, what they said last, and whether supply is on.

Blocks for at most the line drivers' deadlines; used by the measuring loop alone.
"""

from __future__ import annotations

from .clock import Clock
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

DISCONNECT_DEADLINE_S = 1.0
"""One attempt: the contactor moves in 30 ms and four looks fit. Between attempts the loop goes on recording and
listening.
"""
CONNECT_DEADLINE_S = 3.0


class Point:
    """Meter, relay, and the last looks at them. `on` is None until the first look that succeeded."""

    def __init__(self, config: Config, clock: Clock) -> None:
        line, relay = config.meter_line, config.relay_line
        self._meter = open_meter(config.meter, initial_baud=line.initial_baud, address=line.address, password=line.password)
        self._relay = open_relay(
            config.relay, unit=relay.unit, coil=relay.coil, auxiliary_input=relay.auxiliary_input, baud=relay.baud
        )
        self._starting_power = config.starting_power_milliwatts
        self._clock = clock
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

    def read(self, *, whole: bool) -> MeterReading:
        """A reading: `whole` is the meter's entire readout, otherwise the billing registers without leaving
        programming mode.
        """
        if whole or not self._programming:
            reading = self._meter.read()
        else:
            try:
                reading = self._meter.read_registers()
            except MeterRefused:
                self._programming = False
                reading = self._meter.read()
        self.heard_ns = reading.finished_ns
        return reading

    def sample(self) -> MeterSample:
        """Power, voltage and import register now, and the auxiliary contact. Raises `LineError` when the meter does
        not answer.
        """
        try:
            self.auxiliary_open = self._relay.auxiliary_open()
        except LineError:
            self.auxiliary_open = None
        sample = self._meter.sample(with_register=True)
        self.last, self.heard_ns = sample, sample.finished_ns
        # Without the auxiliary contact only power can tell; a dead one is then not proof enough of "off" (nor of "on").
        open_ = self.auxiliary_open if self.auxiliary_open is not None else not self.on
        self._saw(supply_is_on(open_, sample, self._starting_power))
        return sample

    def disconnect(self) -> Disconnection:
        """Open the contact and measure; one attempt."""
        result = disconnect(
            self._meter, self._relay, starting_power_milliwatts=self._starting_power, deadline_s=DISCONNECT_DEADLINE_S
        )
        self.auxiliary_open = result.auxiliary_open
        self.failed = "" if result.state is SupplyState.DISCONNECTED else result.detail
        self._saw(result.state is not SupplyState.DISCONNECTED)
        return result

    def connect(self) -> Disconnection:
        """Close the contact and measure; one attempt, the contact is opened again if it fails."""
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
