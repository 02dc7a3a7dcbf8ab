"""Switching a point and measuring that it happened: the relay's order, the auxiliary contact and the meter, together.

`disconnect` and `connect` never raise a `LineError`: a line that fails is a reason why the point is not (known to be)
switched, and stands in `detail`.
"""

import time
from enum import IntEnum
from typing import NamedTuple

from meter_agent.line.disconnection import (
    DEAD_BELOW_MILLIVOLTS,
    STARTING_POWER_MILLIWATTS,
    DisconnectionCheck,
    Look,
    Next,
)
from meter_agent.line.errors import LineError
from meter_agent.line.meter import Meter
from meter_agent.line.relay import Relay

DEADLINE_S = 5.0
# A contact needs 10 to 30 ms to move: the auxiliary is asked again this often before a (slower) measurement is spent on it.
QUICK_LOOKS = 3
# A sample of an open session takes 0.12 s, one with a sign-on 1.2 s. Less than this is not worth beginning.
LEAST_SAMPLE_S = 1.5


class SupplyState(IntEnum):
    """`state` of a SupplyConfirmation (docs/walls.md)."""

    DISCONNECTED = 1
    CONNECTED = 2
    FAILED = 3


class Disconnection(NamedTuple):
    """What was measured last. None where it could not be measured; `detail` says why and what was seen."""

    state: SupplyState
    auxiliary_open: bool | None
    voltage_millivolts: int | None
    power_milliwatts: int | None
    measured_at_s: int
    attempts: int
    detail: str


class _Observer:
    """Looks at a point and remembers what it could not see."""

    def __init__(self, meter: Meter, relay: Relay):
        self._meter, self._relay = meter, relay
        self.attempts = 0
        self.failed = ""
        self.last = Look(None, None, None)

    def order(self, closed: bool) -> None:
        """Drive the contact; a relay that does not answer may have heard all the same, so looking goes on."""
        self.attempts += 1
        try:
            if closed:
                self._relay.close()
            else:
                self._relay.open()
        except LineError as error:
            self.failed = str(error)

    def look(self, wanted_open: bool, until: float) -> Look:
        """Auxiliary contact and instantaneous values, both asked after this call began."""
        auxiliary = None
        voltage = power = None
        try:
            for _ in range(QUICK_LOOKS):
                auxiliary = self._relay.auxiliary_open()
                if auxiliary == wanted_open:
                    break
            sample = self._meter.sample(deadline_s=max(LEAST_SAMPLE_S, until - time.monotonic()))
            voltage, power = sample.voltage_millivolts, sample.power_milliwatts
        except LineError as error:
            self.failed = str(error)
        self.last = Look(auxiliary, voltage, power)
        return self.last

    def result(self, state: SupplyState, wanted: str) -> Disconnection:
        look = self.last
        seen = (
            f"auxiliary {_words(look.auxiliary_open, 'open', 'closed')}, "
            f"voltage {look.voltage_millivolts} mV, power {look.power_milliwatts} mW"
        )
        detail = seen if state is not SupplyState.FAILED else f"not {wanted} after {self.attempts} orders: {seen}"
        if self.failed:
            detail += f"; {self.failed}"
        return Disconnection(state, *look, int(time.time()), self.attempts, detail)


def _words(value: bool | None, true: str, false: str) -> str:
    return "unknown" if value is None else true if value else false


def disconnect(
    meter: Meter, relay: Relay, *, starting_power_milliwatts: int = STARTING_POWER_MILLIWATTS, deadline_s: float = DEADLINE_S
) -> Disconnection:
    """Open the contact and measure until the point is disconnected or the deadline has passed (plus one look begun before).

    On FAILED: escalate, and call again; an order to disconnect never expires.
    """
    started = time.monotonic_ns()
    until = time.monotonic() + deadline_s
    observer = _Observer(meter, relay)
    check = DisconnectionCheck(started, started + int(deadline_s * 10**9), starting_power_milliwatts)
    observer.order(closed=False)
    while True:
        look = observer.look(True, until)
        todo = check.look(time.monotonic_ns(), look)
        if todo is Next.DONE:
            return observer.result(SupplyState.DISCONNECTED, "disconnected")
        if todo is Next.ESCALATE:
            return observer.result(SupplyState.FAILED, "disconnected")
        if todo is Next.ORDER_AGAIN:
            observer.order(closed=False)


def connect(meter: Meter, relay: Relay, *, deadline_s: float = DEADLINE_S) -> Disconnection:
    """Close the contact and measure that there is supply downstream; where there is none, open it again and say FAILED.

    A meter that reports no voltage is believed by its auxiliary contact alone: a load need not draw anything yet.
    """
    until = time.monotonic() + deadline_s
    observer = _Observer(meter, relay)
    observer.order(closed=True)
    while True:
        look = observer.look(False, until)
        voltage = look.voltage_millivolts
        measured = look.power_milliwatts is not None
        if look.auxiliary_open is False and measured and (voltage is None or voltage >= DEAD_BELOW_MILLIVOLTS):
            return observer.result(SupplyState.CONNECTED, "connected")
        if time.monotonic() >= until:
            result = observer.result(SupplyState.FAILED, "connected")
            observer.order(closed=False)  # nobody may come to stand at a point that connects later by itself
            return result
