"""When supply counts as disconnected (design.md §7). Pure: a table, the thresholds, and no clock but the caller's.

Disconnected = the auxiliary contact says open AND (no voltage downstream OR power below the meter's starting current in two
samples running). Anything else is ordered again each half second, and escalated when the deadline passes.
"""

from enum import Enum, auto
from typing import NamedTuple

from meter_agent.line.reading import MeterSample

# Below the 50 V limit of extra-low voltage a conductor counts as dead; open wires beside live ones show some tens of volts.
DEAD_BELOW_MILLIVOLTS = 50_000
# A class B meter of 5 A reference current starts at 20 mA (EN 50470-3), 4.6 W at 230 V.
STARTING_POWER_MILLIWATTS = 5_000
# A contactor moves in 30 ms; half a second later a repeated order is no impatience.
ORDER_AGAIN_NS = 500_000_000


class Seen(Enum):
    """One look at the point."""

    CLOSED = auto()  # the auxiliary contact says so
    LIVE = auto()  # auxiliary open, but voltage and power downstream
    QUIET = auto()  # auxiliary open, voltage perhaps, power below starting
    DEAD = auto()  # auxiliary open, no voltage
    UNKNOWN = auto()  # relay or meter did not answer


class Phase(Enum):
    ORDERED = auto()
    QUIET_ONCE = auto()
    DISCONNECTED = auto()


class Next(Enum):
    """What the caller does now."""

    LOOK_AGAIN = auto()
    ORDER_AGAIN = auto()
    DONE = auto()
    ESCALATE = auto()


TABLE: dict[tuple[Phase, Seen], Phase] = {
    (Phase.ORDERED, Seen.CLOSED): Phase.ORDERED,
    (Phase.ORDERED, Seen.LIVE): Phase.ORDERED,
    (Phase.ORDERED, Seen.UNKNOWN): Phase.ORDERED,
    (Phase.ORDERED, Seen.QUIET): Phase.QUIET_ONCE,
    (Phase.ORDERED, Seen.DEAD): Phase.DISCONNECTED,
    (Phase.QUIET_ONCE, Seen.CLOSED): Phase.ORDERED,
    (Phase.QUIET_ONCE, Seen.LIVE): Phase.ORDERED,
    (Phase.QUIET_ONCE, Seen.UNKNOWN): Phase.ORDERED,  # two samples *running*
    (Phase.QUIET_ONCE, Seen.QUIET): Phase.DISCONNECTED,
    (Phase.QUIET_ONCE, Seen.DEAD): Phase.DISCONNECTED,
}


class Look(NamedTuple):
    """What was measured; None where it could not be."""

    auxiliary_open: bool | None
    voltage_millivolts: int | None
    power_milliwatts: int | None


def seen(look: Look, starting_power_milliwatts: int) -> Seen:
    """Which of the five a look is. Power counts in either direction: a roof feeding back is no disconnected point."""
    if look.auxiliary_open is None or look.power_milliwatts is None:
        return Seen.UNKNOWN
    if not look.auxiliary_open:
        return Seen.CLOSED
    if look.voltage_millivolts is not None and look.voltage_millivolts < DEAD_BELOW_MILLIVOLTS:
        return Seen.DEAD
    return Seen.QUIET if abs(look.power_milliwatts) < starting_power_milliwatts else Seen.LIVE


class DisconnectionCheck:
    """One order to disconnect, from the moment it was given (`started_ns`, any monotonic clock)."""

    def __init__(self, started_ns: int, deadline_ns: int, starting_power_milliwatts: int = STARTING_POWER_MILLIWATTS):
        self.phase = Phase.ORDERED
        self._deadline_ns = deadline_ns
        self._ordered_ns = started_ns
        self._starting_power = starting_power_milliwatts

    def look(self, now_ns: int, look: Look) -> Next:
        """Take one look, complete since the order, and say what to do. Not to be called after DONE."""
        self.phase = TABLE[self.phase, seen(look, self._starting_power)]
        if self.phase is Phase.DISCONNECTED:
            return Next.DONE
        if now_ns >= self._deadline_ns:
            return Next.ESCALATE
        if now_ns - self._ordered_ns >= ORDER_AGAIN_NS:
            self._ordered_ns = now_ns
            return Next.ORDER_AGAIN
        return Next.LOOK_AGAIN


def supply_is_on(auxiliary_open: bool, sample: MeterSample, starting_power_milliwatts: int = STARTING_POWER_MILLIWATTS) -> bool:
    """Whether a point that should be disconnected is not: auxiliary closed, or power flows.

    Voltage alone is no proof of supply (a leak or induction shows some), and one look cannot tell; power or contact do.
    """
    return not auxiliary_open or abs(sample.power_milliwatts) >= starting_power_milliwatts
