"""One power point of the rig: a circuit, the meter and the relay on it, their two lines, and what is broken.

Everything runs in one event loop; each door (a byte arriving, a control command, the tick) first lets the circuit catch up
with the clock.
"""

import asyncio
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from wattproof_rig import meter_wire, relay_wire
from wattproof_rig.circuit import MW_NS_PER_MWH, Circuit
from wattproof_rig.line import PtyLine
from wattproof_rig.meter_unit import REFRESH_NS, MeterUnit
from wattproof_rig.profiles import Profile
from wattproof_rig.store import Store, write_whole

TICK_S = 1.0  # how often the registers are saved when nobody asks for them
# A meter left alone in programming mode goes back to waiting for a sign-on (IEC 62056-21: 60 to 120 s).
INACTIVITY_S = 60.0
METER_MODES = ("normal", "silent", "babbling", "slow", "truncating", "wrong_bcc", "wrong_parity")
SLOW_CHARACTERS_PER_S = 1.5  # within the standard's 1.5 s between characters, and yet no deadline waits for that
BABBLE_S = 20  # how long a babbling meter goes on after it was spoken to
FIRST_SERIAL = 10_000_001


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
        self.unit = MeterUnit(
            serial=saved.get("serial", str(FIRST_SERIAL + 1000 * (number - 1))),
            step_milliwatt_hours=step_milliwatt_hours,
            digits=digits,
            import_offset=saved.get("import_offset", 0),
            export_offset=saved.get("export_offset", 0),
            power_failures=saved.get("power_failures", 0),
        )
        self.meter_mode = "normal"
        self.coil_written_ns: int | None = None
        self._mark_mw_ns = self.circuit.import_mw_ns
        self._noise = random.Random(number)  # noqa: S311 - noise, not a secret; seeded so that a run repeats
        self._heard_ns = 0
        self.wire = meter_wire.MeterWire(self._shown, lambda: self.unit.serial, initial_baud=initial_baud, programming=programming)
        self.relay = relay_wire.RelayWire(self._drive, lambda: self.circuit.coil, lambda: self.circuit.auxiliary_closed)
        self.meter_line = PtyLine(directory / "meter", initial_baud, self._meter_heard)
        self.relay_line = PtyLine(directory / "relay", relay_wire.BAUD, self._relay_heard)
        self._ticking = asyncio.get_running_loop().create_task(self._tick())
        self.advance()

    # time and truth

    def advance(self) -> int:
        """Bring the circuit to the present, refreshing the meter's instantaneous values on the way; returns the time."""
        now = time.monotonic_ns()
        refresh = now - now % REFRESH_NS
        if refresh > self.circuit.now_ns:
            self.circuit.advance(refresh)
            self.unit.refresh(self.circuit)
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
            }
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
            "meter": {
                "serial": u.serial,
                "import_milliwatt_hours": u.register(c.import_milliwatt_hours, u.import_offset),
                "export_milliwatt_hours": u.register(c.export_milliwatt_hours, u.export_offset),
                "step_milliwatt_hours": u.step_milliwatt_hours,
                "digits": u.digits,
            },
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
            f"meter={self.meter_mode}": self.meter_mode != "normal",
            "glitch_zero": self.unit.zero_readings,
        }
        return [name for name, on in named.items() if on]

    # the two lines

    def _drive(self, on: bool) -> None:
        self.coil_written_ns = self.advance()
        self.circuit.drive(on)

    def _shown(self) -> dict[str, str]:
        self.advance()
        self.save()
        return self.unit.data_sets(self.circuit)

    def _relay_heard(self, data: bytes) -> None:
        self.advance()
        answer = self.relay.receive(data)
        if answer:
            self.relay_line.send(answer, after_s=relay_wire.REACTION_S)

    def _meter_heard(self, data: bytes) -> None:
        now = self.advance()
        if now - self._heard_ns > INACTIVITY_S * 10**9:
            self.wire.hang_up()
        self._heard_ns = now
        reply, line = self.wire.receive(data), self.meter_line
        if reply is None or self.meter_mode == "silent":
            if not line.sending:
                line.baud = self.wire.baud
            return
        line.baud = reply.baud_before

        def sent() -> None:
            line.baud = reply.baud_after

        spoiled = self._spoil(reply.data, reply.baud_before)
        line.send(spoiled, after_s=reply.after_s, byte_s=1 / SLOW_CHARACTERS_PER_S if self.meter_mode == "slow" else 0.0, then=sent)

    def _spoil(self, data: bytes, baud: int) -> bytes:
        """The answer with parity, after the meter's fault has had its way with it."""
        block = data[:1] in (meter_wire.SOH, meter_wire.STX)
        if self.meter_mode == "babbling":
            return meter_wire.with_parity(bytes(self._noise.randrange(32, 127) for _ in range(BABBLE_S * baud // 10)))
        if self.meter_mode == "truncating" and block:
            return meter_wire.with_parity(data[: len(data) // 2])
        if self.meter_mode == "wrong_bcc" and block:
            data = data[:-1] + bytes([data[-1] ^ 0x01])
        sent = meter_wire.with_parity(data)
        return bytes(byte ^ 0x80 for byte in sent) if self.meter_mode == "wrong_parity" else sent

    # life

    def set_power(self, present: bool) -> None:
        """Supply lost: lines silent, contactor drops, the meter counts a failure. Supply back: everything starts anew."""
        self.advance()
        if present == self.circuit.supply_present:
            return
        self.circuit.supply_present = present
        for line in (self.meter_line, self.relay_line):
            line.stop_sending()
            line.powered = present
        self.wire.hang_up()
        self.relay.hang_up()
        self.meter_line.baud = self.wire.initial_baud
        if present:
            self.unit.power_failed = True
            self.unit.power_failures += 1
        else:
            self.circuit.coil = False  # a relay wakes up with its output off
        self.circuit.reconsider()

    def announce(self, control: str) -> None:
        """Write rig.json: from now on the point answers."""
        write_whole(
            self.directory / "rig.json",
            json.dumps(
                {
                    "meter": self.meter_line.path,
                    "relay": self.relay_line.path,
                    "control": control,
                    "serial": self.unit.serial,
                    "pid": os.getpid(),
                },
                indent=1,
            )
            + "\n",
        )

    def close(self) -> None:
        """Take the lines away and keep the registers."""
        self._ticking.cancel()
        (self.directory / "rig.json").unlink(missing_ok=True)
        self.meter_line.close()
        self.relay_line.close()
        self.advance()
        self.save()
        self.store.close()
