"""A session's bill for people: each line's quantity, price and amount in the units people use."""

from __future__ import annotations

from typing import NamedTuple

from protocol.bill import UNITS, Bill, Line, LineType

from .words import decimal, energy, money, span

NAMES = {
    LineType.ENERGY: "Energy",
    LineType.TIME: "Time",
    LineType.PARKING_TIME: "Parking time",
    LineType.FLAT: "Flat",
    LineType.MINIMUM_PRICE: "Minimum price",
}


class BillLine(NamedTuple):
    """One line, written out."""

    name: str
    note: str
    quantity: str
    price: str
    tax: str
    amount_micro: int
    records: str


class BillPage(NamedTuple):
    """The lines and their sum."""

    lines: list[BillLine]
    total_micro: int


def written_out(bill: Bill) -> BillPage:
    """A bill in words and decimals; the sums are the bill's own."""
    return BillPage([_line(line) for line in bill.lines], bill.total_micro)


def _line(line: Line) -> BillLine:
    unit = UNITS[line.component][0]
    quantity = energy(line.quantity) if unit == "milliwattHours" else span(line.quantity) if unit == "seconds" else str(line.quantity)
    element = "" if line.element is None else f"element {line.element + 1}"
    spanning = f"{line.spanning_records} records span elements: billed at the cheaper" if line.spanning_records else ""
    return BillLine(
        NAMES[line.component],
        "; ".join(part for part in (element, spanning) if part),
        quantity,
        f"{money(line.price_micro)} / {UNITS[line.component][1]}",
        f"{decimal(line.tax_ppm, 4, 0).rstrip('.')} %",
        line.amount_micro,
        str(line.first_sequence) if line.first_sequence == line.last_sequence else f"{line.first_sequence}…{line.last_sequence}",
    )
