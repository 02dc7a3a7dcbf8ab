"""What the service wants of a payment provider: five calls, in the provider's own minor units. See `stripe` for the one that is built.

Every call ends within its time-out and raises `RailAway` (later perhaps) or `RailRefused` (not this way), nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from protocol.hashing import keccak

from ..errors import BadRequest, ServiceError


class RailAway(ServiceError):
    """The provider does not answer, or answers that it cannot now."""

    status, code, title, transient = 503, "rail-away", "The payment provider does not answer", True


class RailRefused(ServiceError):
    """The provider says no. `reason` is its own code."""

    status, code, title = 409, "rail-refused", "The payment provider refuses this"

    def __init__(self, detail: str, reason: str) -> None:
        super().__init__(detail, "rail")
        self.reason = reason


class MovementKind(StrEnum):
    """Why the provider's balance moved."""

    CHARGE = "charge"
    REFUND = "refund"
    REFUND_FAILURE = "refund-failure"  # a refund that came back
    DISPUTE = "dispute"  # a charge-back took money
    DISPUTE_REVERSAL = "dispute-reversal"  # a charge-back was won: it is back
    PAYOUT = "payout"  # to the operator's bank account, where it still covers tokens
    TOP_UP = "top-up"  # the operator's own money
    OTHER = "other"  # fees billed apart, corrections


class Payment(NamedTuple):
    """A payment that was made ready: where the payer pays, and until when."""

    payment_id: str
    pay_url: str
    expires_at_s: int


class PaymentState(NamedTuple):
    """How a payment stands at the rail. Minor units; `dispute` is "", "open", "won" or "lost"."""

    paid: bool
    expired: bool
    charge_id: str | None
    amount_minor: int
    refunded_minor: int
    dispute: str


class Movement(NamedTuple):
    """One movement of the balance. `amount_minor` is signed, before `fee_minor`; `deposit` and `part` are the names we gave, if any."""

    movement_id: str
    kind: MovementKind
    amount_minor: int
    fee_minor: int
    charge_id: str | None
    deposit: bytes | None
    part: bytes | None
    moved_at_s: int


class Rail(Protocol):
    """One provider's account."""

    def create_payment(self, deposit: bytes, amount_minor: int) -> Payment:
        """Make a payment ready. The same deposit again gives the same payment."""

    def read_payment(self, payment_id: str) -> PaymentState:
        """The truth about a payment."""

    def refund(self, charge_id: str, amount_minor: int, part: bytes) -> str:
        """Give back over a charge; `part` names it, and the same part again is the same refund. Returns the rail's id of it."""

    def balance(self) -> int:
        """All the provider holds for us, settled or not, minor units."""

    def movements(self, since_s: int) -> Sequence[Movement]:
        """All movements from then on, the oldest first."""


def minor_of(amount_micro: int, minor_unit_micro: int, where: str) -> int:
    """Micro-units as the rail's minor units, exactly. Raises `BadRequest` where it does not divide."""
    minor, rest = divmod(amount_micro, minor_unit_micro)
    if rest:
        raise BadRequest(
            f"{amount_micro} micro-units are no whole number of the payment provider's smallest unit ({minor_unit_micro} micro-units); "
            f"take {minor * minor_unit_micro} or {(minor + 1) * minor_unit_micro}", where,
        )  # fmt: skip
    return minor


def receipt_of(rail: str, charge_id: str) -> bytes:
    """The receipt id that the token takes once: keccak(rail ‖ 0x00 ‖ charge id)."""
    return keccak(rail.encode() + b"\x00" + charge_id.encode())


def rail_reference(rail: str) -> bytes:
    """What the books call a rail."""
    return keccak(b"rail\x00" + rail.encode())
