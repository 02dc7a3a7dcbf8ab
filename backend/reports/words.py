"""Numbers and times as people read them. Money and energy are written exactly, never rounded; power is rounded to what a meter shows."""

from __future__ import annotations

from datetime import UTC, datetime

_MICRO = 1_000_000
_UNITS_S = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def decimal(units: int, places: int, least: int) -> str:
    """An integer count of 10^-places as a decimal: all its digits, at least `least` behind the point."""
    sign, units = ("−" if units < 0 else ""), abs(units)
    whole, rest = divmod(units, 10**places)
    digits = f"{rest:0{places}d}".rstrip("0").ljust(least, "0")
    return f"{sign}{whole:,}.{digits}".replace(",", "\u202f")


def money(micro: int) -> str:
    """Micro-units of the token: 1234500 → 1.2345."""
    return decimal(micro, 6, 2)


def energy(milliwatt_hours: int) -> str:
    """Milliwatt-hours as kilowatt-hours: 1234500 → 1.2345 kWh."""
    return f"{decimal(milliwatt_hours, 6, 3)} kWh"


def power(milliwatts: int) -> str:
    """Milliwatts as watts with one place, from 10 kW on as kilowatts with two; rounded half away from zero."""
    sign, size = ("−" if milliwatts < 0 else ""), abs(milliwatts)
    if size < 10_000_000:
        tenths = (size + 50) // 100
        return f"{sign}{tenths // 10:,}.{tenths % 10} W".replace(",", "\u202f")
    hundredths = (size + 5_000) // 10_000
    return f"{sign}{hundredths // 100:,}.{hundredths % 100:02d} kW".replace(",", "\u202f")


def volts(millivolts: int) -> str:
    tenths = (millivolts + 50) // 100
    return f"{tenths // 10}.{tenths % 10} V"


def instant(at_s: int) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(at_s: int) -> str:
    """For the `datetime` attribute of `<time>`, and for CSV."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(seconds: int) -> str:
    """A length of time in its two largest units: 3725 → 1 h 2 min."""
    left = abs(seconds)
    parts: list[str] = []
    for size, unit in _UNITS_S:
        count, left = divmod(left, size)
        if count or (parts and len(parts) < 2):
            parts.append(f"{count} {unit}")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 ")) or "0 s"


def ago(at_s: int, now_s: int) -> str:
    """How long before now, or after."""
    if abs(now_s - at_s) < 2:
        return "now"
    return f"{span(now_s - at_s)} ago" if at_s < now_s else f"in {span(at_s - now_s)}"


def short(raw: bytes) -> str:
    """A hash or address as its ends: enough to tell two apart, not to check one. The page carries the whole in a title."""
    return f"0x{raw.hex()[:6]}…{raw.hex()[-4:]}"
