"""pricing.json: sessions and what they cost, and sessions that nobody may price."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from protocol.eip712 import to_json
from protocol.errors import ProtocolError
from protocol.evidence import Flag, HandOver, Reason, Record
from protocol.pricing import price
from protocol.tariff import Tariff
from tests.protocol.sessions import DEVICE, METER, OTHER_METER, T0, Log, Session, element, random_session, tariff_document

from .signed import hexed, word

EIGHT = T0 + 7 * 3600
"""08:00 of the day that begins at T0, which has lost an hour."""
QUARANTINED, DISCONNECTED, ROLLOVER = int(Flag.QUARANTINED_REGISTER), int(Flag.DISCONNECTED), int(Flag.ROLLOVER)
PRICED = (
    "device", "channel", "sequence", "startS", "endS", "importMilliwattHours", "powerMilliwatts", "flags", "reason", "meterHash",
)  # fmt: skip
"""The members of a record that pricing reads; vectors carry no others."""


def _entry(name: str, session: Session, tariff_hash: bytes | None = None) -> dict[str, Any]:
    """A vector with the bill, or the name of the refusal, that this implementation gives."""
    common = {"device": hexed(DEVICE), "channel": 1, "meterHash": hexed(METER)}
    records = [{k: v for k, v in to_json(r).items() if k in PRICED and common.get(k) != v} for r in session.records]
    entry: dict[str, Any] = {
        "name": name, "good": True, "fault": "", "tariff": session.tariff, "tariffHash": None, "openedAtS": session.opened_at_s,
        "registerModulusMilliwattHours": session.register_modulus_milliwatt_hours, "handOvers": [to_json(h) for h in session.hand_overs],
        "common": common, "records": records,
    }  # fmt: skip
    try:
        tariff = Tariff.from_document(session.tariff)
        entry["tariffHash"] = hexed(tariff_hash or tariff.hash)
        entry["bill"] = price(tariff, *session[1:]).to_document()
    except ProtocolError as error:
        return entry | {"good": False, "fault": name, "refusal": type(error).__name__, "where": getattr(error, "where", "")}
    return entry | ({"good": False, "fault": name, "refusal": "tariff hash", "where": "tariffHash"} if tariff_hash else {})


def _session(tariff: dict[str, Any], log: Log, opened_at_s: int = T0, hand_overs: tuple[HandOver, ...] = (), modulus: int = 0) -> Session:
    return Session(tariff, opened_at_s, log.records, list(hand_overs), modulus)


def _log(*uses: tuple[int, int], at_s: int = T0, register: int = 1_000_000) -> Log:
    log = Log(at_s, register)
    for seconds, milliwatt_hours in uses:
        log.use(seconds, milliwatt_hours)
    return log


def _good() -> list[dict[str, Any]]:
    flat = tariff_document(element(ENERGY=300_000, tax=190_000))
    night = tariff_document(
        element({"startTime": "08:00", "endTime": "20:00"}, ENERGY=400_000, tax=190_000), element(ENERGY=250_000, tax=190_000)
    )
    two = tariff_document(element({"startTime": "02:00", "endTime": "03:00"}, ENERGY=3_000_000), element(ENERGY=1_000_000))
    timed = tariff_document(element({"minDurationS": 1_800}, PARKING_TIME=6_000_000), element(ENERGY=250_000, TIME=900_000))
    minimum = tariff_document(
        element(ENERGY=300_000, FLAT=350_000, tax=190_000), minPrice={"microTaxIncluded": 1_000_000, "taxPpm": 190_000}
    )
    parked, quarantined, odd = _log((900, 500_000), (900, 0), (900, 0), (900, 0)), _log((900, 1_000)), Log(EIGHT - 900)
    parked.use(900, 0, flags=DISCONNECTED)
    quarantined.use(900, 1_000, flags=QUARANTINED, import_milliwatt_hours=0)
    quarantined.use(900, 1_000)
    odd.use(900, 1_000, flags=QUARANTINED, import_milliwatt_hours=7)
    odd.use(900, 1_000)
    rolled = Log(register=9_999_500)
    rolled.use(900, 600, import_milliwatt_hours=100, flags=ROLLOVER)
    swapped, hand_over = _swapped()
    autumn = 1_792_879_200  # 2026-10-25 00:00 in Berlin: 02:00–03:00 comes twice
    return [
        _entry("flat energy", _session(flat, _log(*[(900, 333)] * 7))),
        _entry("a start record and nothing more", _session(minimum, _log())),
        _entry("flat fee and minimum price", _session(minimum, _log((900, 500_000)))),
        _entry("the minimum price is reached", _session(minimum, _log((900, 5_000_000)))),
        _entry("day and night", _session(night, _log(*[(900, 250_000)] * 4, at_s=EIGHT - 1_800))),
        _entry("a record across a boundary", _session(night, _log((899, 250_000), (2, 500), (899, 250_000), at_s=EIGHT - 900))),
        _entry("a day of 23 hours", _session(two, _log(*[(900, 1_000)] * 92))),
        _entry("a day of 25 hours", _session(two, _log(*[(900, 1_000)] * 100, at_s=autumn), autumn)),
        _entry("time, parking, and a dead socket", _session(timed, parked)),
        _entry("opened after the first records", _session(timed, parked, T0 + 1_350)),
        _entry("a quarantined register", _session(flat, quarantined)),
        _entry("a quarantined register across a boundary", _session(night, odd)),
        _entry("rollover", _session(flat, rolled, modulus=10_000_000)),
        _entry("meter swap", _session(flat, swapped, hand_overs=(hand_over,))),
        *[_entry(f"random session {seed}", random_session(seed, records=24)) for seed in range(12)],
    ]


def _swapped() -> tuple[Log, HandOver]:
    log = _log()
    last = log.use(900, 1_000, reason=Reason.SWAP)
    hand_over = HandOver(DEVICE, 1, last.sequence, log.at_s, METER, log.register, 0, OTHER_METER, 5, 0)
    log.meter, log.register = OTHER_METER, 5
    log.use(900, 2_000)
    return log, hand_over


def _bad() -> list[dict[str, Any]]:
    flat = tariff_document(element(ENERGY=300_000, tax=190_000))

    def last(fault: str, **changes: Any) -> dict[str, Any]:
        log = _log((900, 1_000), (900, 500))
        log.records[-1] = log.records[-1]._replace(**changes)
        return _entry(fault, _session(flat, log))

    rolled = Log(register=9_999_500)
    rolled.use(900, 600, import_milliwatt_hours=100, flags=ROLLOVER)
    swapped, hand_over = _swapped()
    no_start = _log((900, 1_000))
    del no_start.records[0]
    tariffs: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "a tariff with an unknown word": lambda t: t | {"discount": 1},
        "a price that is no integer": lambda t: (
            t | {"elements": [{"priceComponents": [{"type": "ENERGY", "microPerKwh": 0.3, "taxPpm": 0}]}]}
        ),
        "a zone that does not exist": lambda t: t | {"timeZone": "Europe/Atlantis"},
        "a flat fee restricted by duration": lambda t: t | {"elements": [element({"minDurationS": 60}, FLAT=1)]},
        "a band that ends where it starts": lambda t: t | {"elements": [element({"startTime": "08:00", "endTime": "08:00"}, ENERGY=1)]},
    }
    return [
        _entry("tariff mismatch: not the one that was agreed", _session(flat, _log((900, 1_000))), word("another tariff")),
        _entry("no start record", _session(flat, no_start)),
        last("a register that fell", import_milliwatt_hours=1_000_999),
        last("the same record twice", sequence=2),
        last("overlap: starts before the one before it ended", start_s=T0 + 899),
        last("ends before it starts", start_s=T0 + 1_800, end_s=T0 + 1_799),
        last("another meter without a hand-over", meter_hash=OTHER_METER),
        last("another channel", channel=2),
        last("another device", device=bytes(32)),
        _entry("a rollover without a modulus", _session(flat, rolled)),
        _entry("a rollover that the modulus does not explain", _session(flat, rolled, modulus=9_000_000)),
        _entry("a swap without its hand-over", _session(flat, swapped)),
        _entry(
            "a hand-over that names another register",
            _session(flat, swapped, hand_overs=(hand_over._replace(old_import_milliwatt_hours=1),)),
        ),
        *[_entry(fault, _session(change(flat), _log((900, 1_000)))) for fault, change in tariffs.items()],
    ]


def document() -> list[dict[str, Any]]:
    """The whole file."""
    return _good() + _bad()


__all__ = ["Record", "document"]
