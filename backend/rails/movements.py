"""The provider's balance into the books: each movement once, whatever told us of it and however often.

Guaranteed: what a movement does depends on the movement and on what was decided before (was this charge minted?), never on which webhook
came first; a movement that nobody here caused is in the books too, under *unmatched*, with an alarm.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..context import Service
from ..hexes import to_hex
from ..models import HOUSE, Deposit, PayoutPart, RailMovement
from ..money.ledger import Kind, Ledger, Move
from ..people.alarms import AlarmKind, clear_alarm, raise_alarm
from ..providers.accounts import RailAccount
from ..providers.rail import Movement, MovementKind, receipt_of
from . import payouts
from .rows import In, get_deposit, get_payout, step

OVERLAP_S = 3_600
"""How far behind the newest known movement reading starts again: they may become visible out of order. Known ones change nothing."""


def since_s(db: Session, rail: str) -> int:
    newest = db.scalar(select(func.max(RailMovement.moved_at_s)).where(RailMovement.rail == rail))
    return max(0, int(newest or 0) - OVERLAP_S)


def apply(db: Session, service: Service, account: RailAccount, movement: Movement) -> bool:
    """Put one movement into the books. False if it was there."""
    if db.get(RailMovement, (account.name, movement.movement_id)) is not None:
        return False
    book = _Book(db, service, account, movement)
    book.post()
    db.add(RailMovement(
        operator_id=HOUSE, rail=account.name, movement_id=movement.movement_id, kind=movement.kind,
        amount_micro=account.micro(movement.amount_minor), fee_micro=account.micro(movement.fee_minor),
        deposit_id=None if book.deposit is None else book.deposit.id, moved_at_s=movement.moved_at_s,
    ))  # fmt: skip
    return True


class _Book:
    """One movement's transfers. A positive part comes into the float, a negative one leaves it."""

    def __init__(self, db: Session, service: Service, account: RailAccount, movement: Movement) -> None:
        self.db, self.service, self.account, self.movement = db, service, account, movement
        self.ledger = Ledger(db, HOUSE, service.now_s())
        self.amount = account.micro(movement.amount_minor)
        self.deposit = self._find_deposit()
        self.moves: list[Move] = []

    def post(self) -> None:
        kinds: dict[MovementKind, Callable[[], None]] = {
            MovementKind.CHARGE: self._charge, MovementKind.REFUND: self._refund, MovementKind.REFUND_FAILURE: self._refund_failure,
            MovementKind.DISPUTE: self._dispute, MovementKind.DISPUTE_REVERSAL: self._dispute_reversal,
            MovementKind.PAYOUT: lambda: self._float(Kind.BANK, self.account.reference, self.amount),
            MovementKind.TOP_UP: lambda: self._float(Kind.OWN, self.account.reference, self.amount),
            MovementKind.OTHER: lambda: self._float(Kind.RAIL_FEES, self.account.reference, self.amount),
        }  # fmt: skip
        kinds[self.movement.kind]()
        self._float(Kind.RAIL_FEES, self.account.reference, -self.account.micro(self.movement.fee_minor), "rail-fee")
        self.ledger.apply(self.moves)

    def _find_deposit(self) -> Deposit | None:
        rail = Deposit.rail == self.account.name
        wanted = Deposit.id == self.movement.deposit if self.movement.kind == MovementKind.CHARGE else (
            Deposit.charge_id == self.movement.charge_id
        )  # fmt: skip
        found = self.db.scalar(select(Deposit.id).where(rail, wanted))
        return None if found is None else get_deposit(self.db, found, lock=True)

    def _float(self, kind: Kind, reference: bytes, amount: int, cause: str = "") -> None:
        """Between the float and another account: positive comes in."""
        held, other = self.ledger.account(Kind.FLOAT, self.account.reference), self.ledger.account(kind, reference)
        debit, credit = (held, other) if amount > 0 else (other, held)
        name, said = cause or f"rail-{self.movement.kind}", (self.movement.movement_id.encode(), kind.encode())
        self.moves.append(self.ledger.move(debit, credit, abs(amount), name, self.account.reference, *said))

    def _unmatched(self, amount: int, why: str) -> None:
        self._float(Kind.UNMATCHED, self.account.reference, amount)
        place = f"rail {self.account.name}: {self.movement.movement_id}"
        raise_alarm(self.db, self.service, HOUSE, AlarmKind.RAIL_UNMATCHED, place, f"{amount} micro: {why}")

    def _charge(self) -> None:
        deposit, charge = self.deposit, self.movement.charge_id
        if deposit is None or charge is None or deposit.charge_id not in (None, charge):
            self._unmatched(self.amount, "a payment that belongs to no deposit here; give it back at the provider")
            return
        deposit.charge_id, deposit.receipt_id = charge, receipt_of(self.account.name, charge)
        deposit.paid_micro, deposit.paid_at_s = self.amount, self.movement.moved_at_s
        step(deposit, In.PAID)
        self._float(Kind.PENDING, deposit.id, self.amount)

    def _refund(self) -> None:
        size, part = -self.amount, self._part()
        if self.deposit is not None:
            self.deposit.refunded_micro += size
        if part is not None:
            self._float(Kind.PENDING, part.payout_id, -size)
            payouts.part_done(self.db, self.service, get_payout(self.db, part.payout_id, lock=True), part)
            return
        if self._take(size, "refunded at the provider"):
            detail = f"{size} micro were refunded at the provider after they were minted: the customer has money and tokens"
            raise_alarm(self.db, self.service, HOUSE, AlarmKind.RAIL_CLAIM, self._place(), detail)

    def _dispute(self) -> None:
        size = -self.amount
        if self.deposit is not None:
            self.deposit.disputed_micro += size
            self.deposit.dispute, self.deposit.look_again = "open", True
            minted = self._take(size, "charged back")
            detail = f"{size} micro were charged back; " + ("they are minted: a claim on the customer" if minted else "nothing was minted")
            raise_alarm(self.db, self.service, HOUSE, AlarmKind.CHARGE_BACK, self._place(), detail)
            return
        self._take(size, "charged back")

    def _dispute_reversal(self) -> None:
        if self.deposit is not None:
            self.deposit.disputed_micro -= min(self.deposit.disputed_micro, self.amount)
            self.deposit.look_again = True
        self._give_back("a charge-back that was won")

    def _refund_failure(self) -> None:
        part = self._part()
        if self.deposit is not None:
            self.deposit.refunded_micro -= min(self.deposit.refunded_micro, self.amount)
        if part is None:
            self._give_back("a refund that came back")
            return
        self._float(Kind.PENDING, part.payout_id, self.amount)
        payout = get_payout(self.db, part.payout_id, lock=True)
        payouts.part_failed(self.db, self.service, payout, part, "the refund came back from the customer's bank")

    def _take(self, size: int, why: str) -> bool:
        """Money leaves over a charge: out of what is pending while nothing is minted, else a claim on the customer. True: a claim."""
        deposit = self.deposit
        if deposit is None:
            self._unmatched(-size, f"{why}, over a charge of no deposit here")
            return False
        free = self.ledger.balance(Kind.PENDING, deposit.id) if deposit.mint_micro is None else 0
        part = min(max(free, 0), size)
        if part:
            self._float(Kind.PENDING, deposit.id, -part)
            if part == free and deposit.state == In.PAID:
                step(deposit, In.RETURNED, why)
        if size > part:
            self._float(Kind.CLAIM, deposit.id, part - size)
        return size > part

    def _give_back(self, why: str) -> None:
        """Money comes back over a charge: first off the claim, then it is pending again where nothing was minted."""
        deposit = self.deposit
        if deposit is None:
            self._unmatched(self.amount, f"{why}, over a charge of no deposit here")
            return
        claim = min(max(-self.ledger.balance(Kind.CLAIM, deposit.id), 0), self.amount)
        if claim:
            self._float(Kind.CLAIM, deposit.id, claim)
        left = self.amount - claim
        if left and deposit.mint_micro is None:
            self._float(Kind.PENDING, deposit.id, left)
            if deposit.state == In.RETURNED:
                step(deposit, In.PAID, why)
        elif left:
            self._unmatched(left, f"{why}, more than was claimed: owed to {to_hex(deposit.account)}")
        if claim and not left:
            clear_alarm(self.db, self.service, HOUSE, AlarmKind.CHARGE_BACK, self._place())

    def _part(self) -> PayoutPart | None:
        if self.movement.part is None:
            return None
        return self.db.scalar(select(PayoutPart).where(PayoutPart.name == self.movement.part))

    def _place(self) -> str:
        return f"deposit {to_hex(self.deposit.id)}" if self.deposit is not None else f"rail {self.account.name}"


def lost(db: Session, service: Service, account: RailAccount, deposit: Deposit) -> None:
    """The provider decided a charge-back against us: the claim becomes a loss, which the operator's own money must cover."""
    ledger = Ledger(db, HOUSE, service.now_s())
    size = min(-ledger.balance(Kind.CLAIM, deposit.id), deposit.disputed_micro)
    if size > 0:
        loss, claim = ledger.account(Kind.CHARGE_BACK_LOSS, account.reference), ledger.account(Kind.CLAIM, deposit.id)
        ledger.apply([ledger.move(loss, claim, size, "charge-back-lost", account.reference, deposit.id)])
