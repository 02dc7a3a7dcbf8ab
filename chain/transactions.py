"""Signed transactions: built for a nonce, signed, priced, and priced again. No broadcast happens here.

Whoever sends a transaction saves the signed bytes first: they can then be sent again, byte for byte, after any crash.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chain.calls import Call
from chain.errors import FeeTooHigh
from chain.rpc import Rpc

GAS_MARGIN_PERCENT = 25
"""A state that moves between estimate and block (a first claim of a payee, a longer batch) may cost more; unused gas is not paid."""
GAS_OF_NOTHING = 21_000
"""A bare transaction (yellow paper, appendix G)."""
BUMP_PERCENT = 13
"""Nodes take a replacement from 10 % more on; 12.5 % with some; rounding is on the safe side."""
DEFAULT_FEE_CAP_WEI = 1_000 * 10**9
"""1,000 gwei: a lying or broken node cannot make the sender burn more than this for a unit of gas."""


class SignedTransaction(NamedTuple):
    """Bytes ready to be sent, to be saved before they are. `tip_wei` equals `fee_wei` on a chain without base fees."""

    nonce: int
    hash: bytes
    raw: bytes
    gas_limit: int
    fee_wei: int
    tip_wei: int


class TransactionSigner:
    """One key on one chain. The key never leaves this object and never appears in a message."""

    def __init__(self, rpc: Rpc, secret: bytes, *, fee_cap_wei: int = DEFAULT_FEE_CAP_WEI) -> None:
        from eth_account import Account

        self._rpc = rpc
        self._account: Any = Account.from_key(secret)
        self._fee_cap_wei = fee_cap_wei
        self._chain_id: int | None = None
        self.address: bytes = bytes.fromhex(self._account.address[2:])

    def sign(self, call: Call, nonce: int) -> SignedTransaction:
        """Estimate, price and sign for this nonce. Raises `Reverted` if the contract would refuse it now, `FeeTooHigh`."""
        gas = self._rpc.estimate_gas(call, self.address)
        return self._signed(call.to, call.data, nonce, gas + gas * GAS_MARGIN_PERCENT // 100, *self._fees())

    def sign_creation(self, code: bytes, nonce: int, gas_limit: int) -> SignedTransaction:
        """A transaction that creates a contract."""
        return self._signed(None, code, nonce, gas_limit, *self._fees())

    def sign_nothing(self, nonce: int) -> SignedTransaction:
        """A transaction to oneself that only uses up a nonce."""
        return self._signed(self.address, b"", nonce, GAS_OF_NOTHING, *self._fees())

    def bump(self, call: Call, old: SignedTransaction) -> SignedTransaction | None:
        """The same call for the same nonce at a price nodes take as a replacement; None if the cap forbids it or nothing rises."""
        fee, tip = self._fees()
        fee = max(fee, _raised(old.fee_wei))
        tip = fee if old.tip_wei == old.fee_wei else max(tip, _raised(old.tip_wei))
        if fee > self._fee_cap_wei or fee == old.fee_wei:
            return None
        return self._signed(call.to, call.data, old.nonce, old.gas_limit, fee, min(tip, fee))

    def _fees(self) -> tuple[int, int]:
        """(cap, tip) for a unit of gas; twice the base fee outlasts six full blocks in a row."""
        base_fee, price = self._rpc.head().base_fee_wei, self._rpc.gas_price_wei()
        if base_fee is None:
            fee = tip = price
        else:
            # Not eth_maxPriorityFeePerGas: some nodes name a tip there even where gas costs nothing.
            tip = max(0, price - base_fee)
            fee = 2 * base_fee + tip
        if fee > self._fee_cap_wei:
            if base_fee is not None and base_fee + tip <= self._fee_cap_wei:
                return self._fee_cap_wei, tip
            raise FeeTooHigh(f"the chain asks {fee} wei for a unit of gas, the cap is {self._fee_cap_wei}; wait, or raise the cap")
        return fee, tip

    def _signed(self, to: bytes | None, data: bytes, nonce: int, gas: int, fee_wei: int, tip_wei: int) -> SignedTransaction:
        if self._chain_id is None:
            self._chain_id = self._rpc.chain_id()
        transaction: dict[str, Any] = {"chainId": self._chain_id, "nonce": nonce, "gas": gas, "data": data, "value": 0}
        if to is not None:
            transaction["to"] = to
        if fee_wei == tip_wei:
            transaction["gasPrice"] = fee_wei
        else:
            transaction |= {"maxFeePerGas": fee_wei, "maxPriorityFeePerGas": tip_wei}
        signed = self._account.sign_transaction(transaction)
        return SignedTransaction(nonce, bytes(signed.hash), bytes(signed.raw_transaction), gas, fee_wei, tip_wei)


def _raised(wei: int) -> int:
    """`BUMP_PERCENT` more, rounded up; zero stays zero, as on chains where gas is free."""
    return -(-wei * (100 + BUMP_PERCENT) // 100)
