"""`python -m wallet` as its owner runs it: a real chain, real key files, no service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from eth_account import Account
from typer.testing import CliRunner

from chain.client import ChainClient
from chain.deployment import load
from chain.oneshot import send
from chain.task_calls import TaskCalls, task_terms
from chain.task_views import TaskViews
from chain.transactions import TransactionSigner
from chain.wallet_calls import Wallets
from protocol.eip712 import digest, money_domain, to_json
from protocol.keys import Signer
from protocol.money import Open, Payment, Terms, session_id
from protocol.task import STOP_GRACE_S, Proof, Task, task_id
from protocol.wallet import OpenTask, parse_policy, wallet_domain
from tests.chain.nodes import ROOT, DevChain
from wallet.__main__ import app

DEVICE = "0x" + "d1" * 32
PROVIDER = 4
OWNER = 2
"""The development accounts that play them."""


class House:
    """A chain with our contracts, an owner's key file, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain = DevChain(folder / "chain", "--block-time", "1")
        self.deployment = folder / "deployment.json"
        made = subprocess.run(
            [sys.executable, "-m", "chain", "deploy", "--rpc", self.chain.url, "--dev-account", "0", "--out", str(self.deployment)],
            cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        self.client = ChainClient(self.chain.url, load(self.deployment))
        self.pay_key = Signer.create()
        self.key_file, self.passphrase_file = folder / "owner.json", folder / "passphrase"
        for path, text in (
            (self.passphrase_file, "correct horse battery staple"),
            (self.key_file, json.dumps(Account.encrypt(self.chain.key(OWNER), "correct horse battery staple", iterations=1 << 10))),
        ):
            path.touch(mode=0o600)
            path.write_text(text)
        deployer = TransactionSigner(self.client, self.chain.key(0))
        calls = self.client.calls
        send(self.client, deployer, [calls.mint(bytes(31) + b"\1", self.chain.address(OWNER), 50_000_000)])

    def run(self, *words: object, key: bool = True, dev_account: int | None = None) -> Result:
        """The command in this process: importing web3 anew for each of fifty commands would take minutes."""
        keys = ["--key-file", str(self.key_file), "--passphrase-file", str(self.passphrase_file)] if key and dev_account is None else []
        keys += ["--dev-account", str(dev_account)] if dev_account is not None else []
        return CliRunner().invoke(app, ["--rpc", self.chain.url, "--deployment", str(self.deployment), *keys, *map(str, words)])

    def good(self, *words: object, key: bool = True) -> str:
        done = self.run(*words, key=key)
        assert done.exit_code == 0, (done.stderr, done.exception)
        return done.stdout

    def bad(self, *words: object, key: bool = True) -> str:
        done = self.run(*words, key=key)
        assert done.exit_code in (1, 2), done.stdout
        assert isinstance(done.exception, SystemExit), done.exception
        return done.stderr

    def shown(self, wallet: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.good("show", "--wallet", wallet, "--json", key=False))
        return document

    def write_policy(self, name: str, *more: object) -> Path:
        out = self.folder / name
        self.good(
            "policy", "new", "--out", out, "--pay-key", "0x" + self.pay_key.address.hex(), "--per-kwh", "0.40", "--per-session", "2",
            "--per-day", "3", "--provider", "0x" + self.chain.address(PROVIDER).hex(), *more, key=False,
        )  # fmt: skip
        return out

    def open_session(self, wallet: bytes, policy_file: Path, lock_micro: int, close_delay_s: int) -> Terms:
        """A session by the pay key's intent, relayed by a stranger."""
        deployment, head = self.client.deployment, self.client.head()
        terms = Terms(
            wallet, self.chain.address(PROVIDER), wallet, bytes(32), False, self.pay_key.address, b"\1" * 32, bytes(32), 400_000, 0, 0,
            11_000, head.time_s + 3_600, 0, close_delay_s, 2, head.hash,
        )  # fmt: skip
        order = Open(session_id(terms, deployment.chain_id, deployment.escrow), lock_micro, head.time_s + 600)
        signature = self.pay_key.sign(digest(wallet_domain(deployment.chain_id, wallet), order))
        policy = parse_policy(json.loads(policy_file.read_text()))
        relayer = TransactionSigner(self.client, self.chain.key(7))
        send(self.client, relayer, [Wallets(deployment).open_by_signature(terms, order, policy, signature)])
        return terms

    def open_tasks(self, wallet: bytes, policy_file: Path, *wanted: tuple[int, int]) -> list[Task]:
        """Tasks (price, seconds) paid by milestones, opened by the pay key's intents, relayed by a stranger."""
        deployment, now_s = self.client.deployment, self.client.head().time_s
        policy, tasks, calls = parse_policy(json.loads(policy_file.read_text())), [], []
        for price_micro, lasts_s in wanted:
            task = Task(
                wallet, self.chain.address(PROVIDER), wallet, self.pay_key.address, bytes(20), os.urandom(32), price_micro,
                now_s + lasts_s, 0, int(Proof.RELEASE), bytes(32), 0, bytes(20), 0, 0, os.urandom(32),
            )  # fmt: skip
            order = OpenTask(self.task_id(task), price_micro, now_s + 600)
            signature = self.pay_key.sign(digest(wallet_domain(deployment.chain_id, wallet), order))
            calls.append(Wallets(deployment).open_task_by_signature(wallet, task_terms(task), order, policy, signature))
            tasks.append(task)
        send(self.client, TransactionSigner(self.client, self.chain.key(7)), calls)
        return tasks

    def release(self, task: Task, amount_micro: int) -> None:
        """The requester key's word for a part of the price, brought by the node."""
        deployment = self.client.deployment
        payment = Payment(self.task_id(task), amount_micro, bytes(32))
        domain = money_domain(deployment.chain_id, deployment.address_of("TaskEscrow"))
        call = TaskCalls(deployment).pay_released(task, payment, self.pay_key.sign(digest(domain, payment)))
        send(self.client, TransactionSigner(self.client, self.chain.key(PROVIDER)), [call])

    def task_id(self, task: Task) -> bytes:
        deployment = self.client.deployment
        return task_id(task, deployment.chain_id, deployment.address_of("TaskEscrow"))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("wallet"))
    yield house
    house.client.close()
    house.chain.stop()


@pytest.fixture
def hurry(house: House) -> Iterator[None]:
    """Blocks come five times as fast, and with them the chain's time."""
    over = threading.Event()

    def mine() -> None:
        while not over.wait(0.2):
            house.chain.mine()

    miner = threading.Thread(target=mine)
    miner.start()
    yield
    over.set()
    miner.join()


def test_an_owner_makes_funds_limits_and_empties_a_wallet_with_chain_and_key_alone(house: House) -> None:
    owner = "0x" + house.chain.address(OWNER).hex()
    wallet = house.good("address", "--device", DEVICE, "--owner", owner, key=False).strip()
    house.good("fund", "10", "--wallet", wallet)  # before it is made
    state = house.shown(wallet)
    assert (state["made"], state["freeMicro"]) == (False, 10_000_000)

    policy = house.write_policy("first.json")
    assert wallet in house.good("create", "--device", DEVICE, "--policy", policy)
    assert wallet in house.good("create", "--device", DEVICE, "--policy", policy)  # again: nothing changes
    state = house.shown(wallet)
    assert (state["made"], state["owner"], state["device"], state["freeMicro"]) == (True, owner, DEVICE, 10_000_000)
    assert state["policy"] == json.loads(policy.read_text()) == json.loads(house.good("policy", "show", "--wallet", wallet, key=False))

    terms = house.open_session(bytes.fromhex(wallet[2:]), policy, 1_500_000, close_delay_s=3)
    state = house.shown(wallet)
    assert (state["freeMicro"], state["lockedTodayMicro"]) == (8_500_000, 1_500_000)

    house.good("freeze", "--device", DEVICE)
    assert house.shown(wallet)["frozen"]
    assert "frozen" in house.good("show", "--wallet", wallet, key=False)
    second = house.write_policy("second.json", "--flat", "0.10")
    house.good("policy", "set", second, "--wallet", wallet)
    house.good("unfreeze", "--wallet", wallet)
    assert house.shown(wallet)["policy"]["maxFlatMicro"] == 100_000

    named = house.folder / "terms.json"
    named.write_text(json.dumps({"terms": to_json(terms)}))
    closed = house.good("close", named)
    assert "1.50 went back" in closed
    assert "1.50 went back" in house.good("close", named)  # again: it says so again
    before = house.client.token_micro(house.chain.address(OWNER))
    house.good("withdraw", "0.25", "--wallet", wallet)
    house.good("withdraw", "--all", "--wallet", wallet)
    assert house.client.token_micro(house.chain.address(OWNER)) - before == 10_000_000
    assert "nothing to withdraw" in house.bad("withdraw", "--all", "--wallet", wallet)

    items = json.loads(house.good("history", "--wallet", wallet, "--json", key=False))["items"]
    names = [item["event"] for item in items]
    for expected in (
        "Deposited",
        "WalletCreated",
        "PolicySet",
        "SessionOpened",
        "Frozen",
        "Unfrozen",
        "CloseRequested",
        "SessionClosed",
        "Withdrawn",
    ):
        assert expected in names, names
    assert [item["blockNumber"] for item in items] == sorted(item["blockNumber"] for item in items)
    table = house.good("history", "--wallet", wallet, key=False)
    assert "SessionOpened" in table
    assert "locked 1.50" in table


@pytest.mark.usefixtures("hurry")
def test_what_tasks_hold_comes_back_by_chain_and_key_alone(house: House) -> None:
    device = "0x" + "d2" * 32
    policy = house.write_policy("tasks.json")
    wallet = house.good("create", "--device", device, "--policy", policy).split()[-1]
    raw, owner = bytes.fromhex(wallet[2:]), house.chain.address(OWNER)
    house.good("fund", "3", "--wallet", wallet)
    kept, fetched, long = house.open_tasks(raw, policy, (400_000, 12), (500_000, 12), (600_000, 3_600))
    house.release(fetched, 100_000)

    answered = _written(house.folder / "kept.json", {"task": "0x" + house.task_id(kept).hex(), "terms": to_json(kept), "state": "open"})
    said = house.good("close-task", answered, "--keep")
    assert "0.40 went back" in said
    assert "free in the wallet again" in said
    assert (state := house.shown(wallet))["freeMicro"] == 1_900_000, state
    before = house.client.token_micro(owner)
    bare = _written(house.folder / "bare.json", to_json(fetched))
    assert "0.40 went back" in house.good("close-task", bare)
    assert house.client.token_micro(owner) - before == 400_000
    again = house.good("close-task", bare)
    assert "0.40 went back" in again
    assert "nothing that tasks gave back is left" in again
    assert house.client.token_micro(owner) - before == 400_000

    views = TaskViews(house.client)
    with pytest.MonkeyPatch.context() as patch:  # its two minutes of grace are not waited out here
        patch.setattr("wallet.owner.time", SimpleNamespace(time=time.time, sleep=_interrupted))
        named = _written(house.folder / "long.json", {"terms": to_json(long)})
        assert "run the same command again" in house.bad("close-task", named)
        assert views.state(long).ends_at_s == long.deadline_s  # not asked for
        assert "run the same command again" in house.bad("close-task", named, "--early")
        ends_at_s = views.state(long).ends_at_s
        assert ends_at_s <= house.client.head().time_s + STOP_GRACE_S
        asked = house.run("close-task", named, "--early")
        assert "nothing is gained by asking" in asked.stdout
        assert "closes in" in asked.stdout
        assert views.state(long).ends_at_s == ends_at_s

    long_ago = fetched._replace(salt=bytes(32))
    assert "never opened" in house.bad("close-task", _written(house.folder / "other.json", to_json(long_ago)))
    assert "other.json" in house.bad("close-task", _written(house.folder / "other.json", {"terms": {"node": 1}}))
    assert "belongs to" in house.run("close-task", bare, dev_account=9).stderr


def _interrupted(seconds: float) -> None:
    raise KeyboardInterrupt


def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_sent(house: House) -> None:
    blocks = house.client.nonce(house.chain.address(OWNER))
    nowhere = "0x" + "99" * 20
    assert "no wallet at" in house.bad("freeze", "--wallet", nowhere)
    assert "40 hex digits" in house.bad("freeze", "--wallet", "0x12")
    assert "--wallet ADDRESS or --device" in house.bad("freeze")
    assert "no amount" in house.bad("fund", "1.2345678", "--wallet", nowhere)
    assert "no amount" in house.bad("fund", "ten", "--wallet", nowhere)
    assert "fewer than" in house.bad("fund", "99999", "--wallet", nowhere)
    assert "how much, or --all" in house.bad("withdraw", "--wallet", nowhere)
    assert "give either" in house.bad("freeze", "--wallet", nowhere, key=False)
    assert "nothing is known" in house.bad("history", "--wallet", nowhere, key=False)
    broken = house.folder / "broken.json"
    broken.write_text('{"payKey": "0x00"}')
    assert "broken.json" in house.bad("create", "--device", DEVICE, "--policy", broken)
    broken.write_bytes(b"\xff\xfe not json")
    assert "is not JSON" in house.bad("create", "--device", DEVICE, "--policy", broken)
    assert "No such file" in house.bad("create", "--device", DEVICE, "--policy", house.folder / "none.json")
    assert "terms.json" in house.bad("close", _written(house.folder / "terms.json", {"terms": {"payer": 3}}))
    assert 'no "terms"' in house.bad("close", _written(house.folder / "list.json", []))
    written = house.write_policy("third.json")
    again = house.bad(
        "policy", "new", "--out", written, "--pay-key", nowhere, "--per-kwh", "1", "--per-session", "1", "--per-day", "1", key=False
    )
    assert "not overwritten" in again
    house.passphrase_file.chmod(0o644)
    assert "chmod 600" in house.bad("freeze", "--wallet", nowhere)
    house.passphrase_file.chmod(0o600)
    assert house.client.nonce(house.chain.address(OWNER)) == blocks


def test_the_command_answers_help_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "wallet", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "no service" in done.stdout


def _written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_another_owners_wallet_is_not_touched(house: House) -> None:
    stranger = "0x" + house.chain.address(9).hex()
    other = house.good("address", "--device", DEVICE, "--owner", stranger, key=False).strip()
    policy = house.write_policy(f"other-{time.monotonic_ns()}.json")
    done = house.run("create", "--device", DEVICE, "--policy", policy, dev_account=9)
    assert done.exit_code == 0, done.stderr
    assert other in done.stdout
    for words in (("freeze",), ("withdraw", "--all"), ("policy", "set", policy)):
        assert "belongs to" in house.bad(*words, "--wallet", other)
