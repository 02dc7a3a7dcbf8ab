"""A payer with tokens and no gas funds a device's wallet: its permit is relayed; sent by somebody else first, it has done its work."""

from __future__ import annotations

import os
import time

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from chain.oneshot import send
from chain.transactions import TransactionSigner
from chain.wallet_calls import Wallets
from chain.wallet_views import WalletViews
from protocol.eip712 import digest
from protocol.keys import Signer
from protocol.money import Withdraw
from tests.rails.rail_world import RailWorld

pytestmark = pytest.mark.soak


def permit(world: RailWorld, owner: Signer, spender: bytes, amount: int, deadline_s: int) -> bytes:
    fields = [("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256"), ("deadline", "uint256")]
    message = {
        "owner": "0x" + owner.address.hex(), "spender": "0x" + spender.hex(), "value": amount,
        "nonce": world.client.permit_nonce(owner.address), "deadline": deadline_s,
    }  # fmt: skip
    domain = {
        "name": "Wattproof Settlement", "version": "1", "chainId": world.deployment.chain_id,
        "verifyingContract": "0x" + world.deployment.token.hex(),
    }  # fmt: skip
    types = {"Permit": [{"name": name, "type": kind} for name, kind in fields]}
    signed = Account.sign_message(encode_typed_data(domain, types, message), owner.secret)
    return bytes(signed.signature)


def test_a_relayed_permit_funds_a_wallet(world: RailWorld) -> None:
    client, calls, wallets = world.client, world.client.calls, Wallets(world.deployment)
    payer = Signer.create()
    relayer, other = (TransactionSigner(client, world.secrets[number]) for number in (4, 5))
    world.paid_in(payer.address, 5_000_000)
    deadline = int(time.time()) + 600
    order = Withdraw(payer.address, payer.address, 5_000_000, 0, deadline)  # the payer's tokens into its own hand, by signature
    send(client, relayer, [calls.withdraw_by_signature(order, payer.sign(digest(world.money, order)))])
    device, owner = os.urandom(32), Signer.create().address
    wallet = WalletViews(client).address(device, owner)
    signature = permit(world, payer, relayer.address, 4_000_000, deadline)
    send(client, other, [calls.permit(payer.address, relayer.address, 4_000_000, deadline, signature)])  # somebody was faster
    moved = calls.transfer_from(payer.address, wallet, 4_000_000)
    send(client, relayer, [moved, wallets.create(device, owner)])
    send(client, relayer, [wallets.deposit(wallet)])  # apart: what a call to a wallet costs is known once there is one
    assert client.free_micro(wallet) == 4_000_000
    assert client.token_micro(payer.address) == 1_000_000
    assert client.wei(payer.address) == 0
    assert world.paid_in(wallet, 2_000_000)["state"] == "credited"  # and over a rail, straight into the wallet's free balance
    assert client.free_micro(wallet) == 6_000_000
