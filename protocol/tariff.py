"""Tariffs: a versioned document in OCPI 2.2.1's words, hashed, and what it means.

A tariff is an ordered list of elements; each has prices (components) and restrictions. Per component type the *first* element whose
restrictions hold applies, as in OCPI. Prices are integers without tax, tax is parts per million on top, a minimum price includes it.
docs/decisions/pricing.md shows a whole document and says what each word means where OCPI leaves a choice.

Source: OCPI 2.2.1 part II, mod_tariffs (https://github.com/ocpi/ocpi/blob/release-2.2.1-bugfixes/mod_tariffs.asciidoc)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from .calendar import ALWAYS, DAY_MINUTES, Calendar, Hours
from .documents import check_fields, integer
from .errors import Malformed
from .hashing import document_hash

MAX_ELEMENTS = 32
"""Elements in a tariff: two seasons of six bands on two kinds of day fit; pricing a record that spans bands costs time for each."""
MAX_PRICE_MICRO = 10**12
"""A million currency units a kWh, hour or session: above any real price, and products stay far below 2^64 where the chain needs it."""
MAX_TAX_PPM = 1_000_000
MAX_ID_LENGTH = 36
"""OCPI's CiString(36)."""
MAX_LIMIT = 2**53 - 1
"""Energy, power and duration limits are JSON integers."""
NO_LIMIT = 1 << 64
PPM = 1_000_000
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


class ComponentType(StrEnum):
    """What a price is for. TIME counts while energy flows, PARKING_TIME while connected without; FLAT once a session."""

    ENERGY = "ENERGY"
    TIME = "TIME"
    PARKING_TIME = "PARKING_TIME"
    FLAT = "FLAT"


PRICE_NAMES = {
    ComponentType.ENERGY: "microPerKwh",
    ComponentType.TIME: "microPerHour",
    ComponentType.PARKING_TIME: "microPerHour",
    ComponentType.FLAT: "microPerSession",
}


class Component(NamedTuple):
    """A price without tax, in micro-units per kWh, hour or session, and the tax on it."""

    type: ComponentType
    price_micro: int
    tax_ppm: int

    @property
    def rate(self) -> int:
        """The price with tax, exact, in millionths of a micro-unit: what "cheaper" compares."""
        return self.price_micro * (PPM + self.tax_ppm)


class Limits(NamedTuple):
    """Restrictions by power, duration and energy; each from (inclusive) – to (exclusive). The defaults restrict nothing."""

    min_power_milliwatts: int = -NO_LIMIT
    max_power_milliwatts: int = NO_LIMIT
    min_duration_s: int = 0
    max_duration_s: int = NO_LIMIT
    min_milliwatt_hours: int = 0
    max_milliwatt_hours: int = NO_LIMIT

    def hold(self, power_milliwatts: int, duration_s: int, milliwatt_hours: int) -> bool:
        return (
            self.min_power_milliwatts <= power_milliwatts < self.max_power_milliwatts
            and self.min_duration_s <= duration_s < self.max_duration_s
            and self.min_milliwatt_hours <= milliwatt_hours < self.max_milliwatt_hours
        )


NO_LIMITS = Limits()


class Element(NamedTuple):
    """Prices that hold together, and when they do."""

    components: dict[ComponentType, Component]
    hours: Hours
    limits: Limits


class MinimumPrice(NamedTuple):
    """The least a session costs, tax included; `tax_ppm` is the tax contained in what it adds."""

    micro_tax_included: int
    tax_ppm: int


class Tariff:
    """A tariff as agreed on. Made by `from_document`; `hash` is what terms carry, `document` what is published."""

    def __init__(self, document: dict[str, Any]) -> None:
        check_fields(document, "tariff", ("id", "version", "currency", "timeZone", "elements"), ("minPrice",))
        self.id: str = _text(document["id"], rf"[!-~]{{1,{MAX_ID_LENGTH}}}", f"1…{MAX_ID_LENGTH} printable ASCII characters", "id")
        self.version = integer(document["version"], 1, MAX_LIMIT, "version")
        self.currency: str = _text(document["currency"], "[A-Z]{3}", "three capital letters (ISO 4217)", "currency")
        self.time_zone: str = _text(document["timeZone"], r".{1,64}", "an IANA zone name", "timeZone")
        elements = document["elements"]
        if type(elements) is not list or not 1 <= len(elements) <= MAX_ELEMENTS:
            raise Malformed(f"must be a list of 1…{MAX_ELEMENTS} elements", "elements")
        self.elements = tuple(_element(e, f"elements[{i}]") for i, e in enumerate(elements))
        self.minimum_price = _minimum_price(document["minPrice"]) if "minPrice" in document else None
        self.calendar = Calendar(self.time_zone, tuple(e.hours for e in self.elements))
        self._canonical = orjson.dumps(document)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Tariff:
        """The tariff a document states. Raises `Malformed` naming the field."""
        return cls(document)

    @property
    def document(self) -> dict[str, Any]:
        """The document, a fresh copy."""
        copy: dict[str, Any] = orjson.loads(self._canonical)
        return copy

    @cached_property
    def hash(self) -> bytes:
        """keccak of the document's RFC 8785 form, 32 bytes."""
        return document_hash(self.document)

    def first_match(self, kind: ComponentType, holds: Callable[[int], bool]) -> int | None:
        """The index of the first element that prices `kind` and for which `holds(index)`, or None."""
        return next((i for i, e in enumerate(self.elements) if kind in e.components and holds(i)), None)


def ceilings(tariff: Tariff) -> tuple[int, int, int]:
    """(max_micro_per_kwh, max_micro_per_hour, max_flat_micro), tax included and rounded up: no bill exceeds them.

    The minimum price counts as flat: a total is either the sum of its lines or the minimum, never both.
    """
    highest = dict.fromkeys(ComponentType, 0)
    for element in tariff.elements:
        for kind, component in element.components.items():
            highest[kind] = max(highest[kind], -(-component.rate // PPM))
    flat = highest[ComponentType.FLAT]
    if tariff.minimum_price is not None:
        flat = max(flat, tariff.minimum_price.micro_tax_included)
    return highest[ComponentType.ENERGY], max(highest[ComponentType.TIME], highest[ComponentType.PARKING_TIME]), flat


def boundaries(tariff: Tariff, start_s: int, end_s: int, opened_at_s: int | None = None) -> list[int]:
    """The instants in (start_s, end_s), in order, at which other elements begin to hold: the agent cuts a record at each.

    With `opened_at_s` those by duration too. Those by energy and power cannot be foreseen: a record that spans one is billed at the
    cheaper side.
    """
    instants = set(tariff.calendar.changes(start_s, end_s))
    if opened_at_s is not None:
        for element in tariff.elements:
            instants |= {opened_at_s + element.limits.min_duration_s, opened_at_s + element.limits.max_duration_s}
    return sorted(t for t in instants if start_s < t < end_s)


def _text(value: Any, pattern: str, meaning: str, where: str) -> str:
    if type(value) is not str or not re.fullmatch(pattern, value):
        raise Malformed(f"must be {meaning}, not {value!r}", where)
    return value


def _element(document: Any, where: str) -> Element:
    check_fields(document, where, ("priceComponents",), ("restrictions",))
    items = document["priceComponents"]
    if type(items) is not list or not items:
        raise Malformed("must be a list of at least one price", f"{where}.priceComponents")
    components: dict[ComponentType, Component] = {}
    for i, item in enumerate(items):
        component = _component(item, f"{where}.priceComponents[{i}]")
        if component.type in components:
            raise Malformed(f"a second {component.type} price in one element", f"{where}.priceComponents[{i}]")
        components[component.type] = component
    hours, limits = ALWAYS, NO_LIMITS
    if "restrictions" in document:
        hours, limits = _restrictions(document["restrictions"], f"{where}.restrictions")
    if ComponentType.FLAT in components and limits != NO_LIMITS:
        raise Malformed("FLAT is due when a session opens: restrict its element by date, day and time of day only", where)
    return Element(components, hours, limits)


def _component(document: Any, where: str) -> Component:
    if type(document) is not dict or document.get("type") not in tuple(ComponentType):
        raise Malformed(f"needs a type, one of {', '.join(ComponentType)}", where)
    kind = ComponentType(document["type"])
    price = PRICE_NAMES[kind]
    check_fields(document, where, ("type", price, "taxPpm"), ())
    return Component(
        kind,
        integer(document[price], 0, MAX_PRICE_MICRO, f"{where}.{price}"),
        integer(document["taxPpm"], 0, MAX_TAX_PPM, f"{where}.taxPpm"),
    )


def _minimum_price(document: Any) -> MinimumPrice:
    check_fields(document, "minPrice", ("microTaxIncluded", "taxPpm"), ())
    return MinimumPrice(
        integer(document["microTaxIncluded"], 1, MAX_PRICE_MICRO, "minPrice.microTaxIncluded"),
        integer(document["taxPpm"], 0, MAX_TAX_PPM, "minPrice.taxPpm"),
    )


_HOURS_NAMES = ("startTime", "endTime", "dayOfWeek", "startDate", "endDate")
_LIMIT_NAMES = {
    "minPowerMilliwatts": ("maxPowerMilliwatts", "min_power_milliwatts", "max_power_milliwatts"),
    "minDurationS": ("maxDurationS", "min_duration_s", "max_duration_s"),
    "minMilliwattHours": ("maxMilliwattHours", "min_milliwatt_hours", "max_milliwatt_hours"),
}


def _restrictions(document: Any, where: str) -> tuple[Hours, Limits]:
    limit_names = tuple(name for least, (most, _, _) in _LIMIT_NAMES.items() for name in (least, most))
    check_fields(document, where, (), _HOURS_NAMES + limit_names)
    if not document:
        raise Malformed("restricts nothing; leave it out", where)
    limits: dict[str, int] = {}
    for least, (most, least_attribute, most_attribute) in _LIMIT_NAMES.items():
        if least in document:
            limits[least_attribute] = integer(document[least], 1, MAX_LIMIT, f"{where}.{least}")
        if most in document:
            limits[most_attribute] = integer(document[most], limits.get(least_attribute, 0) + 1, MAX_LIMIT, f"{where}.{most}")
    return _hours(document, where), Limits(**limits)


def _minute(document: dict[str, Any], name: str, where: str) -> int:
    text = _text(document[name], r"([01][0-9]|2[0-3]):[0-5][0-9]", "a local time HH:MM, 00:00…23:59", f"{where}.{name}")
    return int(text[:2]) * 60 + int(text[3:])


def _day(document: dict[str, Any], name: str, where: str) -> int:
    text = _text(document[name], r"[1-9][0-9]{3}-[01][0-9]-[0-3][0-9]", "a date YYYY-MM-DD", f"{where}.{name}")
    try:
        return date.fromisoformat(text).toordinal()
    except ValueError:
        raise Malformed(f"{text} is not a day of the calendar", f"{where}.{name}") from None


def _hours(document: dict[str, Any], where: str) -> Hours:
    hours = ALWAYS
    if "startTime" in document:
        hours = hours._replace(from_minute=_minute(document, "startTime", where))
    if "endTime" in document:  # OCPI: 00:00 as an end is the end of the day
        hours = hours._replace(to_minute=_minute(document, "endTime", where) or DAY_MINUTES)
    if hours.from_minute == hours.to_minute % DAY_MINUTES and {"startTime", "endTime"} & document.keys():
        raise Malformed("startTime and endTime are the same: leave both out for the whole day", where)
    if "dayOfWeek" in document:
        names = document["dayOfWeek"]
        if type(names) is not list or not names or any(n not in WEEKDAYS for n in names) or len(set(names)) != len(names):
            raise Malformed(f"must be a list of different days of {', '.join(WEEKDAYS)}", f"{where}.dayOfWeek")
        hours = hours._replace(weekdays=frozenset(WEEKDAYS.index(name) for name in names))
    if "startDate" in document:
        hours = hours._replace(from_day=_day(document, "startDate", where))
    if "endDate" in document:
        hours = hours._replace(to_day=_day(document, "endDate", where))
    if hours.from_day >= hours.to_day:
        raise Malformed("endDate (exclusive) must be after startDate", where)
    return hours
