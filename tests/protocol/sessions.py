"""Random tariffs and sessions from a seed: nights when clocks change, meters that roll over and are swapped, registers nobody believes.

The same seed gives the same session on every machine and Python, because answers to some are committed (tests/vectors).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from protocol.evidence import Flag, HandOver, Reason, Record
from protocol.hashing import keccak
from protocol.tariff import WEEKDAYS

T = TypeVar("T")

METER, OTHER_METER, DEVICE = b"\x01" * 32, b"\x02" * 32, b"\xde" * 32
T0 = 1_774_738_800
"""2026-03-29 00:00 in Berlin, the night an hour is skipped at 02:00."""
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu", "UTC")
"""Whole, half and quarter hours; a half-hour clock change; rules that have long stood still."""
STARTS = (
    datetime(2024, 3, 30, 20, tzinfo=UTC), datetime(2024, 10, 26, 20, tzinfo=UTC),  # Europe
    datetime(2024, 3, 10, 1, tzinfo=UTC), datetime(2024, 11, 3, 1, tzinfo=UTC),  # America
    datetime(2024, 4, 6, 12, tzinfo=UTC), datetime(2024, 10, 5, 12, tzinfo=UTC),  # Lord Howe
    datetime(2023, 12, 31, 18, tzinfo=UTC), datetime(2024, 2, 28, 22, tzinfo=UTC),
)  # fmt: skip


class Dice:
    """Random choices by counting hashes; Python's own may differ from one version to the next."""

    def __init__(self, seed: int) -> None:
        self._seed, self._count = seed, 0

    def random(self) -> float:
        """A multiple of 1/1000 in [0, 1)."""
        return self.randrange(1000) / 1000

    def randrange(self, least: int, most: int | None = None, step: int = 1) -> int:
        """As `random.randrange`."""
        least, most = (0, least) if most is None else (least, most)
        self._count += 1
        drawn = keccak(self._seed.to_bytes(32, "big") + self._count.to_bytes(8, "big"))
        return least + step * (int.from_bytes(drawn, "big") % ((most - least + step - 1) // step))

    def choice(self, options: Sequence[T]) -> T:
        return options[self.randrange(len(options))]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different ones, in random order."""
        left = list(options)
        return [left.pop(self.randrange(len(left))) for _ in range(count)]


def tariff_document(*elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A tariff in Berlin of these elements."""
    return {"id": "t", "version": 1, "currency": "EUR", "timeZone": "Europe/Berlin", "elements": list(elements)} | more


def element(restrictions: dict[str, Any] | None = None, tax: int = 0, **prices: int) -> dict[str, Any]:
    """An element of prices by type, all at one tax."""
    names = {"ENERGY": "microPerKwh", "TIME": "microPerHour", "PARKING_TIME": "microPerHour", "FLAT": "microPerSession"}
    components = [{"type": kind, names[kind]: micro, "taxPpm": tax} for kind, micro in prices.items()]
    return {"priceComponents": components} | ({"restrictions": restrictions} if restrictions else {})


class Log:
    """Records as an agent cuts them: each `use` goes on where the last ended."""

    def __init__(self, at_s: int = T0, register: int = 1_000_000) -> None:
        self.at_s, self.register, self.meter = at_s, register, METER
        self.records: list[Record] = []
        self.use(0, 0, reason=Reason.START)

    def use(self, seconds: int, milliwatt_hours: int, **changes: Any) -> Record:
        self.register += milliwatt_hours
        power = milliwatt_hours * 3600 // seconds if seconds else 0
        record = Record(
            DEVICE, 1, len(self.records) + 1, self.at_s, self.at_s + seconds, self.register, 0, 1000, 230_000, 0, power, 0, Reason.PERIODIC,
            self.meter, bytes(32), bytes(32),
        )._replace(**changes)  # fmt: skip
        self.records.append(record)
        self.at_s += seconds
        return record


class Session(NamedTuple):
    """Everything `pricing.price` takes, the tariff as its document."""

    tariff: dict[str, Any]
    opened_at_s: int
    records: list[Record]
    hand_overs: list[HandOver]
    register_modulus_milliwatt_hours: int


def random_tariff(rng: Dice, limits: bool = True) -> dict[str, Any]:
    """A tariff of 1…5 elements; without `limits` none is restricted by power, duration or energy."""
    elements = [_element(rng, limits) for _ in range(rng.randrange(1, 6))]
    if rng.random() < 0.7:
        elements.append({"priceComponents": [_component(rng, "ENERGY")]})
    tariff = {
        "id": f"t{rng.randrange(1000)}",
        "version": rng.randrange(1, 9),
        "currency": "EUR",
        "timeZone": rng.choice(ZONES),
        "elements": elements,
    }
    if rng.random() < 0.3:
        tariff["minPrice"] = {"microTaxIncluded": rng.randrange(1, 3_000_000), "taxPpm": rng.choice((0, 190_000))}
    return tariff  # fmt: skip


def _component(rng: Dice, kind: str) -> dict[str, Any]:
    price = {"ENERGY": "microPerKwh", "FLAT": "microPerSession"}.get(kind, "microPerHour")
    return {
        "type": kind,
        price: rng.choice((0, 1, 250_000, rng.randrange(1_000_000))),
        "taxPpm": rng.choice((0, 70_000, 190_000, 1_000_000)),
    }


def _element(rng: Dice, limits: bool) -> dict[str, Any]:
    kinds = [kind for kind in ("ENERGY", "TIME", "PARKING_TIME") if rng.random() < 0.6] or ["ENERGY"]
    restrictions: dict[str, Any] = {}
    if rng.random() < 0.6:
        start, end = sorted(rng.sample(range(0, 1440, 5), 2), reverse=rng.random() < 0.3)
        restrictions |= {"startTime": f"{start // 60:02}:{start % 60:02}", "endTime": f"{end // 60:02}:{end % 60:02}"}
    if rng.random() < 0.3:
        restrictions["dayOfWeek"] = rng.sample(WEEKDAYS, rng.randrange(1, 7))
    if rng.random() < 0.1:
        restrictions |= {"startDate": "2024-03-31", "endDate": "2024-10-27"}
    if limits and rng.random() < 0.5:
        name, least, most, top = rng.choice((
            ("Power", "minPowerMilliwatts", "maxPowerMilliwatts", 4_000_000), ("Duration", "minDurationS", "maxDurationS", 40_000),
            ("Energy", "minMilliwattHours", "maxMilliwattHours", 5_000_000),
        ))  # fmt: skip
        bounds = [rng.randrange(1, top), top + rng.randrange(top)] if rng.random() < 0.5 else [1 + rng.randrange(top // 9), top // 8]
        if name != "Power" and rng.random() < 0.5:
            restrictions[least] = bounds[0]
        else:
            restrictions |= {least: bounds[0], most: bounds[1]}
    elif rng.random() < 0.3:
        kinds.append("FLAT")
    element: dict[str, Any] = {"priceComponents": [_component(rng, kind) for kind in kinds]}
    return element | {"restrictions": restrictions} if restrictions else element


def random_session(seed: int, records: int = 60, limits: bool = True, plain: bool = False) -> Session:
    """A session that pricing accepts. `plain`: no gaps, quarantine, rollover, swap or disconnection."""
    rng = Dice(seed)
    tariff = random_tariff(rng, limits)
    at = int(rng.choice(STARTS).timestamp()) + rng.randrange(86_400)
    opened_at_s = at + rng.choice((0, 0, -7, 120, -3600))
    modulus = rng.choice((0, 10_000_000))
    register = rng.randrange(9_000_000, 10_000_000) if modulus else rng.randrange(1 << 50)
    step = rng.choice((1, 60, 900, 900, 3600))
    meter, sequence = b"\x01" * 32, rng.randrange(1, 1000)
    odd = 0.0 if plain else 1.0
    out = [
        Record(
            DEVICE, 1, sequence, at, at, register, 0, 1000, 230_000, 0, 0, _quarantine(rng, odd), Reason.START, meter, bytes(32), bytes(32)
        )
    ]
    hand_overs = []
    for _ in range(rng.randrange(1, records)):
        at += rng.randrange(1, 20_000) if rng.random() < 0.04 * odd else 0
        length = step if rng.random() < 0.8 else rng.randrange(0, 4 * step)
        used = rng.choice((0, 0, rng.randrange(3 * length + 2), rng.randrange(700 * length + 1)))
        power = rng.choice((0, 0, used * 3600 // max(1, length), -5_000, rng.randrange(4_000_000)))
        flags = _quarantine(rng, odd) | (int(Flag.DISCONNECTED) if rng.random() < 0.05 * odd else 0)
        register += used
        if modulus and register >= modulus:
            register -= modulus
            flags |= int(Flag.ROLLOVER)
        read = rng.randrange(1 << 50) if flags & Flag.QUARANTINED_REGISTER else register
        sequence += 1 if rng.random() < 0.9 else 3
        swap = rng.random() < 0.03 * odd
        reason = Reason.SWAP if swap else Reason.PERIODIC
        out.append(
            Record(DEVICE, 1, sequence, at, at + length, read, 0, 1000, 230_000, 0, power, flags, reason, meter, bytes(32), bytes(32))
        )
        at += length
        if swap:
            new_meter, register = bytes((meter[0] + 1,)) * 32, rng.randrange(9_000_000)
            hand_overs.append(HandOver(DEVICE, 1, sequence, at, meter, read, 0, new_meter, register, 0))
            meter = new_meter
    return Session(tariff, opened_at_s, out, hand_overs, modulus)  # fmt: skip


def _quarantine(rng: Dice, odd: float) -> int:
    return int(Flag.QUARANTINED_REGISTER) if rng.random() < 0.04 * odd else 0
