"""Evidence of a session that a real chain knows: enrolled, opened, anchored and claimed on a development chain."""

from __future__ import annotations

import time

from chain.calls import Call, MeteredRow
from chain.oneshot import send
from chain.transactions import TransactionSigner
from protocol import evidence
from protocol.bundle import AnchorLink, Bundle, BundledFrame, KeyEvent
from protocol.control import KeyBinding, KeyRole
from protocol.eip712 import control_domain, digest, money_domain
from protocol.hashing import ZERO32
from protocol.keys import Signer
from protocol.money import MeteredCharge, Open, session_id
from tests.chain.conftest import DEPLOYER, PAYEE, PAYER, Stage, mint

from .make_bundle import CHAIN_ID, Evidence

LOCK_MICRO = 500_000


class ChainEvidence(Evidence):
    """The same evidence with the chain's own addresses, blocks and times."""

    def __init__(self, stage: Stage, seconds: int = 3) -> None:
        super().__init__(records=1, record_s=1)
        self.stage = stage
        self.client = stage.another_client(0)
        deployment, node = stage.deployment, stage.node
        self.escrow, self.registry, self.anchor_log = deployment.escrow, deployment.registry, deployment.anchor_log
        self.operator, self.payer = Signer(node.key(DEPLOYER)), Signer(node.key(PAYER))
        self.anchorer = self.operator
        self.links, self.key_events = [], [self._enrol()]
        self._open()
        self.records = self.make_records(seconds)
        self.signed = self.make_frames(self.records, 1)
        while self.client.head().time_s <= self.records[-1][0].end_s:
            time.sleep(0.2)
        self.anchor_now(1)
        self._claim()

    def send(self, *calls: Call, by: int = DEPLOYER) -> tuple[int, bytes]:
        """Send calls and wait; the last one's block number and transaction."""
        mined = send(self.client, TransactionSigner(self.client, self.stage.node.key(by)), calls)[-1]
        return mined.block.number, mined.transaction

    def _time_of(self, number: int) -> int:
        block = self.client.block(number)
        assert block is not None
        return block.time_s

    def _enrol(self) -> KeyEvent:
        calls, deadline_s = self.stage.calls, int(time.time()) + 3_600
        binding = KeyBinding(self.device, int(KeyRole.METER), self.meter.address, deadline_s)
        signature = self.meter.sign(digest(control_domain(CHAIN_ID, self.registry), binding))
        self.send(
            calls.enrol_device(self.device, self.operator.address), calls.set_channel(self.device, self.channel, self.rated_watts, True)
        )  # fmt: skip
        number, transaction = self.send(calls.register_key(binding, signature))
        return KeyEvent(int(KeyRole.METER), bytes(20), self.meter.address, ZERO32, self._time_of(number), number, transaction)

    def _open(self) -> None:
        stage = self.stage
        mint(stage, LOCK_MICRO)
        self.send(stage.calls.approve(self.escrow, LOCK_MICRO), stage.calls.deposit(LOCK_MICRO), by=PAYER)
        self.start_s = int(time.time())
        self.terms = self.make_terms()._replace(payee=stage.address(PAYEE), latest_end_s=self.start_s + 86_400)
        order = Open(session_id(self.terms, CHAIN_ID, self.escrow), LOCK_MICRO, self.start_s + 3_600)
        signature = self.payer.sign(digest(money_domain(CHAIN_ID, self.escrow), order))
        number, _ = self.send(stage.calls.open_by_signature(self.terms, order, signature))
        self.start_s = self._time_of(number)

    def anchor_now(self, count: int) -> None:
        """Anchor the frames (again, if they are already) and `count` - 1 epochs of other devices' frames before."""
        for i in range(count):
            mine = i == count - 1
            root, paths = self.epoch([frame.digest for frame in self.signed] if mine else [])
            head = self.links[-1].head if self.links else ZERO32
            number, transaction = self.send(self.stage.calls.anchor(head, root))
            self.links.append(AnchorLink(self.anchorer.address, head, root, self._time_of(number), number, transaction))
            if mine:
                here = len(self.links) - 1
                self.frames = [BundledFrame(*frame, here, tuple(path)) for frame, path in zip(self.signed, paths, strict=True)]

    def _claim(self) -> None:
        bundle = self.bundle()
        assert bundle.charge is not None
        assert isinstance(bundle.charge.value, MeteredCharge)
        row = MeteredRow(bundle.charge.value, self.terms, bundle.charge.signatures[0])
        self.send(self.stage.calls.claim_metered(self.terms.payee, [row]))

    def bundle(self) -> Bundle:
        """The receipt promises what the chain kept, not what quarter-hours would."""
        made = super().bundle()
        return made._replace(session=made.session._replace(lock_micro=LOCK_MICRO))

    def anchor_extra(self) -> None:
        """One more epoch, without frames of this device."""
        head = self.links[-1].head
        assert evidence.anchor_link(self.links[-1].previous_head, self.links[-1].root, self.links[-1].time_s) == head
        root = self.bytes(32)
        number, transaction = self.send(self.stage.calls.anchor(head, root))
        self.links.append(AnchorLink(self.anchorer.address, head, root, self._time_of(number), number, transaction))
