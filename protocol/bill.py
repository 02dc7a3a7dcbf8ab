"""A bill: lines of quantity × price, each rounded once, down, and what they were made from.

`net_micro = floor(price × quantity / unit)`, `tax_micro = floor(net × tax / 1,000,000)`: rounding is always in the customer's favour and
happens once a line, however many records the line gathers. The lines add up to the total exactly.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from .tariff import PPM, MinimumPrice


class LineType(StrEnum):
    """The component types, and the minimum price's own line."""

    ENERGY = "ENERGY"
    TIME = "TIME"
    PARKING_TIME = "PARKING_TIME"
    FLAT = "FLAT"
    MINIMUM_PRICE = "MINIMUM_PRICE"


UNITS = {
    LineType.ENERGY: ("milliwattHours", "kWh", 1_000_000),
    LineType.TIME: ("seconds", "hour", 3_600),
    LineType.PARKING_TIME: ("seconds", "hour", 3_600),
    LineType.FLAT: ("sessions", "session", 1),
    LineType.MINIMUM_PRICE: ("sessions", "session", 1),
}
"""Per line type: the unit of the quantity, what the price is for, and how many units that is."""


class Line(NamedTuple):
    """One line. `element` is the tariff element's index, None where none applied (price 0) and for the minimum price.

    `spanning_records` of its records touched several elements and were billed here because this is the cheapest of them.
    """

    component: LineType
    element: int | None
    quantity: int
    price_micro: int
    tax_ppm: int
    net_micro: int
    tax_micro: int
    first_sequence: int
    last_sequence: int
    spanning_records: int

    @property
    def amount_micro(self) -> int:
        """What the line asks, tax included."""
        return self.net_micro + self.tax_micro

    def to_document(self) -> dict[str, Any]:
        unit, per, _ = UNITS[self.component]
        return {
            "component": self.component.value, "element": self.element, "quantity": self.quantity, "unit": unit,
            "priceMicro": self.price_micro, "per": per, "taxPpm": self.tax_ppm, "netMicro": self.net_micro, "taxMicro": self.tax_micro,
            "amountMicro": self.amount_micro, "firstSequence": self.first_sequence, "lastSequence": self.last_sequence,
            "spanningRecords": self.spanning_records,
        }  # fmt: skip


class Bill(NamedTuple):
    """What a session costs so far. Money in micro-units, energy in milliwatt-hours, time in UTC seconds."""

    tariff_hash: bytes
    tariff_id: str
    tariff_version: int
    currency: str
    opened_at_s: int
    ended_at_s: int
    first_sequence: int
    last_sequence: int
    energy_milliwatt_hours: int
    quarantined_records: int
    lines: tuple[Line, ...]

    @property
    def net_micro(self) -> int:
        return sum(line.net_micro for line in self.lines)

    @property
    def tax_micro(self) -> int:
        return sum(line.tax_micro for line in self.lines)

    @property
    def total_micro(self) -> int:
        """What is to be paid, tax included: the sum of the lines."""
        return self.net_micro + self.tax_micro

    def to_document(self) -> dict[str, Any]:
        return {
            "tariff": "0x" + self.tariff_hash.hex(), "tariffId": self.tariff_id, "tariffVersion": self.tariff_version,
            "currency": self.currency, "openedAtS": self.opened_at_s, "endedAtS": self.ended_at_s,
            "firstSequence": self.first_sequence, "lastSequence": self.last_sequence,
            "energyMilliwattHours": self.energy_milliwatt_hours, "quarantinedRecords": self.quarantined_records,
            "lines": [line.to_document() for line in self.lines],
            "netMicro": self.net_micro, "taxMicro": self.tax_micro, "totalMicro": self.total_micro,
        }  # fmt: skip


def minimum_line(minimum: MinimumPrice, charged_micro: int, first_sequence: int, last_sequence: int) -> Line:
    """The line that lifts `charged_micro` (tax included) to the minimum price; its tax is contained in it, rounded down."""
    gross = minimum.micro_tax_included - charged_micro
    tax = gross * minimum.tax_ppm // (PPM + minimum.tax_ppm)
    return Line(
        LineType.MINIMUM_PRICE, None, 1, gross - tax, minimum.tax_ppm, gross - tax, tax, first_sequence, last_sequence, 0
    )  # fmt: skip
