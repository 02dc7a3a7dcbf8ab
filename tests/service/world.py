"""A whole world for the service: a real chain, real contracts, the real program, all as processes; and somebody who pays."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from chain.client import ChainClient
from chain.deployment import load
from chain.oneshot import send
from chain.transactions import TransactionSigner
from protocol.eip712 import digest, from_json, money_domain
from protocol.hashing import keccak
from protocol.keys import Signer
from protocol.money import Open, Payment, RequestClose, Terms, TopUp

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'hardhat-free-devnet'}"}
FUNDS_MICRO = 50_000_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(what: str, check: Callable[[], Any], timeout_s: float = 60) -> Any:
    """Wait until `check` gives something true; its last value is in the failure."""
    deadline, value = time.monotonic() + timeout_s, None
    while time.monotonic() < deadline:
        value = check()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what} (last: {value!r})")


class Program:
    """One process of this repository, its output in a file."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=ROOT, env=ENVIRONMENT | environment, stdout=file, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 15) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        finally:
            if self.process.poll() is None:
                self.kill()

    def text(self) -> str:
        return self.log.read_text(errors="replace")


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class World:
    """Chain, contracts, service. `settings` are sections of service.toml that differ from this world's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Program] = []
        self.patient = False  # clients try again when the service is away
        self.service: Program | None = None
        self.settings: dict[str, dict[str, Any]] = {
            "": {"log_format": "json"},
            "chain": {"confirmations": 1, "poll_seconds": 0.2},
            "settlement": {"epoch_seconds": 1, "claim_age_seconds": 3600, "claim_amount_micro": 10**9, "reconcile_seconds": 1},
            "terms": {
                "session_seconds": 3600, "stop_grace_seconds": 10, "close_delay_seconds": 10, "close_delay_blocks": 2,
                "start_within_seconds": 60,
            },
        }  # fmt: skip

    def start_chain(self) -> None:
        state = self.folder / "chain"
        state.mkdir()
        chain = Program(self.folder / "chain.log", "wattproof_devchain", "--state", str(state), "--port", "0", "--block-time", "1")
        self.started.append(chain)
        eventually("the chain", (state / "devchain.json").exists)
        description = json.loads((state / "devchain.json").read_text())
        self.rpc_url: str = description["url"]
        self.secrets = [bytes.fromhex(account["key"][2:]) for account in description["accounts"]]

    def deploy(self) -> None:
        """Service keys, contracts with the service's sender as operator, gas for it, money for the payer."""
        self.home = self.folder / "service"
        run("backend", "init", "--dir", str(self.home))
        sender = json.loads((self.home / "keys" / "sender.json").read_text())["address"].removeprefix("0x")
        self.sender = bytes.fromhex(sender)
        self.token = (self.home / "operator.token").read_text().strip()
        file = self.folder / "deployment.json"
        run("chain", "deploy", "--rpc", self.rpc_url, "--dev-account", "0", "--operator", "0x" + sender, "--out", str(file))
        self.deployment = load(file)
        self.client = ChainClient(self.rpc_url, self.deployment)
        self.money = money_domain(self.deployment.chain_id, self.deployment.escrow)
        self._gas(self.sender)
        self.payer = Payer(self, self.secrets[2])
        self.fund(self.payer)

    def _gas(self, to: bytes) -> None:
        from eth_account import Account
        from eth_utils.address import to_checksum_address

        key = self.secrets[3]
        raw = Account.sign_transaction({
            "chainId": self.deployment.chain_id, "nonce": self.client.nonce(Signer(key).address), "to": to_checksum_address(to),
            "value": 10**18,
            "gas": 21_000, "gasPrice": self.client.gas_price_wei() * 2,
        }, key)  # fmt: skip
        self.client.send(bytes(raw.raw_transaction))
        eventually("gas money", lambda: self.client.wei(to))

    def fund(self, payer: Payer, amount_micro: int = FUNDS_MICRO) -> None:
        calls = self.client.calls
        minter = TransactionSigner(self.client, self.secrets[0])
        send(self.client, minter, [calls.mint(keccak(payer.address + os.urandom(8)), payer.address, amount_micro)])
        own = TransactionSigner(self.client, payer.signer.secret)
        send(self.client, own, [calls.approve(self.deployment.escrow, amount_micro), calls.deposit(amount_micro)])

    def write_settings(self) -> None:
        lines = []
        sections = self.settings | {"chain": self.settings["chain"] | {
            "rpc_url": self.rpc_url, "deployment_file": str(self.folder / "deployment.json")
        }}  # fmt: skip
        for section in sorted(sections):
            if section:
                lines.append(f"[{section}]")
            values = sections[section] | ({"listen": f"127.0.0.1:{self.port}"} if not section else {})
            lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        (self.home / "service.toml").write_text("\n".join(lines) + "\n")

    def start_service(self, *, ready: bool = True, **environment: str) -> None:
        """Start the program; `ready`: and wait until it says it is, else only until it answers."""
        self.port = free_port()
        self.launch(**environment)
        if ready:
            self.wait_until_ready()
        else:
            eventually("an answer", lambda: self._status("/healthz") == 200, 90)

    def launch(self, **environment: str) -> None:
        """Start the program on the port it had, if it had one, and wait for nothing."""
        self.port = getattr(self, "port", 0) or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.write_settings()
        self.service = Program(self.folder / "service.log", "backend", "serve", "--config", str(self.home / "service.toml"), **environment)
        self.started.append(self.service)

    def answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False

    def request(
        self, method: str, url: Callable[[], str], headers: Callable[[], dict[str, str]] = dict, **more: Any
    ) -> httpx2.Response:  # fmt: skip
        """One request; a patient world tries again until somebody answers (and again where the answer says that this may help)."""
        deadline = time.monotonic() + (120 if self.patient else 0)
        while True:
            try:
                answer = httpx2.request(method, url(), headers=headers(), timeout=20, **more)
                if not self.patient or answer.status_code not in (409, 503) or not answer.json().get("transient"):
                    return answer
            except httpx2.TransportError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def wait_until_ready(self) -> None:
        try:
            eventually("readiness", lambda: self._status("/readyz") == 200, 90)
        except AssertionError:
            assert self.service is not None
            raise AssertionError(self.readyz() + self.service.text()[-3000:]) from None

    def _status(self, path: str) -> int:
        assert self.service is not None
        assert self.service.process.poll() is None, self.service.text()
        try:
            return httpx2.get(f"{self.url}{path}", timeout=5).status_code
        except httpx2.HTTPError:
            return 0

    def readyz(self) -> str:
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5).text
        except httpx2.HTTPError as error:
            return repr(error)

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None, expect: int | None = None) -> Any:
        answer = self.request(method, lambda: self.url + path, lambda: {"Authorization": f"Bearer {token or self.token}"}, json=body)
        assert answer.status_code == expect if expect else answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    def stop(self) -> None:
        for program in reversed(self.started):
            if program.process.poll() is None:
                program.kill()
        if hasattr(self, "client"):
            self.client.close()


@contextmanager
def running(folder: Path, **terms: int) -> Iterator[World]:
    """A world with chain, contracts and service, stopped at the end; `terms` are settings of its section of that name."""
    made = World(folder)
    made.settings["terms"] |= terms
    try:
        made.start_chain()
        made.deploy()
        made.start_service()
        yield made
    finally:
        made.stop()


class Payer:
    """Somebody with money in the escrow, who signs for it."""

    def __init__(self, world: World, secret: bytes) -> None:
        self.world, self.signer = world, Signer(secret)
        self.address = self.signer.address

    def quote(self, point_id: str, lock_micro: int, **more: Any) -> dict[str, Any]:
        me = "0x" + self.address.hex()
        body = {"pointId": point_id, "payer": me, "refundTo": me, "metered": True, "lockMicro": lock_micro} | more
        quoted: dict[str, Any] = self.world.call("POST", "/api/v1/quotes", body)
        return quoted

    def try_quote(self, point_id: str, lock_micro: int) -> dict[str, Any] | None:
        """A quote, or None while the point is taken or has no charge key."""
        try:
            return self.quote(point_id, lock_micro)
        except AssertionError:
            return None

    def open(self, quoted: dict[str, Any], lock_micro: int) -> Session:
        deadline_s = int(time.time()) + 600
        body = {"quoteId": quoted["quoteId"], "lockMicro": lock_micro, "deadlineS": deadline_s}
        session = bytes.fromhex(quoted["session"][2:])
        signature = self.sign(Open(session, lock_micro, deadline_s))
        self.world.call("POST", "/api/v1/sessions", body | {"signature": signature})
        return Session(self, session, quoted)

    def sign(self, message: Any, signer: Signer | None = None) -> str:
        return "0x" + (signer or self.signer).sign(digest(self.world.money, message)).hex()


class Session:
    """A payer's session, through the API."""

    def __init__(self, payer: Payer, session: bytes, quoted: dict[str, Any]) -> None:
        self.payer, self.session, self.token = payer, session, quoted["accessToken"]
        self.terms = from_json(Terms, quoted["terms"])
        self.path = "/api/v1/sessions/0x" + session.hex()

    def view(self) -> dict[str, Any]:
        view: dict[str, Any] = self.payer.world.call("GET", self.path, token=self.token)
        return view

    def reaches(self, state: str, timeout_s: float = 60) -> dict[str, Any]:
        try:
            eventually(f"session {state}", lambda: self.view()["state"] == state, timeout_s)
        except AssertionError as error:
            service = self.payer.world.service
            raise AssertionError(f"{error}\n{json.dumps(self.view(), indent=1)}\n{service.text()[-4000:] if service else ''}") from None
        return self.view()

    def stop(self) -> Any:
        deadline_s = int(time.time()) + 600
        signature = self.payer.sign(RequestClose(self.session, deadline_s))
        return self.payer.world.call("POST", self.path + "/stop", {"deadlineS": deadline_s, "signature": signature})

    def top_up(self, total_micro: int) -> Any:
        deadline_s = int(time.time()) + 600
        signature = self.payer.sign(TopUp(self.session, total_micro, deadline_s))
        body = {"totalLockMicro": total_micro, "deadlineS": deadline_s, "signature": signature}
        return self.payer.world.call("POST", self.path + "/top-up", body)

    def pay(self, signer: Signer, amount_micro: int, frame: bytes, expect: int = 200) -> Any:
        signature = self.payer.sign(Payment(self.session, amount_micro, frame), signer)
        body = {"amountMicro": amount_micro, "frame": "0x" + frame.hex(), "signature": signature}
        return self.payer.world.call("POST", self.path + "/payments", body, expect=expect)
