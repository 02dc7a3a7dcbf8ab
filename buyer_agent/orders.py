"""What the pay key orders: open, top up, stop; and how much may still be locked. Pure.

With a `DeviceWallet` the orders are signed in the wallet's domain and carry its policy; without one in the escrow's, by the payer itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from protocol.eip712 import Domain, digest, money_domain
from protocol.keys import Signer
from protocol.money import Open, RequestClose, TopUp
from protocol.wallet import Policy, policy_document, policy_hash, wallet_domain

from .journal import State
from .settings import Settings

DAY_S = 86_400
DEADLINE_S = 600
"""A relayed order that has not reached the chain in ten minutes is void."""


class Purse(NamedTuple):
    """What may be newly locked now. `why` says what bounds it."""

    micro: int
    why: str


class Standing(NamedTuple):
    """What the chain says of the wallet, by way of the service: a hint, since the wallet itself enforces it."""

    free_micro: int
    day_micro: int
    day: int
    frozen: bool
    policy_hash: str

    @classmethod
    def of(cls, view: dict[str, Any]) -> Standing:
        """From `GET /wallets/{address}`. Raises `ValueError` for an answer of another shape."""
        if view.get("deployed") is not True:
            return cls(0, 0, 0, False, "")
        numbers = [view.get(name) for name in ("freeMicro", "dayMicro", "dayNumber")]
        if any(type(value) is not int for value in numbers):
            raise ValueError("a wallet's view has no integers freeMicro, dayMicro, dayNumber")
        free, locked, day = (int(value or 0) for value in numbers)
        return cls(free, locked, day, view.get("frozen") is True, str(view.get("policyHash") or ""))


def purse(settings: Settings, policy: Policy | None, state: State, standing: Standing | None, now_s: int, lock_micro: int) -> Purse:
    """How much more the owner's limits allow for a session that has `lock_micro` locked by now."""
    day = now_s // DAY_S
    bounds = [(settings.money.day_micro - state.locked_on(day), "the day's limit in buyer.toml")]
    if policy is not None:
        bounds.append((policy.max_session_micro - lock_micro, "the wallet's limit for one session"))
        locked = state.locked_on(day) if standing is None or standing.day != day else max(state.locked_on(day), standing.day_micro)
        bounds.append((policy.max_day_micro - locked, "the wallet's limit for one day"))
        if now_s > policy.expires_at_s:
            bounds.append((0, "the wallet's policy, which has expired"))
    if standing is not None:
        bounds.append((standing.free_micro, "the wallet's free balance"))
        if standing.frozen:
            bounds.append((0, "the owner, who has frozen the wallet"))
    micro, why = min(bounds, key=lambda bound: bound[0])
    return Purse(max(0, micro), why)


class Orders:
    """Signs orders; each is the body that the service takes."""

    def __init__(self, settings: Settings, policy: Policy | None, signer: Signer) -> None:
        self._signer, self._policy = signer, policy
        self.payer = settings.wallet or settings.payer or bytes(20)
        chain_id, wallet = settings.chain_id, settings.wallet
        self._domain: Domain = money_domain(chain_id, settings.escrow) if wallet is None else wallet_domain(chain_id, wallet)

    @property
    def policy_hash(self) -> str:
        return "" if self._policy is None else "0x" + policy_hash(self._policy).hex()

    def open(self, session: bytes, quote_id: str, lock_micro: int, now_s: int) -> dict[str, Any]:
        deadline_s = now_s + DEADLINE_S
        body = {"quoteId": quote_id, "lockMicro": lock_micro, "deadlineS": deadline_s}
        return self._body(body, Open(session, lock_micro, deadline_s))

    def top_up(self, session: bytes, total_micro: int, now_s: int) -> dict[str, Any]:
        deadline_s = now_s + DEADLINE_S
        return self._body({"totalLockMicro": total_micro, "deadlineS": deadline_s}, TopUp(session, total_micro, deadline_s))

    def stop(self, session: bytes, now_s: int) -> dict[str, Any]:
        deadline_s = now_s + DEADLINE_S
        return self._body({"deadlineS": deadline_s}, RequestClose(session, deadline_s))

    def sign(self, message: Any) -> str:
        """A signature in the payer's domain, as JSON carries it."""
        return "0x" + self._signer.sign(digest(self._domain, message)).hex()

    def _body(self, body: dict[str, Any], message: Any) -> dict[str, Any]:
        wallet = {} if self._policy is None else {"wallet": policy_document(self._policy)}
        return body | {"signature": self.sign(message)} | wallet
