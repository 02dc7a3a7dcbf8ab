"""A whole world with a rail: chain, contracts, service and payment sandbox as processes; every token has a payment behind it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx2

from chain.oneshot import send
from chain.transactions import TransactionSigner
from protocol.eip712 import digest
from protocol.keys import Signer
from protocol.money import Withdraw
from tests.rails.paybox import Paybox
from tests.service.world import Payer, World, eventually, run

RAIL = "card"
CENT = 10_000


class RailWorld(World):
    """`World` with `[rails.card]`; the till is the token's minter and has gas."""

    def __init__(self, folder: Path, *paybox_arguments: str, database_url: str = "") -> None:
        super().__init__(folder)
        self.patient = True
        self._arguments = paybox_arguments
        if database_url:
            self.settings[""] |= {"database_url": database_url}

    def begin(self) -> None:
        self.start_chain()
        self.deploy()
        self.paybox = Paybox(self.folder / "paybox", "--settle-seconds", "1", *self._arguments)
        self.started.append(self.paybox.program)
        self.set_till()

    def fund(self, payer: Payer, amount_micro: int = 0) -> None:
        """Nobody has money but by paying it in."""

    def set_till(self) -> None:
        self.till = bytes.fromhex(json.loads((self.home / "keys" / "till.json").read_text())["address"].removeprefix("0x"))
        self._gas(self.till)
        where = ("--rpc", self.rpc_url, "--deployment", str(self.folder / "deployment.json"), "--dev-account", "0")
        assert "0x" + self.till.hex() in run("chain", "token-roles", *where, "--minter", "0x" + self.till.hex())

    def set_rail(self, port: int, **more: Any) -> None:
        """The rail's settings, and the webhook endpoint at the provider for a service on this port."""
        self.port = port
        endpoint = self.paybox.do("POST", "/v1/webhook_endpoints", url=f"http://127.0.0.1:{port}/api/v1/rails/{RAIL}/webhook")
        self.endpoint, self.secret = endpoint["id"], endpoint["secret"]
        file = self.home / "card.webhook"
        file.write_text(self.secret + "\n")
        file.chmod(0o600)
        self.settings[f"rails.{RAIL}"] = {
            "url": self.paybox.url, "api_key_file": str(self.paybox.key_file), "webhook_secret_file": str(file), "poll_seconds": 2,
        } | more  # fmt: skip

    def set_cap(self, cap_micro: int) -> None:
        send(self.client, TransactionSigner(self.client, self.secrets[1]), [self.client.calls.set_daily_cap(cap_micro)])

    # --- what people do ---

    def deposit(self, account: bytes, amount_micro: int, key: str | None = None) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        body = {"account": "0x" + account.hex(), "amountMicro": amount_micro, "rail": RAIL}
        answer = self.request("POST", lambda: self.url + "/api/v1/deposits", lambda: headers, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def view(self, made: Any) -> Any:
        if "depositId" in made:
            return self.call("GET", f"/api/v1/deposits/{made['depositId']}")
        return self.call("GET", f"/api/v1/payouts/{made['payoutId']}")

    def reaches(self, made: Any, state: str, timeout_s: float = 60) -> Any:
        try:
            eventually(state, lambda: self.view(made)["state"] == state, timeout_s)
        except AssertionError as error:
            log = self.service.text()[-4000:] if self.service else ""
            raise AssertionError(f"{error}\n{json.dumps(self.view(made), indent=1)}\n{log}") from None
        return self.view(made)

    def paid_in(self, account: bytes, amount_micro: int) -> Any:
        made = self.deposit(account, amount_micro)
        self.paybox.pay(made["payUrl"])
        return self.reaches(made, "credited")

    def order(self, signer: Signer, amount_micro: int, to: bytes | None = None) -> dict[str, Any]:
        """A signed withdrawal to the till."""
        nonce = self.client.withdraw_nonce(signer.address)
        order = Withdraw(signer.address, to or self.till, amount_micro, nonce, int(time.time()) + 600)
        shown = {"account": "0x" + order.account.hex(), "to": "0x" + order.to.hex(), "amountMicro": amount_micro, "nonce": nonce}
        signature = "0x" + signer.sign(digest(self.money, order)).hex()
        return {"rail": RAIL, "withdraw": shown | {"deadlineS": order.deadline_s}, "signature": signature}

    def hook(self, body: bytes, header: str | None) -> httpx2.Response:
        headers = {} if header is None else {"Stripe-Signature": header}
        return httpx2.post(f"{self.url}/api/v1/rails/{RAIL}/webhook", content=body, headers=headers, timeout=20)

    def alarms(self) -> dict[str, str]:
        """Kind and place of open alarms → detail, seen by an account of the installation."""
        items = self.call("GET", "/api/v1/alarms?open=true&limit=200")["items"]
        return {f"{alarm['kind']}: {alarm['place']}": alarm["detail"] for alarm in items}

    def gap(self) -> int:
        """Supply less what the provider holds. Not zero where a test left money there that is nobody's here, and was named."""
        return self.client.token_supply_micro() - self.paybox.balance() * CENT

    def agrees(self, pending_micro: int = 0, gap: int = 0) -> None:
        """The fourth book stands: what the provider holds covers the supply (but for a `gap` from before), and nothing differs."""
        eventually("no difference", lambda: not [name for name in self.alarms() if name.startswith("reconciliation")], 30)
        assert self.gap() + pending_micro == gap


def make(folder: Path, port: int, *arguments: str, database_url: str = "", **rail: Any) -> RailWorld:
    made = RailWorld(folder, *arguments, database_url=database_url)
    made.begin()
    made.set_rail(port, **rail)
    return made
