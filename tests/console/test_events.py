"""Live events: what comes, and that listening never keeps the service from stopping."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx2

from backend.setup import initialize
from tests.console.house import Holding, House
from tests.service.world import ENVIRONMENT, ROOT, Program, eventually, free_port

STOPS_WITHIN_S = 6


class Listener:
    """A stream of events, followed by a thread."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.ended = threading.Event()
        self._url, self._headers = url, headers
        threading.Thread(target=self._follow, daemon=True).start()
        eventually("hello", lambda: self.events)

    def _follow(self) -> None:
        try:
            with httpx2.stream("GET", f"{self._url}/api/v1/events", headers=self._headers, timeout=30) as answer:
                name = ""
                for line in answer.iter_lines():
                    if line.startswith("event:"):
                        name = line[6:].strip()
                    elif line.startswith("data:"):
                        self.events.append((name, json.loads(line[5:])))
        except httpx2.HTTPError:
            pass
        self.ended.set()

    def heard(self, kind: str) -> list[dict[str, Any]]:
        return [data for name, data in self.events if name == kind]


def test_what_happens_is_told(house: House, first: Holding) -> None:
    listener = Listener(house.url, {"Authorization": f"Bearer {first.tokens['read-only']}"})
    agent = first.agent
    agent.send(agent.frame(agent.record(rise=2_000, power=1_500_000)))
    reading = eventually("a reading", lambda: listener.heard("reading"))[-1]
    assert reading["pointId"] == first.point_id
    assert reading["powerMilliwatts"] == 1_500_000
    assert reading["session"] == first.session
    assert reading["billMicro"] > 0
    house.call("POST", f"/api/v1/alarms/{first.alarm_id}/acknowledge", token=first.tokens["operator"])
    agent.confirm()
    assert eventually("supply", lambda: listener.heard("supply"))[-1]["state"] == int(agent.supply)


def test_a_stream_ends_when_its_log_in_does(house: House, first: Holding) -> None:
    """Checked when the stream is opened; the long check while it runs has its own pace (CHECK_CALLER_EACH_S)."""
    browser = house.browser("read-only.1")
    browser.post("/console/log-out")
    answer = house.request("GET", "/api/v1/events", headers={"Cookie": f"wattproof_login={browser.cookie}"})
    assert answer.status_code == 401


def test_the_service_stops_while_people_listen(tmp_path: Path) -> None:
    """The real program, three listeners, SIGTERM: streams end by themselves and the process with them."""
    home, port = tmp_path / "service", free_port()
    addresses = {name: "0x" + os.urandom(20).hex() for name in ("DeviceRegistry", "AnchorLog", "EnergyEscrow", "SettlementToken")}
    document = {"chainId": 31337, "genesisHash": "0x" + "11" * 32, "blockNumber": 1, "contracts": addresses}
    (tmp_path / "deployment.json").write_text(json.dumps(document))
    initialize(home, "http://127.0.0.1:1", tmp_path / "deployment.json")
    toml = home / "service.toml"
    toml.write_text(toml.read_text().replace("127.0.0.1:8400", f"127.0.0.1:{port}"))
    token = (home / "operator.token").read_text().strip()
    program = Program(tmp_path / "service.log", "backend", "serve", "--config", str(toml))
    try:
        url = f"http://127.0.0.1:{port}"
        eventually("the service", lambda: _alive(url), 60)
        listeners = [Listener(url, {"Authorization": f"Bearer {token}"}) for _ in range(3)]
        started = time.monotonic()
        assert program.stop(STOPS_WITHIN_S) in (0, -signal.SIGTERM), program.text()  # uvicorn passes the signal on once it has stopped
        assert time.monotonic() - started < STOPS_WITHIN_S
        assert all(listener.ended.wait(2) for listener in listeners)
    finally:
        if program.process.poll() is None:
            program.kill()


def _alive(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


def test_accounts_from_the_command_line(house: House, tmp_path: Path) -> None:
    """Beside the running service: an operator, accounts, a change, the list; and sentences for what is wrong."""
    secret = tmp_path / "secret"
    secret.write_text("a password from a file\n")

    def run(*arguments: str, expect: int = 0) -> str:
        command = [sys.executable, "-m", "backend", *arguments, "--config", str(house.home / "service.toml")]
        done = subprocess.run(
            command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        assert done.returncode == expect, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    run("operator", "add", "Harbour", "--payee", "0x" + "44" * 20)
    run("account", "add", "eve", "--role", "operator", "--operator", "Harbour", "--password-file", str(secret))
    assert house.browser("eve", "a password from a file").get("/api/v1/me").json()["operatorId"] >= 2
    listed = run("account", "list")
    assert "eve" in listed
    assert "Harbour" in listed
    assert "disabled" in run("account", "change", "eve", "--disable")
    add = ("account", "add", "--role", "admin", "--password-file", str(secret))
    assert "no operator 'Nowhere'" in run(*add, "x", "--operator", "Nowhere", expect=1)
    assert "is taken" in run(*add, "eve", expect=1)
    assert "no terminal" in run("account", "add", "y", "--role", "admin", expect=1)
