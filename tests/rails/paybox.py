"""The payment sandbox as a real process, and what happens to real accounts of a payment provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2

from tests.service.world import Program, eventually


class Paybox:
    """One process; started again on the same folder it goes on."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder, self._arguments = folder, arguments
        self.start()

    def start(self) -> None:
        file = self.folder / "paybox.json"
        file.unlink(missing_ok=True)
        port = str(getattr(self, "port", 0))
        log = self.folder.with_suffix(".log")
        self.program = Program(log, "wattproof_paybox", "--state", str(self.folder), "--port", port, *self._arguments)
        eventually("the sandbox", file.exists, 30)
        described = json.loads(file.read_text())
        self.url, self.key_file = described["url"], Path(described["apiKeyFile"])
        self.port = int(self.url.rpartition(":")[2])
        self.key = self.key_file.read_text().strip()
        eventually("an answer", self.answers, 30)

    def answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/v1/balance", headers={"Authorization": f"Bearer {self.key}"}, timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False

    def ask(self, method: str, path: str, key: str | None = None, **form: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.key}"} | ({} if key is None else {"Idempotency-Key": key})
        named = {name: str(value) for name, value in form.items()}
        more = {"params": named} if method == "GET" else {"data": named}
        return httpx2.request(method, self.url + path, headers=headers, timeout=20, **more)

    def do(self, method: str, path: str, key: str | None = None, **form: Any) -> Any:
        answer = self.ask(method, path, key, **form)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def checkout(self, amount: int, deposit: str = "", key: str | None = None) -> Any:
        form = {
            "mode": "payment", "line_items[0][price_data][currency]": "eur", "line_items[0][price_data][unit_amount]": amount,
            "line_items[0][quantity]": 1, "payment_intent_data[metadata][deposit]": deposit,
        }  # fmt: skip
        return self.do("POST", "/v1/checkout/sessions", key, **form)

    def pay(self, pay_url: str) -> None:
        """What the payer does on the page."""
        assert "Pay" in httpx2.get(pay_url, timeout=20).text
        assert httpx2.post(pay_url, data={"action": "pay"}, timeout=20, follow_redirects=True).status_code == 200

    def events(self, kind: str = "") -> list[Any]:
        """Oldest first."""
        found = self.do("GET", "/v1/events", limit=100)["data"]
        return [event for event in reversed(found) if not kind or event["type"] == kind]

    def balance(self) -> int:
        return sum(part[0]["amount"] for name, part in self.do("GET", "/v1/balance").items() if name in ("available", "pending"))

    def kill(self) -> None:
        self.program.kill()

    def stop(self) -> None:
        if self.program.process.poll() is None:
            self.program.stop()
