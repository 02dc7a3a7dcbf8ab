"""Money: the session's id, the last signed amount, what was claimed on it, and the bounds the escrow enforces."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.bundle import Bundle, SessionFacts
from protocol.eip712 import digest, money_domain
from protocol.errors import BadSignature
from protocol.hashing import ZERO32
from protocol.keys import check_signature
from protocol.money import MeteredCharge, Payment, ceiling_micro, deliverable_milliwatt_hours, session_id

from .frames import CheckedFrame
from .log import Log
from .pricing import Priced
from .report import Check, Problem, judge, short


def charged_frame(bundle: Bundle, log: Log) -> CheckedFrame | None:
    """The frame that the last charge names, if it is in the file."""
    if bundle.charge is None:
        return None
    named = bundle.charge.value.frame
    return next((frame for frame in log.frames if frame.digest == named), None)


def money_problems(bundle: Bundle, frame: CheckedFrame | None, priced: Priced | None) -> list[Problem]:
    """Everything wrong with the session's id, its charge and its claim."""
    session = bundle.session
    problems = []
    if session_id(session.terms, session.chain_id, session.escrow) != session.session:
        problems.append(Problem("session-id", "session.session", "is not the id of these terms on this chain and escrow"))
    return problems + _charge(bundle, frame, priced) + _claim(bundle) + _bounds(bundle)


def _charge(bundle: Bundle, frame: CheckedFrame | None, priced: Priced | None) -> list[Problem]:
    charge, session = bundle.charge, bundle.session
    if charge is None:
        return []
    value, problems = charge.value, []
    if value.session != session.session:
        problems.append(Problem("charge", "charge.session", f"is for session {short(value.session)}"))
    try:
        if len(charge.signatures) != 1:
            raise BadSignature(f"has {len(charge.signatures)} signatures, a charge has one")
        check_signature(digest(money_domain(session.chain_id, session.escrow), value), charge.signatures[0], session.terms.signer)
    except BadSignature as error:
        problems.append(Problem("charge", "charge", str(error)))
    if isinstance(value, Payment) and value.frame == ZERO32:
        pass  # signed ahead of use: it names no frame, and `claim` holds it against the bill
    elif frame is None:
        problems.append(Problem("charge", "charge.frame", f"names frame {short(value.frame)}, which is not in the file"))
    elif frame.first > session.last_sequence:
        problems.append(Problem("charge", "charge.frame", f"names {frame.name}, after the last record billed ({session.last_sequence})"))
    if priced is not None and priced.charged_micro is not None:
        problems += _against_records(session, value, priced, priced.charged_micro)
    return problems


def _against_records(session: SessionFacts, value: object, priced: Priced, due_micro: int) -> list[Problem]:
    """What was signed cannot be more than the records up to the frame it names come to.

    A meter states time and energy within the bounds of the escrow, or no honest charge at the latest end could be claimed (docs/walls.md).
    """
    problems = []
    if isinstance(value, MeteredCharge):  # a payment may be ahead of the frame it names, never of the bill: see `claim`
        if value.amount_micro > due_micro:
            what = f"is {value.amount_micro}; the records up to its frame come to {due_micro}"
            problems.append(Problem("charge", "charge.amountMicro", what))
        elapsed_s = min(priced.charged_elapsed_s, max(0, session.terms.latest_end_s - session.opened_at_s))
        energy = min(priced.charged_milliwatt_hours, deliverable_milliwatt_hours(session.terms.rated_watts, elapsed_s))
        for name, stated, found in (
            ("energyMilliwattHours", value.energy_milliwatt_hours, energy),
            ("elapsedS", value.elapsed_s, elapsed_s),
        ):
            if stated != found:
                problems.append(Problem("charge", f"charge.{name}", f"is {stated}; the records up to its frame come to {found}"))
    return problems


def _bill_total(bundle: Bundle) -> int | None:
    total = bundle.bill.get("totalMicro")
    return total if type(total) is int else None


def _claim(bundle: Bundle) -> list[Problem]:
    credit = sum(note.amount_micro for note in bundle.credit_notes)
    charged = bundle.charge.value.amount_micro if bundle.charge else 0
    total, problems = _bill_total(bundle), []
    if total is None:
        return [Problem("claim", "bill.totalMicro", "must be an integer")]
    if credit > bundle.claimed_micro:
        problems.append(Problem("claim", "creditNotes", f"give back {credit}, more than was claimed ({bundle.claimed_micro})"))
    if bundle.claimed_micro - credit > charged:
        what = f"{bundle.claimed_micro} less credit notes of {credit} is more than was signed for ({charged})"
        problems.append(Problem("claim", "claimedMicro", what))
    if charged > total:
        problems.append(Problem("claim", "charge.amountMicro", f"is {charged}, more than the bill ({total})"))
    if total - charged != bundle.tail.amount_micro:
        problems.append(Problem("tail", "tail.amountMicro", f"is {bundle.tail.amount_micro}; bill − charge is {total - charged}"))
    if bundle.tail.amount_micro and not bundle.tail.name.strip():
        problems.append(Problem("tail", "tail.name", "is empty: what is not asked for needs a name"))
    return problems


def _bounds(bundle: Bundle) -> list[Problem]:
    session, charge = bundle.session, bundle.charge
    terms = session.terms
    problems = []
    if session.rated_watts < terms.rated_watts:
        what = f"the terms allow {terms.rated_watts} W, the registry rates the channel at {session.rated_watts} W"
        problems.append(Problem("rating", "session.terms.ratedWatts", what))
    if charge is None:
        return problems
    value = charge.value
    if value.amount_micro > session.lock_micro:
        problems.append(Problem("ceilings", "charge.amountMicro", f"is {value.amount_micro}, above the lock ({session.lock_micro})"))
    if not isinstance(value, MeteredCharge):
        return problems
    most = ceiling_micro(terms, value.energy_milliwatt_hours, value.elapsed_s)
    if value.amount_micro > most:
        problems.append(Problem("ceilings", "charge.amountMicro", f"is {value.amount_micro}, the ceilings allow {most}"))
    if session.opened_at_s + value.elapsed_s > terms.latest_end_s:
        problems.append(Problem("ceilings", "charge.elapsedS", "runs past the latest end agreed on"))
    energy = deliverable_milliwatt_hours(terms.rated_watts, value.elapsed_s)
    if value.energy_milliwatt_hours > energy:
        what = f"is {value.energy_milliwatt_hours}; {terms.rated_watts} W deliver {energy} mWh in {value.elapsed_s} s"
        problems.append(Problem("rating", "charge.energyMilliwattHours", what))
    return problems


def money_checks(bundle: Bundle, problems: Sequence[Problem], erased: str) -> list[Check]:
    """The verdicts of this family."""
    charge = bundle.charge
    charged = charge.value.amount_micro if charge else 0
    credit = sum(note.amount_micro for note in bundle.credit_notes)
    claim = f"{bundle.claimed_micro} − {credit} ≤ {charged} ≤ {_bill_total(bundle)} micro"
    signed = f"{charged} micro, signed by {'the charge key' if bundle.session.terms.metered else 'the pay key'}"
    return [
        judge("session-id", problems, short(bundle.session.session)),
        judge("charge", problems, signed if charge else "none was signed", erased=erased if charge else ""),
        judge("claim", problems, claim),
        judge("ceilings", problems, f"lock {bundle.session.lock_micro} micro"),
        judge("rating", problems, f"{bundle.session.terms.rated_watts} W"),
    ]
