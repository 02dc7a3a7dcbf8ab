"""Data sets and their exact decimals. Pure.

`1.8.0(000123.456*kWh)`: an address and what stands in parentheses. Decimals become integers in the milli unit with no float in
between; a register that is no whole number of milliwatt-hours is refused, because money is counted in them.
"""

import re
from typing import NamedTuple

from meter_agent.line.errors import BadBytes
from protocol.evidence import MAX_OBIS_BYTES, MAX_RAW_BYTES

# A data block of a billing meter has tens of lines; hundreds are a load profile, which is not asked for.
MAX_DATA_SETS = 500
# IEC 62056-21 allows 16 characters of address and 32 + 16 of value and unit; what a record's details hold is ample.
MAX_ADDRESS = MAX_OBIS_BYTES
MAX_RAW = MAX_RAW_BYTES
# Registers of real meters have 8 to 12 digits.
MAX_DIGITS = 18

# Milliwatt-hours, milliwatts, millivolts or milliamperes in one of the unit, as a power of ten.
UNIT_EXPONENTS = {"kWh": 6, "Wh": 3, "MWh": 9, "kW": 6, "W": 3, "MW": 9, "V": 3, "kV": 6, "A": 3, "mA": 0}

_LINE = re.compile(rb"([^()\x00-\x1f/!]*)((?:\([^()\x00-\x1f]*\))+)", re.ASCII)
_SHORT = re.compile(r"(?:\d+-\d+:)?([0-9A-Z]+\.[0-9A-Z]+(?:\.[0-9A-Z]+)?)(?:\*\d+)?", re.ASCII)
_NUMBER = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?(?:\*([A-Za-z]+))?", re.ASCII)


class DataSet(NamedTuple):
    """`address` as the meter wrote it; `raw` everything after it, parentheses and all."""

    address: str
    raw: bytes

    @property
    def code(self) -> str:
        """The address without medium, channel and billing period: `1-0:1.8.0*255` is `1.8.0`."""
        match = _SHORT.fullmatch(self.address)
        return match.group(1) if match else self.address

    @property
    def text(self) -> str:
        """What stands in the first parentheses."""
        return self.raw[1 : self.raw.index(b")")].decode("ascii")


class Exact(NamedTuple):
    """`milli` in milli units; one last digit is `step` of them; `digits` digits were shown."""

    milli: int
    step: int
    digits: int


def parse_data_sets(text: bytes) -> list[DataSet]:
    """The data sets of a block, in order. An address left out repeats the one before (clause 6.6)."""
    found: list[DataSet] = []
    for number, line in enumerate(text.split(b"\r\n"), start=1):
        at = 0
        while at < len(line):
            match = _LINE.match(line, at)
            if match is None or len(match[1]) > MAX_ADDRESS or len(match[2]) > MAX_RAW:
                raise BadBytes(f"line {number} of the data block, column {at + 1}, is no data set: {line[at : at + 40]!r}")
            address = match[1].decode("ascii", "replace") or (found[-1].address if found else "")
            if any(ord(letter) > 126 for letter in address) or any(byte > 126 for byte in match[2]):
                raise BadBytes(f"line {number} of the data block holds characters that are not ASCII")
            found.append(DataSet(address, match[2]))
            at = match.end()
        if len(found) > MAX_DATA_SETS:
            raise BadBytes(f"the data block holds more than {MAX_DATA_SETS} data sets: a load profile is not expected here")
    return found


def exact(data_set: DataSet, *, whole: bool = False) -> Exact:
    """The decimal of a data set in milli units. `whole` refuses what milli units cannot hold (registers); otherwise
    digits beyond the milli unit are cut off towards zero (instantaneous values, whose class is far coarser)."""
    match = _NUMBER.fullmatch(data_set.text)
    if match is None:
        raise BadBytes(f"{data_set.address} is no number with a unit: {data_set.text[:40]!r}")
    sign, before, after, unit = match.group(1), match.group(2), match.group(3) or "", match.group(4) or ""
    if unit not in UNIT_EXPONENTS:
        raise BadBytes(f"{data_set.address} has the unit {unit!r}; known are {', '.join(UNIT_EXPONENTS)}")
    if len(before + after) > MAX_DIGITS:
        raise BadBytes(f"{data_set.address} has {len(before + after)} digits; a register has at most {MAX_DIGITS}")
    shift = UNIT_EXPONENTS[unit] - len(after)
    value = int(before + after)
    if shift >= 0:
        milli, step = value * 10**shift, 10**shift
    else:
        milli, rest = divmod(value, 10**-shift)
        step = 1
        if whole:
            raise BadBytes(
                f"{data_set.address} shows {data_set.text}, finer than a milliwatt-hour (remainder {rest}): set the meter to fewer decimals"
            )
    return Exact(-milli if sign == "-" else milli, step, len(before + after))
