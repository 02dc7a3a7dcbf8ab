"""A vehicle pays a charger node for 500 Wh by a task, proven by two records of the charger's meter; the charger pays its site's
provider for the same energy out of its own wallet, frame by frame. Nobody presses a button.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from chain.task_views import TaskViews
from chain.wallet_calls import Wallets
from protocol.eip712 import digest, money_domain, to_json
from protocol.evidence import Reason, Record
from protocol.keys import Signer
from protocol.task import Completion, Description, Proof, Task, energy_result, task_id
from protocol.wallet import OpenTask, parse_policy, policy_document, wallet_domain

from .house import start_house
from .market_side import BuyerProgram, OwnedWallet, Provider, signed_records, wait_for
from .screen import Screen, energy, money
from .session import STATES
from .stack import Choices, Stack

LOAD_WATTS = 50_000
"""500 Wh take 36 s at this power: no clock is compressed."""
ASKED_MILLIWATT_HOURS = 500_000
PRICE_MICRO = 250_000
SITE_MICRO_PER_KWH = 300_000
MONEY = {"lock_micro": 100_000, "step_micro": 80_000, "low_micro": 40_000, "day_micro": 10**7}


class VehicleScene:
    """Runs the scene on a stack; every claim on the screen is checked."""

    choices = Choices(profile="idle", rated_watts=LOAD_WATTS)

    def __init__(self, stack: Stack, screen: Screen) -> None:
        self.stack, self.screen = stack, screen
        self.trust = ""

    def run(self) -> None:
        self.start()
        self.agree()
        self.charge()
        self.prove()
        self.settle()

    def start(self) -> None:
        stack, screen = self.stack, self.screen
        stack.init_service()
        start_house(stack, screen)
        stack.rig("load", milliwatts=LOAD_WATTS * 1000)
        screen.step("A charger with a wallet of its own buys from its site's provider; a vehicle with a wallet comes by")
        provider = Provider.host(stack, "Harbour")
        tariff = {"id": "site", "version": 1, "currency": "EUR", "timeZone": "Etc/UTC", "elements": [
            {"priceComponents": [{"type": "ENERGY", "microPerKwh": SITE_MICRO_PER_KWH, "taxPpm": 0}]}]}  # fmt: skip
        provider.offer(tariff, 600_000, {"HYDRO": 600_000, "GRID_MIX": 400_000}, LOAD_WATTS)
        self.buyer = BuyerProgram(stack, "charger")
        self.charger = OwnedWallet(stack, bytes.fromhex(stack.point["device"][2:]), 5, "charger-wallet")
        self.charger.make(self.buyer.pay_key, per_kwh="0.40", per_session="1", per_day="2", fund="2")
        self.buyer.configure(self.charger, MONEY, {"kind": "cheapest", "load_watts": LOAD_WATTS, "expected_s": 60}, None)
        self.vehicle_key, self.node_key = Signer.create(), Signer.create()
        self.vehicle = OwnedWallet(stack, secrets.token_bytes(32), 6, "vehicle-wallet")
        key = "0x" + self.vehicle_key.address.hex()
        self.vehicle.make(key, per_kwh="1", per_session="0.50", per_day="1", fund="1", providers=(self.charger.address,))
        screen.check("two wallets, each with its owner's policy and money of its own",
                     (self.charger.state().free_micro, self.vehicle.state().free_micro) == (2_000_000, 1_000_000))  # fmt: skip

    def agree(self) -> None:
        """The vehicle's key signs an OpenTask; the service relays it through the vehicle's wallet."""
        stack, screen = self.stack, self.screen
        screen.step(f"They agree on a task: {energy(ASKED_MILLIWATT_HOURS)} for {money(PRICE_MICRO)}, proven by the charger's meter")
        done = stack.processes.run(
            "meter_agent", "vouch", "--state", str(stack.state / "agent"), "--passphrase-file", str(stack.state / "agent.passphrase"),
            "--key", "0x" + self.node_key.address.hex(),
        )  # fmt: skip
        self.voucher = json.loads(done.stdout)
        description = Description("500 Wh at the harbour", "charging", ())
        point, deployment = stack.point, stack.client.deployment
        identity = json.loads((stack.state / "agent" / "identity.json").read_text())
        self.task = Task(
            self.vehicle.address, self.charger.address, self.vehicle.address, self.vehicle_key.address, self.node_key.address,
            description.hash, PRICE_MICRO, int(time.time()) + 600, 60, int(Proof.ENERGY), bytes.fromhex(point["device"][2:]),
            point["channel"], bytes.fromhex(identity["meterKey"][2:]), ASKED_MILLIWATT_HOURS, 0, secrets.token_bytes(32),
        )  # fmt: skip
        self.escrow = deployment.address_of("TaskEscrow")
        self.task_id = task_id(self.task, deployment.chain_id, self.escrow)
        order = OpenTask(self.task_id, PRICE_MICRO, int(time.time()) + 300)
        signature = self.vehicle_key.sign(digest(wallet_domain(deployment.chain_id, self.vehicle.address), order))
        policy = parse_policy(json.loads(self.vehicle.policy_file.read_text()))
        opened = stack.call("POST", "/api/v1/tasks", {
            "task": to_json(self.task), "description": description.to_document(), "deadlineS": order.deadline_s,
            "signature": "0x" + signature.hex(), "wallet": policy_document(policy),
        })  # fmt: skip
        self.path, self.token = f"/api/v1/tasks/{opened['task']}", opened["accessToken"]
        self._reaches("open")
        locked = self.vehicle.state().locked_today_micro
        screen.check(f"{money(locked)} of the vehicle's money is locked for it, by its key's signature alone", locked == PRICE_MICRO)

    def charge(self) -> None:
        stack, screen, buyer = self.stack, self.screen, self.buyer
        screen.step("The charger's agent opens a session with the site's provider and pays with every frame; the vehicle draws 50 kW")
        buyer.start()
        buyer.wait("opened", 1, 40)
        shown = [0.0]

        def enough() -> bool:
            records = self._records()
            drawn = records[-1].import_milliwatt_hours - records[0].import_milliwatt_hours if records else 0
            if time.monotonic() - shown[0] > 5:
                shown[0] = time.monotonic()
                screen.tell(f"{energy(drawn):>14} of {energy(ASKED_MILLIWATT_HOURS)}")
            return drawn >= ASKED_MILLIWATT_HOURS

        wait_for("500 Wh", enough, 120)
        stack.rig("load", milliwatts=0)
        buyer.stop()
        ended = buyer.wait_ended()
        screen.check(f"the charger paid its provider {money(ended['paidMicro'])} for what it drew, frame by frame", ended["paidMicro"] > 0)
        self.paid_site = ended["paidMicro"]

    def prove(self) -> None:
        """Two records, their frames, the meter's word for the node key: the contract checks all of it."""
        stack, screen = self.stack, self.screen
        screen.step("The charger proves the energy: two records that the meter signed, checked by the contract")
        records = self._records()
        start = records[0]
        end = next(each for each in records if each.import_milliwatt_hours - start.import_milliwatt_hours >= ASKED_MILLIWATT_HOURS)
        completion = Completion(self.task_id, PRICE_MICRO, energy_result(start, end))
        domain = money_domain(stack.client.deployment.chain_id, self.escrow)
        body: dict[str, Any] = {
            "amountMicro": PRICE_MICRO, "result": "0x" + completion.result.hex(),
            "signature": "0x" + self.node_key.sign(digest(domain, completion)).hex(),
            "energy": {
                "startSequence": start.sequence, "endSequence": end.sequence, "voucherMadeAtS": self.voucher["voucher"]["madeAtS"],
                "voucherSignature": self.voucher["signature"],
            },
        }  # fmt: skip
        early = next(each for each in records if each.import_milliwatt_hours > start.import_milliwatt_hours)
        wrong = body | {"energy": body["energy"] | {"endSequence": early.sequence}}
        refused = stack.call("POST", self.path + "/completions", wrong, expect=(400,))
        screen.check("other records than the signed ones are refused by name", "hash of these two records" in refused["detail"])
        wait_for(
            "the service has the frames", lambda: "task" in stack.call("POST", self.path + "/completions", body, expect=(200, 409)), 30
        )
        wait_for("the task is paid", lambda: self._view()["paidMicro"] == PRICE_MICRO, 40)
        paid = TaskViews(stack.client).state(self.task).paid_micro
        sold = energy(end.import_milliwatt_hours - start.import_milliwatt_hours)
        screen.check(f"the contract paid the charger {money(PRICE_MICRO)} for {sold}, records {start.sequence} to {end.sequence}",
                     paid == PRICE_MICRO)  # fmt: skip
        through = TaskViews(stack.client).sold_through(self.task.device, self.task.channel, self.task.meter_key, start.meter_hash)
        once = start.import_milliwatt_hours + ASKED_MILLIWATT_HOURS <= through <= end.import_milliwatt_hours
        screen.check("the meter's register is sold up to there: nobody can sell the same energy again", once)

    def settle(self) -> None:
        stack, screen = self.stack, self.screen
        screen.step("Both sides are settled")
        session = self.buyer.events("opening")[0]["session"]

        def settled() -> dict[str, Any] | None:
            view = stack.call("GET", f"/api/v1/sessions/{session}")
            return dict(view) if STATES.index(view["state"]) >= STATES.index("settled") else None

        view: dict[str, Any] = wait_for("the charger's session is settled", settled, 90)
        screen.check(f"the provider claimed {money(view['claimedMicro'])} for {energy(view['energyMilliwattHours'])}",
                     view["claimedMicro"] == self.paid_site)  # fmt: skip
        stack.deployer.send(Wallets(stack.client.deployment).return_from_tasks(self.charger.address))
        free = self.charger.state().free_micro
        screen.check(f"the charger's wallet: 2.000000 + {money(PRICE_MICRO)} earned - {money(view['claimedMicro'])} paid = {money(free)}",
                     free == 2_000_000 + PRICE_MICRO - view["claimedMicro"])  # fmt: skip
        left = self.vehicle.state().free_micro
        screen.check(f"the vehicle's wallet: {money(left)} left, nothing locked", left == 1_000_000 - PRICE_MICRO)

    # --- looking ---

    def _view(self) -> dict[str, Any]:
        view: dict[str, Any] = self.stack.call("GET", self.path, token=self.token)
        return view

    def _reaches(self, state: str) -> None:
        wait_for(f"the task is {state}", lambda: self._view()["state"] == state, 40)

    def _records(self) -> list[Record]:
        """The session's records from START on, as the meter's agent signed them."""
        found = signed_records(self.stack)
        starts = [index for index, record in enumerate(found) if record.reason == Reason.START]
        return found[starts[-1] :] if starts else []
