"""The whole house on one machine: chain, service, rig and agent, each its own process, enrolled and funded."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from chain.client import ChainClient
from chain.deployment import load
from protocol.tariff import Tariff

from .money_side import Account, deposit_prepayment
from .processes import DemoFailed, Processes, free_port

RATED_WATTS = 11_000
REGISTER_STEP_MILLIWATT_HOURS = 100
REGISTER_DIGITS = 9
PREPAID_MICRO = 5_000_000
PLACEMENT = "demo bench, point 1"
CONSOLE_NAME = "demo"


@dataclass(frozen=True)
class Choices:
    """What a scene may want otherwise. Money in micro-units, time in seconds."""

    profile: str = "charger"
    tariff: dict[str, Any] | None = None
    policy: dict[str, Any] | None = None
    epoch_s: int = 10
    record_interval_s: int = 1
    close_delay_s: int = 10
    rated_watts: int = RATED_WATTS
    own_meter: bool = False
    """Whether the buyer has a meter of its own behind the contact."""


def flat_tariff() -> dict[str, Any]:
    """0.30 a kilowatt-hour and 19 % tax: the simplest tariff there is."""
    component = {"type": "ENERGY", "microPerKwh": 300_000, "taxPpm": 190_000}
    return {"id": "demo-flat", "version": 1, "currency": "EUR", "timeZone": "Europe/Berlin", "elements": [{"priceComponents": [component]}]}


def local_policy(record_interval_s: int) -> dict[str, Any]:
    """The agent itself disconnects when the lock is used up."""
    return {
        "mode": "local", "cutOff": "zero", "protectedHours": [], "recordIntervalS": record_interval_s, "sampleIntervalS": 1,
        "lostCommunication": {"action": "hold", "milliwattHours": 1_000_000, "seconds": 600},
    }  # fmt: skip


class Stack:
    """Starts and knows every part. `state` is a folder that may be thrown away.

    Chain, service and agent can be stopped (`processes.stop(name, kill=True)`) and started again: on the same port, from the same state.
    """

    def __init__(self, processes: Processes, state: Path, choices: Choices) -> None:
        self.processes, self.state, self.choices = processes, state, choices
        self.tariff = Tariff.from_document(choices.tariff or flat_tariff())
        self.policy = choices.policy or local_policy(choices.record_interval_s)
        self.url = self.rpc_url = self.password = ""
        self.further_payees: list[Path] = []
        self.point: dict[str, Any] = {}

    # --- chain ---

    def start_chain(self) -> None:
        self.rpc_url = self.rpc_url or f"http://127.0.0.1:{free_port()}"
        port = self.rpc_url.rpartition(":")[2]
        self.processes.start("chain", "wattproof_devchain", "--port", port, "--block-time", "1", "--state", str(self.state / "chain"))
        described = self.state / "chain" / "devchain.json"

        def answers() -> bool:
            return described.exists() and json.loads(described.read_text())["pid"] == self.processes.pid("chain")

        self.processes.wait("chain", "its first block", answers)
        self._accounts = json.loads(described.read_text())["accounts"]

    def deploy(self) -> None:
        """Deploy the contracts with the service's sender admitted as operator."""
        self.processes.run(
            "chain", "deploy", "--rpc", self.rpc_url, "--dev-account", "0", "--operator", self.sender_address,
            "--out", str(self.state / "deployment.json"),
        )  # fmt: skip
        self.client = ChainClient(self.rpc_url, load(self.state / "deployment.json"))
        self.deployer, self.payer = self.account(0), self.account(2)
        self.deployer.give_gas(bytes.fromhex(self.sender_address[2:]))

    def account(self, number: int) -> Account:
        """One of the development chain's well-known accounts."""
        return Account(self.client, bytes.fromhex(self._accounts[number]["key"].removeprefix("0x")))

    def deposit(self) -> None:
        deposit_prepayment(self.client, self.deployer, self.payer, PREPAID_MICRO)

    # --- service ---

    def init_service(self) -> None:
        """Make the service's keys and its settings file."""
        folder = self.state / "service"
        self.processes.run("backend", "init", "--dir", str(folder))
        self.sender_address = "0x" + json.loads((folder / "keys" / "sender.json").read_text())["address"].removeprefix("0x")
        self._token = (folder / "operator.token").read_text().strip()

    def start_service(self, wrap: tuple[str, ...] = ()) -> None:
        folder = self.state / "service"
        self.url = self.url or f"http://127.0.0.1:{free_port()}"
        (folder / "service.toml").write_text(
            f'listen = "{self.url.removeprefix("http://")}"\noperator_name = "Demo operator"\n'
            f"[keys]\nfurther_payee_files = {json.dumps([str(path) for path in self.further_payees])}\n"
            f'[chain]\nrpc_url = "{self.rpc_url}"\ndeployment_file = "{self.state / "deployment.json"}"\n'
            f"confirmations = 1\npoll_seconds = 0.3\n"
            f"[settlement]\nepoch_seconds = {self.choices.epoch_s}\nclaim_age_seconds = 20\nreconcile_seconds = 5\n"
            f"[terms]\nstop_grace_seconds = 10\nclose_delay_seconds = {self.choices.close_delay_s}\nclose_delay_blocks = 5\n"
            "session_seconds = 3600\nstart_within_seconds = 60\n"
        )
        if not self.password:
            self._make_account(folder)
        self.processes.start("service", "backend", "serve", "--config", str(folder / "service.toml"), wrap=wrap)
        self.processes.wait("service", "readiness", self._ready, 60)

    def _make_account(self, folder: Path) -> None:
        """Somebody who may log in to the console of this demo; the password lives as long as the demo's folder."""
        self.password = secrets.token_urlsafe(12)
        file = folder / "demo.password"
        file.touch(mode=0o600)
        file.write_text(self.password)
        self.processes.run("backend", "migrate", "--config", str(folder / "service.toml"))
        self.processes.run(
            "backend", "account", "add", CONSOLE_NAME, "--role", "operator", "--password-file", str(file),
            "--config", str(folder / "service.toml"),
        )  # fmt: skip

    def _ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None, expect: tuple[int, ...] = (200, 201)) -> Any:
        """One REST call as the operator (or with another token); an unexpected answer fails the demo with its problem document."""
        headers = {"Authorization": f"Bearer {token or self._token}"}
        try:
            answer = httpx2.request(method, self.url + path, json=body, headers=headers, timeout=20)
        except httpx2.HTTPError as error:
            raise DemoFailed(f"{method} {path} was not answered: {error}. Its log: {self.processes.log('service')}") from None
        if answer.status_code not in expect:
            raise DemoFailed(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    # --- rig and agent ---

    def start_rig(self) -> None:
        self.processes.start(
            "rig", "wattproof_rig", "--state", str(self.state / "rig"), "--profile", self.choices.profile, "--initial-baud", "9600",
            "--step", str(REGISTER_STEP_MILLIWATT_HOURS), "--digits", str(REGISTER_DIGITS),
            *(("--own-meter", "0") if self.choices.own_meter else ()),
        )  # fmt: skip
        self.processes.wait("rig", "serial lines", (self.state / "rig" / "rig.json").exists)
        self.serial = json.loads((self.state / "rig" / "rig.json").read_text())["serial"]

    def rig(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Ask or tell the rig something (`wattproof_rig.tell`)."""
        from wattproof_rig.tell import tell

        return tell(self.state / "rig", do, **arguments)

    def enrol(self) -> None:
        """Make the meter's key on the agent, enrol it on chain and service, and write the agent's settings."""
        folder, passphrase = self.state / "agent", self.state / "agent.passphrase"
        passphrase.touch(mode=0o600)
        passphrase.write_text(secrets.token_hex(24))
        service = self.call("GET", "/api/v1/service")
        self.processes.run(
            "meter_agent", "init", "--state", str(folder), "--passphrase-file", str(passphrase), "--chain-id", str(service["chainId"]),
            "--registry", service["registry"], "--deadline", str(int(time.time()) + 3_600),
        )  # fmt: skip
        identity = json.loads((folder / "identity.json").read_text())
        binding = {name: identity["binding"][name] for name in ("deadlineS", "signature")}
        tariff_hash = self.call("POST", "/api/v1/tariffs", {"document": self.tariff.document})["tariffHash"]
        self.point = self.call("POST", "/api/v1/points", {
            "device": identity["device"], "channel": identity["channel"], "name": "Demo charger", "placement": PLACEMENT,
            "serial": self.serial,
            "meterKey": identity["meterKey"], "ratedWatts": self.choices.rated_watts, "tariffHash": tariff_hash, "policy": self.policy,
            "registerDigits": REGISTER_DIGITS, "stepMilliwattHours": REGISTER_STEP_MILLIWATT_HOURS, "binding": binding,
        })  # fmt: skip
        self._write_agent_settings(identity)

    def _write_agent_settings(self, identity: dict[str, Any]) -> None:
        point, rig = self.point, self.state / "rig"
        (self.state / "agent.toml").write_text(
            f'device = "{point["device"]}"\nchannel = {point["channel"]}\nplacement = "{PLACEMENT}"\n'
            f'ratedWatts = {self.choices.rated_watts}\nmeter = "{rig / "meter"}"\nrelay = "{rig / "relay"}"\n'
            f'serviceUrl = "{self.url}"\nserviceKey = "{point["serviceKey"]}"\n'
            f'controlKey = "{point["controlKey"]}"\nchainId = {point["chainId"]}\nescrow = "{point["escrow"]}"\n'
            f'registry = "{point["registry"]}"\n'
            f"maxLockMicro = {PREPAID_MICRO}\nmaxCreditMicro = 1000000\nmaxCreditMilliwattHours = 10000000\n"
            f"recordIntervalS = {self.choices.record_interval_s}\nsampleIntervalS = 1\n"
            "[meterLine]\ninitialBaud = 9600\n"
        )

    def start_agent(self, wrap: tuple[str, ...] = ()) -> None:
        self.processes.start(
            "agent", "meter_agent", "run", "--state", str(self.state / "agent"), "--config", str(self.state / "agent.toml"),
            "--passphrase-file", str(self.state / "agent.passphrase"), wrap=wrap,
        )  # fmt: skip
        self.processes.wait("agent", "connection to the service", self._online, 40)

    def _online(self) -> bool:
        return bool(self.call("GET", f"/api/v1/points/{self.point['pointId']}")["online"])
