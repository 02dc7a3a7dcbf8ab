"""A point on paper: keys, settings and state for the agent's pure rules, without lines or a service."""

from __future__ import annotations

import os
import time
from typing import Any

from meter_agent.config import Config
from meter_agent.state import State
from protocol.control import SupplyCommand
from protocol.eip712 import control_domain, digest, to_json
from protocol.keys import Signer
from tests.agent.desk import CHAIN_ID
from tests.agent.point import RATED_WATTS, Session

NOW = int(time.time())
"""The moment every pure test speaks of, however long the run already takes."""


class PaperDesk:
    """What `Session` asks of a desk."""

    def __init__(self) -> None:
        self.control, self.escrow, self.registry, self.number = Signer.create(), os.urandom(20), os.urandom(20), 0


class Paper:
    """One point: settings with limits, its meter key, and the charge key a grant may name."""

    def __init__(self, **limits: Any) -> None:
        self.desk = PaperDesk()
        self.device, self.meter = os.urandom(32), Signer.create()
        self.meter_key = self.meter.address
        self.charge = Signer.create()
        values = {"max_lock_micro": 10_000_000, "max_credit_micro": 500_000, "max_credit_milliwatt_hours": 1_000_000} | limits
        self.config = Config(
            device=self.device, channel=1, placement="paper", rated_watts=RATED_WATTS, meter="m", relay="r",
            service_url="http://127.0.0.1:1", service_key=os.urandom(20), control_key=self.desk.control.address, chain_id=CHAIN_ID,
            escrow=self.desk.escrow, registry=self.desk.registry, **values,
        )  # fmt: skip
        self.state = State(control_key=self.desk.control.address, enrolled_key=self.desk.control.address)

    def session(self, **changes: Any) -> Session:
        options = {"lock_micro": 1_000_000, "signer": self.charge.address, "opened_at_s": NOW} | changes
        return Session(self, **options)  # type: ignore[arg-type]

    def signed(self, command: SupplyCommand, signer: Signer | None = None) -> dict[str, Any]:
        """A command as the stream brings it."""
        signature = (signer or self.desk.control).sign(digest(control_domain(CHAIN_ID, self.desk.registry), command))
        return {**to_json(command), "signature": "0x" + signature.hex()}
