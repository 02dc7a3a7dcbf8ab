"""What a meter shows: serial, registers cut to their step and width, instantaneous values, status.

The unit knows the circuit's truth and shows what a meter of its resolution would. Its registers are offsets to the true
energy, so a swap, a rollover or a jump moves an offset and never the truth. Its error in parts per million makes it count too much (or,
negative, too little) from the moment it is set; voltage is shown as it is.
"""

from dataclasses import dataclass, field
from typing import Any

from wattproof_rig.circuit import Circuit

# A meter computes U, I and P over whole cycles and refreshes them together: 10 cycles of 50 Hz.
REFRESH_NS = 200_000_000

PPM = 1_000_000
STATUS_COVER_OPEN = 1 << 0
STATUS_POWER_FAILED = 1 << 1


@dataclass
class Instant:
    """Instantaneous values as last refreshed."""

    power_milliwatts: int = 0
    voltage_millivolts: int = 0
    current_milliamps: int = 0


@dataclass
class MeterUnit:
    """Register steps are powers of ten in milliwatt-hours; `digits` counts all digits the register shows."""

    serial: str
    step_milliwatt_hours: int = 1000
    digits: int = 9
    import_offset: int = 0  # milliwatt-hours to add to the true import
    export_offset: int = 0
    power_failures: int = 0
    error_ppm: int = 0  # of energy, power and current
    power_failed: bool = False
    cover_open: bool = False
    zero_readings: int = 0  # so many readings to come show registers of zero (a glitch)
    instant: Instant = field(default_factory=Instant)

    def refresh(self, circuit: Circuit) -> None:
        """Take the instantaneous values of this moment."""
        power, current = self.counted(circuit.power_milliwatts), self.counted(circuit.current_milliamps)
        self.instant = Instant(power, circuit.voltage_millivolts, current)

    def counted(self, true: int) -> int:
        """What this meter makes of a true quantity."""
        return true * (PPM + self.error_ppm) // PPM

    def set_error(self, ppm: int, circuit: Circuit) -> None:
        """Count that much too much from now on; the registers do not leap."""
        shown = circuit.import_milliwatt_hours, circuit.export_milliwatt_hours
        before = [self.counted(energy) for energy in shown]
        self.error_ppm = ppm
        self.import_offset += before[0] - self.counted(shown[0])
        self.export_offset += before[1] - self.counted(shown[1])

    def truth(self, circuit: Circuit) -> dict[str, Any]:
        """What it would show now, for tests."""
        return {
            "serial": self.serial,
            "import_milliwatt_hours": self.register(circuit.import_milliwatt_hours, self.import_offset),
            "export_milliwatt_hours": self.register(circuit.export_milliwatt_hours, self.export_offset),
            "step_milliwatt_hours": self.step_milliwatt_hours,
            "digits": self.digits,
            "error_ppm": self.error_ppm,
        }

    @property
    def modulus_milliwatt_hours(self) -> int:
        """The register shows zero again at this energy."""
        modulus: int = 10**self.digits * self.step_milliwatt_hours
        return modulus

    def register(self, true_milliwatt_hours: int, offset: int) -> int:
        """What the register stands at: whole steps, modulo its width."""
        energy = self.counted(true_milliwatt_hours) + offset
        return energy // self.step_milliwatt_hours * self.step_milliwatt_hours % self.modulus_milliwatt_hours

    def data_sets(self, circuit: Circuit) -> dict[str, str]:
        """OBIS code to value with unit, in the order of the readout. Counts a glitch and clears the power-fail bit."""
        registers = [
            self.register(circuit.import_milliwatt_hours, self.import_offset),
            self.register(circuit.export_milliwatt_hours, self.export_offset),
        ]
        if self.zero_readings:
            self.zero_readings -= 1
            registers = [0, 0]
        now = self.instant
        status = (STATUS_COVER_OPEN if self.cover_open else 0) | (STATUS_POWER_FAILED if self.power_failed else 0)
        self.power_failed = False
        return {
            "C.1.0": self.serial,
            "F.F": "00000000",
            "1.8.0": f"{self._kilowatt_hours(registers[0])}*kWh",
            "2.8.0": f"{self._kilowatt_hours(registers[1])}*kWh",
            "16.7.0": f"{_decimal(now.power_milliwatts // 100, 4, 2)}*kW",
            "31.7.0": f"{_decimal(now.current_milliamps // 10, 2, 3)}*A",
            "32.7.0": f"{_decimal(now.voltage_millivolts // 100, 1, 3)}*V",
            "C.5.0": f"{status:08X}",
            "C.7.0": f"{self.power_failures:04d}",
        }

    def _kilowatt_hours(self, milliwatt_hours: int) -> str:
        decimals = 6 - (len(str(self.step_milliwatt_hours)) - 1)
        return _decimal(milliwatt_hours // self.step_milliwatt_hours, decimals, self.digits - decimals)


def _decimal(value: int, decimals: int, whole_digits: int) -> str:
    """An integer count of 10^-decimals as a decimal with leading zeros."""
    sign, value = ("-", -value) if value < 0 else ("", value)
    whole, part = divmod(value, 10**decimals)
    return f"{sign}{whole:0{whole_digits}d}" + (f".{part:0{decimals}d}" if decimals else "")
