"""TaskEscrow in a world of its own: its tasks, words and proofs. Times are UTC seconds, amounts micro-units, energy mWh."""

from __future__ import annotations

from typing import Any

from web3.contract import Contract
from web3.types import TxReceipt

from protocol.eip712 import EVIDENCE, Domain, money_domain
from protocol.energy_proof import Stretch, stretch
from protocol.evidence import ChargeKeyVoucher, Record, frame_digest, make_frame
from protocol.hashing import keccak
from protocol.keys import Signer
from protocol.money import Open, Payment, RequestClose
from protocol.task import Completion, GiveUp, Proof, Task, acceptance, energy_result, task_id
from protocol.wire import SignedFrame
from tests.contracts.support import DAY_S, HOUR_S, World, person

PRICE = 1_000_000
ASKED = 500_000  # 500 Wh
DEVICE = keccak(b"charger")
CHANNEL = 1
METER_HASH = keccak(b"serial\0place")
RESULT = keccak(b"what was done")
NOBODY = bytes(20)

TASK_TYPE = (
    "(address,address,address,address,address,bytes32,uint64,uint64,uint32,uint8,bytes32,uint32,address,uint64,uint64,bytes32)"
)

PAY_KEY, NODE_KEY, METER_KEY = person("pay key"), person("node key"), person("meter key")


class TaskWorld:
    """The people of a `World` on a TaskEscrow; the payer requests and has money inside, the payee is the node."""

    def __init__(self, world: World, token: Contract | None = None, funds_micro: int = 10**12) -> None:
        self.world = world
        self.token = token or world.token
        self.escrow = world.deploy("TaskEscrow", self.token.address, world.address("guardian"))
        self.functions = self.escrow.functions
        if token is None:
            world.send(world.token.functions.mint(keccak(b"for tasks"), world.address("payer"), funds_micro), "minter")
            world.send(world.token.functions.approve(self.escrow.address, funds_micro), "payer")
            world.send(self.functions.deposit(funds_micro), "payer")

    @property
    def place(self) -> bytes:
        return bytes.fromhex(self.escrow.address[2:])

    @property
    def domain(self) -> Domain:
        return money_domain(self.world.chain_id, self.place)

    def task(self, proof: Proof = Proof.RELEASE, number: int = 0, **changes: Any) -> Task:
        """Task number `number` from payer to payee; members its proof does not use are zero."""
        energy = proof == Proof.ENERGY
        base = Task(
            requester=self.world.address("payer"),
            node=self.world.address("payee"),
            refund_to=self.world.address("refund"),
            requester_key=PAY_KEY.address,
            node_key=NOBODY if proof == Proof.RELEASE else NODE_KEY.address,
            description_hash=keccak(b"description"),
            price_micro=PRICE,
            deadline_s=self.world.now() + DAY_S,
            proof_grace_s=HOUR_S,
            proof=int(proof),
            device=DEVICE if energy else bytes(32),
            channel=CHANNEL if energy else 0,
            meter_key=METER_KEY.address if energy else NOBODY,
            energy_milliwatt_hours=ASKED if energy else 0,
            start_from_s=0,
            salt=keccak(b"task %d" % number),
        )
        return base._replace(**changes)

    def id_of(self, task: Task) -> bytes:
        return task_id(task, self.world.chain_id, self.place)

    def open(self, task: Task, sender: str = "payer") -> Task:
        self.world.send(self.functions.openTask(task), sender)
        return task

    def state(self, task: Task) -> dict[str, Any]:
        names = ("paidMicro", "soldMilliwattHours", "openedAtS", "endsAtS", "closed")
        values = self.functions.taskOf(task).call()
        values = tuple(values.values()) if isinstance(values, dict) else tuple(values)
        return dict(zip(names, values, strict=True))

    def free(self, name: str) -> int:
        return int(self.functions.freeMicroOf(self.world.address(name)).call())

    def sold(self, meter_hash: bytes = METER_HASH) -> int:
        return int(self.functions.soldThrough(DEVICE, CHANNEL, METER_KEY.address, meter_hash).call())

    # ---------------------------------------------------------------- words

    def sign(self, message: Any, signer: Signer, domain: Domain | None = None) -> bytes:
        return self.world.sign(domain or self.domain, message, signer)

    def open_signed(self, task: Task, deadline_s: int, signer: Signer | None = None) -> bytes:
        return self.sign(Open(self.id_of(task), task.price_micro, deadline_s), signer or self.world.signers["payer"])

    def close_signed(self, task: Task, deadline_s: int, signer: Signer = PAY_KEY) -> bytes:
        return self.sign(RequestClose(self.id_of(task), deadline_s), signer)

    def give_up_signed(self, task: Task, deadline_s: int, signer: Signer = NODE_KEY) -> bytes:
        return self.sign(GiveUp(self.id_of(task), deadline_s), signer)

    # ---------------------------------------------------------------- calls that pay

    def released(self, task: Task, amount: int, signer: Signer = PAY_KEY, **changes: Any) -> Any:
        """The call that pays a RELEASE task."""
        payment = Payment(changes.get("session", self.id_of(task)), changes.get("signed_amount", amount), RESULT)
        signature = changes.get("signature") or self.sign(payment, signer, changes.get("domain"))
        return self.functions.payReleased(task, amount, RESULT, signature)

    def completed(self, task: Task, amount: int, node: Signer = NODE_KEY, accepter: Signer = PAY_KEY, **changes: Any) -> Any:
        """The call that pays a COMPLETION task; `accepted=` is another completion than the one handed in."""
        completion = Completion(self.id_of(task), amount, RESULT)
        accepted = acceptance(changes.get("accepted", completion), self.world.chain_id, self.place)
        words = (self.sign(completion, node), self.sign(accepted, accepter))
        return self.functions.payCompleted(task, amount, RESULT, *words)

    def delivered(self, task: Task, amount: int, proof: Stretch, node: Signer = NODE_KEY, **changes: Any) -> Any:
        """The call that pays an ENERGY task."""
        result = changes.get("result", energy_result(proof.start.record, proof.end.record))
        completion = Completion(self.id_of(task), amount, result)
        return self.functions.payDelivered(task, amount, self.sign(completion, node, changes.get("domain")), proof)

    def pay(self, call: Any, sender: str = "stranger") -> TxReceipt:
        return self.world.send(call, sender)

    def reverts(self, call: Any, sender: str, error: str, *values: Any) -> None:
        self.world.reverts(call, sender, error, *values)

    # ---------------------------------------------------------------- meters

    def voucher(self, key: Signer = NODE_KEY, signer: Signer = METER_KEY, **changes: Any) -> tuple[ChargeKeyVoucher, bytes]:
        voucher = ChargeKeyVoucher(DEVICE, CHANNEL, key.address, 1)._replace(**changes)
        return voucher, self.world.sign(EVIDENCE, voucher, signer)

    def proof(self, records: list[Record], signer: Signer = METER_KEY, **changes: Any) -> Stretch:
        """First to last of `records`, which follow one another, in one frame; `frame_size=1` puts each in its own."""
        size = changes.get("frame_size", len(records))
        frames = [signed_frame(records[at : at + size], signer) for at in range(0, len(records), size)]
        voucher = changes.get("voucher") or self.voucher()
        return stretch(frames, records[0].sequence, records[-1].sequence, *voucher)

    def sale(self, task: Task, start: int, end: int, **changes: Any) -> Stretch:
        """A proof of the registers `start` and `end`, read from now on."""
        now = self.world.now()
        return self.proof([record(1, now, start), record(2, now + 1, end)], **changes)


def record(sequence: int, end_s: int, register: int, **changes: Any) -> Record:
    """A record of the charger's meter, with the register at its end."""
    base = Record(
        device=DEVICE, channel=CHANNEL, sequence=sequence, start_s=end_s - 60, end_s=end_s, import_milliwatt_hours=register,
        export_milliwatt_hours=0, step_milliwatt_hours=1, voltage_millivolts=230_000, current_milliamps=1_000,
        power_milliwatts=-230_000, flags=0, reason=2, meter_hash=METER_HASH, details_hash=keccak(b""),
        salt=keccak(b"salt of record %d" % sequence),
    )  # fmt: skip
    return base._replace(**changes)


def signed_frame(records: list[Record], signer: Signer = METER_KEY, **changes: Any) -> SignedFrame:
    """A frame of these records by `signer`; `changes` are made before it signs."""
    frame = make_frame(records, keccak(b"incarnation"), bytes(32), bytes(32))._replace(**changes)
    return SignedFrame(frame, signer.sign(frame_digest(frame)), tuple(records), ((),) * len(records))
