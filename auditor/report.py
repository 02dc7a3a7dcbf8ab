"""What an audit says: named checks, each with a verdict and, where it fails, the place.

Every check is always in the report. *fail* names the places; *not checked* and *erased* say why; nothing that was not looked at is
called *pass*. The exit code of a report is the most fundamental kind of check that failed (docs/auditor.md has the table).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

MAX_PLACES = 20
"""Places of one check that a report lists; the count is always exact."""


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    NOT_CHECKED = "not checked"
    ERASED = "erased"


class Kind(IntEnum):
    """Families of checks; the value is the exit code when one of them fails. Lower is more fundamental."""

    FORM = 10
    RECORDS = 11
    COMPLETENESS = 12
    ANCHORING = 13
    KEYS = 14
    BILL = 15
    MONEY = 16
    ATTACHED = 17
    CHAIN = 18


class Known(NamedTuple):
    """A check that every report names."""

    kind: Kind
    title: str


CHECKS: dict[str, Known] = {
    "form": Known(Kind.FORM, "the file can be read"),
    "record-hashes": Known(Kind.RECORDS, "records hash to what was signed"),
    "frame-signatures": Known(Kind.RECORDS, "frames are signed by a key of the device"),
    "sequence": Known(Kind.COMPLETENESS, "no record is missing"),
    "frame-chain": Known(Kind.COMPLETENESS, "each frame names the one before it"),
    "incarnations": Known(Kind.COMPLETENESS, "starts of the agent are in order"),
    "equivocation": Known(Kind.COMPLETENESS, "no place has two frames, or a ruling says which holds"),
    "registers": Known(Kind.COMPLETENESS, "registers are continuous"),
    "epoch-inclusion": Known(Kind.ANCHORING, "frames lie in anchored epochs"),
    "links": Known(Kind.ANCHORING, "epochs lead to a trusted head"),
    "times": Known(Kind.ANCHORING, "records are dated between the head they saw and their anchor"),
    "receipts": Known(Kind.ANCHORING, "promises to anchor were kept"),
    "key-events": Known(Kind.KEYS, "the registry's history of keys is whole"),
    "frame-keys": Known(Kind.KEYS, "keys were registered when their frames were anchored"),
    "charge-key": Known(Kind.KEYS, "the meter vouches for the charge key"),
    "point": Known(Kind.KEYS, "the terms name this point"),
    "tariff": Known(Kind.BILL, "the tariff is the one agreed on"),
    "tariff-ceilings": Known(Kind.BILL, "the tariff stays below the agreed ceilings"),
    "agreement": Known(Kind.BILL, "the agreement is the one agreed on"),
    "arithmetic": Known(Kind.BILL, "the bill follows from records and tariff"),
    "tail": Known(Kind.BILL, "what was not asked for has a name"),
    "session-id": Known(Kind.MONEY, "the session's id follows from its terms"),
    "charge": Known(Kind.MONEY, "the last charge is signed and follows from the records"),
    "claim": Known(Kind.MONEY, "claimed − credit notes ≤ last charge ≤ bill"),
    "ceilings": Known(Kind.MONEY, "the charge stays below the agreed ceilings and the lock"),
    "rating": Known(Kind.MONEY, "the connection can deliver that energy in that time"),
    "ocmf": Known(Kind.ATTACHED, "OCMF texts are signed and agree with the records"),
    "hand-overs": Known(Kind.ATTACHED, "meter swaps are signed by both sides"),
    "rulings": Known(Kind.ATTACHED, "rulings are signed by both sides"),
    "erasures": Known(Kind.ATTACHED, "what is hidden is hidden by a stated rule"),
    "end": Known(Kind.ATTACHED, "the meter key says how and why supply ended"),
    "chain-facts": Known(Kind.CHAIN, "what only the chain can tell: lock, opening, claims, credit notes, rating, operator"),
}
"""What `verify` reports, in the order in which it shows them."""

CHAIN_CHECKS: dict[str, Known] = {
    "chain-code": Known(Kind.CHAIN, "the contracts are the ones this program knows"),
    "chain-links": Known(Kind.CHAIN, "the chain has the epochs"),
    "chain-keys": Known(Kind.CHAIN, "the registry has the keys"),
    "chain-money": Known(Kind.CHAIN, "lock, opening, claims and credit notes are as the escrow has them"),
    "chain-device": Known(Kind.CHAIN, "operator and rating are as the registry has them"),
    "chain-halts": Known(Kind.CHAIN, "the chain stood still where the file says so"),
}
"""What `compare-chain` reports in place of `chain-facts`."""

PERIOD_CHECKS: dict[str, Known] = {
    "files": Known(Kind.FORM, "each file passes by itself"),
    "period-device": Known(Kind.FORM, "all files are of one device"),
    "period-sequence": Known(Kind.COMPLETENESS, "no record is missing between the files"),
    "period-chain": Known(Kind.COMPLETENESS, "each frame names the one before it"),
    "period-equivocation": Known(Kind.COMPLETENESS, "no place has two frames"),
    "period-registers": Known(Kind.COMPLETENESS, "registers go on from file to file"),
    "period-bills": Known(Kind.BILL, "no record is billed twice"),
}
"""What `verify-meter` reports."""

_ALL = {**CHECKS, **CHAIN_CHECKS, **PERIOD_CHECKS}


class Problem(NamedTuple):
    """One place where one check fails. `place` is a record, frame, link or field, as a person would look for it."""

    check: str
    place: str
    what: str


class Check(NamedTuple):
    """One check's verdict. `found` is the number of places; `places` lists the first of them."""

    name: str
    verdict: Verdict
    detail: str
    found: int = 0
    places: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        known = known_check(self.name)
        return {
            "check": self.name, "kind": known.kind.name.lower(), "verdict": self.verdict.value, "detail": self.detail,
            "count": self.found, "places": list(self.places),
        }  # fmt: skip


class Report(NamedTuple):
    """An audit of one thing. `facts` is what a person wants to see first (session, energy, amounts)."""

    subject: str
    checks: tuple[Check, ...]
    facts: dict[str, Any]

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict is Verdict.FAIL)

    @property
    def unchecked(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.verdict is Verdict.NOT_CHECKED)

    @property
    def exit_code(self) -> int:
        """0 where nothing failed, else the lowest kind that did."""
        return min((int(known_check(check.name).kind) for check in self.failed), default=0)

    def verdict_of(self, name: str) -> Verdict:
        return next(check.verdict for check in self.checks if check.name == name)

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "subject": self.subject, "verdict": "fail" if self.failed else "pass", "exitCode": self.exit_code, "facts": self.facts,
            "notChecked": [check.name for check in self.unchecked], "checks": [check.document() for check in self.checks],
        }  # fmt: skip


def known_check(name: str) -> Known:
    """The family and title of a check."""
    return _ALL[name]


def judge(name: str, problems: Iterable[Problem], passed: str, *, unchecked: str = "", erased: str = "") -> Check:
    """FAIL with the places if any problem is of this check, else NOT_CHECKED or ERASED for the reason given, else PASS."""
    mine = [problem for problem in problems if problem.check == name]
    if mine:
        more = f" (and {len(mine) - 1} more)" if len(mine) > 1 else ""
        places = tuple(problem.place for problem in mine[:MAX_PLACES])
        return Check(name, Verdict.FAIL, f"{mine[0].place}: {mine[0].what}{more}", len(mine), places)
    if unchecked:
        return Check(name, Verdict.NOT_CHECKED, unchecked)
    if erased:
        return Check(name, Verdict.ERASED, erased)
    return Check(name, Verdict.PASS, passed)


def in_order(checks: Sequence[Check]) -> tuple[Check, ...]:
    """The checks in the order above."""
    order = {name: i for i, name in enumerate(_ALL)}
    return tuple(sorted(checks, key=lambda check: order[check.name]))


def short(raw: bytes) -> str:
    """A hash as people quote it: enough to find it, not enough to mistake it for a whole one."""
    return f"0x{raw[:4].hex()}…{raw[-2:].hex()}"
