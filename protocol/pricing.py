"""The one function that prices a session: agent, service, payer and auditor all use it.

`Pricer` takes records in sequence and can name the total after each; `price` is the fold of it. Money and energy are integers; rounding is
down, once a line (see `bill`). A record that may have used several elements, because it spans a boundary of time, duration or energy,
is billed whole at the cheapest of them. A record flagged QUARANTINED_REGISTER adds neither energy nor time; the energy is billed when
the next good register shows it. docs/decisions/pricing.md gives every rule with its reason.

Guarantees: the total never falls; it never exceeds `tariff.ceilings` for the energy and the time since opening; a record that is refused
leaves the pricer as it was. Not checked here: signatures, gaps in the sequence, plausibility (wire, bundle, service).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from .bill import UNITS, Bill, Line, LineType, minimum_line
from .errors import PricingError, RegisterFell
from .evidence import Flag, HandOver, Reason, Record
from .tariff import NO_LIMIT, PPM, ComponentType, Tariff

MAX_SPAN_S = 62 * 86_400
"""From one good record to the next at most: no session is longer, and expanding bands over more would be work without a bound."""

_QUARANTINED = int(Flag.QUARANTINED_REGISTER)
_DISCONNECTED = int(Flag.DISCONNECTED)
_ROLLOVER = int(Flag.ROLLOVER)
_START = int(Reason.START)
_SWAP = int(Reason.SWAP)
_METERED = (ComponentType.ENERGY, ComponentType.TIME, ComponentType.PARKING_TIME)
_FOREVER = 1 << 64  # above every uint64


class _Tally:
    """A line that is still growing."""

    __slots__ = ("element", "first_sequence", "kind", "last_sequence", "price_micro", "quantity", "spanning", "tax_ppm")

    def __init__(self, kind: LineType, element: int | None, price_micro: int, tax_ppm: int) -> None:
        self.kind, self.element, self.price_micro, self.tax_ppm = kind, element, price_micro, tax_ppm
        self.quantity = self.spanning = self.first_sequence = self.last_sequence = 0

    def add(self, quantity: int, sequence: int, spans: int) -> None:
        if not self.quantity:
            self.first_sequence = sequence
        self.quantity += quantity
        self.last_sequence = sequence
        self.spanning += spans

    def rank(self) -> tuple[int, int]:
        """Cheapest with tax first; of equals the element the tariff names first; "no element" costs nothing and ranks last of those."""
        return self.price_micro * (PPM + self.tax_ppm), _FOREVER if self.element is None else self.element

    def line(self) -> Line:
        net = self.price_micro * self.quantity // UNITS[self.kind][2]
        tax = net * self.tax_ppm // PPM
        return Line(
            self.kind, self.element, self.quantity, self.price_micro, self.tax_ppm, net, tax, self.first_sequence, self.last_sequence,
            self.spanning,
        )  # fmt: skip


_Tallies = tuple[_Tally, _Tally, _Tally]
"""Where ENERGY, TIME and PARKING_TIME go."""


class Pricer:
    """Prices one session, record by record.

    `opened_at_s` is when the session opened on the chain: durations count from it and no earlier time is billed. The first record gives
    the start register and must have reason START. `register_modulus_milliwatt_hours` is where the placement's register rolls over (0:
    it does not, and a fall is refused). A record with reason SWAP must be followed by `hand_over`.
    """

    def __init__(self, tariff: Tariff, opened_at_s: int, register_modulus_milliwatt_hours: int = 0) -> None:
        self.tariff = tariff
        self.opened_at_s = opened_at_s
        self.energy_milliwatt_hours = 0
        self._modulus = register_modulus_milliwatt_hours
        self._tallies: dict[tuple[LineType, int | None], _Tally] = {}
        limits = [element.limits for element in tariff.elements]
        self._durations = _cuts(n for limit in limits for n in (limit.min_duration_s, limit.max_duration_s))
        self._energies = _cuts(n for limit in limits for n in (limit.min_milliwatt_hours, limit.max_milliwatt_hours))
        self._powers = _cuts(n for limit in limits for n in (limit.min_power_milliwatts, limit.max_power_milliwatts))
        self._matches: dict[tuple[frozenset[int], int, int, int], _Tallies] = {}
        self._priced = {ComponentType.ENERGY} | {kind for element in tariff.elements for kind in element.components}
        # The cell the last record ended in, all over which the same elements apply: UTC [from, to), energy used [.., to), power [from, to).
        self._from_s = self._to_s = self._energy_to = self._power_from = self._power_to = 0
        self._active: _Tallies | None = None
        self._started = False
        self._place: tuple[bytes, int] = (b"", 0)
        self._meter = b""
        self._swapped: Record | None = None
        self._register: int | None = None  # the last good one
        self._register_at_s = 0
        self._first_sequence = self._sequence = self._end_s = self._quarantined = 0

    def add(self, record: Record) -> None:
        """Price the next record. Raises `PricingError` (`RegisterFell` for a register that fell) and then changes nothing."""
        if not self._started:
            self._start(record)
            return
        (device, channel, sequence, start_s, end_s, register, _, _, _, _, power, flags, _, meter, _, _) = record
        if (
            sequence <= self._sequence or not self._end_s <= start_s <= end_s
            or meter != self._meter or (device, channel) != self._place or self._swapped is not None
        ):  # fmt: skip
            raise self._refusal(record)
        if flags & _QUARANTINED:
            self._quarantined += 1
        else:
            self._bill(record, sequence, start_s, end_s, register, power, flags)
        self._sequence, self._end_s = sequence, end_s
        if record.reason == _SWAP:
            self._swapped = record

    def hand_over(self, hand_over: HandOver) -> None:
        """Go on with the new meter's start register after a record with reason SWAP. The signatures are checked elsewhere."""
        last = self._swapped
        if last is None or hand_over.sequence != last.sequence:
            raise PricingError(f"names record {hand_over.sequence}, which is not a last record with reason SWAP", "hand-over")
        if (hand_over.device, hand_over.channel, hand_over.old_meter_hash) != (*self._place, self._meter):
            raise PricingError("names another device, channel or old meter than the records", "hand-over")
        if hand_over.old_import_milliwatt_hours != last.import_milliwatt_hours:
            raise PricingError("the old meter's last register differs from the SWAP record's", "hand-over")
        self._swapped = None
        self._meter = hand_over.new_meter_hash
        self._register = hand_over.new_import_milliwatt_hours
        self._register_at_s = last.end_s

    @property
    def total_micro(self) -> int:
        """What the session costs so far, tax and minimum price included."""
        return sum(line.amount_micro for line in self._lines())

    @property
    def elapsed_s(self) -> int:
        """Seconds from opening to the end of the last record: what a metered charge states."""
        return max(0, self._end_s - self.opened_at_s)

    def bill(self) -> Bill:
        """The bill up to the last record."""
        tariff = self.tariff
        return Bill(
            tariff.hash, tariff.id, tariff.version, tariff.currency, self.opened_at_s, self._end_s, self._first_sequence, self._sequence,
            self.energy_milliwatt_hours, self._quarantined, tuple(self._lines()),
        )  # fmt: skip

    def _lines(self) -> list[Line]:
        order = list(LineType)
        tallies = [t for t in self._tallies.values() if t.quantity and (t.element is not None or t.kind.value in self._priced)]
        tallies.sort(key=lambda t: (order.index(t.kind), _FOREVER if t.element is None else t.element))
        lines = [tally.line() for tally in tallies]
        minimum, charged = self.tariff.minimum_price, sum(line.amount_micro for line in lines)
        if self._started and minimum is not None and charged < minimum.micro_tax_included:
            lines.append(minimum_line(minimum, charged, self._first_sequence, self._sequence))
        return lines

    def _start(self, record: Record) -> None:
        where = f"record {record.sequence}"
        if record.reason != _START:
            raise PricingError("a session's first record must have reason START: it gives the start register", where)
        if record.end_s < record.start_s:
            raise PricingError("ends before it starts", where)
        holding = self.tariff.calendar.band(self.opened_at_s).holding
        self.tariff.calendar.band(record.end_s)  # raises if outside the calendar
        flat = self.tariff.first_match(ComponentType.FLAT, holding.__contains__)
        if flat is not None:
            self._tally(ComponentType.FLAT, flat).add(1, record.sequence, 0)
        self._started = True
        self._place, self._meter = (record.device, record.channel), record.meter_hash
        self._first_sequence = self._sequence = record.sequence
        self._end_s = self._register_at_s = record.end_s
        if record.flags & _QUARANTINED:  # then the first good register is the start register
            self._quarantined += 1
        else:
            self._register = record.import_milliwatt_hours

    def _bill(self, record: Record, sequence: int, start_s: int, end_s: int, register: int, power: int, flags: int) -> None:
        since_s = self._register_at_s
        if end_s - since_s > MAX_SPAN_S:
            raise PricingError(f"ends {end_s - since_s} s after the last good register, more than any session lasts", f"record {sequence}")
        energy = 0 if self._register is None else register - self._register
        if energy < 0:
            energy = self._rolled_over(record, energy)
        begun_s = start_s if start_s > self.opened_at_s else self.opened_at_s
        before = self.energy_milliwatt_hours
        after = before + energy
        if (
            self._active is not None and self._from_s <= since_s < self._to_s and end_s <= self._to_s
            and before < self._energy_to and after <= self._energy_to and self._power_from <= power < self._power_to
        ):  # fmt: skip
            energy_to = time_to = self._active
            energy_spans = time_spans = (0, 0, 0)
        else:
            energy_to, energy_spans = self._cheapest(since_s, end_s, before, after, power)
            time_to, time_spans = self._cheapest(begun_s, end_s, before, after, power) if begun_s != since_s else (energy_to, energy_spans)
            self._enter(end_s, after, power)
        if energy:
            energy_to[0].add(energy, sequence, energy_spans[0])
        if end_s > begun_s:
            if energy or power > 0:
                time_to[1].add(end_s - begun_s, sequence, time_spans[1])
            elif not flags & _DISCONNECTED:
                time_to[2].add(end_s - begun_s, sequence, time_spans[2])
        self._register, self._register_at_s, self.energy_milliwatt_hours = register, end_s, after

    def _time_key(self, time_s: int) -> tuple[frozenset[int], int, int, int]:
        """What holds at an instant by clock and by duration, and the stretch [from, to) over which it does."""
        band = self.tariff.calendar.band(time_s)
        opened, cuts = self.opened_at_s, self._durations
        i = bisect_right(cuts, time_s - opened)
        from_s = max(band.from_s, opened + cuts[i - 1]) if i else band.from_s
        to_s = min(band.to_s, opened + cuts[i]) if i < len(cuts) else band.to_s
        return band.holding, i, from_s, to_s

    def _match(self, holding: frozenset[int], duration: int, energy: int, power: int) -> _Tallies:
        """The tallies of the first matching elements; arguments but the first are indices into the sorted cuts."""
        key = (holding, duration, energy, power)
        tallies = self._matches.get(key)
        if tallies is None:
            at = (_least(self._powers, power), _least(self._durations, duration), _least(self._energies, energy))
            elements = self.tariff.elements
            first = [self.tariff.first_match(kind, lambda i: i in holding and elements[i].limits.hold(*at)) for kind in _METERED]
            tallies = (self._tally(_METERED[0], first[0]), self._tally(_METERED[1], first[1]), self._tally(_METERED[2], first[2]))
            self._matches[key] = tallies
        return tallies

    def _cheapest(self, from_s: int, to_s: int, before: int, after: int, power: int) -> tuple[_Tallies, tuple[int, int, int]]:
        """Of all elements a record touched, the cheapest a component; and, a component, 1 if it touched several."""
        keys = set()
        while True:
            holding, duration, _, following_s = self._time_key(from_s)
            keys.add((holding, duration))
            if following_s >= to_s:
                break
            from_s = following_s
        energies = range(bisect_right(self._energies, before), bisect_right(self._energies, max(before, after - 1)) + 1)
        p = bisect_right(self._powers, power)
        touched = list({self._match(holding, duration, energy, p) for holding, duration in keys for energy in energies})
        if len(touched) == 1:
            return touched[0], (0, 0, 0)
        best = tuple(min((tallies[i] for tallies in touched), key=_Tally.rank) for i in range(3))
        spans = tuple(int(len({tallies[i] for tallies in touched}) > 1) for i in range(3))
        return (best[0], best[1], best[2]), (spans[0], spans[1], spans[2])

    def _enter(self, time_s: int, energy: int, power: int) -> None:
        """Remember the cell that the next record starts in."""
        holding, duration, from_s, to_s = self._time_key(time_s)
        e, p = bisect_right(self._energies, energy), bisect_right(self._powers, power)
        self._active = self._match(holding, duration, e, p)
        self._from_s, self._to_s = from_s, to_s
        self._energy_to = self._energies[e] if e < len(self._energies) else _FOREVER
        self._power_from = self._powers[p - 1] if p else -_FOREVER
        self._power_to = self._powers[p] if p < len(self._powers) else _FOREVER

    def _rolled_over(self, record: Record, difference: int) -> int:
        energy = difference + self._modulus
        if not record.flags & _ROLLOVER or not self._modulus or energy < 0 or record.import_milliwatt_hours >= self._modulus:
            raise RegisterFell(
                f"the import register fell by {-difference} mWh to {record.import_milliwatt_hours}, "
                f"{'which the modulus does not explain' if record.flags & _ROLLOVER else 'without a rollover or a hand-over'}",
                f"record {record.sequence}",
            )
        return energy

    def _refusal(self, record: Record) -> PricingError:
        where = f"record {record.sequence}"
        if record.sequence <= self._sequence:
            return PricingError(f"comes after record {self._sequence}: add records in sequence, each once", where)
        if (record.device, record.channel) != self._place:
            return PricingError("is of another device or channel than the session's first", where)
        if self._swapped is not None:
            return PricingError("follows a meter swap: the signed hand-over must come first", where)
        if record.meter_hash != self._meter:
            return PricingError("is of another meter, without a record with reason SWAP and a signed hand-over", where)
        if record.end_s < record.start_s:
            return PricingError("ends before it starts", where)
        return PricingError(f"starts at {record.start_s} s, before the record before it ended ({self._end_s} s)", where)

    def _tally(self, kind: ComponentType, element: int | None) -> _Tally:
        key = (LineType(kind.value), element)
        tally = self._tallies.get(key)
        if tally is None:
            component = None if element is None else self.tariff.elements[element].components[kind]
            tally = _Tally(*key, 0, 0) if component is None else _Tally(*key, component.price_micro, component.tax_ppm)
            self._tallies[key] = tally
        return tally


def _cuts(limits: Iterable[int]) -> list[int]:
    """The limits that are set, sorted, each once."""
    return sorted({limit for limit in limits if 0 < limit < NO_LIMIT})


def _least(cuts: list[int], index: int) -> int:
    """The least value of the stretch before `cuts[index]`; whatever is restricted is restricted from 1 on, so 0 stands for all below."""
    return cuts[index - 1] if index else 0


def price(
    tariff: Tariff,
    opened_at_s: int,
    records: Iterable[Record],
    hand_overs: Iterable[HandOver] = (),
    register_modulus_milliwatt_hours: int = 0,
) -> Bill:
    """The bill of a session: the fold of `Pricer` over its records, each hand-over after the SWAP record it names."""
    pricer = Pricer(tariff, opened_at_s, register_modulus_milliwatt_hours)
    swaps = {hand_over.sequence: hand_over for hand_over in hand_overs}
    for record in records:
        pricer.add(record)
        if record.reason == _SWAP and record.sequence in swaps:
            pricer.hand_over(swaps[record.sequence])
    return pricer.bill()
