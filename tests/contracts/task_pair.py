"""TaskEscrow on an engine beside its model: random calls at every door, with values near the bounds, and meters that deliver."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from eth_abi import abi

from protocol.eip712 import EVIDENCE, digest
from protocol.energy_proof import Stretch, stretch
from protocol.evidence import ChargeKeyVoucher, Record, frame_digest, make_frame
from protocol.hashing import keccak
from protocol.keys import Signer
from protocol.money import Open, Payment, RequestClose
from protocol.task import Completion, GiveUp, Proof, Task, energy_result, task_id
from protocol.wire import SignedFrame
from tests.contracts.engines import Engine
from tests.contracts.model_pair import GUARDIAN, KEYS, LIVE, THIEF, ZERO, Blob, ModelPair, Raw
from tests.contracts.support import ARTIFACTS, person
from tests.contracts.task_model import TaskModel
from tests.contracts.task_support import TASK_TYPE

PAY_KEYS, NODE_KEYS = KEYS[:6], KEYS[6:]
METERS = [person(f"model meter {n}") for n in range(3)]
ARTIFACT = ARTIFACTS / "TaskEscrow.json"
DELIVERED = f"payDelivered({TASK_TYPE},uint64,bytes,"


def _stretch_type() -> str:
    """The ABI type of a `Stretch`, from the contract's own description."""

    def named(part: dict[str, Any]) -> str:
        kind: str = part["type"]
        return "(" + ",".join(map(named, part["components"])) + ")" + kind[5:] if kind.startswith("tuple") else kind

    (function,) = (item for item in json.loads(ARTIFACT.read_text())["abi"] if item.get("name") == "payDelivered")
    return named(function["inputs"][3])


class TaskPair(ModelPair):
    """The contract and the model, driven by the same random calls."""

    contract = "TaskEscrow"

    def __init__(self, engine: Engine, seed: int) -> None:
        super().__init__(engine, seed)
        self.tasks: dict[bytes, Task] = {}
        self.logs: list[list[Record]] = [[] for _ in METERS]
        self.stretch_type = _stretch_type()
        self.keys |= {signer.address: signer for signer in METERS}
        for meter in range(len(METERS)):
            self.measure(meter)

    def make_model(self) -> Any:
        return TaskModel(self.escrow, GUARDIAN, self.time_s)

    # ---------------------------------------------------------------- what there is

    def wait(self) -> None:
        self.time_s += self.random.choice((0, 1, 1, 7, 60, 119, 300, 1_200))
        self.block += 1
        self.engine.at(self.time_s, self.block)
        self.model.now = self.time_s

    def measure(self, meter: int) -> None:
        """Another record; now and then of a swapped meter, out of time, or one that proves nothing."""
        log, r = self.logs[meter], self.random
        last = log[-1] if log else None
        register = (last.import_milliwatt_hours if last else 0) + r.choice((0, 1, 50, 400))
        meter_hash = last.meter_hash if last else keccak(b"first")
        if self.chance(0.03):
            register, meter_hash = r.randint(0, 100), r.choice((keccak(b"first"), keccak(b"second")))
        log.append(
            Record(
                device=keccak(b"device %d" % meter), channel=2 if self.chance(0.02) else 1, sequence=last.sequence + 1 if last else 0,
                start_s=self.time_s, end_s=self.time_s + r.choice((0, 0, 0, -130, 50)), import_milliwatt_hours=register,
                export_milliwatt_hours=0, step_milliwatt_hours=1, voltage_millivolts=0, current_milliamps=0, power_milliwatts=0,
                flags=1 << r.randint(0, 11) if self.chance(0.05) else 0, reason=2, meter_hash=meter_hash, details_hash=bytes(32),
                salt=r.randbytes(32),
            )
        )  # fmt: skip

    def new_task(self) -> Task:
        r = self.random
        proof = r.choice((1, 2, 2, 2, 3)) if not self.chance(0.01) else r.choice((0, 4))
        energy, meter = proof == Proof.ENERGY, r.randrange(len(METERS))
        node_key = ZERO if proof == Proof.RELEASE else r.choice(NODE_KEYS).address
        requester = self.someone()
        task = Task(
            requester=requester, node=self.someone(), refund_to=requester if self.chance(0.6) else self.someone(),
            requester_key=requester if self.chance(0.1) else r.choice(PAY_KEYS).address, node_key=node_key, description_hash=bytes(32),
            price_micro=r.randint(1, 10**6),
            deadline_s=self.time_s + (self.near(62 * 86_400, 2**32) if self.chance(0.05) else r.randint(1, 8_000)),
            proof_grace_s=self.near(7 * 86_400, 2**32 - 1) if self.chance(0.05) else r.randint(0, 1_000), proof=proof,
            device=keccak(b"device %d" % meter) if energy else bytes(32), channel=int(energy),
            meter_key=METERS[meter].address if energy else ZERO, energy_milliwatt_hours=r.randint(1, 1_500) if energy else 0,
            start_from_s=self.time_s + r.randint(-100, 200) if energy and self.chance(0.1) else 0, salt=r.randbytes(32),
        )  # fmt: skip
        if self.chance(0.15):
            spoilt: dict[str, Any] = r.choice(
                ({"node": ZERO}, {"refund_to": task.node}, {"requester_key": ZERO}, {"price_micro": 0}, {"node_key": task.requester_key},
                 {"channel": 3}, {"meter_key": task.node_key}, {"energy_milliwatt_hours": 0}, {"start_from_s": task.deadline_s})
            )  # fmt: skip
            task = task._replace(**spoilt)
        return task

    def pick_task(self, proof: Proof | None = None) -> tuple[bytes, Task]:
        """A task that is or was there, mostly of the proof asked for; or one that nobody opened."""
        for _ in range(20):
            if not self.known or self.chance(0.01):
                break
            name = self.random.choice(self.known[-LIVE:])
            if proof is None or self.tasks[name].proof == proof or self.chance(0.02):
                return name, self.tasks[name]
        return self.named(self.new_task())

    def named(self, task: Task) -> tuple[bytes, Task]:
        name = task_id(task, self.engine.chain_id, self.escrow)
        self.tasks[name] = task
        return name, task

    # ---------------------------------------------------------------- calls

    def do_deposit(self) -> None:
        sender, account = self.someone(), self.someone()
        amount = self.near(self.model.outside[sender] // 4, 2**128 - 1)
        self.both(
            "deposit", sender, "depositFor(address,uint128)", [account, amount], lambda: self.model.deposit_for(sender, account, amount)
        )

    def do_withdraw(self) -> None:
        account, to = self.someone(), self.someone()
        amount = self.near(self.model.free[account] // (1 if self.chance(0.1) else 8), 2**128 - 1)
        self.both(
            "withdraw", account, "withdraw(address,uint128)", [to, amount], lambda: self.model.withdraw(account, to, amount)
        )

    def do_open(self) -> None:
        name, task = self.pick_task() if self.chance(0.05) else self.named(self.new_task())
        sender = self.someone() if self.chance(0.05) else task.requester
        kind = self.random.randrange(3)
        if kind == 0:
            self.both("open", sender, f"openTask({TASK_TYPE})", [task], lambda: self.model.open(sender, name, task))
        elif kind == 1:
            lock = self.near(task.price_micro) if self.chance(0.1) else task.price_micro
            terms = Blob(abi.encode([TASK_TYPE], [task]))
            self.both(
                "open as requester", sender, "openAsRequester(bytes,uint64)", [terms, lock],
                lambda: self.model.open_as_requester(sender, name, task, lock),
            )  # fmt: skip
        else:
            deadline = self.deadline()
            signature, signer = self.signed(Open(name, task.price_micro, deadline), task.requester)
            self.both(
                "open by signature", self.someone(), f"openTaskBySignature({TASK_TYPE},uint64,bytes)", [task, deadline, signature],
                lambda: self.model.open_by_signature(name, task, deadline, signer),
            )  # fmt: skip
        if name in self.model.kept and name not in self.known:
            self.known.append(name)

    def amount(self, name: bytes, task: Task) -> int:
        kept = self.model.kept.get(name)
        paid = kept.paid if kept else 0
        return self.near(paid if self.chance(0.1) else task.price_micro) if self.chance(0.2) else paid + self.random.randint(1, 9_999)

    def do_release(self) -> None:
        name, task = self.pick_task(Proof.RELEASE)
        amount, frame = self.amount(name, task), self.random.randbytes(32)
        signature, signer = self.signed(Payment(name, amount, frame), task.requester_key)
        self.both(
            "release", self.someone(), f"payReleased({TASK_TYPE},uint64,bytes32,bytes)", [task, amount, frame, signature],
            lambda: self.model.pay_released(name, task, amount, frame, signer),
        )  # fmt: skip

    def do_complete(self) -> None:
        name, task = self.pick_task(Proof.COMPLETION)
        amount, result = self.amount(name, task), self.random.randbytes(32)
        completion = Completion(name, amount, result)
        done, done_by = self.signed(completion, task.node_key)
        accepted, accepted_by = self.signed(Payment(name, amount, digest(self.domain, completion)), task.requester_key)
        self.both(
            "complete", self.someone(), f"payCompleted({TASK_TYPE},uint64,bytes32,bytes,bytes)", [task, amount, result, done, accepted],
            lambda: self.model.pay_completed(name, task, amount, result, done_by, accepted_by),
        )  # fmt: skip

    def do_deliver(self) -> None:
        name, task = self.pick_task(Proof.ENERGY)
        meter = next((n for n, key in enumerate(METERS) if key.address == task.meter_key), 0)
        self.measure(meter)
        proof = self.proof(task, meter if not self.chance(0.02) else self.random.randrange(len(METERS)))
        result = energy_result(proof.start.record, proof.end.record)
        amount = self.worth(name, task, proof) + (self.random.choice((-1, 0, 1)) if self.chance(0.3) else 0)
        amount = min(max(amount, 0), 2**64 - 1)
        signature, signer = self.signed(Completion(name, amount, result), task.node_key)
        data = abi.encode([TASK_TYPE, "uint64", "bytes", self.stretch_type], [task, amount, bytes(signature), proof])
        self.both(
            "deliver", self.someone(), DELIVERED + self.stretch_type + ")", [Raw(data)],
            lambda: self.model.pay_delivered(name, task, amount, proof, signer),
        )  # fmt: skip

    def proof(self, task: Task, meter: int) -> Stretch:
        log, r = self.logs[meter], self.random
        end = len(log) - 1 - (r.randint(0, min(3, len(log) - 1)) if self.chance(0.3) else 0)
        start = r.randint(0, end) if self.chance(0.1) else max(end - r.randint(0 if self.chance(0.1) else 1, 4), 0)
        size = r.choice((1, 2, 5))
        frames = [self.frame(log[at : at + size], meter) for at in range(start, end + 1, size)]
        key = THIEF if self.chance(0.03) else METERS[meter]
        voucher = ChargeKeyVoucher(task.device, task.channel, task.node_key, 1)
        built = stretch(frames, log[start].sequence, log[end].sequence, voucher, key.sign(digest(EVIDENCE, voucher)))
        if self.chance(0.02):  # a frame that was not signed so, and may not hold the record
            built = built._replace(end=built.end._replace(frame=built.end.frame._replace(count=built.end.frame.count - 1)))
        return built

    def frame(self, records: list[Record], meter: int) -> SignedFrame:
        frame = make_frame(records, bytes(32), bytes(32), bytes(32))
        signer: Signer = THIEF if self.chance(0.02) else METERS[meter]
        signature = signer.sign(frame_digest(frame))
        return SignedFrame(frame, signature, tuple(records), ((),) * len(records))

    def worth(self, name: bytes, task: Task, proof: Stretch) -> int:
        kept = self.model.kept.get(name)
        start, end = proof.start.record, proof.end.record
        meter = (task.device, task.channel, task.meter_key, end.meter_hash)
        new = max(end.import_milliwatt_hours - max(start.import_milliwatt_hours, self.model.sold_through[meter]), 0)
        sold = min((kept.sold if kept else 0) + new, task.energy_milliwatt_hours)
        return task.price_micro * sold // max(task.energy_milliwatt_hours, 1)

    def do_request(self) -> None:
        name, task = self.pick_task()
        if self.chance(0.5):
            sender = self.someone() if self.chance(0.2) else self.random.choice((task.requester, task.requester_key))
            self.both(
                "request", sender, f"requestClose({TASK_TYPE})", [task], lambda: self.model.request_close(sender, name, task)
            )
            return
        sender, deadline = self.someone(), self.deadline()
        signature, signer = self.signed(RequestClose(name, deadline), self.random.choice((task.requester, task.requester_key)))
        self.both(
            "request by signature", sender, f"requestCloseBySignature({TASK_TYPE},uint64,bytes)", [task, deadline, signature],
            lambda: self.model.request_close_by_signature(sender, name, task, deadline, signer),
        )  # fmt: skip

    def do_close(self) -> None:
        name, task = self.pick_task()
        if self.chance(0.7):
            sender = task.node if self.chance(0.1) else self.someone()
            self.both("close", sender, f"close({TASK_TYPE})", [task], lambda: self.model.close(sender, name, task))
            return
        deadline = self.deadline()
        signature, signer = self.signed(GiveUp(name, deadline), self.random.choice((task.node, task.node_key, THIEF.address)))
        self.both(
            "give up", self.someone(), f"closeBySignature({TASK_TYPE},uint64,bytes)", [task, deadline, signature],
            lambda: self.model.close_by_signature(name, task, deadline, signer),
        )  # fmt: skip

    def do_guard(self) -> None:
        sender = GUARDIAN if self.chance(0.8) else self.someone()
        stopped = self.chance(0.3)
        function = "stopNewBusiness()" if stopped else "resumeNewBusiness()"
        self.both("guard", sender, function, [], lambda: self.model.stop(sender, stopped))

    # ---------------------------------------------------------------- running

    def compare_tasks(self) -> None:
        for name in self.known[-2 * LIVE :]:
            kept = self.model.kept[name]
            state = [kept.paid, kept.sold, kept.opened_at, kept.ends_at, int(kept.closed)]
            assert self.read(f"taskOf({TASK_TYPE})", self.tasks[name]) == state
        for (device, channel, key, meter_hash), through in self.model.sold_through.items():
            assert self.read("soldThrough(bytes32,uint32,address,bytes32)", device, channel, key, meter_hash) == [through]

    def run(self, calls: int) -> None:
        steps: list[Callable[[], None]] = [self.do_deposit, self.do_withdraw, self.do_request, self.do_close]
        steps += [self.do_open] * 3 + [self.do_release, self.do_complete] * 2 + [self.do_deliver] * 5
        for number in range(calls):
            if self.chance(0.4):
                self.wait()
            if self.chance(0.3):
                self.measure(self.random.randrange(len(METERS)))
            if self.model.stopped and self.chance(0.1):
                self.both("guard", GUARDIAN, "resumeNewBusiness()", [], lambda: self.model.stop(GUARDIAN, False))
            self.do_guard() if self.chance(0.01) else self.random.choice(steps)()
            if number % 8 == 0:
                self.compare_balances()
            if number % 500 == 0:
                self.compare_tasks()
        self.compare_tasks()
        self.compare_balances()
        self.compare_tokens()
