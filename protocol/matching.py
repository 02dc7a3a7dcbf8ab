"""Which elements of a tariff a record used: cells, first match, and the cheapest of several.

A cell is a stretch of time, energy used and power in which the same elements apply. Most records lie in the cell the record before
them ended in; only those that leave it are looked at closely.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from .bill import UNITS, Line, LineType
from .tariff import NO_LIMIT, PPM, ComponentType, Tariff

METERED = (ComponentType.ENERGY, ComponentType.TIME, ComponentType.PARKING_TIME)
Spans = tuple[int, int, int]
"""A metered component: 1 if the record touched several elements of it."""


class Tally:
    """A line that is still growing. `element` None: no element applied, the price is 0."""

    __slots__ = ("element", "first_sequence", "kind", "last_sequence", "price_micro", "quantity", "spanning", "tax_ppm")

    def __init__(self, tariff: Tariff, kind: ComponentType, element: int | None) -> None:
        self.kind, self.element = LineType(kind.value), element
        component = None if element is None else tariff.elements[element].components[kind]
        self.price_micro, self.tax_ppm = (component.price_micro, component.tax_ppm) if component else (0, 0)
        self.quantity = self.spanning = self.first_sequence = self.last_sequence = 0

    def add(self, quantity: int, sequence: int, spans: int) -> None:
        if not self.quantity:
            self.first_sequence = sequence
        self.quantity += quantity
        self.last_sequence = sequence
        self.spanning += spans

    def place(self) -> tuple[int, int]:
        """Where its line stands on the bill: by component, then by element, "no element" last."""
        return _LINE_ORDER[self.kind], NO_LIMIT if self.element is None else self.element

    def cheapness(self) -> tuple[int, int]:
        """Cheapest with tax first; of equals the element that the tariff names first; "no element" last of those."""
        return self.price_micro * (PPM + self.tax_ppm), NO_LIMIT if self.element is None else self.element

    def line(self) -> Line:
        net = self.price_micro * self.quantity // UNITS[self.kind][2]  # down, once: never against the customer, never once a record
        tax = net * self.tax_ppm // PPM
        return Line(
            self.kind, self.element, self.quantity, self.price_micro, self.tax_ppm, net, tax, self.first_sequence, self.last_sequence,
            self.spanning,
        )  # fmt: skip


_LINE_ORDER = {kind: i for i, kind in enumerate(LineType)}
Tallies = tuple[Tally, Tally, Tally]
"""Where ENERGY, TIME and PARKING_TIME go."""


class Cell(NamedTuple):
    """UTC [from_s, to_s), energy used so far below `energy_to`, power [power_from, power_to)."""

    from_s: int
    to_s: int
    energy_to: int
    power_from: int
    power_to: int
    tallies: Tallies


NO_SPANS: Spans = (0, 0, 0)
NOWHERE = Cell(0, 0, 0, 0, 0, ())  # type: ignore[arg-type]  # it contains nothing, so its tallies are never reached


class Matcher:
    """Finds the elements of one session and keeps its tallies."""

    def __init__(self, tariff: Tariff, opened_at_s: int) -> None:
        self._tariff = tariff
        self._opened_at_s = opened_at_s
        limits = [element.limits for element in tariff.elements]
        self._durations = _cuts(n for limit in limits for n in (limit.min_duration_s, limit.max_duration_s))
        self._energies = _cuts(n for limit in limits for n in (limit.min_milliwatt_hours, limit.max_milliwatt_hours))
        self._powers = _cuts(n for limit in limits for n in (limit.min_power_milliwatts, limit.max_power_milliwatts))
        self._tallies: dict[tuple[ComponentType, int | None], Tally] = {}
        self._matches: dict[tuple[frozenset[int], int, int, int], Tallies] = {}

    def copy(self) -> Matcher:
        """Another matcher with the same tallies so far."""
        other = copy.copy(self)
        other._tallies = {key: copy.copy(tally) for key, tally in self._tallies.items()}
        other._matches = {}
        return other

    def tally(self, kind: ComponentType, element: int | None) -> Tally:
        """The one tally of a component of an element in this session."""
        key = (kind, element)
        if key not in self._tallies:
            self._tallies[key] = Tally(self._tariff, kind, element)
        return self._tallies[key]

    def tallies(self) -> list[Tally]:
        """Those that anything went to, in the order of a bill's lines."""
        return sorted((tally for tally in self._tallies.values() if tally.quantity), key=Tally.place)

    def cell(self, time_s: int, energy: int, power: int) -> Cell:
        """The cell of an instant. Raises `PricingError` outside the calendar."""
        holding, duration, from_s, to_s = self._stretch(time_s)
        e, p = bisect_right(self._energies, energy), bisect_right(self._powers, power)
        energy_to = self._energies[e] if e < len(self._energies) else NO_LIMIT
        power_from = self._powers[p - 1] if p else -NO_LIMIT
        power_to = self._powers[p] if p < len(self._powers) else NO_LIMIT
        return Cell(from_s, to_s, energy_to, power_from, power_to, self._match(holding, duration, e, p))

    def cheapest(self, from_s: int, to_s: int, before: int, after: int, power: int) -> tuple[Tallies, Spans]:
        """Of all elements touched by [from_s, to_s) and the use of [before, after) mWh, the cheapest of each component."""
        keys = set()
        while True:
            holding, duration, _, following_s = self._stretch(from_s)
            keys.add((holding, duration))
            if following_s >= to_s:
                break
            from_s = following_s
        energies = range(bisect_right(self._energies, before), bisect_right(self._energies, max(before, after - 1)) + 1)
        p = bisect_right(self._powers, power)
        touched = list({self._match(holding, duration, e, p) for holding, duration in keys for e in energies})
        if len(touched) == 1:
            return touched[0], NO_SPANS
        (energy, energy_spans), (time, time_spans), (parking, parking_spans) = (_best(t[i] for t in touched) for i in range(3))
        return (energy, time, parking), (energy_spans, time_spans, parking_spans)

    def _stretch(self, time_s: int) -> tuple[frozenset[int], int, int, int]:
        """Which elements hold at an instant by the clock, the index of its duration, and the stretch [from, to) where both stay."""
        band = self._tariff.calendar.band(time_s)
        opened, cuts = self._opened_at_s, self._durations
        i = bisect_right(cuts, time_s - opened)
        from_s = max(band.from_s, opened + cuts[i - 1]) if i else band.from_s
        to_s = min(band.to_s, opened + cuts[i]) if i < len(cuts) else band.to_s
        return band.holding, i, from_s, to_s

    def _match(self, holding: frozenset[int], duration: int, energy: int, power: int) -> Tallies:
        """The tallies of the first matching elements; the last three arguments are indices into the sorted cuts."""
        key = (holding, duration, energy, power)
        tallies = self._matches.get(key)
        if tallies is None:
            at = (_least(self._powers, power), _least(self._durations, duration), _least(self._energies, energy))
            elements = self._tariff.elements
            first = [self._tariff.first_match(kind, lambda i: i in holding and elements[i].limits.hold(*at)) for kind in METERED]
            tallies = (self.tally(METERED[0], first[0]), self.tally(METERED[1], first[1]), self.tally(METERED[2], first[2]))
            self._matches[key] = tallies
        return tallies


def _best(tallies: Iterable[Tally]) -> tuple[Tally, int]:
    different = set(tallies)
    return min(different, key=Tally.cheapness), int(len(different) > 1)


def _cuts(limits: Iterable[int]) -> list[int]:
    """The limits that are set, sorted, each once."""
    return sorted({limit for limit in limits if 0 < limit < NO_LIMIT})


def _least(cuts: list[int], index: int) -> int:
    """A value of the stretch that ends at `cuts[index]`: its least, or 0, because every limit that is set is at least 1."""
    return cuts[index - 1] if index else 0
