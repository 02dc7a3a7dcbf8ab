"""The one function that prices a session: agent, service, payer and auditor all use it.

`Pricer` takes records in sequence and can name the total after each; `price` is the fold of it. Money and energy are integers; rounding is
down, once a line (see `bill`). A record that may have used several elements, because it spans a boundary of time, duration or energy,
is billed whole at the cheapest of them. A record flagged QUARANTINED_REGISTER adds neither energy nor time; the energy is billed when
the next good register shows it. docs/decisions/pricing.md gives every rule with its reason.

Guarantees: the total never falls; it never exceeds `tariff.ceilings` for the energy and the time since opening; a record that is refused
leaves the pricer as it was. Not checked here: signatures, gaps in the sequence, plausibility (wire, bundle, service).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from .bill import Bill, Line, minimum_line
from .errors import PricingError, RegisterFell
from .evidence import Flag, HandOver, Reason, Record
from .matching import NO_SPANS, NOWHERE, Matcher
from .tariff import ComponentType, Tariff

MAX_SPAN_S = 62 * 86_400
"""From one good record to the next at most: no session is longer, and expanding bands over more would be work without a bound."""

_QUARANTINED = int(Flag.QUARANTINED_REGISTER)
_DISCONNECTED = int(Flag.DISCONNECTED)
_ROLLOVER = int(Flag.ROLLOVER)
_START = int(Reason.START)
_SWAP = int(Reason.SWAP)


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
        self._matcher = Matcher(tariff, opened_at_s)
        self._cell = NOWHERE  # the cell the last good record ended in
        self._priced = {ComponentType.ENERGY} | {kind for element in tariff.elements for kind in element.components}
        self._started = False
        self._place: tuple[bytes, int] = (b"", 0)
        self._meter = b""
        self._swapped: Record | None = None
        self._register: int | None = None  # the last good one
        self._register_at_s = 0
        self._rolled_unread = 0  # the ROLLOVER flag of quarantined records since
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
            self._rolled_unread |= flags & _ROLLOVER
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
        quarantined = last.flags & _QUARANTINED  # then both keys may have signed another register than the one nobody believed
        if hand_over.old_import_milliwatt_hours != last.import_milliwatt_hours and not quarantined:
            raise PricingError("the old meter's last register differs from the SWAP record's", "hand-over")
        self._swapped = None
        self._meter = hand_over.new_meter_hash
        self._register = hand_over.new_import_milliwatt_hours
        self._rolled_unread = 0
        self._register_at_s = last.end_s

    def copy(self) -> Pricer:
        """Another pricer at the same point, to ask what a record not yet cut would cost. Takes microseconds; the two go separate ways."""
        other = copy.copy(self)
        other._matcher = self._matcher.copy()
        other._cell = NOWHERE  # cells hold the tallies of one matcher
        return other

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
        tallies = [tally for tally in self._matcher.tallies() if tally.element is not None or tally.kind.value in self._priced]
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
            self._matcher.tally(ComponentType.FLAT, flat).add(1, record.sequence, 0)
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
        from_s, to_s, below, power_from, power_to, energy_to = self._cell
        if from_s <= since_s < to_s and end_s <= to_s and before < below and after <= below and power_from <= power < power_to:
            time_to, energy_spans, time_spans = energy_to, NO_SPANS, NO_SPANS
        else:
            energy_to, energy_spans = time_to, time_spans = self._matcher.cheapest(since_s, end_s, before, after, power)
            if since_s < begun_s < end_s:
                time_to, time_spans = self._matcher.cheapest(begun_s, end_s, before, after, power)
            self._cell = self._matcher.cell(end_s, after, power)
        if energy:
            energy_to[0].add(energy, sequence, energy_spans[0])
        if end_s > begun_s:
            if energy or power > 0:
                time_to[1].add(end_s - begun_s, sequence, time_spans[1])
            elif not flags & _DISCONNECTED:
                time_to[2].add(end_s - begun_s, sequence, time_spans[2])
        self._register, self._register_at_s, self.energy_milliwatt_hours = register, end_s, after
        self._rolled_unread = 0

    def _rolled_over(self, record: Record, difference: int) -> int:
        energy = difference + self._modulus
        rolled = (record.flags | self._rolled_unread) & _ROLLOVER
        if rolled and energy >= 0 and record.import_milliwatt_hours < self._modulus:
            return energy
        reason = "which the modulus does not explain" if rolled else "without a rollover or a hand-over"
        fell = f"the import register fell by {-difference} mWh to {record.import_milliwatt_hours}, {reason}"
        raise RegisterFell(fell, f"record {record.sequence}")

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
