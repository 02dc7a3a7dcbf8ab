"""Who sells and who buys in the demo: providers with signed offers, a device's wallet in its owner's hands, and its buyer's agent."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import httpx2
from eth_account import Account as KeyFiles

from buyer_agent.report import events as journal
from chain.wallet_calls import Wallets
from chain.wallet_views import WalletState, WalletViews
from meter_agent.report import log_lines
from protocol.eip712 import to_json
from protocol.evidence import Record
from protocol.hashing import document_hash
from protocol.keys import Signer
from protocol.offer import Offer, offer_hash
from protocol.tariff import Tariff, ceilings
from protocol.wire import decode_frame

from .processes import DemoFailed
from .stack import Stack

OFFER_S = 3_600
RENEWABLE_PPM = 1_000_000


class Provider:
    """An operator of the installation that sells at the stack's point."""

    def __init__(self, stack: Stack, name: str, signer: Signer, operator_id: int, token: str | None = None) -> None:
        self.stack, self.name, self.signer, self.operator_id, self.token = stack, name, signer, operator_id, token
        self._number = 0

    @classmethod
    def host(cls, stack: Stack, name: str) -> Provider:
        """The installation's first operator, whose account is the service's sender."""
        folder = stack.state / "service"
        passphrase = (folder / "passphrase").read_text().strip()
        secret = KeyFiles.decrypt(json.loads((folder / "keys" / "sender.json").read_text()), passphrase)
        return cls(stack, name, Signer(bytes(secret)), 1)

    @classmethod
    def prepare_second(cls, stack: Stack) -> Signer:
        """A key for a second operator, kept where the service closes its sessions with it. Before the service starts."""
        folder = stack.state / "service"
        signer, path = Signer.create(), folder / "keys" / "second.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(KeyFiles.encrypt(signer.secret, (folder / "passphrase").read_text().strip(), iterations=1 << 12)))
        stack.further_payees.append(path)
        return signer

    @classmethod
    def second(cls, stack: Stack, name: str, signer: Signer) -> Provider:
        """Another operator of the installation, admitted to the provider book, with a program's token of its own."""
        made = stack.call("POST", "/api/v1/operators", {"name": name, "payee": "0x" + signer.address.hex()})
        password = secrets.token_urlsafe(16)
        user = {"name": name.lower(), "role": "operator", "operatorId": made["operatorId"], "password": password}
        stack.call("POST", "/api/v1/users", user)
        stack.deployer.give_gas(signer.address)
        stack.deployer.send(Wallets(stack.client.deployment).admit_provider(signer.address))
        stack.call("PUT", f"/api/v1/points/{stack.point['pointId']}/sellers", {"operatorIds": [made["operatorId"]]})
        return cls(stack, name, signer, made["operatorId"], _token(stack.url, user["name"], password))

    def offer(self, tariff: dict[str, Any], renewable_ppm: int, sources: dict[str, int], watts: int) -> str:
        """Sign and post an offer at the stack's point, and wait until the chain has it. Returns its hash."""
        per_kwh, per_hour, flat = ceilings(Tariff.from_document(tariff))
        document = {
            "version": 1, "name": self.name, "provider": "0x" + self.signer.address.hex(), "tariff": tariff,
            "ceilings": {"maxMicroPerKwh": per_kwh, "maxMicroPerHour": per_hour, "maxFlatMicro": flat},
            "points": [self.stack.point["pointId"]], "area": "the demo's one point", "maxWatts": watts,
            "energySource": {
                "renewablePpm": renewable_ppm, "mix": [{"source": source, "sharePpm": share} for source, share in sources.items()],
            },
        }  # fmt: skip
        self._number += 1
        now = int(time.time())
        offer = Offer(self.signer.address, document_hash(document), self._number, now - 60, now + OFFER_S)
        deployment = self.stack.client.deployment
        signed = self.signer.sign(offer_hash(offer, deployment.chain_id, deployment.address_of("ProviderBook")))
        body = {"offer": to_json(offer), "signature": "0x" + signed.hex(), "document": document}
        made = wait_for("the provider's admission to be final", lambda: self._post(body), 40)
        wait_for("the offer on the chain", lambda: made in self._standing(), 40)
        return str(made)

    def _post(self, body: dict[str, Any]) -> str:
        answer = self.stack.call("POST", "/api/v1/offers", body, token=self.token, expect=(200, 201, 409))
        return str(answer.get("offerHash", ""))

    def _standing(self) -> list[str]:
        found = self.stack.call("GET", f"/api/v1/offers?pointId={self.stack.point['pointId']}")
        return [item["offerHash"] for item in found["items"] if item["state"] == "published"]


def _token(url: str, name: str, password: str) -> str:
    """A token for an account's program, as its holder makes one on the account page."""
    with httpx2.Client(base_url=url, timeout=20) as browser:
        browser.post("/console/log-in", data={"name": name, "password": password})
        csrf = browser.get("/console/account").text.partition('name="csrf" value="')[2].partition('"')[0]
        answer = browser.post("/api/v1/tokens", json={"label": "demo"}, headers={"X-CSRF-Token": csrf})
        if answer.status_code != 201:
            raise DemoFailed(f"no token for {name}: {answer.status_code} {answer.text[:300]}")
        return str(answer.json()["token"])


class OwnedWallet:
    """A device's wallet, handled by `python -m wallet` as its owner would; `owner` is a number of the development chain's accounts."""

    def __init__(self, stack: Stack, device: bytes, owner: int, name: str) -> None:
        self.stack, self.device, self.owner, self.name = stack, device, owner, name
        self.policy_file = stack.state / f"{name}.policy.json"
        said = self._wallet("address", "--device", "0x" + device.hex(), "--owner", "0x" + stack.account(owner).address.hex())
        self.hex = said.strip()
        self.address = bytes.fromhex(self.hex[2:])

    def _wallet(self, *words: str) -> str:
        done = self.stack.processes.run(
            "wallet", "--rpc", self.stack.rpc_url, "--deployment", str(self.stack.state / "deployment.json"),
            "--dev-account", str(self.owner), *words,
        )  # fmt: skip
        return done.stdout

    def make(self, pay_key: str, *, per_kwh: str, per_session: str, per_day: str, fund: str, providers: tuple[bytes, ...] = ()) -> None:
        """Policy, wallet, money: each by the owner's command."""
        listed = [word for provider in providers for word in ("--provider", "0x" + provider.hex())]
        self._wallet(
            "policy", "new", "--out", str(self.policy_file), "--pay-key", pay_key, "--per-kwh", per_kwh, "--per-session", per_session,
            "--per-day", per_day, "--days", "1", *listed,
        )  # fmt: skip
        account = self.stack.account(self.owner)
        calls = self.stack.client.calls
        self.stack.deployer.send(calls.mint(secrets.token_bytes(32), account.address, int(fund) * 1_000_000))
        self._wallet("fund", fund, "--wallet", self.hex)  # before the wallet is there: its address is known
        self._wallet("create", "--device", "0x" + self.device.hex(), "--policy", str(self.policy_file))

    def state(self) -> WalletState:
        found = WalletViews(self.stack.client).state(self.address)
        if found is None:
            raise DemoFailed(f"there is no wallet at {self.hex}")
        return found

    def withdraw_all(self) -> None:
        self._wallet("withdraw", "--all", "--wallet", self.hex)

    def shown(self) -> str:
        return self._wallet("show", "--wallet", self.hex)


class BuyerProgram:
    """The buyer's agent of one wallet, as a process, and what its journal says."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack, self.name, self.state = stack, name, stack.state / name
        self._passphrase = stack.state / f"{name}.passphrase"
        self._passphrase.touch(mode=0o600)
        self._passphrase.write_text(secrets.token_hex(24))
        said = stack.processes.run("buyer_agent", "init", "--state", str(self.state), "--passphrase-file", str(self._passphrase)).stdout
        self.pay_key = said.split()[-1]
        self._config = stack.state / f"{name}.toml"

    def configure(self, wallet: OwnedWallet, money: dict[str, int], preference: dict[str, Any], own_meter: dict[str, Any] | None) -> None:
        """Write buyer.toml."""
        stack, deployment = self.stack, self.stack.client.deployment
        top: dict[str, Any] = {
            "service": stack.url, "service_key": stack.point["serviceKey"], "wallet": wallet.hex, "chain_id": deployment.chain_id,
            "escrow": "0x" + deployment.escrow.hex(), "provider_book": "0x" + deployment.address_of("ProviderBook").hex(),
            "policy_file": str(wallet.policy_file), "point": stack.point["pointId"], "patience_s": 4, "poll_s": 1,
        }  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in top.items()]
        for section, values in (("preference", preference), ("money", money), ("own_meter", own_meter)):
            if values is not None:
                lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        self._config.write_text("\n".join(lines) + "\n")

    def pay_key_signer(self) -> Signer:
        """Its pay key, as a thief of the device would have it."""
        file = next((self.state / "keys").glob("*.json"))
        return Signer(bytes(KeyFiles.decrypt(json.loads(file.read_text()), self._passphrase.read_text())))

    def start(self, *more: str) -> None:
        self.stack.processes.start(
            self.name, "buyer_agent", "run", "--state", str(self.state), "--config", str(self._config), "--passphrase-file",
            str(self._passphrase), *more,
        )  # fmt: skip

    def stop(self) -> None:
        self.stack.processes.stop(self.name)

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """What happened, oldest first, from its journal."""
        if not (self.state / "journal").is_dir():
            return []
        return [event for event in map(json.loads, journal(self.state, 100_000, as_json=True)) if not kind or event["kind"] == kind]

    def wait_ended(self) -> dict[str, Any]:
        """The end of its last session, once the program has stopped."""
        ended = self.events("ended")
        if not ended:
            raise DemoFailed(f"the buyer stopped without ending its session:\n{self.stack.processes.log(self.name).read_text()[-2000:]}")
        return ended[-1]

    def wait(self, kind: str, count: int, timeout_s: float, each: Callable[[], None] | None = None) -> dict[str, Any]:
        """Until `count` events of a kind have happened; the last of them."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.events(kind)
            if len(found) >= count:
                return found[count - 1]
            if not self.stack.processes.alive(self.name):
                raise DemoFailed(f"the buyer ended before {count} × {kind}:\n{self.stack.processes.tail(self.name)}")
            if time.monotonic() > deadline:
                last = json.dumps(self.events()[-3:])[:600]
                raise DemoFailed(f"not within {timeout_s:.0f} s: {count} × {kind}; the last events: {last}")
            if each is not None:
                each()
            time.sleep(0.5)


def signed_records(stack: Stack) -> list[Record]:
    """Every record of the meter, oldest first, as its own agent signed and logged them."""
    found: list[Record] = []
    for line in log_lines(stack.state / "agent", 100_000, as_json=True):
        entry = json.loads(line)
        if "frame" in entry:
            found += decode_frame(entry["frame"]).records
    return found


def wait_for(what: str, ready: Callable[[], Any], timeout_s: float) -> Any:
    """Poll until something true comes back."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = ready()
        if found:
            return found
        if time.monotonic() > deadline:
            raise DemoFailed(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.3)
