"""Where wallets come from: the address is known before, is nobody else's, and money sent there early is there."""

from __future__ import annotations

import pytest
from eth_utils.address import to_checksum_address

from protocol.hashing import keccak
from protocol.wallet import OwnerCall, wallet_address, wallet_domain
from tests.contracts.support import HOUR_S, ZERO, World, person
from tests.contracts.wallets import WalletWorld

DEVICES = [keccak(b"device %d" % number) for number in range(4)] + [b"\x00" * 31 + b"\x01", b"\xff" * 32]


@pytest.fixture
def wallets(world: World) -> WalletWorld:
    return WalletWorld(world)


def place(wallets: WalletWorld, device: bytes, owner: bytes) -> bytes:
    return wallet_address(bytes.fromhex(wallets.factory.address[2:]), bytes.fromhex(wallets.implementation.address[2:]), device, owner)


def test_the_address_is_as_predicted_and_follows_device_and_owner(wallets: WalletWorld) -> None:
    owners = [wallets.owner, person("another owner").address]
    found = set()
    for device in DEVICES:
        for owner in owners:
            predicted = place(wallets, device, owner)
            assert wallets.factory.functions.walletOf(device, owner).call() == to_checksum_address(predicted)
            wallet = wallets.create(device, owner)
            assert bytes.fromhex(wallet.address[2:]) == predicted
            assert bytes(wallet.functions.device().call()) == device
            assert wallet.functions.owner().call() == to_checksum_address(owner)
            found.add(predicted)
    assert len(found) == len(DEVICES) * len(owners)


def test_money_may_come_before_the_wallet(wallets: WalletWorld) -> None:
    world, device = wallets.world, DEVICES[0]
    early = place(wallets, device, wallets.owner)
    world.send(world.token.functions.mint(keccak(b"early"), early, 300), "minter")
    world.send(world.token.functions.mint(keccak(b"early too"), world.address("stranger"), 500), "minter")
    world.send(world.token.functions.approve(world.escrow.address, 500), "stranger")
    world.send(world.escrow.functions.depositFor(early, 500), "stranger")
    wallet = wallets.create(device, wallets.owner)
    world.send(wallet.functions.deposit(), "stranger")
    assert world.free(early) == 800
    world.send(wallet.functions.withdraw(world.address("refund"), 800), "owner")


def test_a_wallet_is_made_once_and_for_somebody(wallets: WalletWorld) -> None:
    world, factory = wallets.world, wallets.factory.functions
    receipt = world.send(factory.create(DEVICES[0], wallets.owner), "stranger")
    (event,) = world.events(receipt, wallets.factory, "WalletCreated")
    wallet = place(wallets, DEVICES[0], wallets.owner)
    assert event == {"wallet": "0x" + wallet.hex(), "device": DEVICES[0], "owner": "0x" + wallets.owner.hex()}
    world.reverts(factory.create(DEVICES[0], wallets.owner), "stranger", "WalletExists", wallet)
    world.reverts(factory.create(bytes(32), wallets.owner), "stranger", "DeviceZero")
    world.reverts(factory.create(DEVICES[0], ZERO), "stranger", "OwnerZero")


@pytest.mark.parametrize("somebody_was_first", [False, True])
def test_one_relayed_transaction_makes_a_wallet_ready_to_pay(wallets: WalletWorld, somebody_was_first: bool) -> None:
    world, device = wallets.world, DEVICES[1]
    wallet, deadline, call = place(wallets, device, wallets.owner), world.now() + HOUR_S, wallets.call_of("setPolicy", wallets.policy)
    order = OwnerCall(keccak(call), 0, deadline)
    good = world.sign(wallet_domain(world.chain_id, wallet), order, world.signers["owner"])
    bad = world.sign(wallet_domain(world.chain_id, wallet), order, person("a thief"))
    if somebody_was_first:
        wallets.create(device, wallets.owner)
    factory = wallets.factory.functions
    world.reverts(factory.createAndCall(device, wallets.owner, call, 0, deadline, bad), "stranger", "SignatureRefused")
    world.send(factory.createAndCall(device, wallets.owner, call, 0, deadline, good), "stranger")
    assert wallets.at(wallet).functions.policyHash().call() == wallets.wallet.functions.policyHash().call()
    world.reverts(factory.createAndCall(device, wallets.owner, call, 0, deadline, good), "stranger", "NonceRefused", 0, 1)


def test_the_implementation_is_nobodys_wallet(wallets: WalletWorld) -> None:
    """Nothing to initialise, no owner that anybody is, and no policy: it does nothing for anyone."""
    world, itself = wallets.world, wallets.at(wallets.implementation.address)
    for name in ("admin", "owner", "stranger"):
        world.reverts(itself.functions.freeze(), name, "NotOwner")
        world.reverts(itself.functions.setPolicy(wallets.policy), name, "NotOwner")
    owner = bytes.fromhex(itself.functions.owner().call()[2:])
    assert owner == bytes(world.w3.eth.get_code(itself.address)[45:65])
