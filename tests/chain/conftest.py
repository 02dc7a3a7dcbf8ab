"""Chains to test against, with our contracts deployed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chain.client import ChainClient
from chain.deploy import Roles, deploy
from chain.deployment import Deployment
from chain.oneshot import send
from chain.transactions import TransactionSigner

from .nodes import Anvil, DevChain, Node, find_anvil

DEPLOYER, CAP_KEEPER, PAYER, PAYEE, STRANGER = range(5)
"""Which well-known account plays whom."""


@pytest.fixture
def devchain(tmp_path: Path) -> Iterator[Callable[..., DevChain]]:
    """Start chains: `devchain("--block-time", "1", state=folder)`."""
    started: list[DevChain] = []

    def start(*options: str, state: Path | None = None) -> DevChain:
        started.append(DevChain(state or tmp_path / "chain", *options))
        return started[-1]

    yield start
    for each in started:
        each.stop(signal.SIGKILL if each.process.poll() is None else signal.SIGTERM)


@pytest.fixture
def anvil() -> Iterator[Callable[..., Anvil]]:
    """Start anvils. Skips, or fails in CI, where there is none."""
    started: list[Anvil] = []

    def start(*options: str) -> Anvil:
        program = find_anvil()
        if program is None:
            absent = pytest.fail if os.environ.get("CI") else pytest.skip
            absent("anvil is not installed: npm install in contracts/, or set WATTPROOF_ANVIL")
        started.append(Anvil(program, *options))
        return started[-1]

    yield start
    for each in started:
        each.stop(signal.SIGKILL)


class Stage:
    """A node with our contracts on it, a client, and signers for the well-known accounts."""

    def __init__(self, node: Node, deployment: Deployment, finality_depth: int | None) -> None:
        self.node = node
        self.deployment = deployment
        self.finality_depth = finality_depth
        self.client = self.another_client(finality_depth)
        self.calls = self.client.calls

    def another_client(self, finality_depth: int | None) -> ChainClient:
        return ChainClient(self.node.url, self.deployment, finality_depth=finality_depth, timeout_s=10)

    def signer(self, index: int) -> TransactionSigner:
        return TransactionSigner(self.client, self.node.key(index))

    def address(self, index: int) -> bytes:
        return self.node.address(index)


@contextmanager
def ticking(node: Node) -> Iterator[None]:
    """A block every few milliseconds while this lasts, on a node that otherwise mines when told to."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.03):
            node.mine()

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def set_stage(node: Node, folder: Path, finality_depth: int | None) -> Stage:
    """Deploy with depth 0 (nothing needs to wait yet), then look with the depth under test."""
    roles = Roles(node.address(DEPLOYER), node.address(CAP_KEEPER), 10**15)
    done = deploy(
        node.url, node.key(DEPLOYER), folder / "deployment.json", roles, finality_depth=0, timeout_s=30, say=lambda _: None
    )
    return Stage(node, done, finality_depth)


@pytest.fixture
def stage(devchain: Callable[..., DevChain], tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """`stage(depth)`: our contracts on a development chain that mines when it is told to, or as transactions come."""
    made: list[Stage] = []

    def set_up(finality_depth: int | None = None, *options: str) -> Stage:
        node = devchain(*(options or ("--block-time", "1")))
        made.append(set_stage(node, tmp_path, finality_depth))
        return made[-1]

    yield set_up
    for each in made:
        each.client.close()


@pytest.fixture
def manual_stage(devchain: Callable[..., DevChain], tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """`manual_stage(depth)`: a development chain that mines only when told to, with a million micro for the payer."""
    made: list[Stage] = []

    def set_up(finality_depth: int | None = None, *options: str) -> Stage:
        node = devchain("--block-time", "3600", *options)
        with ticking(node):
            made.append(set_stage(node, tmp_path, finality_depth))
            mint(made[-1], 1_000_000)
        return made[-1]

    yield set_up
    for each in made:
        each.client.close()


def mint(stage: Stage, amount_micro: int) -> None:
    """Tokens for the payer, out of nothing."""
    with stage.another_client(0) as client:
        call = stage.calls.mint(os.urandom(32), stage.address(PAYER), amount_micro)
        send(client, TransactionSigner(client, stage.node.key(DEPLOYER)), [call])


@pytest.fixture
def anvil_stage(anvil: Callable[..., Anvil], tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """`anvil_stage(depth)`: the same on anvil."""
    made: list[Stage] = []

    def set_up(finality_depth: int | None = 0, *options: str) -> Stage:
        node = anvil(*options)
        made.append(set_stage(node, tmp_path, finality_depth))
        return made[-1]

    yield set_up
    for each in made:
        each.client.close()
