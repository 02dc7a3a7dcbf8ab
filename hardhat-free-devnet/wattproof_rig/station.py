"""A meter on its line: what it shows of the circuit, how it answers, and what is broken about it."""

import random
import time
from collections.abc import Callable
from pathlib import Path

from wattproof_rig import meter_wire
from wattproof_rig.line import PtyLine
from wattproof_rig.meter_unit import MeterUnit

# A meter left alone in programming mode goes back to waiting for a sign-on (IEC 62056-21: 60 to 120 s).
INACTIVITY_NS = 60 * 10**9
METER_MODES = ("normal", "silent", "babbling", "slow", "truncating", "wrong_bcc", "wrong_parity")
SLOW_CHARACTERS_PER_S = 1.5  # within the standard's 1.5 s between characters, and yet no deadline waits for that
BABBLE_S = 20  # how long a babbling meter goes on after it was spoken to


class Station:
    """`values` gives what the present `unit` shows, after letting the circuit catch up with the clock."""

    def __init__(
        self,
        link: Path,
        unit: MeterUnit,
        values: Callable[[MeterUnit], dict[str, str]],
        *,
        seed: int,
        initial_baud: int,
        programming: bool,
    ):
        self.unit = unit
        self.mode = "normal"
        self._noise = random.Random(seed)  # noqa: S311 - noise, not a secret; seeded so that a run repeats
        self._heard_ns = 0
        self.wire = meter_wire.MeterWire(
            lambda: values(self.unit), lambda: self.unit.serial, initial_baud=initial_baud, programming=programming
        )
        self.line = PtyLine(link, initial_baud, self._heard)

    def replace(self, unit: MeterUnit) -> None:
        """Another meter on the same line."""
        self.unit = unit
        self.line.stop_sending()
        self.wire.hang_up()
        self.line.baud = self.wire.initial_baud

    def behave(self, mode: str) -> None:
        """Answer in that mode from now on."""
        self.mode = mode
        self.line.stop_sending()
        self.line.baud = self.wire.baud

    def set_power(self, present: bool) -> None:
        """Supply lost: the line falls silent. Supply back: the meter starts anew, has its bit set and counts a failure."""
        self.line.stop_sending()
        self.line.powered = present
        self.wire.hang_up()
        self.line.baud = self.wire.initial_baud
        if present:
            self.unit.power_failed = True
            self.unit.power_failures += 1

    def _heard(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if now - self._heard_ns > INACTIVITY_NS:
            self.wire.hang_up()
        self._heard_ns = now
        reply, line = self.wire.receive(data), self.line
        if reply is None or self.mode == "silent":
            if not line.sending:
                line.baud = self.wire.baud
            return
        line.baud = reply.baud_before

        def sent() -> None:
            line.baud = reply.baud_after

        spoiled = self._spoil(reply.data, reply.baud_before)
        line.send(spoiled, after_s=reply.after_s, byte_s=1 / SLOW_CHARACTERS_PER_S if self.mode == "slow" else 0.0, then=sent)

    def _spoil(self, data: bytes, baud: int) -> bytes:
        """The answer with parity, after the meter's fault has had its way with it."""
        block = data[:1] in (meter_wire.SOH, meter_wire.STX)
        if self.mode == "babbling":
            return meter_wire.with_parity(bytes(self._noise.randrange(32, 127) for _ in range(BABBLE_S * baud // 10)))
        if self.mode == "truncating" and block:
            return meter_wire.with_parity(data[: len(data) // 2])
        if self.mode == "wrong_bcc" and block:
            data = data[:-1] + bytes([data[-1] ^ 0x01])
        sent = meter_wire.with_parity(data)
        return bytes(byte ^ 0x80 for byte in sent) if self.mode == "wrong_parity" else sent
