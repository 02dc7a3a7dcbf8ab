"""Which offer to buy under: priced for the load expected now, by the owner's preference, explained in words and numbers.

Pure and deterministic: the same offers, load and instant give the same choice, whatever order they were served in. An offer is priced by
the one `Pricer`, over records cut wherever its tariff changes, so flat parts, time parts, bands and minimum prices count as they will on
the bill. The offer in use is priced by what going on with it adds (its flat part is paid), and left only for a strictly better one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from protocol.errors import PricingError
from protocol.evidence import Reason, Record
from protocol.offer import SignedOffer
from protocol.pricing import Pricer
from protocol.tariff import Tariff, boundaries
from protocol.wallet import Policy

from .settings import Preference

PER_KWH = 1_000_000  # milliwatt-hours
MAX_EXPLAINED = 16
"""Offers in an explanation: a note is at most 8 KiB."""


class Course(NamedTuple):
    """The load expected: from when, how long, how much."""

    from_s: int
    seconds: int
    watts: int

    def milliwatt_hours(self, until_s: int) -> int:
        return self.watts * 1_000 * (until_s - self.from_s) // 3_600

    @property
    def energy_milliwatt_hours(self) -> int:
        return self.milliwatt_hours(self.from_s + self.seconds)


class Candidate(NamedTuple):
    """An offer that stands at the point. `hash` is its offer hash."""

    hash: bytes
    signed: SignedOffer


class Ranked(NamedTuple):
    """A candidate with what it would cost; `against` says why it is not considered, empty if it is."""

    candidate: Candidate
    total_micro: int
    micro_per_kwh: int
    against: str

    def document(self) -> dict[str, Any]:
        stated = self.candidate.signed.document
        return {
            "offer": "0x" + self.candidate.hash.hex(), "name": stated.name, "provider": "0x" + stated.provider.hex(),
            "totalMicro": self.total_micro, "microPerKwh": self.micro_per_kwh, "renewablePpm": stated.renewable_ppm,
            "against": self.against,
        }  # fmt: skip


class Choice(NamedTuple):
    """`best` None: nothing can be bought under this preference. `why` is one sentence; `ranked` has the best first."""

    best: Candidate | None
    why: str
    ranked: tuple[Ranked, ...]

    def document(self) -> dict[str, Any]:
        return {"kind": "choice", "why": self.why, "offers": [each.document() for each in self.ranked[:MAX_EXPLAINED]]}


def cost_micro(tariff: Tariff, course: Course) -> int:
    """What a session with this load would cost, opened when it begins. Raises `PricingError` outside the calendar."""
    pricer = Pricer(tariff, course.from_s)
    blank = Record(bytes(32), 0, 1, course.from_s, course.from_s, 0, 0, 1, 0, 0, 0, 0, int(Reason.START), bytes(32), bytes(32), bytes(32))
    pricer.add(blank)
    _run(pricer, tariff, course, course.from_s, blank)
    return pricer.total_micro


def added_micro(pricer: Pricer, last: Record | None, course: Course) -> int:
    """What a session that runs, with its `last` record, adds with this load."""
    if last is None:
        return cost_micro(pricer.tariff, course)
    following = pricer.copy()
    before = following.total_micro
    _run(following, pricer.tariff, course, pricer.opened_at_s, last)
    return following.total_micro - before


def _run(pricer: Pricer, tariff: Tariff, course: Course, opened_at_s: int, last: Record) -> None:
    """Add the records of the load: one for each stretch in which prices stay, as an agent cuts them."""
    end_s, used = course.from_s + course.seconds, pricer.energy_milliwatt_hours
    cuts = {*boundaries(tariff, course.from_s, end_s, opened_at_s), end_s}
    for element in tariff.elements:  # by energy: the second in which it is passed is a record of its own, billed at the cheaper
        for limit in (element.limits.min_milliwatt_hours, element.limits.max_milliwatt_hours):
            at_s = course.from_s + max(0, limit - used) * 3_600 // (course.watts * 1_000)
            cuts |= {at for at in (at_s, at_s + 1) if course.from_s < at < end_s}
    register, record = last.import_milliwatt_hours, last._replace(end_s=max(last.end_s, course.from_s), flags=0)
    for cut in sorted(cut for cut in cuts if cut > record.end_s):
        record = record._replace(
            sequence=record.sequence + 1, start_s=record.end_s, end_s=cut, reason=int(Reason.PERIODIC),
            power_milliwatts=course.watts * 1_000, import_milliwatt_hours=register + course.milliwatt_hours(cut),
        )  # fmt: skip
        pricer.add(record)


class Running(NamedTuple):
    """The session that runs, for comparison: under which offer, and where it stands."""

    offer: bytes
    pricer: Pricer
    last: Record | None


def choose(
    candidates: Sequence[Candidate], course: Course, preference: Preference, policy: Policy | None, running: Running | None = None
) -> Choice:
    """The best candidate, or the running one unless another is strictly better."""
    ranked = sorted((_rank(each, course, preference, policy, running) for each in candidates), key=lambda r: _key(r, preference))
    good = [each for each in ranked if not each.against]
    if not good:
        return Choice(None, _nothing(ranked), tuple(ranked))
    best = good[0]
    stays = next((each for each in good if running is not None and each.candidate.hash == running.offer), None)
    if stays is not None and _key(stays, preference)[:-1] == _key(best, preference)[:-1]:
        best = stays  # equally good: staying costs nothing
    return Choice(best.candidate, _why(best, good, course, preference, running), tuple(ranked))


def _rank(candidate: Candidate, course: Course, preference: Preference, policy: Policy | None, running: Running | None) -> Ranked:
    stated = candidate.signed.document
    try:
        if running is not None and candidate.hash == running.offer:
            total = added_micro(running.pricer, running.last, course)
        else:
            total = cost_micro(stated.tariff, course)
    except PricingError as error:
        return Ranked(candidate, 0, 0, f"its tariff cannot be priced: {error}")
    per_kwh = total * PER_KWH // max(1, course.energy_milliwatt_hours)
    return Ranked(candidate, total, per_kwh, _against(candidate, per_kwh, course, preference, policy))


def _against(candidate: Candidate, per_kwh: int, course: Course, preference: Preference, policy: Policy | None) -> str:
    stated = candidate.signed.document
    if stated.max_watts < course.watts:
        return f"delivers {stated.max_watts} W, and {course.watts} W are expected"
    if preference.max_micro_per_kwh is not None and per_kwh > preference.max_micro_per_kwh:
        return f"comes to {per_kwh} micro-units a kWh, and the owner pays at most {preference.max_micro_per_kwh}"
    if policy is None:
        return ""
    if policy.providers and stated.provider not in policy.providers:
        return "its provider is not on the wallet's list"
    names = ("a kWh", "an hour", "once")
    limits = (policy.max_micro_per_kwh, policy.max_micro_per_hour, policy.max_flat_micro)
    for name, asked, most in zip(names, stated.ceilings, limits, strict=True):
        if asked > most:
            return f"may ask {asked} micro-units {name}, and the wallet allows {most}"
    return ""


def _key(ranked: Ranked, preference: Preference) -> tuple[bool, int, int, bytes]:
    """Smaller is better; the hash last, so that equals have an order too."""
    greenness = -ranked.candidate.signed.document.renewable_ppm
    first, second = (ranked.total_micro, greenness) if preference.kind == "cheapest" else (greenness, ranked.total_micro)
    return bool(ranked.against), first, second, ranked.candidate.hash


def _nothing(ranked: Sequence[Ranked]) -> str:
    if not ranked:
        return "no good offer stands at this point"
    return "; ".join(f"{each.candidate.signed.document.name} {each.against}" for each in ranked[:3])


def _why(best: Ranked, good: Sequence[Ranked], course: Course, preference: Preference, running: Running | None) -> str:
    stated, hours = best.candidate.signed.document, course.seconds / 3_600
    load = f"{course.watts} W for {hours:.3g} h"
    share = f"{stated.renewable_ppm / 10_000:.4g} % renewable"
    cost = f"{best.total_micro / 1e6:.6f} for {load} ({best.micro_per_kwh / 1e6:.6f} a kWh in all)"
    goes_on = running is not None and best.candidate.hash == running.offer
    head = f"{'stay with' if goes_on else 'take'} {stated.name}: "
    others = [each for each in good if each is not best]
    if preference.kind == "greenest":
        head += f"{share}, {cost}"
        rest = [f"{o.candidate.signed.document.name} {o.candidate.signed.document.renewable_ppm / 10_000:.4g} %" for o in others[:2]]
    else:
        head += f"{cost}, {share}"
        rest = [f"{o.candidate.signed.document.name} {o.total_micro / 1e6:.6f}" for o in others[:2]]
    return head + (f"; against {', '.join(rest)}" if rest else "; nothing else can be bought here")


def next_change_s(candidates: Sequence[Candidate], now_s: int, until_s: int) -> int | None:
    """The next instant in (now, until) at which a tariff band of any of these begins, or one of them ends."""
    instants = [at for each in candidates for at in boundaries(each.signed.document.tariff, now_s, until_s)]
    instants += [each.signed.offer.valid_until_s for each in candidates if now_s < each.signed.offer.valid_until_s < until_s]
    return min(instants, default=None)
