"""The books: double entry, integers, immutable transfers.

Guaranteed: debits equal credits over all accounts, at all times; a transfer's id is a function of its cause, so the same cause moves money
once however often it is applied; posts against a reservation never exceed it; an account that must not be overdrawn never is. A
transfer that would break one of these raises `LedgerError`, and with it the whole transaction falls.

Kinds of transfer: `posted` moves at once; `pending` reserves; `post` moves part of a reservation; `void` gives the rest of it back, for
good. Source of the two-phase form: TigerBeetle's data model (here several posts may draw on one reservation, because use is metered bit by
bit). A reservation keeps the running sum of what was drawn on it; `assert_balanced` holds it against the posts and voids.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from protocol.hashing import keccak

from ..errors import LedgerError
from ..models import Account, Transfer

NONE = b""


class Kind(StrEnum):
    """Accounts. The reference says whose: a session, an address, or nothing for the one of its kind."""

    CUSTOMERS = "customers"  # everybody's money outside our sessions, as the escrow holds or held it
    LOCKED = "locked"  # a session's lock in the escrow, not yet claimed
    PAYEE = "payee"  # the payee's free balance in the escrow
    PAID_OUT = "paid-out"  # what left the escrow for the payee
    USE = "use"  # what a session used (debit) against what was claimed for it (credit)
    SALES = "sales"
    CLAIMED = "claimed"  # counterpart of claims in the use book
    WRITTEN_OFF = "written-off"  # tails
    # The installation's book of money over rails (operator 0): float + bank + claims + losses + fees = supply + pending + own + unmatched.
    FLOAT = "rail-float"  # what a provider holds for us (debit)
    BANK = "rail-bank"  # what it has paid out to the operator's bank account (debit)
    PENDING = "rail-pending"  # paid in and not minted yet, or burned and not paid back yet (credit); of a deposit or payout
    SUPPLY = "token-supply"  # tokens that stand (credit)
    CLAIM = "rail-claim"  # money that went back at the rail while the customer has the tokens: owed by the customer (debit); of a deposit
    CHARGE_BACK_LOSS = "charge-back-loss"  # claims that the provider has decided against us (debit)
    RAIL_FEES = "rail-fees"  # what the provider keeps (debit)
    OWN = "rail-own"  # the operator's own money in the provider's account, which covers fees and losses (credit)
    UNMATCHED = "rail-unmatched"  # moved at the rail, and we do not know for whom (credit)
    UNBACKED = "unbacked-tokens"  # minted or burned by nobody's payment here (debit)


CREDIT_ONLY = frozenset({Kind.LOCKED, Kind.PAYEE, Kind.PAID_OUT})
"""Credits can never fall below debits: the escrow cannot pay what it does not hold."""


class Move(NamedTuple):
    """One transfer to make. `pending_id` names the reservation of a post or void."""

    id: bytes
    kind: str
    debit: int
    credit: int
    amount_micro: int
    cause: str
    reference: bytes
    pending_id: bytes | None = None


def transfer_id(operator_id: int, cause: str, *parts: bytes | int) -> bytes:
    """The id of the transfer that `cause` makes: keccak over operator, cause and whatever identifies it, each with its length."""
    packed = [operator_id.to_bytes(8, "big"), cause.encode()]
    packed += [part if isinstance(part, bytes) else part.to_bytes(16, "big", signed=True) for part in parts]
    return keccak(b"".join(len(part).to_bytes(4, "big") + part for part in packed))


class Ledger:
    """One operator's books within one database transaction."""

    def __init__(self, db: Session, operator_id: int, at_s: int) -> None:
        self._db, self._operator, self._at_s = db, operator_id, at_s

    def account(self, kind: Kind, reference: bytes = NONE) -> int:
        """The id of an account, opened if it was not."""
        where = (Account.operator_id == self._operator, Account.kind == kind, Account.reference == reference)
        found = self._db.scalar(select(Account.id).where(*where))
        if found is None:
            try:
                with self._db.begin_nested():
                    row = Account(operator_id=self._operator, kind=kind, reference=reference)
                    self._db.add(row)
                return row.id
            except IntegrityError:  # another transaction opened it at the same moment
                found = self._db.scalar(select(Account.id).where(*where))
                if found is None:
                    raise
        return found

    def move(self, debit: int, credit: int, amount_micro: int, cause: str, reference: bytes, *parts: bytes | int) -> Move:
        """A transfer that moves at once."""
        return Move(transfer_id(self._operator, cause, reference, *parts), "posted", debit, credit, amount_micro, cause, reference)

    def reserve(self, debit: int, credit: int, amount_micro: int, cause: str, reference: bytes, *parts: bytes | int) -> Move:
        """A reservation."""
        return Move(transfer_id(self._operator, cause, reference, *parts), "pending", debit, credit, amount_micro, cause, reference)

    def apply(self, moves: Iterable[Move]) -> int:
        """Make transfers; those already made are left as they are. Returns how many were new. Raises `LedgerError`."""
        made, deltas = 0, dict[int, list[int]]()
        for move in moves:
            if move.amount_micro == 0 or self._is_made(move):
                continue
            if move.amount_micro < 0:
                raise LedgerError(f"{move.cause}: an amount cannot be negative ({move.amount_micro})", move.reference.hex())
            self._check_reservation(move)
            self._db.execute(insert(Transfer).values(
                id=move.id, operator_id=self._operator, kind=move.kind, debit_account_id=move.debit, credit_account_id=move.credit,
                amount_micro=move.amount_micro, pending_id=move.pending_id, cause=move.cause, reference=move.reference, at_s=self._at_s,
            ))  # fmt: skip
            posted, pending = {"posted": (1, 0), "pending": (0, 1), "post": (1, -1), "void": (0, -1)}[move.kind]
            for account, side in ((move.debit, 0), (move.credit, 1)):
                delta = deltas.setdefault(account, [0, 0, 0, 0])
                delta[side] += posted * move.amount_micro
                delta[2 + side] += pending * move.amount_micro
            made += 1
        for account in sorted(deltas):  # always in the same order, so that two transactions cannot wait for each other
            self._add(account, deltas[account])
        return made

    def draw(
        self, reference: bytes, debit: int, credit: int, amount_micro: int, cause: str, *parts: bytes | int, unreserved: str = "unreserved"
    ) -> list[Move]:  # fmt: skip
        """Posts of `amount_micro` against the open reservations of `reference`, oldest first; what they do not cover moves unreserved."""
        moves, left = [], amount_micro
        for pending_id, free in self.reservations(reference):
            part = min(free, left)
            if part > 0:
                new_id = transfer_id(self._operator, cause, reference, *parts, pending_id)
                moves.append(Move(new_id, "post", debit, credit, part, cause, reference, pending_id))
                left -= part
        if left > 0:
            moves.append(self.move(debit, credit, left, f"{cause}-{unreserved}", reference, *parts))
        return moves

    def void_all(self, reference: bytes, cause: str) -> list[Move]:
        """Voids of what is left of the reservations of `reference`."""
        moves = []
        for pending_id, free in self.reservations(reference):
            row = self._db.get_one(Transfer, pending_id)
            new_id = transfer_id(self._operator, cause, reference, pending_id)
            moves.append(Move(new_id, "void", row.debit_account_id, row.credit_account_id, free, cause, reference, pending_id))
        return moves

    def reservations(self, reference: bytes) -> list[tuple[bytes, int]]:
        """Open reservations of a session and what is left of each, oldest first."""
        pending = self._db.execute(
            select(Transfer.id, Transfer.amount_micro - Transfer.drawn_micro)
            .where(Transfer.operator_id == self._operator, Transfer.reference == reference, Transfer.kind == "pending")
            .order_by(Transfer.at_s, Transfer.id)
        ).all()
        return [(pending_id, free) for pending_id, free in pending if free > 0]

    def balance(self, kind: Kind, reference: bytes = NONE) -> int:
        """Credits minus debits, posted only."""
        row = self._db.execute(
            select(Account.credits_posted - Account.debits_posted)
            .where(Account.operator_id == self._operator, Account.kind == kind, Account.reference == reference)
        ).first()  # fmt: skip
        return 0 if row is None else int(row[0])

    def _is_made(self, move: Move) -> bool:
        row = self._db.execute(
            select(Transfer.kind, Transfer.debit_account_id, Transfer.credit_account_id, Transfer.amount_micro).where(
                Transfer.id == move.id
            )
        ).first()
        if row is None:
            return False
        if tuple(row) != (move.kind, move.debit, move.credit, move.amount_micro):
            raise LedgerError(f"{move.cause}: the same cause made another transfer before ({tuple(row)})", move.reference.hex())
        return True

    def _check_reservation(self, move: Move) -> None:
        if move.kind not in ("post", "void"):
            return
        if move.pending_id is None:
            raise LedgerError(f"{move.cause}: a {move.kind} names its reservation", move.reference.hex())
        row = self._db.get(Transfer, move.pending_id)
        if row is None or row.kind != "pending":
            raise LedgerError(f"{move.cause}: there is no such reservation", move.reference.hex())
        if (row.debit_account_id, row.credit_account_id) != (move.debit, move.credit):
            raise LedgerError(f"{move.cause}: the reservation is between other accounts", move.reference.hex())
        drawn = (
            update(Transfer).where(Transfer.id == row.id, Transfer.drawn_micro + move.amount_micro <= Transfer.amount_micro)
            .values(drawn_micro=Transfer.drawn_micro + move.amount_micro).returning(Transfer.id)
            .execution_options(synchronize_session=False)
        )  # fmt: skip
        if self._db.execute(drawn).first() is None:
            raise LedgerError(f"{move.cause}: {move.amount_micro} is more than is left of the reservation", move.reference.hex())

    def _add(self, account: int, delta: list[int]) -> None:
        row = self._db.execute(
            update(Account)
            .where(Account.id == account, Account.operator_id == self._operator)
            .values(
                debits_posted=Account.debits_posted + delta[0], credits_posted=Account.credits_posted + delta[1],
                debits_pending=Account.debits_pending + delta[2], credits_pending=Account.credits_pending + delta[3],
            )
            .returning(Account.kind, Account.debits_posted, Account.credits_posted, Account.reference)
            .execution_options(synchronize_session=False)
        ).first()  # fmt: skip
        if row is None:
            raise LedgerError(f"account {account} is not this operator's", str(account))
        if row.kind in CREDIT_ONLY and row.debits_posted > row.credits_posted:
            raise LedgerError(f"{row.kind} {row.reference.hex()} would be overdrawn by {row.debits_posted - row.credits_posted}", row.kind)


def trial_balance(db: Session, operator_id: int | None = None) -> dict[str, int]:
    """Sums over all accounts (of one operator), and over all transfers: what must agree. See `assert_balanced`."""
    accounts = select(
        func.coalesce(func.sum(Account.debits_posted), 0), func.coalesce(func.sum(Account.credits_posted), 0),
        func.coalesce(func.sum(Account.debits_pending), 0), func.coalesce(func.sum(Account.credits_pending), 0),
    )  # fmt: skip
    moved = select(func.coalesce(func.sum(Transfer.amount_micro), 0)).where(Transfer.kind.in_(("posted", "post")))
    if operator_id is not None:
        accounts, moved = accounts.where(Account.operator_id == operator_id), moved.where(Transfer.operator_id == operator_id)
    debits, credits_, debits_pending, credits_pending = db.execute(accounts).one()
    return {
        "debits": int(debits), "credits": int(credits_), "debitsPending": int(debits_pending), "creditsPending": int(credits_pending),
        "moved": int(db.scalar(moved) or 0),
    }  # fmt: skip


def assert_balanced(db: Session) -> None:
    """Raise `LedgerError` unless debits = credits = the sum of what moved, and pending agrees too."""
    over = aliased(Transfer)
    drawn = select(func.coalesce(func.sum(over.amount_micro), 0)).where(over.pending_id == Transfer.id).scalar_subquery()
    wrong = db.scalar(select(Transfer.id).where(Transfer.kind == "pending", Transfer.drawn_micro != drawn).limit(1))
    if wrong is not None:
        raise LedgerError(f"reservation {wrong.hex()} says another amount is drawn than its posts and voids come to", "transfers")
    sums = trial_balance(db)
    if not sums["debits"] == sums["credits"] == sums["moved"] or sums["debitsPending"] != sums["creditsPending"]:
        raise LedgerError(f"the books do not balance: {sums}", "accounts")
