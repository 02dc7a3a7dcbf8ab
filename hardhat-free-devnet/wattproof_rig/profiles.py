"""What the load does: power in milliwatts, one slot after the other.

A profile is a tuple of slot powers and the time each slot is played. Shipped profiles are written here in watts; a column of
`profiles_2016_15min.csv` (derived from SimBench, Open Database License 1.0) is played one second a quarter hour *at that
slot's real power*, so no clock is compressed: a second's energy is a second's energy. Negative power is generation.
"""

import csv
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

SECOND_NS = 10**9
SIMBENCH_NOTE = "Load profile derived from SimBench (simbench 1.6.3, 1-LV-rural2), © the SimBench consortium, Open Database License 1.0"
# A year of quarter hours is 35,136 slots; a file beyond this is not a load profile but a mistake.
MAX_SLOTS = 400_000
# 100 kW at one point is beyond any single-phase or household connection; more is a unit mistake in the file.
MAX_MILLIWATTS = 100_000_000


class ProfileError(ValueError):
    """A profile that is not there or not readable; the message says what to do."""


class Profile(NamedTuple):
    """`milliwatts[i]` is drawn during slot i of `slot_ns` nanoseconds; then again from slot 0, or the last slot for ever."""

    name: str
    milliwatts: tuple[int, ...]
    slot_ns: int = SECOND_NS
    repeats: bool = True
    note: str = ""

    def slot_at(self, load_ns: int) -> int:
        """Index of the slot played when the load has been supplied for `load_ns`."""
        slot = load_ns // self.slot_ns
        return slot % len(self.milliwatts) if self.repeats else min(slot, len(self.milliwatts) - 1)


# name: (repeats, [(seconds, watts), ...], what it is)
SHIPPED: dict[str, tuple[bool, list[tuple[int, int]], str]] = {
    "steady": (True, [(1, 1000)], "1 kW without end; for counting"),
    "full": (True, [(1, 3680)], "16 A at 230 V without end; the rating of a socket"),
    "kettle": (True, [(8, 2000), (4, 0)], "2 kW for 8 s, nothing for 4 s"),
    "fridge": (True, [(1, 600), (12, 95), (17, 1)], "a start-up surge, running, resting"),
    "household": (True, [(5, 180), (3, 2150), (4, 320), (2, 1200), (6, 240)], "a small flat"),
    "charger": (False, [(2, 1400), (2, 3600), (2, 7200), (60, 11000), (10, 6000), (10, 2000), (1, 0)], "a car that fills up"),
    "roof": (True, [(5, -400), (5, -1500), (5, -2600), (5, -900), (3, 250)], "a solar roof: mostly export"),
    "idle": (True, [(1, 0)], "plugged in, drawing nothing"),
}


def shipped(name: str) -> Profile:
    """The shipped profile of that name; `ProfileError` lists the names there are."""
    if name not in SHIPPED:
        raise ProfileError(f"no profile {name!r}: choose one of {', '.join(SHIPPED)}, or FILE.csv:COLUMN")
    repeats, parts, _ = SHIPPED[name]
    return Profile(name, tuple(watts * 1000 for seconds, watts in parts for _ in range(seconds)), repeats=repeats)


def from_csv(path: Path, column: str, start_utc: str = "") -> Profile:
    """A column of watt-hours per quarter hour as a profile of one-second slots at each quarter hour's mean power.

    Exact: x.y Wh in a quarter hour is 4 × x.y W. Columns named `pv…` are generation, so negative. `start_utc` names the row
    to begin with, as it stands in the first column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            rows = csv.reader(handle)
            header = next(rows, [])
            if column not in header:
                raise ProfileError(f"{path} has no column {column!r}: choose one of {', '.join(header[1:])}")
            at = header.index(column)
            slots = [(row[0], _slot_milliwatts(row, at, path, number)) for number, row in enumerate(rows, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProfileError(f"cannot read {path}: {error}") from error
    if not slots or len(slots) > MAX_SLOTS:
        raise ProfileError(f"{path} holds {len(slots)} slots; a profile has 1 to {MAX_SLOTS}")
    first = 0
    if start_utc:
        first = next((i for i, (begin, _) in enumerate(slots) if begin == start_utc), -1)
        if first < 0:
            raise ProfileError(f"{path} has no row {start_utc!r}; rows run from {slots[0][0]} to {slots[-1][0]}")
    powers = [milliwatts for _, milliwatts in slots]
    sign = -1 if column.startswith("pv") else 1
    note = SIMBENCH_NOTE if path.name.startswith("profiles_2016") else ""
    return Profile(f"{path.name}:{column}", tuple(sign * p for p in powers[first:] + powers[:first]), note=note)


def _slot_milliwatts(row: list[str], at: int, path: Path, number: int) -> int:
    """Watt-hours in a quarter hour to mean milliwatts; finer than a milliwatt is cut off, which no meter would see."""
    try:
        milliwatts = int(Decimal(row[at]) * 4 * 1000)
    except (InvalidOperation, IndexError, OverflowError, ValueError) as error:
        raise ProfileError(f"{path} line {number}: no number of watt-hours in column {at + 1}") from error
    if abs(milliwatts) > MAX_MILLIWATTS:
        raise ProfileError(f"{path} line {number}: {milliwatts} mW is more than {MAX_MILLIWATTS} mW")
    return milliwatts


def load_profile(text: str, start_utc: str = "") -> Profile:
    """`NAME` or `FILE.csv:COLUMN` (`--profile` on the command line)."""
    if ".csv" not in text:
        return shipped(text)
    path, separator, column = text.rpartition(":")
    if not separator:
        raise ProfileError(f"{text!r} names no column: write FILE.csv:COLUMN, for example {text}:household_a_wh")
    return from_csv(Path(path), column, start_utc)
