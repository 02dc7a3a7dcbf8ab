"""One power point of the rig: a circuit, the meter and the relay on it, their two lines, and what is broken.

Everything runs in one event loop; each door (a byte arriving, a control command, the tick) first lets the circuit catch up
with the clock.
"""

import asyncio
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from wattproof_rig import relay_wire
from wattproof_rig.circuit import MW_NS_PER_MWH, Circuit
from wattproof_rig.line import PtyLine
from wattproof_rig.meter_unit import REFRESH_NS, MeterUnit
from wattproof_rig.profiles import Profile
from wattproof_rig.station import Station
from wattproof_rig.store import Store, write_whole

TICK_S = 1.0  # how often the registers are saved when nobody asks for them
FIRST_SERIAL = 10_000_001
OWN_SERIAL = 20_000_001  # of the buyer's meter


class Point:
    """Faults are plain attributes set by `control`; `close` leaves nothing behind but the registers."""

    def __init__(
        self,
        directory: Path,
        profile: Profile,
        *,
        number: int = 1,
        step_milliwatt_hours: int = 1000,
        digits: int = 9,
        closed: bool = False,
        initial_baud: int = 300,
        programming: bool = True,
        own_meter_ppm: int | None = None,
    ):
        self.directory = directory
        self.store = Store(directory)
        (directory / "rig.json").unlink(missing_ok=True)  # of a rig that was killed
        saved = self.store.load()
        self.circuit = Circuit(
            profile,
            time.monotonic_ns(),
            closed=closed,
            import_mw_ns=saved.get("import_mw_ns", 0),
            export_mw_ns=saved.get("export_mw_ns", 0),
        )
        unit = MeterUnit(
            serial=saved.get("serial", str(FIRST_SERIAL + 1000 * (number - 1))),
            step_milliwatt_hours=step_milliwatt_hours,
            digits=digits,
            import_offset=saved.get("import_offset", 0),
            export_offset=saved.get("export_offset", 0),
            power_failures=saved.get("power_failures", 0),
            error_ppm=saved.get("error_ppm", 0),
        )
        self.coil_written_ns: int | None = None
        self._mark_mw_ns = self.circuit.import_mw_ns
        self.relay = relay_wire.RelayWire(self._drive, lambda: self.circuit.coil, lambda: self.circuit.auxiliary_closed)
        station = partial(Station, values=self._shown, initial_baud=initial_baud, programming=programming)
        self.meter = station(directory / "meter", unit, seed=number)
        self.own: Station | None = None
        if own_meter_ppm is not None:
            own = MeterUnit(str(OWN_SERIAL + 1000 * (number - 1)), step_milliwatt_hours, digits, error_ppm=own_meter_ppm)
            own.import_offset = saved.get("own_import_offset", 0)
            self.own = station(directory / "own-meter", own, seed=-number)
        self.relay_line = PtyLine(directory / "relay", relay_wire.BAUD, self._relay_heard)
        self._ticking = asyncio.get_running_loop().create_task(self._tick())
        self.advance()

    # time and truth

    @property
    def stations(self) -> tuple[Station, ...]:
        """The seller's meter, and the buyer's where there is one."""
        return (self.meter,) if self.own is None else (self.meter, self.own)

    @property
    def unit(self) -> MeterUnit:
        """The seller's meter."""
        return self.meter.unit

    def advance(self) -> int:
        """Bring the circuit to the present, refreshing the meter's instantaneous values on the way; returns the time."""
        now = time.monotonic_ns()
        refresh = now - now % REFRESH_NS
        if refresh > self.circuit.now_ns:
            self.circuit.advance(refresh)
            for station in self.stations:
                station.unit.refresh(self.circuit)
        self.circuit.advance(now)
        return now

    def save(self) -> None:
        """Keep the registers."""
        circuit, unit = self.circuit, self.unit
        self.store.save(
            {
                "import_mw_ns": circuit.import_mw_ns,
                "export_mw_ns": circuit.export_mw_ns,
                "serial": unit.serial,
                "import_offset": unit.import_offset,
                "export_offset": unit.export_offset,
                "power_failures": unit.power_failures,
                "error_ppm": unit.error_ppm,
            }
            | ({} if self.own is None else {"own_import_offset": self.own.unit.import_offset})
        )

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.advance()
            self.save()

    def mark(self) -> None:
        """True energy counts from here in `since_mark_milliwatt_hours`."""
        self.advance()
        self._mark_mw_ns = self.circuit.import_mw_ns

    def state(self) -> dict[str, Any]:
        """The truth, for tests and benchmarks; times are CLOCK_MONOTONIC, which all processes of a machine share."""
        now = self.advance()
        c, u = self.circuit, self.unit
        return {
            "monotonic_ns": now,
            "power_milliwatts": c.power_milliwatts,
            "voltage_millivolts": c.voltage_millivolts,
            "coil": c.coil,
            "contact_closed": c.contact_closed,
            "auxiliary_open": not c.auxiliary_closed,
            "contact_opened_ns": c.contact_opened_ns,
            "contact_closed_ns": c.contact_closed_ns,
            "coil_written_ns": self.coil_written_ns,
            "import_milliwatt_hours": c.import_milliwatt_hours,
            "export_milliwatt_hours": c.export_milliwatt_hours,
            "since_mark_milliwatt_hours": (c.import_mw_ns - self._mark_mw_ns) // MW_NS_PER_MWH,
            "meter": u.truth(c),
            "own_meter": None if self.own is None else self.own.unit.truth(c),
            "profile": c.profile.name,
            "note": c.profile.note,
            "slot": c.profile.slot_at(c.load_ns),
            "faults": self.faults(),
        }

    def faults(self) -> list[str]:
        """Names of what is broken now."""
        c = self.circuit
        named = {
            "weld": c.welded,
            "lie": c.lying,
            "jam": c.jammed,
            "leak": c.leak_milliwatts,
            "open_cover": self.unit.cover_open,
            "lose_power": not c.supply_present,
            f"meter={self.meter.mode}": self.meter.mode != "normal",
            "glitch_zero": self.unit.zero_readings,
            "scale": self.unit.error_ppm,
        }
        return [name for name, on in named.items() if on]

    # the two lines

    def _drive(self, on: bool) -> None:
        self.coil_written_ns = self.advance()
        self.circuit.drive(on)

    def _shown(self, unit: MeterUnit) -> dict[str, str]:
        self.advance()
        self.save()
        return unit.data_sets(self.circuit)

    def _relay_heard(self, data: bytes) -> None:
        self.advance()
        answer = self.relay.receive(data)
        if answer:
            self.relay_line.send(answer, after_s=relay_wire.REACTION_S)

    # life

    def set_power(self, present: bool) -> None:
        """Supply lost: lines silent, contactor drops, the meter counts a failure. Supply back: everything starts anew."""
        self.advance()
        if present == self.circuit.supply_present:
            return
        self.circuit.supply_present = present
        for station in self.stations:
            station.set_power(present)
        self.relay_line.stop_sending()
        self.relay_line.powered = present
        self.relay.hang_up()
        if not present:
            self.circuit.coil = False  # a relay wakes up with its output off
        self.circuit.reconsider()

    def announce(self, control: str) -> None:
        """Write rig.json: from now on the point answers."""
        write_whole(
            self.directory / "rig.json",
            json.dumps(
                {
                    "meter": self.meter.line.path,
                    "relay": self.relay_line.path,
                    "control": control,
                    "serial": self.unit.serial,
                    "pid": os.getpid(),
                }
                | ({} if self.own is None else {"own-meter": self.own.line.path}),
                indent=1,
            )
            + "\n",
        )

    def close(self) -> None:
        """Take the lines away and keep the registers."""
        self._ticking.cancel()
        (self.directory / "rig.json").unlink(missing_ok=True)
        for station in self.stations:
            station.line.close()
        self.relay_line.close()
        self.advance()
        self.save()
        self.store.close()
