"""Gas and code sizes as one table, kept in gas_snapshot.json.

    python -m tests.contracts.gas      measure and write the snapshot

Measured by py-evm with today's rules (Prague) on a chain whose time and keys are fixed, so that the figures are the
same everywhere. Sessions are prepaid: the payer's balance is there before, the slot of the session is new.
"""

from __future__ import annotations

import json
from typing import Any

from protocol.hashing import keccak
from protocol.task import Proof
from protocol.wallet import OwnerCall, wallet_domain
from tests.contracts.support import ARTIFACTS, HOUR_S, ROOT, World, load_artifact
from tests.contracts.task_support import ASKED, PRICE, TaskWorld, record
from tests.contracts.wallets import WalletWorld

SNAPSHOT = ROOT / "tests" / "contracts" / "gas_snapshot.json"
CONTRACTS = (
    "AnchorLog", "DeviceRegistry", "DeviceWallet", "DeviceWalletFactory", "EnergyEscrow", "ProviderBook", "SettlementToken",
    "TaskEscrow",
)  # fmt: skip
LOCK = 1_000_000
BATCHES = (1, 10, 100)

GOALS = {
    "anchor": 30_000,
    "session_open": 60_000,
    "session_open_relayed": 67_000,
    "claim_paid_each_of_100": 15_500,
    "claim_metered_each_of_100": 17_500,
    "wallet_create": 120_000,
    "wallet_open_relayed": 110_000,
    "wallet_open_relayed_by_book": 110_000,
}
"""Issue 3, line 23; issue 4, Numbers."""


def measure() -> dict[str, dict[str, int]]:
    """Every figure of the snapshot, gas of a claim a row and rounded up."""
    world = World()
    figures = {**anchors(world), **sessions(world), **claims(world), **wallets(World()), **tasks(TaskWorld(World()))}
    return {"gas": figures, "bytes": sizes()}


def sizes() -> dict[str, int]:
    return {name: len(load_artifact(name)["deployedBytecode"]) // 2 - 1 for name in CONTRACTS}


def gas(receipt: Any) -> int:
    return int(receipt["gasUsed"])


def anchors(world: World) -> dict[str, int]:
    """The operator's first anchor, and the dearest of the next ten (what a hash costs depends on its zero bytes)."""
    figures, head = [], bytes(32)
    for number in range(11):
        receipt = world.send(world.anchors.functions.anchor(head, keccak(b"root %d" % number)), "operator")
        figures.append(gas(receipt))
        head = bytes(world.anchors.functions.heads(world.address("operator")).call())
    frame = world.frame(keccak(b"device"))
    signature = world.frame_signed(frame, world.key_of(0))
    send = world.anchors.functions.anchorFrame(frame, signature)
    world.send(send, "stranger")
    return {
        "anchor_first": figures[0],
        "anchor": max(figures[1:]),
        "anchor_frame": gas(world.send(send, "stranger")),
    }


def sessions(world: World) -> dict[str, int]:
    functions, deadline = world.escrow.functions, world.now() + HOUR_S
    opened, relayed = [], []  # the dearer mode counts, and the dearest of ten keys
    for number in range(20):
        call = functions.openAsPayer(world.terms(number, metered=number % 2 == 1), LOCK)
        opened.append(gas(world.send(call, "payer")))
    for number in range(20, 40):
        terms = world.terms(number, metered=number % 2 == 1)
        call = functions.openBySignature(terms, LOCK, deadline, world.open_signed(terms, LOCK, deadline))
        relayed.append(gas(world.send(call, "operator")))
    top_up = functions.topUpBySignature(terms, 2 * LOCK, deadline, world.top_up_signed(terms, 2 * LOCK, deadline))
    return {
        "session_open": max(opened),
        "session_open_relayed": max(relayed),
        "top_up_relayed": gas(world.send(top_up, "operator")),
        "request_close": gas(world.send(functions.requestClose(terms), "payer")),
        "close": gas(world.send(functions.close(terms), "payee")),
        "withdraw": gas(world.send(functions.withdraw(world.address("stranger"), 5), "refund")),
    }


def claims(world: World) -> dict[str, int]:
    """A row's share of a batch, base cost of the transaction in; the payee has claimed before."""
    figures = {}
    paid = [world.open(world.terms(n), LOCK) for n in range(1000, 1100)]
    metered = [world.open(world.terms(n, metered=True), LOCK) for n in range(1000, 1100)]
    keys = [world.key_of(n) for n in range(1000, 1100)]
    world.claim_paid(world.paid_row(paid[0], 10_000, keys[0]))
    world.at(world.now() + HOUR_S)
    for size in BATCHES:
        amount = 20_000 + 1_000 * size
        rows = [world.paid_row(t, amount + n, key) for n, (t, key) in enumerate(zip(paid, keys, strict=True))][:size]
        receipt = world.claim_paid(*rows)
        assert not world.skipped(receipt)
        figures[f"claim_paid_each_of_{size}"] = -(-gas(receipt) // size)
        charges = [
            world.metered_row(t, amount + n, 1_500_000 + size, 1_800 + size, key)
            for n, (t, key) in enumerate(zip(metered, keys, strict=True))
        ][:size]
        receipt = world.claim_metered(*charges)
        assert not world.skipped(receipt)
        figures[f"claim_metered_each_of_{size}"] = -(-gas(receipt) // size)
    return figures


def wallets(world: World) -> dict[str, int]:
    """Through a wallet: the dearer of both modes, the first session of a wallet included."""
    around = WalletWorld(world)
    created = [gas(world.send(around.factory.functions.create(keccak(b"device %d" % n), around.owner), "stranger")) for n in range(5)]
    device, deadline, call = keccak(b"ready device"), world.now() + HOUR_S, around.call_of("setPolicy", around.policy)
    wallet = bytes.fromhex(around.factory.functions.walletOf(device, around.owner).call()[2:])
    signature = world.sign(wallet_domain(world.chain_id, wallet), OwnerCall(keccak(call), 0, deadline), world.signers["owner"])
    ready = gas(world.send(around.factory.functions.createAndCall(device, around.owner, call, 0, deadline, signature), "stranger"))
    listed = [gas(world.send(around.open(around.terms(n, metered=n % 2 == 1), LOCK), "stranger")) for n in range(8)]
    around.set_policy(around.policy_of(providers=(), max_day_micro=10**9))
    world.send(around.book.functions.admit(world.address("payee")), "admin")
    booked = [gas(world.send(around.open(around.terms(n, metered=n % 2 == 1), LOCK), "stranger")) for n in range(8, 16)]
    terms = around.terms(8)
    return {
        "wallet_create": max(created),
        "wallet_create_with_policy": ready,
        "wallet_open_relayed": max(listed),
        "wallet_open_relayed_by_book": max(booked),
        "wallet_top_up_relayed": gas(world.send(around.top_up(terms, 2 * LOCK), "stranger")),
        "wallet_request_close_relayed": gas(world.send(around.request_close(terms), "stranger")),
        "wallet_withdraw": gas(world.send(around.wallet.functions.withdraw(world.address("stranger"), 5), "owner")),
    }


def tasks(desk: TaskWorld) -> dict[str, int]:
    """A task's life. The node was paid before; the second payment of a task and the second sale of a meter are what recurs."""
    functions, now = desk.functions, desk.world.now()
    deadline = now + HOUR_S
    released, completed, delivered = (desk.task(proof) for proof in (Proof.RELEASE, Proof.COMPLETION, Proof.ENERGY))
    desk.open(completed)
    desk.pay(desk.completed(completed, 1))
    opened = desk.world.send(functions.openTask(released), "payer")
    relayed = desk.pay(functions.openTaskBySignature(delivered, deadline, desk.open_signed(delivered, deadline)))
    desk.pay(desk.released(released, 1_000))
    live = [record(n, now + n, n * ASKED // 2) for n in range(3)]
    desk.pay(desk.delivered(delivered, PRICE // 2, desk.proof(live[:2], frame_size=1)))
    return {
        "task_open": gas(opened),
        "task_open_relayed": gas(relayed),
        "task_pay_released": gas(desk.pay(desk.released(released, 2_000))),
        "task_pay_completed": gas(desk.pay(desk.completed(completed, 2_000))),
        "task_pay_delivered": gas(desk.pay(desk.delivered(delivered, PRICE, desk.proof(live[1:], frame_size=1)))),
        "task_request_close": gas(desk.world.send(functions.requestClose(released), "payer")),
        "task_close": gas(desk.world.send(functions.close(released), "payee")),
    }


def as_text(table: dict[str, dict[str, int]]) -> str:
    return json.dumps(table, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(as_text(measure()))
    print(f"wrote {SNAPSHOT.relative_to(ROOT)} from {ARTIFACTS.relative_to(ROOT)}")
