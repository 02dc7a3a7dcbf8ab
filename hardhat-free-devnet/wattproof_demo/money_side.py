"""The demo's people on the chain: the deployer who mints against a receipt, and a payer with a key and tokens of its own."""

from __future__ import annotations

import time
from typing import Any

from chain.calls import Call
from chain.client import ChainClient
from chain.oneshot import send
from chain.transactions import TransactionSigner
from protocol.hashing import keccak
from protocol.keys import Signer

from .processes import DemoFailed

GAS_MONEY_WEI = 10**18


class Account:
    """One key of the development chain that sends transactions and signs messages."""

    def __init__(self, client: ChainClient, secret: bytes) -> None:
        self._client = client
        self._transactions = TransactionSigner(client, secret)
        self.signer = Signer(secret)
        self._secret = secret

    @property
    def address(self) -> bytes:
        return self.signer.address

    def send(self, *calls: Call) -> None:
        """Send calls in order and wait until all are final."""
        send(self._client, self._transactions, calls)

    def give_gas(self, to: bytes) -> None:
        """Native coin for another account, so that it can send transactions."""
        from eth_account import Account as Raw
        from eth_utils.address import to_checksum_address

        transaction: dict[str, Any] = {
            "chainId": self._client.chain_id(), "nonce": self._client.nonce(self.address), "to": to_checksum_address(to),
            "value": GAS_MONEY_WEI, "gas": 21_000, "gasPrice": self._client.gas_price_wei() * 2, "data": b"",
        }  # fmt: skip
        signed = Raw.sign_transaction(transaction, self._secret)
        self._client.send(bytes(signed.raw_transaction))
        deadline = time.monotonic() + 30
        while self._client.receipt(bytes(signed.hash)) is None:
            if time.monotonic() > deadline:
                raise DemoFailed("the transfer of gas money was not mined within 30 s")
            time.sleep(0.1)


def deposit_prepayment(client: ChainClient, minter: Account, payer: Account, amount_micro: int) -> None:
    """Tokens for the payer against a receipt used once, then into the escrow: what a payment provider and a payer would do."""
    calls = client.calls
    minter.send(calls.mint(keccak(b"demo receipt" + payer.address), payer.address, amount_micro))
    payer.send(calls.approve(client.deployment.escrow, amount_micro), calls.deposit(amount_micro))
