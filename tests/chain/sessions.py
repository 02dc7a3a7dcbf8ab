"""Sessions with all their signatures, as payer, agent and service make them."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from chain.calls import MeteredRow, PaidRow
from chain.oneshot import send
from chain.transactions import TransactionSigner
from protocol.eip712 import digest, money_domain
from protocol.keys import Signer
from protocol.money import MeteredCharge, Open, Payment, RequestClose, Terms, session_id

from .conftest import DEPLOYER, PAYEE, PAYER, Stage


class Session(NamedTuple):
    """Agreed terms and the keys that sign under them."""

    terms: Terms
    id: bytes
    payer: Signer
    key: Signer
    stage: Stage

    def _sign(self, signer: Signer, value: object) -> bytes:
        deployment = self.stage.deployment
        return signer.sign(digest(money_domain(deployment.chain_id, deployment.escrow), value))

    def open_order(self, lock_micro: int) -> tuple[Terms, Open, bytes]:
        order = Open(self.id, lock_micro, int(time.time()) + 3600)
        return self.terms, order, self._sign(self.payer, order)

    def close_order(self) -> tuple[Terms, RequestClose, bytes]:
        order = RequestClose(self.id, int(time.time()) + 3600)
        return self.terms, order, self._sign(self.payer, order)

    def paid(self, amount_micro: int) -> PaidRow:
        payment = Payment(self.id, amount_micro, os.urandom(32))
        return PaidRow(payment, self.terms, self._sign(self.key, payment))

    def metered(self, amount_micro: int, energy_milliwatt_hours: int, elapsed_s: int) -> MeteredRow:
        charge = MeteredCharge(self.id, amount_micro, energy_milliwatt_hours, elapsed_s, os.urandom(32))
        return MeteredRow(charge, self.terms, self._sign(self.key, charge))


def agree(stage: Stage, *, metered: bool = False) -> Session:
    """Fresh terms between the well-known payer and payee."""
    key = Signer.create()
    payer = stage.address(PAYER)
    terms = Terms(
        payer=payer, payee=stage.address(PAYEE), refund_to=payer, point_commitment=os.urandom(32), metered=metered,
        signer=key.address, tariff_hash=os.urandom(32), agreement_hash=os.urandom(32), max_micro_per_kwh=300_000,
        max_micro_per_hour=1_000_000, max_flat_micro=50_000, rated_watts=3_680,
        latest_end_s=int(time.time()) + 86_400, stop_grace_s=10, close_delay_s=60, close_delay_blocks=2, salt=os.urandom(32),
    )  # fmt: skip
    identity = session_id(terms, stage.deployment.chain_id, stage.deployment.escrow)
    return Session(terms, identity, Signer(stage.node.key(PAYER)), key, stage)


def fund(stage: Stage, amount_micro: int) -> None:
    """Mint for the payer and deposit it."""
    payer, calls = stage.address(PAYER), stage.calls
    with stage.another_client(0) as client:
        send(client, TransactionSigner(client, stage.node.key(DEPLOYER)), [calls.mint(os.urandom(32), payer, amount_micro)])
        signer = TransactionSigner(client, stage.node.key(PAYER))
        send(client, signer, [calls.approve(stage.deployment.escrow, amount_micro), calls.deposit(amount_micro)])
