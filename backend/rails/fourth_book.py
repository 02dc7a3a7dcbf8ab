"""The fourth book: supply of the token = the providers' float − what is pending.

*Float* is what the providers say they hold, and what they have paid out to the operator's bank account. *Pending* is what of it no token
stands for: paid in and not minted, burned and not paid back, unmatched, and the operator's own money beyond what it covers. Where fees,
charge-backs and claims are not covered by own money, tokens stand without money: *short*, by name and amount.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy.orm import Session

from ..context import Service
from ..money.ledger import Kind
from .rounds import last_reading, total


class FourthBook(NamedTuple):
    """The book at one moment, micro-units. `supply + short = float − pending`, but for `unbacked` tokens and unexplained differences."""

    supply_micro: int
    float_micro: int
    bank_micro: int
    pending_micro: int
    own_micro: int
    unmatched_micro: int
    claims_micro: int
    losses_micro: int
    fees_micro: int
    unbacked_micro: int
    unexplained: tuple[tuple[str, int], ...]  # rail and by how much the provider's balance differs from our book of it

    @property
    def short_micro(self) -> int:
        """Fees, claims and losses that no own money covers."""
        return max(0, self.claims_micro + self.losses_micro + self.fees_micro - self.own_micro)

    @property
    def expected_supply_micro(self) -> int:
        """Float less pending, plus what is known to be short."""
        spare = max(0, self.own_micro - self.claims_micro - self.losses_micro - self.fees_micro)
        pending = self.pending_micro + self.unmatched_micro + spare
        return self.float_micro + self.bank_micro - pending + self.short_micro


def read(db: Session, service: Service) -> FourthBook:
    """The book as the database has it; the float as the providers last said it."""
    readings = {name: last_reading(db, name) for name in service.rails}
    unexplained = {name: 0 if said is None else int(said["differenceMicro"]) for name, said in readings.items()}
    return FourthBook(
        supply_micro=total(db, Kind.SUPPLY), float_micro=-total(db, Kind.FLOAT) + sum(unexplained.values()),
        bank_micro=-total(db, Kind.BANK),
        pending_micro=total(db, Kind.PENDING), own_micro=total(db, Kind.OWN), unmatched_micro=total(db, Kind.UNMATCHED),
        claims_micro=-total(db, Kind.CLAIM), losses_micro=-total(db, Kind.CHARGE_BACK_LOSS), fees_micro=-total(db, Kind.RAIL_FEES),
        unbacked_micro=-total(db, Kind.UNBACKED), unexplained=tuple((name, by) for name, by in unexplained.items() if by),
    )  # fmt: skip


def differences(book: FourthBook, chain_supply_micro: int) -> list[tuple[str, str, str]]:
    """(name, place, detail) of whatever does not agree."""
    found = [("rail-balance", f"rail {name}", f"the provider holds {by} micro more than the books say") for name, by in book.unexplained]
    if chain_supply_micro != book.supply_micro:
        detail = f"the token's supply is {chain_supply_micro}, the books say {book.supply_micro}"
        found.append(("token-supply", "token", detail))
    if chain_supply_micro != book.expected_supply_micro:
        detail = (
            f"supply {chain_supply_micro}; the providers' float less what is pending stands for {book.expected_supply_micro}; "
            f"minted or burned without a payment here: {book.unbacked_micro}"
        )
        found.append(("token-float", "token", detail))
    if book.short_micro:
        detail = (
            f"tokens of {book.short_micro} micro stand without money: claims on customers {book.claims_micro}, charge-backs lost "
            f"{book.losses_micro}, the provider's fees {book.fees_micro}, covered by own money {book.own_micro}; pay own money in"
        )
        found.append(("float-short", "float", detail))
    return found
