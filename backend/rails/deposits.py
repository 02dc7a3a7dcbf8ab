"""Money in: a payment at the rail, minted once against its receipt, then into the free balance of the account.

Each step is written with the outbox intent it causes, and follows only from what is final: rail movement → mint → `Minted` → depositFor →
`Deposited`. Killed between any two, the next round goes on from the row; nothing is done twice because a receipt, an intent's cause and
an event each count once.
"""

from __future__ import annotations

import os
from functools import partial
from typing import NamedTuple

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chain.client import ChainClient, MintLimit
from protocol.hashing import keccak

from ..context import Service
from ..errors import BadRequest
from ..hexes import to_hex
from ..models import HOUSE, Deposit
from ..money.ledger import Kind, Ledger
from ..onchain.outbox import Writing, intend, intents_of
from ..people.alarms import AlarmKind, clear_alarm, open_alarm, raise_alarm
from ..providers.accounts import RailAccount
from ..providers.rail import PaymentState, RailRefused
from . import movements
from .guards import HELD, Guard, held_last
from .rows import In, deposits_in, get_deposit, step

log = structlog.get_logger()
MAX_UNPAID = 10_000
"""Payments made ready and not paid, of all callers: anybody may ask for one, and each is a row here and an object at the provider, for a
day. Beyond that the oldest makes room: whoever asks for many closes the door to nobody, and what is paid late still counts."""
DAY_S = 86_400
ALL = 2**256 - 1
"""An allowance that does not run down: what the till holds may go to the escrow, which takes it only from its caller."""
RETRY_S = 60
CROWDED_OUT = "nobody had paid when newer payments needed the room; if it is paid after all, it counts"
DISPUTED = "dispute-open: the payer's bank wants it back; it waits for the decision"


def request(db: Session, service: Service, account: RailAccount, owner: bytes, amount_micro: int, key: str | None = None) -> Deposit:
    """A new deposit, not known to the rail yet; or the one that this key asked for before. Raises `BadRequest`."""
    wish = f"deposit\n{key}\n{account.name}\n{owner.hex()}\n{amount_micro}".encode()
    deposit_id = os.urandom(32) if key is None else bytes.fromhex(service.access_token(keccak(wish)))  # not to be guessed from the key
    found = db.get(Deposit, deposit_id)
    if found is not None:
        return found
    account.minor(amount_micro, "amountMicro")
    least, most = account.settings.least_deposit_micro, account.settings.most_deposit_micro
    if not least <= amount_micro <= most:
        raise BadRequest(f"over this rail come {least} to {most} micro-units at once", "amountMicro")
    if owner in (bytes(20), service.till.address, service.deployment.escrow, service.deployment.token):
        raise BadRequest("is no account that can hold money for anybody", "account")
    _make_room(db)
    row = Deposit(
        id=deposit_id, operator_id=HOUSE, rail=account.name, account=owner, amount_micro=amount_micro, state=In.CREATING,
        why="the payment provider is being asked", paid_micro=0, refunded_micro=0, disputed_micro=0, dispute="", tries=0, look_again=False,
        created_at_s=service.now_s(),
    )  # fmt: skip
    db.add(row)
    db.flush()
    return row


def _make_room(db: Session) -> None:
    """End the oldest that nobody paid, first of those that could be paid: one the provider was not asked for yet was just asked for."""
    for state in (In.AWAITING, In.CREATING):
        unpaid = db.scalar(select(func.count()).where(Deposit.state.in_((In.CREATING, In.AWAITING)))) or 0
        if unpaid < MAX_UNPAID:
            return
        oldest = select(Deposit).where(Deposit.state == state).order_by(Deposit.created_at_s, Deposit.id)
        for row in db.scalars(oldest.limit(unpaid - MAX_UNPAID + 1).with_for_update()):
            step(row, In.EXPIRED, CROWDED_OUT)
        db.flush()


def create(service: Service, account: RailAccount, writing: Writing, deposit_id: bytes) -> None:
    """Ask the rail for the payment and keep where it is paid. The rail is asked outside any transaction, and answers the same again."""
    with service.db.reading() as db:
        row = get_deposit(db, deposit_id)
    if row.state != In.CREATING:
        return
    try:
        made = account.rail.create_payment(row.id, account.minor(row.amount_micro, "amountMicro"))
    except (RailRefused, BadRequest) as error:  # the latter: the settings changed since it was asked for
        with writing() as db:
            row = get_deposit(db, deposit_id, lock=True)
            if row.state == In.CREATING:
                step(row, In.EXPIRED, f"no payment could be made ready: {error.detail}")
        return
    with writing() as db:
        row = get_deposit(db, deposit_id, lock=True)
        if row.state == In.CREATING:
            row.payment_id, row.pay_url, row.expires_at_s = made.payment_id, made.pay_url, made.expires_at_s
            step(row, In.AWAITING)


class Room(NamedTuple):
    """What the token lets be minted now."""

    cap_micro: int
    used_micro: int

    def holds(self, amount_micro: int) -> bool:
        return self.used_micro + amount_micro <= self.cap_micro


def room_left(limit: MintLimit, chain_time_s: int, under_way_micro: int) -> Room:
    """The day is UTC's and the chain's. Mints under way count as if they were mined today."""
    used = limit.minted_micro if limit.day == chain_time_s // DAY_S else 0
    return Room(limit.cap_micro, used + under_way_micro)


def look_again(service: Service, account: RailAccount, writing: Writing, deposit_id: bytes) -> PaymentState | None:
    """Read a deposit's payment at the rail and keep what only the rail can say. None: there is no payment yet."""
    with service.db.reading() as db:
        payment_id = get_deposit(db, deposit_id).payment_id
    if payment_id is None:
        return None
    found = account.rail.read_payment(payment_id)
    with writing() as db:
        row = get_deposit(db, deposit_id, lock=True)
        row.look_again = False
        if row.why.startswith(HELD):
            row.why = ""
        if row.state == In.AWAITING and found.expired:
            step(row, In.EXPIRED, "nobody paid in time")
        if found.dispute and row.dispute != found.dispute:
            row.dispute = found.dispute
            if found.dispute == "won":
                clear_alarm(db, service, HOUSE, AlarmKind.CHARGE_BACK, f"deposit {to_hex(row.id)}")
        if row.dispute == "lost":
            movements.lost(db, service, account, row)
    return found


def hold(service: Service, writing: Writing, deposit_id: bytes, why: str) -> None:
    """Say what holds up this deposit; nothing is written where it says so already."""
    with service.db.reading() as db:
        row = get_deposit(db, deposit_id)
    if row.why == why or row.state not in (In.CREATING, In.AWAITING, In.PAID):
        return
    log.warning("deposit held up", deposit=to_hex(deposit_id), rail=row.rail, why=why)
    with writing() as db:
        get_deposit(db, deposit_id, lock=True).why = why


def mint_due(service: Service, client: ChainClient, writing: Writing) -> None:
    """Mint what is paid, the oldest first, each only after its payment was read again; what the day's cap does not hold waits by name.

    A deposit whose payment cannot be read holds up itself only. Raises the first such failure, when all others are done.
    """
    with service.db.reading() as db:
        rows = held_last((row for row in deposits_in(db, In.PAID) if row.rail in service.rails), lambda row: row.why)
        paid = [(row.id, row.rail) for row in rows]
        under_way = int(db.scalar(select(func.coalesce(func.sum(Deposit.mint_micro), 0)).where(Deposit.state == In.MINTING)) or 0)
    if not paid:
        _cap_alarm(service, writing, [])
        return
    limit, head = client.mint_limit(), client.head()
    waiting: list[int] = []
    guard = Guard()
    for deposit_id, rail in paid:
        amount = _waits_unasked(service, writing, deposit_id, room_left(limit, head.time_s, under_way))
        if amount is not None:
            waiting += [amount] if amount else []
        elif not guard.is_away(rail):
            with guard.asking(rail, partial(hold, service, writing, deposit_id)):
                under_way += _mint_one(service, limit, writing, deposit_id)
    _cap_alarm(service, writing, waiting)
    guard.report()


def _mint_one(service: Service, limit: MintLimit, writing: Writing, deposit_id: bytes) -> int:
    """Read the payment again and mint what it is now; returns how much is on its way thereby."""
    with service.db.reading() as db:
        account = service.rails[get_deposit(db, deposit_id).rail]
    truth = look_again(service, account, writing, deposit_id)
    with writing() as db:
        row = get_deposit(db, deposit_id, lock=True)
        amount = _mintable(db, service, row, truth)
        if row.state != In.PAID or amount is None:
            return 0
        if limit.minter != service.till.address:
            row.why = f"the token's minter is {to_hex(limit.minter)}, not this service's till {to_hex(service.till.address)}"
            raise_alarm(db, service, HOUSE, AlarmKind.MINT_BLOCKED, "till", row.why)
            return 0
        _mint(db, service, row, amount)
        return amount


def _waits_unasked(service: Service, writing: Writing, deposit_id: bytes, room: Room) -> int | None:
    """How much waits for the cap (0: for the decision of a dispute) and need not be asked about; None: ask the provider.

    Thousands may wait for a day: reading each again every second would only use up what calls the provider allows.
    """
    with service.db.reading() as db:
        row = get_deposit(db, deposit_id)
        amount = Ledger(db, HOUSE, service.now_s()).balance(Kind.PENDING, row.id)
    if row.dispute == "open":
        why, amount = DISPUTED, 0
    elif room.holds(amount):
        return None
    else:
        why = f"daily-cap: {room.cap_micro} micro a UTC day are reached; it goes on with the next"
    if row.why != why:
        with writing() as db:
            get_deposit(db, deposit_id, lock=True).why = why
    return amount


def _mintable(db: Session, service: Service, row: Deposit, truth: PaymentState | None) -> int | None:
    """How much of a paid deposit is to be minted now; None: it waits, and `why` says for what."""
    ledger = Ledger(db, HOUSE, service.now_s())
    claim = -ledger.balance(Kind.CLAIM, row.id)
    if claim > 0:  # a mint was decided, refused by the chain, and meanwhile money went back
        pending = ledger.account(Kind.PENDING, row.id)
        ledger.apply([ledger.move(pending, ledger.account(Kind.CLAIM, row.id), claim, "claim-netted", row.id, row.tries)])
    amount = ledger.balance(Kind.PENDING, row.id)
    if truth is None or not truth.paid or truth.charge_id != row.charge_id:
        row.why = "the provider does not say that it is paid"
    elif truth.dispute == "open":
        row.why = DISPUTED
    elif service.rails[row.rail].micro(truth.amount_minor - truth.refunded_minor) < amount:
        row.why = "refunded at the provider; its movements are being read"
    elif amount <= 0:
        step(row, In.RETURNED, "all of it went back before it was minted")
    else:
        return amount
    return None


def _mint(db: Session, service: Service, row: Deposit, amount_micro: int) -> None:
    assert row.receipt_id is not None
    row.mint_micro = amount_micro
    step(row, In.MINTING)
    till = service.till.address
    call = service.calls.mint(row.receipt_id, till, amount_micro)
    intend(db, service, HOUSE, call, kind="mint", cause=(row.receipt_id, row.tries), reference=row.id, sender=till)
    clear_alarm(db, service, HOUSE, AlarmKind.MINT_BLOCKED, "till")


def _cap_alarm(service: Service, writing: Writing, waiting: list[int]) -> None:
    with service.db.reading() as db:  # every second: no lock is taken for nothing
        if not waiting and open_alarm(db, HOUSE, AlarmKind.DAILY_CAP, "token") is None:
            return
    with writing() as db:
        if waiting:
            detail = f"{len(waiting)} payments of {sum(waiting)} micro wait for the next UTC day, or for the cap keeper"
            raise_alarm(db, service, HOUSE, AlarmKind.DAILY_CAP, "token", detail)
        else:
            clear_alarm(db, service, HOUSE, AlarmKind.DAILY_CAP, "token")


def credit(db: Session, service: Service, row: Deposit, tries: int = 0) -> None:
    """From the till into the free balance: wanted once for each mint, again only where the chain refused it."""
    assert row.mint_micro is not None
    till, escrow = service.till.address, service.deployment.escrow
    allow = service.calls.approve(escrow, ALL)
    intend(db, service, HOUSE, allow, kind="till-approve", cause=(escrow,), reference=bytes(32), sender=till)
    call = service.calls.deposit_for(row.account, row.mint_micro)
    intend(db, service, HOUSE, call, kind="deposit-for", cause=(row.id, tries), reference=row.id, sender=till)


def refused_steps(service: Service, writing: Writing) -> None:
    """What the chain refused for good is wanted anew: a mint over the cap, a deposit while the escrow takes none."""
    with service.db.reading() as db:
        rows = [(row.id, row.state) for row in deposits_in(db, In.MINTING, In.CREDITING)]
    for deposit_id, state in rows:
        with writing() as db:
            row = get_deposit(db, deposit_id, lock=True)
            intents = intents_of(db, row.id, "mint" if state == In.MINTING else "deposit-for")
            if row.state != state or not intents or intents[-1].state not in ("refused", "reverted"):
                continue
            last = intents[-1]
            row.why = (last.reason or "the chain refused it")[:300]
            if state == In.MINTING and last.reason_name != "ReceiptUsed":  # used: its event tells, or somebody used it for another amount
                row.mint_micro, row.tries = None, row.tries + 1
                step(row, In.PAID, row.why)
            elif state == In.CREDITING and service.now_s() >= (last.settled_at_s or 0) + RETRY_S:
                credit(db, service, row, len(intents))
