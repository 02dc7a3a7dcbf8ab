"""The electrical truth: supply, one contact, one load, and energy counted exactly.

Pure: no clock and no I/O; the caller says what time it is, in nanoseconds. Between two events (a slot of the load ends, the
contact moves) power is constant, so energy in milliwatt-nanoseconds is an exact integer and nothing is lost to rounding.
"""

from wattproof_rig.profiles import Profile

MW_NS_PER_MWH = 3_600 * 10**9  # one milliwatt-hour in milliwatt-nanoseconds
SUPPLY_MILLIVOLTS = 230_000
# Impedance of the supply and the wires to the point; makes the voltage sag under load as a real one does.
SOURCE_MILLIOHMS = 300
# A contactor of this size moves in 10 to 30 ms (the switching time of the energy-beyond-the-lock bound).
OPERATE_NS = 20_000_000


class Circuit:
    """One phase. Set the faults, call `drive`, and `advance` to the present before reading anything."""

    def __init__(self, profile: Profile, now_ns: int, *, closed: bool = False, import_mw_ns: int = 0, export_mw_ns: int = 0):
        self.profile = profile
        self.now_ns = now_ns
        self.load_ns = 0  # how long the load has been supplied: the profile's own time
        self.coil = closed
        self.contact_closed = closed
        self.import_mw_ns = import_mw_ns
        self.export_mw_ns = export_mw_ns
        self.contact_opened_ns: int | None = None
        self.contact_closed_ns: int | None = now_ns if closed else None
        self.supply_present = True
        self.welded = False
        self.jammed = False
        self.lying = False
        self.leak_milliwatts = 0
        self._moves_at_ns: int | None = None

    # what an outsider can see

    @property
    def auxiliary_closed(self) -> bool:
        """The auxiliary contact, linked to the main one by a lever, not to the coil; a lying one always says open."""
        return self.contact_closed and not self.lying

    @property
    def power_milliwatts(self) -> int:
        """Power through the contact now; negative flows back to the supply."""
        if not self.supply_present:
            return 0
        if self.contact_closed:
            return self.profile.milliwatts[self.profile.slot_at(self.load_ns)]
        return self.leak_milliwatts

    @property
    def current_milliamps(self) -> int:
        return abs(self.power_milliwatts) * 1000 // SUPPLY_MILLIVOLTS

    @property
    def voltage_millivolts(self) -> int:
        """Voltage downstream of the contact: nothing when it is open, unless something leaks across."""
        if not self.supply_present or not (self.contact_closed or self.leak_milliwatts):
            return 0
        sag = self.current_milliamps * SOURCE_MILLIOHMS // 1000
        return SUPPLY_MILLIVOLTS + (sag if self.power_milliwatts < 0 else -sag)

    @property
    def import_milliwatt_hours(self) -> int:
        return self.import_mw_ns // MW_NS_PER_MWH

    @property
    def export_milliwatt_hours(self) -> int:
        return self.export_mw_ns // MW_NS_PER_MWH

    # what happens to it

    def drive(self, coil: bool) -> None:
        """The relay drives (or not) the coil from now on."""
        self.coil = coil
        self.reconsider()

    def reconsider(self) -> None:
        """Start or cancel the contact's movement; to be called after a change of coil, supply or fault."""
        wanted = self.coil and self.supply_present  # a contactor drops out when its supply is gone
        blocked = self.jammed if wanted else self.welded
        if wanted == self.contact_closed or blocked:
            self._moves_at_ns = None
        elif self._moves_at_ns is None:
            self._moves_at_ns = self.now_ns + OPERATE_NS

    def set_profile(self, profile: Profile) -> None:
        """Another load from now on, from its beginning."""
        self.profile = profile
        self.load_ns = 0

    def advance(self, now_ns: int) -> None:
        """Let time pass to `now_ns`; a time already passed does nothing."""
        while self.now_ns < now_ns:
            until = now_ns
            if self._moves_at_ns is not None:
                until = min(until, self._moves_at_ns)
            if self.contact_closed:
                slot_end = (self.load_ns // self.profile.slot_ns + 1) * self.profile.slot_ns
                until = min(until, self.now_ns + slot_end - self.load_ns)
            self._count(until - self.now_ns)
            self.now_ns = until
            if self._moves_at_ns == until:
                self._move()

    def _count(self, elapsed_ns: int) -> None:
        power = self.power_milliwatts
        if power >= 0:
            self.import_mw_ns += power * elapsed_ns
        else:
            self.export_mw_ns -= power * elapsed_ns
        if self.contact_closed and self.supply_present:
            self.load_ns += elapsed_ns

    def _move(self) -> None:
        self._moves_at_ns = None
        self.contact_closed = not self.contact_closed
        if self.contact_closed:
            self.contact_closed_ns = self.now_ns
        else:
            self.contact_opened_ns = self.now_ns
