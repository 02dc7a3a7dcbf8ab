"""A whole house with a buyer in it: chain, service, rig with two meters, the seller's agent and the buyer's, each its own process."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from wattproof_rig.tell import tell

from buyer_agent.journal import history
from buyer_agent.report import events, overview
from chain.oneshot import send
from chain.transactions import TransactionSigner
from protocol.tariff import Tariff
from tests.service.bench_agent import POLICY, TARIFF
from tests.service.world import Program, World, eventually, run

RATED_WATTS = 11_000
LOAD_MILLIWATTS = 3_600_000
"""A watt-hour a second, 357 micro-units of it."""
STEP, DIGITS = 10, 9
FUNDING = threading.Lock()
"""One sender, one nonce after the other."""


class Site:
    """One point of the world: a rig with the buyer's own meter, the seller's agent."""

    def __init__(self, world: World, folder: Path, own_meter_ppm: int = 0, **agent: Any) -> None:
        self.world, self.folder = world, folder
        folder.mkdir()
        self.passphrase = folder / "passphrase"
        self.passphrase.write_text("correct horse battery staple\n")
        self.passphrase.chmod(0o600)
        self.programs: list[Program] = []
        self.start_rig(own_meter_ppm)
        self._enrol(agent)
        self.agent = self.start_agent()
        eventually("the agent", lambda: world.call("GET", f"/api/v1/points/{self.point['pointId']}")["online"], 60)

    def _program(self, log: str, *arguments: str) -> Program:
        program = Program(self.folder / f"{log}.log", *arguments)
        self.programs.append(program)
        return program

    def start_rig(self, own_meter_ppm: int) -> None:
        self._program(
            "rig", "wattproof_rig", "--state", str(self.folder / "rig"), "--profile", "idle", "--initial-baud", "9600", "--step", str(STEP),
            "--digits", str(DIGITS), "--own-meter", str(own_meter_ppm),
        )  # fmt: skip
        eventually("the rig", (self.folder / "rig" / "rig.json").exists)
        self.rig("load", milliwatts=LOAD_MILLIWATTS)

    def rig(self, do: str, **arguments: Any) -> dict[str, Any]:
        return tell(self.folder / "rig", do, **arguments)

    def _enrol(self, agent: dict[str, Any]) -> None:
        world, state = self.world, self.folder / "agent"
        registry = "0x" + world.deployment.registry.hex()
        run(
            "meter_agent", "init", "--state", str(state), "--passphrase-file", str(self.passphrase), "--chain-id",
            str(world.deployment.chain_id), "--registry", registry, "--deadline", str(int(time.time()) + 3_600),
        )  # fmt: skip
        identity = json.loads((state / "identity.json").read_text())
        tariff_hash = world.call("POST", "/api/v1/tariffs", {"document": Tariff.from_document(TARIFF).document})["tariffHash"]
        serial = json.loads((self.folder / "rig" / "rig.json").read_text())["serial"]
        self.point = point = world.call("POST", "/api/v1/points", {
            "device": identity["device"], "channel": 1, "name": "Bench", "placement": "bench", "serial": serial,
            "meterKey": identity["meterKey"], "ratedWatts": RATED_WATTS, "tariffHash": tariff_hash, "policy": POLICY,
            "registerDigits": DIGITS, "stepMilliwattHours": STEP,
            "binding": {name: identity["binding"][name] for name in ("deadlineS", "signature")},
        })  # fmt: skip
        lines = {
            "device": point["device"], "channel": 1, "placement": "bench", "ratedWatts": RATED_WATTS, "meter": "rig/meter",
            "relay": "rig/relay", "serviceUrl": world.url, "serviceKey": point["serviceKey"], "controlKey": point["controlKey"],
            "chainId": point["chainId"], "escrow": point["escrow"], "registry": point["registry"], "maxLockMicro": 10**9,
            "maxCreditMicro": 10**7, "maxCreditMilliwattHours": 10**8, "recordIntervalS": 1,
        } | agent  # fmt: skip
        text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()) + "[meterLine]\ninitialBaud = 9600\n"
        (self.folder / "agent.toml").write_text(text)

    def start_agent(self) -> Program:
        return self._program(
            "agent", "meter_agent", "run", "--state", str(self.folder / "agent"), "--config", str(self.folder / "agent.toml"),
            "--passphrase-file", str(self.passphrase),
        )  # fmt: skip

    @property
    def energy(self) -> int:
        """What truly flowed, in milliwatt-hours, since the rig was told to mark."""
        return int(self.rig("state")["since_mark_milliwatt_hours"])

    def stop(self) -> None:
        for program in reversed(self.programs):
            if program.process.poll() is None:
                program.kill()


class Buyer:
    """A buyer's agent at a site, paying as an account of its own."""

    def __init__(self, site: Site, name: str = "buyer", *, own_meter: dict[str, Any] | None = None, **settings: Any) -> None:
        self.site, self.world = site, site.world
        self.state, self.config = site.folder / name, site.folder / f"{name}.toml"
        said = run("buyer_agent", "init", "--state", str(self.state), "--passphrase-file", str(site.passphrase))
        self.address = bytes.fromhex(said.split()[-1][2:])
        deployment = self.world.deployment
        money = {"lock_micro": 50_000, "step_micro": 50_000, "low_micro": 5_000, "day_micro": 10**7} | settings.pop("money", {})
        preference = {"load_watts": 3_600, "expected_s": 3_600} | settings.pop("preference", {})
        top = {
            "service": self.world.url, "service_key": site.point["serviceKey"], "payer": "0x" + self.address.hex(),
            "chain_id": deployment.chain_id, "escrow": "0x" + deployment.escrow.hex(), "point": site.point["pointId"], "patience_s": 3,
            "poll_s": 1,
        } | settings  # fmt: skip
        sections: dict[str, dict[str, Any]] = {"": top, "preference": preference, "money": money}
        if own_meter is not None:
            sections["own_meter"] = {"url": "rig/own-meter", "class_ppm": 20_000, "drift_window_s": 60, "initial_baud": 9_600} | own_meter
        lines = []
        for section, values in sections.items():
            lines += [f"[{section}]"] if section else []
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None]
        self.config.write_text("\n".join(lines) + "\n")
        self.program: Program | None = None

    def fund(self, amount_micro: int = 5_000_000) -> None:
        """Free money in the escrow for the buyer's account."""
        client = self.world.client
        minter = TransactionSigner(client, self.world.secrets[0])
        calls = client.calls
        with FUNDING:
            send(client, minter, [
                calls.mint(os.urandom(32), minter.address, amount_micro), calls.approve(self.world.deployment.escrow, amount_micro),
                calls.deposit_for(self.address, amount_micro),
            ])  # fmt: skip

    def start(self, *more: str) -> None:
        self.program = self.site._program(
            self.state.name, "buyer_agent", "run", "--state", str(self.state), "--config", str(self.config), "--passphrase-file",
            str(self.site.passphrase), *more,
        )  # fmt: skip

    def kill(self) -> None:
        assert self.program is not None
        self.program.kill()

    def stop(self) -> int:
        assert self.program is not None
        return self.program.stop(45)

    def show(self) -> dict[str, Any]:
        return overview(self.state)

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        if not (self.state / "journal").exists():
            return []
        return [event for event in map(json.loads, events(self.state, 100_000, as_json=True)) if event["kind"] == kind or not kind]

    def wait(self, kind: str, count: int = 1, timeout_s: float = 60) -> dict[str, Any]:
        """Until so many events of a kind have happened; the last of them."""
        try:
            found: list[dict[str, Any]] = eventually(f"{count} × {kind}", lambda: self._enough(kind, count), timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-3000:]}\n{self.site.programs[1].text()[-1500:]}") from None
        return found[-1]

    def _enough(self, kind: str, count: int) -> list[dict[str, Any]]:
        time.sleep(0.3)
        found = self.events(kind)
        return found if len(found) >= count else []

    def log(self) -> str:
        return self.program.text() if self.program is not None else ""

    def paying(self) -> None:
        """Until a frame with energy was paid."""
        eventually("a frame paid", lambda: any(event["throughRecord"] for event in self.events("paid")))

    def session(self) -> str:
        return str(self.events("opening")[-1]["session"])

    def view(self, session: str | None = None) -> dict[str, Any]:
        """The session as its payer sees it, with the token the journal kept of its quote."""
        wanted, token = session or self.session(), ""
        for _, state in history(self.state / "journal"):
            if state.live is not None and "0x" + state.live.session.hex() == wanted:
                token = state.live.quote["accessToken"]
        view: dict[str, Any] = self.world.call("GET", f"/api/v1/sessions/{wanted}", token=token)
        return view

    def settled(self, session: str | None = None) -> dict[str, Any]:
        eventually("settled", lambda: self.view(session)["state"] == "settled", 60)
        return self.view(session)
