"""The live session: what it has cost, what it may still cost, and what is signed or accepted for it.

Metered mode: with every frame the charge key signs what the session has cost so far, kept within every bound the
contract checks (lock, rating × time, ceilings), so that no honest charge is ever refused. Payment mode: the payer's
payments are checked and kept; what may be used is what was paid plus the grant's credit. In both modes the lock is
the end, passed only by what the policy says.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from protocol.eip712 import digest, from_json, hex_bytes, money_domain, to_json
from protocol.errors import BadSignature, PricingError
from protocol.evidence import Flag, HandOver, Record
from protocol.keys import SIGNATURE_SIZE, Signer, check_signature
from protocol.money import MeteredCharge, Payment, ceiling_micro, deliverable_milliwatt_hours
from protocol.pricing import Pricer
from protocol.tariff import boundaries

from . import grants
from .credit import Course, Forecast
from .errors import Refused
from .grants import Granted
from .state import Live


class Session:
    """One session, from grant to end. Holds nothing durable: `live` (in the state) and the log's records make it
    again.
    """

    def __init__(self, live: Live, modulus_milliwatt_hours: int) -> None:
        self.granted: Granted = grants.parse(live.granted)[0]
        self.pricer = Pricer(self.granted.tariff, self.granted.opened_at_s, modulus_milliwatt_hours)
        self.last: Record | None = None  # the last record that was priced
        self._register = 0  # the last good one
        self.unpriced = ""  # why a record could not be priced; empty if all were
        self._paid_micro = 0
        self._paid_energy_milliwatt_hours = 0  # used up to the last record that is paid for
        self._unpaid: deque[tuple[int, int]] = deque()  # (price, energy) after each record that is not
        if live.payment is not None:
            self._paid_micro = int(live.payment["amountMicro"])

    @property
    def id(self) -> bytes:
        return self.granted.session

    @property
    def metered(self) -> bool:
        return self.granted.terms.metered

    @property
    def started(self) -> bool:
        """Whether a START record has been priced."""
        return self.last is not None

    def placed(self, modulus_milliwatt_hours: int) -> None:
        """Before the START record: where the register of the meter in place rolls over."""
        if not self.started:
            self.pricer = Pricer(self.granted.tariff, self.granted.opened_at_s, modulus_milliwatt_hours)

    def renewed(self, granted: Granted) -> None:
        """A later grant of the same session: a higher lock, or longer."""
        self.granted = granted

    def add(self, record: Record) -> None:
        """Price a record of the session. One that cannot be priced is kept in `unpriced` and ends the session: supply
        is never free.
        """
        try:
            self.pricer.add(record)
        except PricingError as error:
            self.unpriced = str(error)
            return
        self.last = record
        if not record.flags & Flag.QUARANTINED_REGISTER:
            self._register = record.import_milliwatt_hours
        if not self.metered:
            self._unpaid.append((self.pricer.total_micro, self.pricer.energy_milliwatt_hours))
            self._note_paid()

    def hand_over(self, hand_over: HandOver) -> None:
        """Go on with another meter's register after a SWAP record."""
        self.pricer.hand_over(hand_over)

    def next_boundary_s(self, after_s: int, before_s: int) -> int | None:
        """The first instant in (after, before) at which other prices begin to hold."""
        instants = boundaries(self.granted.tariff, after_s, before_s, self.granted.opened_at_s)
        return instants[0] if instants else None

    # What may be used

    def limit_micro(self, *, heard: bool, max_credit_micro: int) -> int:
        """The cost at which supply ends.

        In remote mode, while the service is `heard`, it decides: the agent waits for its command until use passes
        what this agent gives on credit at most (`max_credit_micro`, set at enrolment).
        """
        grant, policy = self.granted.grant, self.granted.policy
        beyond = policy.emergency_micro
        if policy.mode == "remote" and heard:
            beyond = max(beyond, max_credit_micro)
        limit = grant.lock_micro + beyond
        return limit if self.metered else min(limit, self._paid_micro + grant.credit_micro)

    def over_energy_credit(self, energy_milliwatt_hours: int, cost_micro: int) -> bool:
        """Payment mode: whether more energy stands unsigned than the grant's credit allows."""
        if self.metered or cost_micro <= self._paid_micro:
            return False
        return energy_milliwatt_hours - self._paid_energy_milliwatt_hours > self.granted.grant.credit_milliwatt_hours

    def protected(self, at_s: int) -> bool:
        """Whether the end of credit must not cut now; what passes the limit is the operator's."""
        return self.granted.policy.protected(at_s, self.granted.tariff.time_zone)

    def end_s(self) -> int:
        """The UTC second at which supply ends whatever the money says: the terms' latest end, or the grant's."""
        return min(self.granted.terms.latest_end_s, self.granted.grant.valid_until_s)

    def forecast(self, energy_milliwatt_hours: int, power_milliwatts: int, at_ns: int, utc_offset_ns: int) -> Forecast | None:
        """The price from now on; None before the START record."""
        if self.last is None:
            return None
        return Forecast(self.pricer, self.last, self._register, Course(at_ns, energy_milliwatt_hours, power_milliwatts), utc_offset_ns)

    # What is signed

    def charge(self, frame: bytes, signer: Signer, now_s: int) -> dict[str, Any] | None:
        """The charge that goes with a frame, as it is sent; None in payment mode. Cumulative, within every bound of
        the contract: also of the time that passed on the chain, where the records' own runs ahead.
        """
        if not self.metered or self.last is None:
            return None
        terms, grant = self.granted.terms, self.granted.grant
        elapsed_s = max(0, min(self.last.end_s, terms.latest_end_s, now_s) - self.granted.opened_at_s)
        energy = min(self.pricer.energy_milliwatt_hours, deliverable_milliwatt_hours(terms.rated_watts, elapsed_s))
        amount = min(self.pricer.total_micro, grant.lock_micro, ceiling_micro(terms, energy, elapsed_s))
        charge = MeteredCharge(self.id, amount, energy, elapsed_s, frame)
        signature = signer.sign(digest(money_domain(grant.chain_id, grant.escrow), charge))
        return {**to_json(charge), "signature": "0x" + signature.hex()}

    def check_payment(self, document: dict[str, Any]) -> int:
        """The amount of a payment by the terms' signer, if it says more than before. Raises `Refused` or `Malformed`."""
        payment = from_json(Payment, {k: v for k, v in document.items() if k != "signature"})
        signature = hex_bytes(document.get("signature"), SIGNATURE_SIZE, "Payment.signature")
        grant, terms = self.granted.grant, self.granted.terms
        if self.metered:
            raise Refused("payment", "this session is metered: the agent's own charges count, not payments")
        if payment.session != self.id:
            raise Refused("payment", "the payment is for another session")
        try:
            check_signature(digest(money_domain(grant.chain_id, grant.escrow), payment), signature, terms.signer)
        except BadSignature as error:
            raise Refused("payment", f"the payment is not signed by the terms' signer: {error}") from None
        if payment.amount_micro <= self._paid_micro:
            raise Refused("payment", f"{payment.amount_micro} is not above the {self._paid_micro} already signed for")
        if payment.amount_micro > grant.lock_micro:
            raise Refused("payment", f"{payment.amount_micro} is above the lock of {grant.lock_micro}: it could not be claimed")
        return payment.amount_micro

    def paid(self, amount_micro: int) -> None:
        """A checked payment is durable: it counts from now on."""
        self._paid_micro = amount_micro
        self._note_paid()

    @property
    def paid_micro(self) -> int:
        return self._paid_micro

    def may_start(self) -> str:
        """Why RECONNECT must wait, or nothing: where no credit is given the first payment comes first."""
        if not self.metered and not self._paid_micro and not self.granted.grant.credit_micro:
            return "no payment yet, and the grant gives no credit"
        return ""

    def _note_paid(self) -> None:
        """A payment comes a little after the frame it names, and by then more was used: it pays for the records up to there."""
        while self._unpaid and self._unpaid[0][0] <= self._paid_micro:
            self._paid_energy_milliwatt_hours = self._unpaid.popleft()[1]


def resume(live: Live, modulus_milliwatt_hours: int, records: list[Record]) -> Session:
    """The session as its records in the log say, after a restart."""
    session = Session(live, modulus_milliwatt_hours)
    for record in records:
        session.add(record)
    return session

