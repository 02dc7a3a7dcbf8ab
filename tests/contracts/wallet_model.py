"""What a DeviceWallet does, in plain Python, on top of the model of the escrow: policy, day's sum, owner's calls.

As there: a call returns the events it makes, in order, or raises `Refused`; `signed_by` is who signed exactly this call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from eth_abi import encode

from protocol.hashing import keccak
from protocol.money import Terms
from protocol.wallet import Policy, policy_hash
from tests.contracts.escrow_model import DAY_S, Event, Model, Refused

POLICY_TYPE = "(address,address[],uint64,uint64,uint64,uint64,uint64,uint64)"


@dataclass
class WalletModel:
    """One wallet. `registered` is what the provider book has."""

    address: bytes
    owner: bytes
    escrow: Model
    policy: Policy | None = None
    frozen: bool = False
    nonce: int = 0
    day: int = 0
    locked: int = 0
    registered: set[bytes] = field(default_factory=set)

    # ---------------------------------------------------------------- the pay key's

    def open(self, session: bytes, terms: Terms, lock: int, deadline: int, policy: Policy, signed_by: bytes | None) -> list[Event]:
        self._signed(policy, deadline, signed_by)
        self._allowed(policy, terms)
        before = (self.day, self.locked)
        self._count(policy, lock, lock)
        try:
            return self.escrow.open(self.address, session, terms, lock)
        except Refused:
            self.day, self.locked = before
            raise

    def top_up(self, session: bytes, terms: Terms, total: int, deadline: int, policy: Policy, signed_by: bytes | None) -> list[Event]:
        self._signed(policy, deadline, signed_by)
        self._allowed(policy, terms)
        before = self.escrow.free[self.address]
        events = self.escrow.top_up(self.address, session, terms, total)
        added = before - self.escrow.free[self.address]
        try:
            self._count(policy, total, added)
        except Refused:
            self.escrow.free[self.address] += added
            self.escrow.sessions[session].lock -= added
            raise
        return events

    def request_close(self, session: bytes, terms: Terms, deadline: int, policy: Policy, signed_by: bytes | None) -> list[Event]:
        self._signed(policy, deadline, signed_by)
        return self.escrow.request_close(self.address, session, terms)

    # ---------------------------------------------------------------- the owner's

    def owner_acts(self, sender: bytes, act: Callable[[], list[Event]]) -> list[Event]:
        """A direct call."""
        if sender != self.owner:
            raise Refused("NotOwner", sender, self.owner)
        events = act()
        self.nonce += 1
        return events

    def owner_call(self, call: bytes, nonce: int, deadline: int, signed_by: bytes | None, act: Callable[[], list[Event]]) -> list[Event]:
        """A relayed one."""
        if nonce != self.nonce:
            raise Refused("NonceRefused", nonce, self.nonce)
        self._in_time(deadline)
        if signed_by != self.owner:
            raise Refused("SignatureRefused", self.owner)
        events = act()
        self.nonce += 1
        return [("OwnerCalled", (nonce, keccak(call))), *events]

    def set_policy(self, policy: Policy) -> list[Event]:
        if policy.pay_key in (bytes(20), self.owner):
            raise Refused("PayKeyRefused", policy.pay_key)
        self.policy = policy
        shown = ("0x" + policy.pay_key.hex(), ["0x" + each.hex() for each in policy.providers], *policy[2:])
        return [("PolicySet", (policy_hash(policy), policy.pay_key, encode([POLICY_TYPE], [shown])))]

    def set_frozen(self, frozen: bool) -> list[Event]:
        self.frozen = frozen
        return [("Frozen" if frozen else "Unfrozen", ())]

    def locked_today(self) -> int:
        return self.locked if self.day == self.escrow.now // DAY_S else 0

    # ---------------------------------------------------------------- inside

    def _in_time(self, deadline: int) -> None:
        if self.escrow.now > deadline:
            raise Refused("DeadlinePassed", deadline, self.escrow.now)

    def _signed(self, policy: Policy, deadline: int, signed_by: bytes | None) -> None:
        standing = bytes(32) if self.policy is None else policy_hash(self.policy)
        if policy != self.policy:
            raise Refused("PolicyNotStanding", policy_hash(policy), standing)
        self._in_time(deadline)
        if signed_by != policy.pay_key:
            raise Refused("SignatureRefused", policy.pay_key)

    def _allowed(self, policy: Policy, terms: Terms) -> None:
        if terms.refund_to != self.address:
            raise Refused("RefundToNotWallet", terms.refund_to)
        if not terms.metered and terms.signer != policy.pay_key:
            raise Refused("SignerNotPayKey", terms.signer, policy.pay_key)
        for error, given, most in zip(
            ("KwhCeilingAbovePolicy", "HourCeilingAbovePolicy", "FlatCeilingAbovePolicy"), terms[8:11], policy[2:5], strict=True
        ):
            if given > most:
                raise Refused(error, given, most)
        if policy.providers and terms.payee not in policy.providers:
            raise Refused("ProviderNotListed", terms.payee)
        if not policy.providers and terms.payee not in self.registered:
            raise Refused("ProviderNotRegistered", terms.payee)

    def _count(self, policy: Policy, total: int, added: int) -> None:
        now = self.escrow.now
        if self.frozen:
            raise Refused("WalletFrozen")
        if now > policy.expires_at_s:
            raise Refused("PolicyExpired", policy.expires_at_s, now)
        if total > policy.max_session_micro:
            raise Refused("AboveSessionLimit", total, policy.max_session_micro)
        locked = self.locked_today() + added
        if locked > policy.max_day_micro:
            raise Refused("AboveDayLimit", locked, policy.max_day_micro)
        self.day, self.locked = now // DAY_S, locked
