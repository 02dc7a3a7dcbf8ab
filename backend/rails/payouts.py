"""Money out: a signed `Withdraw` to the till, burned, and given back over the charges it came by.

Guaranteed: nothing goes back at the rail before the tokens are burned in a final block; never more over a charge than came in over it; a
refund carries a name, so asking again asks for the same one. What has no rail to go back over is refused with words, before anything moves.
"""

from __future__ import annotations

from functools import partial

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chain.client import ChainClient
from chain.errors import ChainError, Reverted, Unreachable
from protocol.eip712 import digest
from protocol.hashing import keccak
from protocol.money import Withdraw

from ..context import Service
from ..errors import BadRequest, Conflict, TooMany
from ..hexes import to_hex
from ..models import HOUSE, Deposit, Payout, PayoutPart
from ..onchain.outbox import Writing, intend, intents_of
from ..people.alarms import AlarmKind, clear_alarm, raise_alarm
from ..providers.accounts import RailAccount
from ..providers.rail import RailRefused
from ..wallets.door import check_account
from .guards import HELD, Guard, held_last
from .rows import Out, divide, get_deposit, get_payout, parts_of, payouts_in, step

log = structlog.get_logger()
MAX_REQUESTED = 16
"""Payouts of one account that the chain was not asked about yet. Each carries the account's own word, so only the account fills this."""
LEAST_VALID_S = 60
"""A withdrawal that runs out sooner might reach the chain too late."""


def request(service: Service, account: RailAccount, writing: Writing, order: Withdraw, signature: bytes) -> bytes:
    """Take a signed withdrawal; its id. The same again is the one that stands. Raises `BadRequest`, `Conflict`, `TooMany`, `Unavailable`.

    Whose word it is, is asked before it takes a place, and outside of transactions: the chain may take seconds to answer.
    """
    payout_id = keccak(digest(service.money, order) + signature)
    with service.db.reading() as db:
        if db.get(Payout, payout_id) is not None:
            return payout_id
        _check(db, service, account, order)
    check_account(service, order.account, order, signature)
    with writing() as db:
        if db.get(Payout, payout_id) is None:
            _check(db, service, account, order)
            _add(db, service, account, order, signature, payout_id)
    return payout_id


def _check(db: Session, service: Service, account: RailAccount, order: Withdraw) -> None:
    if order.to != service.till.address:
        raise BadRequest(f"goes to the till {to_hex(service.till.address)}, which burns it", "withdraw.to")
    account.minor(order.amount_micro, "withdraw.amountMicro")
    if order.deadline_s < service.now_s() + LEAST_VALID_S:
        raise BadRequest(f"runs out within {LEAST_VALID_S} s; sign one that stands longer", "withdraw.deadlineS")
    _check_divides(db, order.account, account.name, order.amount_micro)


def _add(db: Session, service: Service, account: RailAccount, order: Withdraw, signature: bytes, payout_id: bytes) -> None:
    waiting = select(func.count()).where(Payout.account == order.account, Payout.state == Out.REQUESTED)
    if (db.scalar(waiting) or 0) >= MAX_REQUESTED:
        raise TooMany("payouts of this account wait to be looked at; try again later", "payouts")
    db.add(Payout(
        id=payout_id, operator_id=HOUSE, rail=account.name, account=order.account, amount_micro=order.amount_micro, nonce=order.nonce,
        deadline_s=order.deadline_s, signature=signature, state=Out.REQUESTED, why="the chain is being asked", created_at_s=service.now_s(),
    ))  # fmt: skip
    service.after_commit(db, lambda: service.hub.wake_loop("rails"))


def _check_divides(db: Session, owner: bytes, rail: str, amount_micro: int) -> None:
    shares = divide(db, owner, rail, amount_micro)
    if isinstance(shares, int):
        raise Conflict(
            f"only {shares} micro-units that this account paid in over {rail} can go back that way: money goes back to where it came from, "
            "never more than came, and not while it is disputed. The rest can be withdrawn to another address", "withdraw.amountMicro",
        )  # fmt: skip


def order_of(row: Payout, till: bytes) -> Withdraw:
    return Withdraw(row.account, till, row.amount_micro, row.nonce, row.deadline_s)


def start_due(service: Service, client: ChainClient, writing: Writing) -> None:
    """Ask the chain whether each requested withdrawal stands; set its charges aside and send it, or refuse it with words.

    One about which the node cannot say holds up itself only. Raises the first such failure, when all others are done.
    """
    with service.db.reading() as db:
        requested = payouts_in(db, Out.REQUESTED)
    failed: ChainError | None = None
    for each in requested:
        call = service.calls.withdraw_by_signature(order_of(each, service.till.address), each.signature)
        refusal = problem = ""
        try:
            client.call(call.to, call.data, sender=service.keys.sender.address)
        except Reverted as error:
            refusal = str(error)
        except Unreachable:
            raise
        except ChainError as error:  # for this call: an account with code may do what the node will not run to its end
            problem = f"{HELD}{error}"[:300]
            if service.now_s() > each.deadline_s:
                refusal = problem
            failed = failed or error
        with writing() as db:
            row = get_payout(db, each.id, lock=True)
            if row.state != Out.REQUESTED:
                continue
            if problem and not refusal:
                row.why = problem
                continue
            shares = divide(db, row.account, row.rail, row.amount_micro, lock=True)
            if refusal or isinstance(shares, int):
                step(row, Out.REFUSED, refusal or "the charges it would go back over were used by another payout or disputed")
                continue
            set_aside(db, row, shares)
            step(row, Out.WITHDRAWING)
            intend(db, service, HOUSE, call, kind="payout-withdraw", cause=(row.id,), reference=row.id)
    if failed is not None:
        raise failed


def part_name(payout_id: bytes, deposit_id: bytes, tries: int) -> bytes:
    """What a refund is called at the rail: another try is another refund."""
    return keccak(payout_id + deposit_id + tries.to_bytes(4, "big"))


def refused_steps(service: Service, writing: Writing) -> None:
    """A withdrawal the chain refused after all: nothing has moved, and its charges are free again. A refused burning is wanted anew."""
    with service.db.reading() as db:
        rows = [(row.id, Out(row.state)) for row in payouts_in(db, Out.WITHDRAWING, Out.BURNING)]
    for payout_id, state in rows:
        with writing() as db:
            row = get_payout(db, payout_id, lock=True)
            intents = intents_of(db, payout_id, "payout-withdraw" if state == Out.WITHDRAWING else "burn")
            if row.state != state or not intents or intents[-1].state not in ("refused", "reverted"):
                continue
            if state == Out.BURNING:
                burn(db, service, row, len(intents))
            elif intents[-1].reason_name != "NonceRefused" or _is_used_by_another(service, row):
                step(row, Out.REFUSED, intents[-1].reason or "the chain refused the withdrawal")
                for part in parts_of(db, payout_id):
                    part.state = "void"


def set_aside_again(db: Session, row: Payout) -> bool:
    """Its money came to the till: are its charges set aside? One that was refused, and relayed by somebody after all, takes them anew."""
    if row.state != Out.REFUSED:
        return True
    shares = divide(db, row.account, row.rail, row.amount_micro, lock=True)
    if isinstance(shares, int):
        return False
    for part in parts_of(db, row.id):
        db.delete(part)
    db.flush()
    set_aside(db, row, shares)
    return True


def set_aside(db: Session, row: Payout, shares: list[tuple[Deposit, int]]) -> None:
    for deposit, amount in shares:
        name = part_name(row.id, deposit.id, 0)
        db.add(PayoutPart(
            operator_id=HOUSE, payout_id=row.id, deposit_id=deposit.id, amount_micro=amount, state="waiting", tries=0, name=name
        ))  # fmt: skip
    db.flush()


def _is_used_by_another(service: Service, row: Payout) -> bool:
    """Whether to give up a withdrawal whose nonce is used: if somebody relayed this very one, its event comes within the time it stands."""
    return service.now_s() > row.deadline_s


def burn(db: Session, service: Service, row: Payout, tries: int = 0) -> None:
    """Burn what the till was given for this payout."""
    till = service.till.address
    call = service.calls.pay_out(row.id, row.amount_micro)
    intend(db, service, HOUSE, call, kind="burn", cause=(row.id, tries), reference=row.id, sender=till)


def refund_due(service: Service, writing: Writing) -> None:
    """Ask the rail for each part of what is burned. Killed after asking, the next round asks for the same refund by the same name.

    A part that the rail does not answer for holds up itself only. Raises the first such failure, when all others are done.
    """
    with service.db.reading() as db:
        wanted = [
            (row, part, get_deposit(db, part.deposit_id).charge_id or "")
            for row in payouts_in(db, Out.REFUNDING, Out.FAILED) if row.rail in service.rails
            for part in parts_of(db, row.id) if part.state == "waiting"
        ]  # fmt: skip
    guard = Guard()
    for row, part, charge_id in held_last(wanted, lambda each: each[1].why):
        if not guard.is_away(row.rail):
            with guard.asking(row.rail, partial(_hold, service, writing, part)):
                _refund(service, service.rails[row.rail], writing, part, charge_id)
    guard.report()


def _refund(service: Service, account: RailAccount, writing: Writing, part: PayoutPart, charge_id: str) -> None:
    refund_id, refusal = None, ""
    try:
        refund_id = account.rail.refund(charge_id, account.minor(part.amount_micro, "amount"), part.name)
    except RailRefused as error:
        refusal = str(error)
    with writing() as db:
        row = get_payout(db, part.payout_id, lock=True)
        now = db.get_one(PayoutPart, (part.payout_id, part.deposit_id))
        if refusal:
            part_failed(db, service, row, now, refusal)
        elif now.state == "waiting":
            now.state, now.refund_id, now.why = "asked", refund_id, ""
            if row.why.startswith(HELD):
                row.why = ""


def _hold(service: Service, writing: Writing, part: PayoutPart, why: str) -> None:
    """Say what holds up this part, and with it its payout."""
    if part.why == why:
        return
    log.warning("payout held up", payout=to_hex(part.payout_id), why=why)
    with writing() as db:
        now = db.get_one(PayoutPart, (part.payout_id, part.deposit_id))
        row = get_payout(db, part.payout_id, lock=True)
        if now.state == "waiting":
            now.why = why
            if row.state == Out.REFUNDING:
                row.why = why


def part_done(db: Session, service: Service, row: Payout, part: PayoutPart) -> None:
    """Its money has left the provider."""
    part.state = "done"
    db.flush()
    if row.state == Out.REFUNDING and all(each.state == "done" for each in parts_of(db, row.id)):
        step(row, Out.DONE)
        row.done_at_s = service.now_s()
        clear_alarm(db, service, HOUSE, AlarmKind.PAYOUT_FAILED, f"payout {to_hex(row.id)}")


def part_failed(db: Session, service: Service, row: Payout, part: PayoutPart, why: str) -> None:
    """The rail would not, or it came back: the money is burned and with the provider, and somebody must look."""
    part.state, part.why = "failed", why[:300]
    if row.state in (Out.REFUNDING, Out.DONE):
        step(row, Out.FAILED, why)
    row.why = why[:300]
    raise_alarm(db, service, HOUSE, AlarmKind.PAYOUT_FAILED, f"payout {to_hex(row.id)}", f"{part.amount_micro} micro: {why}")


def retry(db: Session, service: Service, payout_id: bytes) -> Payout:
    """Ask the rail anew for the parts that failed. By a person who has looked. Raises `Conflict`."""
    row = get_payout(db, payout_id, lock=True)
    if row.state != Out.FAILED:
        raise Conflict(f"is {row.state}: only a failed payout is tried again", "payout")
    for part in parts_of(db, payout_id):
        if part.state == "failed":
            part.state, part.tries, part.why = "waiting", part.tries + 1, ""
            part.name = part_name(payout_id, part.deposit_id, part.tries)
    step(row, Out.REFUNDING)
    service.after_commit(db, lambda: service.hub.wake_loop("rails"))
    return row
