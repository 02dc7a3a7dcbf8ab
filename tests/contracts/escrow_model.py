"""What EnergyEscrow does, in plain Python: the rules of design.md §6 with dictionaries, no chain, no signatures.

A call returns the events it makes, in order, or raises `Refused` with the contract's own error. Whoever drives the
model says who signed exactly the message a call is about (`signed_by`); how signatures are checked is not modelled.
Amounts are micro-units, energy milliwatt-hours, time UTC seconds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from protocol.money import Terms

DAY_S = 86_400
Value = int | bytes
Event = tuple[str, tuple[Value, ...]]


class Refused(Exception):
    """The contract's error by name, with what it carries."""

    def __init__(self, name: str, *values: Value) -> None:
        super().__init__(name, *values)
        self.name, self.values = name, values


@dataclass
class Kept:
    """One session as the contract keeps it."""

    lock: int
    opened_at: int
    claimed: int = 0
    requested_at: int = 0
    requested_block: int = 0
    closed: bool = False


class Charge(NamedTuple):
    """One row of a batch. `energy` and `elapsed` are None in a payment."""

    session: bytes
    terms: Terms  # as the row tells them
    amount: int
    frame: bytes
    signed_by: bytes | None
    energy: int | None = None
    elapsed: int | None = None


@dataclass
class Model:
    """The whole escrow and the token balances of the people who use it. Approvals are unlimited."""

    escrow: bytes
    guardian: bytes
    now: int = 0
    block: int = 0
    stopped: bool = False
    outside: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    free: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    nonces: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    sessions: dict[bytes, Kept] = field(default_factory=dict)
    terms: dict[bytes, Terms] = field(default_factory=dict)

    # ---------------------------------------------------------------- balances

    def held(self) -> int:
        """The conservation law's right side: what the escrow must hold."""
        return sum(self.free.values()) + sum(s.lock - s.claimed for s in self.sessions.values() if not s.closed)

    def deposit_for(self, sender: bytes, account: bytes, amount: int) -> list[Event]:
        self._new_business()
        if account == bytes(20):
            raise Refused("AccountZero")
        if amount > self.outside[sender]:
            raise Refused("ERC20InsufficientBalance", sender, self.outside[sender], amount)
        self.outside[sender] -= amount
        self.free[account] += amount
        return [("Deposited", (account, sender, amount))]

    def withdraw(self, account: bytes, to: bytes, amount: int) -> list[Event]:
        if to in (bytes(20), self.escrow):
            raise Refused("RecipientRefused", to)
        self._debit(account, amount)
        self.outside[to] += amount
        return [("Withdrawn", (account, to, amount))]

    def withdraw_by_signature(
        self, account: bytes, to: bytes, amount: int, nonce: int, deadline: int, signed_by: bytes | None
    ) -> list[Event]:
        if nonce != self.nonces[account]:
            raise Refused("NonceRefused", account, nonce, self.nonces[account])
        self._signed(account, signed_by, deadline)
        events = self.withdraw(account, to, amount)
        self.nonces[account] += 1
        return events

    def stop(self, sender: bytes, stopped: bool) -> list[Event]:
        if sender != self.guardian:
            raise Refused("NotGuardian", sender, self.guardian)
        self.stopped = stopped
        return [("NewBusinessStopped" if stopped else "NewBusinessResumed", (sender,))]

    # ---------------------------------------------------------------- sessions

    def open(self, sender: bytes, session: bytes, terms: Terms, lock: int) -> list[Event]:
        if sender != terms.payer:
            raise Refused("NotPayer", sender, terms.payer)
        return self._open(session, terms, lock)

    def open_by_signature(
        self, session: bytes, terms: Terms, lock: int, deadline: int, signed_by: bytes | None
    ) -> list[Event]:
        self._signed(terms.payer, signed_by, deadline)
        return self._open(session, terms, lock)

    def top_up(self, sender: bytes, session: bytes, terms: Terms, total: int) -> list[Event]:
        if sender != terms.payer:
            raise Refused("NotPayer", sender, terms.payer)
        return self._top_up(session, terms, total)

    def top_up_by_signature(
        self, session: bytes, terms: Terms, total: int, deadline: int, signed_by: bytes | None
    ) -> list[Event]:
        self._signed(terms.payer, signed_by, deadline)
        return self._top_up(session, terms, total)

    def request_close(self, sender: bytes, session: bytes, terms: Terms) -> list[Event]:
        pay_key = not terms.metered and sender == terms.signer
        if not (sender == terms.payer or pay_key or self.now > terms.latest_end_s):
            raise Refused("MayNotRequestClose", sender, session)
        return self._request(sender, session)

    def request_close_by_signature(
        self, sender: bytes, session: bytes, terms: Terms, deadline: int, signed_by: bytes | None
    ) -> list[Event]:
        who = terms.signer if not terms.metered and signed_by == terms.signer else terms.payer
        self._signed(who, signed_by, deadline)
        return self._request(sender, session)

    def close(self, sender: bytes, session: bytes, terms: Terms) -> list[Event]:
        kept = self._open_session(session)
        due_s = kept.requested_at + terms.close_delay_s
        due_block = kept.requested_block + terms.close_delay_blocks
        due = kept.requested_at and self.now >= due_s and self.block >= due_block
        if sender != terms.payee and not due:
            raise Refused("CloseNotDue", session, due_s, due_block)
        kept.closed = True
        rest = kept.lock - kept.claimed
        self.free[terms.refund_to] += rest
        return [("SessionClosed", (session, kept.claimed, rest))]

    def credit_note(self, sender: bytes, session: bytes, terms: Terms, amount: int) -> list[Event]:
        if sender != terms.payee:
            raise Refused("NotPayee", sender, terms.payee)
        if session not in self.sessions:
            raise Refused("SessionUnknown", session)
        self._debit(terms.payee, amount)
        self.free[terms.refund_to] += amount
        return [("CreditNoteGiven", (session, terms.payee, terms.refund_to, amount))]

    # ---------------------------------------------------------------- claims

    def claim(self, payee: bytes, rows: list[Charge], metered: bool) -> list[Event]:
        events: list[Event] = []
        for row in rows:
            refusal, value, bound = self._refusal(payee, row, metered)
            if refusal:
                events.append(("ClaimSkipped", (row.session, refusal, value, bound)))
                continue
            kept = self.sessions[row.session]
            self.free[payee] += row.amount - kept.claimed
            kept.claimed = row.amount
            events.append(("ChargeClaimed", (row.session, payee, row.amount, row.frame)))
        return events

    def _refusal(self, payee: bytes, row: Charge, metered: bool) -> tuple[int, int, int]:
        terms = self.terms.get(row.session)
        if terms is None or terms.payee != payee or terms.metered != metered or terms.signer != row.terms.signer:
            return 1, 0, 0
        if metered and _limits(terms) != _limits(row.terms):
            return 1, 0, 0
        kept = self.sessions[row.session]
        if kept.closed:
            return 2, 0, 0
        if row.amount <= kept.claimed:
            return 3, row.amount, kept.claimed
        if row.amount > kept.lock:
            return 4, row.amount, kept.lock
        if metered:
            beyond = self._beyond(kept, terms, row)
            if beyond is not None:
                return beyond
        if row.signed_by != terms.signer:
            return 8, 0, 0
        return 0, 0, 0

    def _beyond(self, kept: Kept, terms: Terms, row: Charge) -> tuple[int, int, int] | None:
        assert row.energy is not None
        assert row.elapsed is not None
        ends = [self.now, terms.latest_end_s]
        if kept.requested_at:
            ends.append(kept.requested_at + terms.stop_grace_s)
        seconds = min(ends) - kept.opened_at
        if row.elapsed > seconds:
            return 5, row.elapsed, seconds
        deliverable = terms.rated_watts * 1_000 * seconds // 3_600
        if row.energy > deliverable:
            return 6, row.energy, deliverable
        by_energy = terms.max_micro_per_kwh * row.energy // 1_000_000
        by_time = terms.max_micro_per_hour * row.elapsed // 3_600
        ceiling = by_energy + by_time + terms.max_flat_micro
        return (7, row.amount, ceiling) if row.amount > ceiling else None

    # ---------------------------------------------------------------- inside

    def _new_business(self) -> None:
        if self.stopped:
            raise Refused("NewBusinessIsStopped")

    def _signed(self, account: bytes, signed_by: bytes | None, deadline: int) -> None:
        if self.now > deadline:
            raise Refused("DeadlinePassed", deadline, self.now)
        if signed_by != account:
            raise Refused("SignatureRefused", account)

    def _debit(self, account: bytes, amount: int) -> None:
        if amount > self.free[account]:
            raise Refused("BalanceTooLow", account, amount, self.free[account])
        self.free[account] -= amount

    def _open(self, session: bytes, terms: Terms, lock: int) -> list[Event]:
        self._new_business()
        if terms.payee == bytes(20):
            raise Refused("PayeeZero")
        if terms.signer == bytes(20):
            raise Refused("SignerZero")
        if terms.refund_to in (bytes(20), terms.payee):
            raise Refused("RefundToRefused", terms.refund_to)
        last = self.now + 62 * DAY_S
        if not self.now < terms.latest_end_s <= last:
            raise Refused("LatestEndRefused", terms.latest_end_s, self.now, last)
        if terms.close_delay_s > 7 * DAY_S:
            raise Refused("CloseDelayRefused", terms.close_delay_s, 7 * DAY_S)
        if terms.close_delay_blocks > 1_000:
            raise Refused("CloseDelayBlocksRefused", terms.close_delay_blocks, 1_000)
        if terms.stop_grace_s > terms.close_delay_s:
            raise Refused("StopGraceRefused", terms.stop_grace_s, terms.close_delay_s)
        if lock == 0:
            raise Refused("LockZero", session)
        if session in self.sessions:
            raise Refused("SessionIdUsed", session)
        self._debit(terms.payer, lock)
        self.sessions[session] = Kept(lock, self.now)
        self.terms[session] = terms
        return [("SessionOpened", (session, terms.payer, terms.payee, lock))]

    def _open_session(self, session: bytes) -> Kept:
        kept = self.sessions.get(session)
        if kept is None:
            raise Refused("SessionUnknown", session)
        if kept.closed:
            raise Refused("SessionIsClosed", session)
        return kept

    def _top_up(self, session: bytes, terms: Terms, total: int) -> list[Event]:
        kept = self._open_session(session)
        if kept.requested_at:
            raise Refused("CloseAlreadyRequested", session, kept.requested_at)
        if total <= kept.lock:
            raise Refused("LockMustRise", session, total, kept.lock)
        self._debit(terms.payer, total - kept.lock)
        kept.lock = total
        return [("LockRaised", (session, total))]

    def _request(self, sender: bytes, session: bytes) -> list[Event]:
        kept = self._open_session(session)
        if kept.requested_at:
            raise Refused("CloseAlreadyRequested", session, kept.requested_at)
        kept.requested_at, kept.requested_block = self.now, self.block
        return [("CloseRequested", (session, sender))]


def _limits(terms: Terms) -> tuple[int, ...]:
    return terms[8:14]
