"""A device that buys for itself: it chooses between two providers, switches when the evening band begins, tops up, refuses to pay for an
over-reported frame, and is stopped by its owner's daily cap.
"""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from chain.errors import Reverted
from chain.wallet_calls import Wallets
from protocol.eip712 import digest, from_json
from protocol.evidence import Reason
from protocol.money import Open, Terms, session_id
from protocol.wallet import parse_policy, wallet_domain

from .house import start_house
from .market_side import BuyerProgram, OwnedWallet, Provider, signed_records, wait_for
from .processes import DemoFailed
from .screen import Screen, energy, money
from .stack import Choices, Stack

LOAD_WATTS = 3_600
"""A watt-hour a second."""
DAY_MICRO_PER_KWH, EVENING_MICRO_PER_KWH, OTHER_MICRO_PER_KWH = 50_000, 320_000, 300_000
"""The device prices the load of its next minute: Sunside is cheaper for that while a part of it lies before the evening."""
BAND_AHEAD_S = 20
MONEY = {"lock_micro": 6_000, "step_micro": 6_000, "low_micro": 4_500, "day_micro": 10**7}
"""A top-up is asked for 15 s of load before the lock ends: it takes a few blocks to be final."""
DAY_CAP = "0.030"
DAY_CAP_MICRO = 30_000
OVER_REPORT_PPM = 250_000
CLASS_PPM = 20_000
RESOLUTION_MICRO = 3_600
"""What the register steps and reading times of two meters leave open: a dozen seconds of this load. The buyer states its own bound."""


def banded_tariff(evening_s: int) -> dict[str, Any]:
    """Cheap until the evening band begins, dear from then on. Bands begin on whole minutes."""
    begins = datetime.fromtimestamp(evening_s, UTC)
    ends = datetime.fromtimestamp(evening_s + 7_200, UTC)
    evening = {
        "priceComponents": [{"type": "ENERGY", "microPerKwh": EVENING_MICRO_PER_KWH, "taxPpm": 0}],
        "restrictions": {"startTime": begins.strftime("%H:%M"), "endTime": ends.strftime("%H:%M")},
    }
    day = {"priceComponents": [{"type": "ENERGY", "microPerKwh": DAY_MICRO_PER_KWH, "taxPpm": 0}]}
    return {"id": "sunside-band", "version": 1, "currency": "EUR", "timeZone": "Etc/UTC", "elements": [evening, day]}


def even_tariff() -> dict[str, Any]:
    component = {"type": "ENERGY", "microPerKwh": OTHER_MICRO_PER_KWH, "taxPpm": 0}
    return {"id": "nightwind", "version": 1, "currency": "EUR", "timeZone": "Etc/UTC", "elements": [{"priceComponents": [component]}]}


class WalletScene:
    """Runs the scene on a stack; every claim on the screen is checked."""

    choices = Choices(profile="idle", own_meter=True)

    def __init__(self, stack: Stack, screen: Screen) -> None:
        self.stack, self.screen = stack, screen
        self.trust = ""

    def run(self) -> None:
        self.start()
        self.buy()
        self.switch()
        self.refuse()
        self.reach_the_cap()
        self.settle()

    # --- the house ---

    def start(self) -> None:
        stack, screen = self.stack, self.screen
        stack.init_service()
        key = Provider.prepare_second(stack)
        start_house(stack, screen)
        stack.rig("load", milliwatts=LOAD_WATTS * 1000)
        screen.step("Two providers sell at one point; the host lets the second one in, the provider book admits both")
        self.sunside, self.nightwind = Provider.host(stack, "Sunside"), Provider.second(stack, "Nightwind", key)
        screen.step("A device gets a wallet: the owner sets what its pay key may do, and funds it before it is even there")
        self.buyer = BuyerProgram(stack, "buyer")
        self.wallet = OwnedWallet(stack, bytes.fromhex(stack.point["device"][2:]), 5, "device")
        self.wallet.make(self.buyer.pay_key, per_kwh="0.40", per_session="0.02", per_day=DAY_CAP, fund="1")
        state = self.wallet.state()
        screen.check(f"wallet {self.wallet.hex}: {money(state.free_micro)} free, nothing locked", state.free_micro == 1_000_000)
        own_meter = {"url": str(stack.state / "rig" / "own-meter"), "class_ppm": CLASS_PPM, "drift_window_s": 60, "initial_baud": 9_600}
        preference = {"kind": "cheapest", "load_watts": LOAD_WATTS, "expected_s": 60}
        self.buyer.configure(self.wallet, MONEY, preference, own_meter)
        self._publish()

    def _publish(self) -> None:
        """Both offers on the chain. The evening band begins 20 s after the device can start, on the next whole minute."""
        watts = self.stack.choices.rated_watts
        hashes = [self.nightwind.offer(even_tariff(), 1_000_000, {"WIND": 1_000_000}, watts)]
        ready_by = int(time.time()) + 10
        self.evening_s = -(-(ready_by + BAND_AHEAD_S) // 60) * 60
        hashes.append(self.sunside.offer(banded_tariff(self.evening_s), 800_000, {"SOLAR": 800_000, "GRID_MIX": 200_000}, watts))
        standing = [self.stack.client.offer(bytes.fromhex(each[2:])) for each in hashes]
        self.screen.check("both offers stand on the chain by their hashes", None not in standing)
        pause = self.evening_s - BAND_AHEAD_S - time.time()
        if pause > 0:
            self.screen.tell(f"the evening band begins on a whole minute: waiting {pause:.0f} s, so that it is {BAND_AHEAD_S} s ahead")
            time.sleep(pause)

    # --- buying ---

    def buy(self) -> None:
        screen, buyer = self.screen, self.buyer
        screen.step("The device's agent looks at the offers, chooses, opens a session and pays frame by frame: nobody else does anything")
        self.stack.rig("mark")
        buyer.start()
        buyer.wait("opened", 1, 40)
        choice = self._choice(0)
        screen.tell(choice["why"])
        screen.check("it chose Sunside: cheapest until the evening", self._seller(0) == self.sunside.operator_id)
        key = bytes.fromhex(buyer.pay_key[2:])
        poor = (self.stack.client.nonce(key), self.stack.client.wei(key)) == (0, 0)
        screen.check("it opened on its pay key's signature alone: that key has no gas and never sent a transaction", poor)

    def switch(self) -> None:
        screen, buyer = self.screen, self.buyer
        screen.step("The evening band begins: the other provider is cheaper now")
        buyer.wait("opened", 2, 60)
        ended = buyer.events("ended")[0]
        screen.tell(ended["why"])
        screen.check("it switched to Nightwind", self._seller(1) == self.nightwind.operator_id)
        first = self.stack_view(self._sessions()[0], "ended")
        start = wait_for("the first record of the next session", lambda: self._registers(Reason.START)[1:2], 30)[0]
        stop = self._registers(Reason.STOP)[0]
        same = f"the register where one session ended is where the next began, {energy(start)}: no watt-hour between, none twice"
        screen.check(same, start == stop, f"{stop} and {start}")
        topped = buyer.wait("topped up", 1, 40)
        screen.check(f"it tops up by itself, to {money(topped['lockMicro'])}, before its credit is short", topped["lockMicro"] == 12_000)
        late = first["disconnectedAtS"] - self.evening_s
        screen.tell(f"supply was disconnected {late} s after the band began, and reconnected for the next session")

    def refuse(self) -> None:
        screen, buyer = self.screen, self.buyer
        screen.step(f"The seller's meter begins to count {OVER_REPORT_PPM // 10_000} % too much; the device has a meter of its own")
        time.sleep(3)
        self.stack.rig("scale", ppm=OVER_REPORT_PPM)
        refusal = buyer.wait("refusal", 1, 60)
        note = refusal.get("note") or refusal
        screen.tell(str(note["why"]))
        screen.check("it refuses to pay for the over-reported frame and says why", "own" in str(note["why"]))
        buyer.wait("ended", 2, 60)
        session, paid = self._sessions()[1], buyer.events("ended")[1]["paidMicro"]

        def asked() -> int:
            bill = int(self.stack_view(session, "ended")["billMicro"])
            return bill if bill > paid else 0

        bill = wait_for("the seller's bill with the over-reported frames", asked, 40)
        true_micro = self._true_milliwatt_hours() * OTHER_MICRO_PER_KWH // 1_000_000
        allowed = true_micro * (1_000_000 + CLASS_PPM) // 1_000_000 + RESOLUTION_MICRO
        screen.check(
            f"it paid {money(paid)} of the {money(bill)} asked; the energy that really flowed costs {money(true_micro)}",
            paid <= allowed, f"at most {money(allowed)}",
        )  # fmt: skip
        screen.check("supply is off: the seller's agent disconnects what nobody pays for", not self.stack.rig("state")["contact_closed"])
        self.stack.rig("scale", ppm=0)

    def _true_milliwatt_hours(self) -> int:
        """What really flowed in the second session, by the rig's own books: all since the beginning, less the first session's."""
        first = self._registers(Reason.STOP)[0] - self._registers(Reason.START)[0]
        return int(self.stack.rig("state")["since_mark_milliwatt_hours"]) - first

    def reach_the_cap(self) -> None:
        screen, buyer = self.screen, self.buyer
        screen.step("Its owner has looked into it and lets it buy again; then the daily cap is reached")
        buyer.stop()
        buyer.start("--again")
        buyer.wait("opened", 3, 40)
        ended = buyer.wait("ended", 3, 120)
        screen.tell(ended["why"])
        locked = self.wallet.state().locked_today_micro
        screen.check(f"stopped by its owner's cap: {money(locked)} of {money(DAY_CAP_MICRO)} were locked today", locked <= DAY_CAP_MICRO
                     and DAY_CAP_MICRO - locked < MONEY["step_micro"] and "day" in ended["why"], ended["why"])  # fmt: skip
        buyer.stop()
        refusal = self._chain_refusal()
        screen.check("the chain itself refuses more from the pay key, whoever holds it: AboveDayLimit", refusal == "AboveDayLimit", refusal)

    def _chain_refusal(self) -> str:
        """The contract's error where the pay key signs for a session above the day's limit, past its own agent."""
        client, wallet = self.stack.client, self.wallet
        view = self.stack_view(self._sessions()[2], "quoted")
        terms = from_json(Terms, view["terms"])._replace(salt=secrets.token_bytes(32), latest_end_s=int(time.time()) + 600)
        chain_id = client.deployment.chain_id
        order = Open(session_id(terms, chain_id, client.deployment.escrow), MONEY["step_micro"], int(time.time()) + 300)
        signature = self.buyer.pay_key_signer().sign(digest(wallet_domain(chain_id, wallet.address), order))
        policy = parse_policy(json.loads(wallet.policy_file.read_text()))
        call = Wallets(client.deployment).open_by_signature(terms, order, policy, signature)
        try:
            client.call(call.to, call.data)
        except Reverted as error:
            return error.name
        return "nothing: it was taken"

    def settle(self) -> None:
        stack, screen = self.stack, self.screen
        screen.step("Everything is settled; the owner takes back what was not used")
        claimed = 0
        for session in self._sessions():
            view = self.stack_view(session, "settled", 60)
            claimed += view["claimedMicro"]
        state = self.wallet.state()
        screen.check(f"the providers claimed {money(claimed)}, the rest is back in the wallet: {money(state.free_micro)}",
                     state.free_micro == 1_000_000 - claimed)  # fmt: skip
        paid = sum(event["paidMicro"] for event in self.buyer.events("ended"))
        screen.check(
            "claimed is what the device signed, to the last micro-unit", claimed <= paid and paid - claimed <= 3, f"{claimed} of {paid}"
        )
        owner = stack.account(5).address
        before = stack.client.token_micro(owner)
        self.wallet.withdraw_all()
        screen.check("the owner withdrew it with the chain and a key alone", stack.client.token_micro(owner) - before == state.free_micro)
        screen.tell(f"wallet page: {stack.url}/console/wallets/{self.wallet.hex}")

    # --- looking ---

    def _sessions(self) -> list[str]:
        return [event["session"] for event in self.buyer.events("opening")]

    def _choice(self, index: int) -> dict[str, Any]:
        found = self.buyer.events("choice")
        if len(found) <= index:
            raise DemoFailed("the buyer's journal has no choice")
        note: dict[str, Any] = found[index].get("note") or found[index]
        return note

    def _seller(self, index: int) -> int:
        """The operator that a session of the buyer pays: by the payee of its terms, as the chain has it."""
        payee = self.stack_view(self._sessions()[index], "quoted")["terms"]["payee"]
        return next(each.operator_id for each in (self.sunside, self.nightwind) if payee == "0x" + each.signer.address.hex())

    def stack_view(self, session: str, until: str, timeout_s: float = 30) -> dict[str, Any]:
        """A session as its seller sees it, once it has reached a state."""
        from .session import STATES

        def look() -> dict[str, Any] | None:
            for provider in (self.sunside, self.nightwind):
                found = self.stack.call("GET", f"/api/v1/sessions/{session}", token=provider.token, expect=(200, 404))
                if "state" in found and STATES.index(found["state"]) >= STATES.index(until):
                    return dict(found)
            return None

        view: dict[str, Any] = wait_for(f"session {until}", look, timeout_s)
        return view

    def _registers(self, reason: Reason) -> list[int]:
        """Import registers of the meter's records of one reason, oldest first, as the meter's own agent signed them."""
        return [record.import_milliwatt_hours for record in signed_records(self.stack) if record.reason == reason]
