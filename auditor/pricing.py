"""The bill: tariff and agreement as agreed on, below the ceilings, and every line recomputed from the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from protocol.bundle import Bundle
from protocol.errors import Malformed, PricingError
from protocol.evidence import Reason, Record
from protocol.hashing import ZERO32, document_hash
from protocol.pricing import Pricer
from protocol.tariff import Tariff, ceilings

from .report import Check, Problem, judge, short

MAX_LINES = 1_000
"""Lines of a bill that are compared: a tariff has 32 elements of four components, so an honest bill has fewer."""


class Priced(NamedTuple):
    """The recomputed bill, and what had been used when the charged frame ended (None: that frame is not among the records)."""

    bill: dict[str, Any] | None
    charged_micro: int | None
    charged_milliwatt_hours: int
    charged_elapsed_s: int
    problems: tuple[Problem, ...]


def tariff_problems(bundle: Bundle) -> tuple[Tariff | None, list[Problem]]:
    """The tariff, if it is one, and what is wrong with it."""
    terms = bundle.session.terms
    try:
        tariff = Tariff.from_document(bundle.tariff)
        found = tariff.hash
    except Malformed as error:
        return None, [Problem("tariff", f"tariff.{error.where}", error.what)]
    problems = []
    if found != terms.tariff_hash:
        problems.append(Problem("tariff", "tariff", f"hashes to {short(found)}, the terms name {short(terms.tariff_hash)}"))
    agreed = (terms.max_micro_per_kwh, terms.max_micro_per_hour, terms.max_flat_micro)
    for most, asked, unit in zip(agreed, ceilings(tariff), ("a kWh", "an hour", "flat"), strict=True):
        if asked > most:
            problems.append(Problem("tariff-ceilings", "tariff", f"asks up to {asked} micro {unit}, the terms allow {most}"))
    return tariff, problems


def agreement_problems(bundle: Bundle) -> tuple[list[Problem], str]:
    """The agreement against the terms; and why it cannot be judged, if it is not in the file."""
    agreed = bundle.session.terms.agreement_hash
    if bundle.agreement is None:
        return [], "" if agreed == ZERO32 else f"the terms name agreement {short(agreed)}, which is not in the file"
    try:
        found = document_hash(bundle.agreement)
        named = None if bundle.policy is None else "0x" + document_hash(bundle.policy).hex()
    except Malformed as error:
        return [Problem("agreement", "agreement", error.what)], ""
    if found != agreed:
        return [Problem("agreement", "agreement", f"hashes to {short(found)}, the terms name {short(agreed)}")], ""
    if named is not None and bundle.agreement.get("policyHash", named) != named:
        return [Problem("agreement", "policy", "is not the one the agreement names")], ""
    return [], ""


def billed(bundle: Bundle, records: Sequence[Record]) -> list[Record]:
    """The records a bill is made from: of its channel, from its first to its last."""
    session = bundle.session
    return [r for r in records if r.channel == session.channel and session.first_sequence <= r.sequence <= session.last_sequence]


def reprice(bundle: Bundle, tariff: Tariff, records: Sequence[Record], charged_through: int | None) -> Priced:
    """Price the records again, and compare the bill line by line. `charged_through`: last sequence of the frame the charge names."""
    session = bundle.session
    swaps = {signed.value.sequence: signed.value for signed in bundle.hand_overs}
    charged: tuple[int | None, int, int] = (None, 0, 0)
    try:
        pricer = Pricer(tariff, session.opened_at_s, session.register_modulus_milliwatt_hours)
        for record in records:
            if charged_through is not None and charged[0] is None and record.sequence > charged_through:
                charged = (pricer.total_micro, pricer.energy_milliwatt_hours, pricer.elapsed_s)
            pricer.add(record)
            if record.reason == Reason.SWAP and record.sequence in swaps:
                pricer.hand_over(swaps[record.sequence])
        bill = pricer.bill().to_document()
    except PricingError as error:
        return Priced(None, None, 0, 0, (Problem("arithmetic", error.where, error.what),))
    if charged_through is not None and charged[0] is None and records and records[-1].sequence <= charged_through:
        charged = (pricer.total_micro, pricer.energy_milliwatt_hours, pricer.elapsed_s)
    return Priced(bill, *charged, tuple(_differences(bill, bundle.bill)))


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[Problem]:
    problems = []
    for name in sorted(ours.keys() | theirs.keys()):
        if name != "lines" and not _same(ours.get(name), theirs.get(name)):
            what = f"says {_shown(theirs.get(name))}, the records come to {ours.get(name)!r}"
            problems.append(Problem("arithmetic", f"bill.{name}", what))
    lines = theirs.get("lines")
    if type(lines) is not list:
        return [*problems, Problem("arithmetic", "bill.lines", "must be a list")]
    for i in range(min(max(len(lines), len(ours["lines"])), MAX_LINES)):
        mine, other = (side[i] if i < len(side) else None for side in (ours["lines"], lines))
        if mine is None or type(other) is not dict:
            what = "is not among the lines the records come to" if mine is None else "is missing"
            problems.append(Problem("arithmetic", f"bill.lines[{i}]", what))
            continue
        for name in sorted(mine.keys() | other.keys()):
            if not _same(mine.get(name), other.get(name)):
                what = f"says {_shown(other.get(name))}, the records come to {mine.get(name)!r}"
                problems.append(Problem("arithmetic", f"bill.lines[{i}].{name}", what))
    return problems


def _shown(value: Any) -> str:
    return repr(value)[:100]


def _same(mine: Any, other: Any) -> bool:
    return type(mine) is type(other) and bool(mine == other)


def bill_checks(bundle: Bundle, problems: Sequence[Problem], priced: Priced | None, agreement: str, erased: str) -> list[Check]:
    """The verdicts on tariff, agreement, arithmetic and tail."""
    lines = bundle.bill.get("lines")
    count = len(lines) if isinstance(lines, list) else 0
    unpriced = "the tariff cannot be read" if priced is None and not erased else ""
    return [
        judge("tariff", problems, "hashes to what the terms name"),
        judge("tariff-ceilings", problems, "per kWh, per hour and flat"),
        judge("agreement", problems, "hashes to what the terms name" if bundle.agreement else "none was made", unchecked=agreement),
        judge("arithmetic", problems, f"{count} line(s), recomputed to the last unit", unchecked=unpriced, erased=erased),
        judge("tail", problems, _tail(bundle)),
    ]


def _tail(bundle: Bundle) -> str:
    tail = bundle.tail
    return f"{tail.amount_micro} micro: {tail.name}" if tail.amount_micro else "none: all that was billed was charged"
