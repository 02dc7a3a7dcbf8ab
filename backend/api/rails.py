"""Money over rails: payments in, signed withdrawals out, and what the payment provider tells us."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path
from pydantic import BaseModel

from protocol.money import Withdraw

from ..accounts.acts import note
from ..accounts.depends import Actor, Auditor
from ..errors import NotFound
from ..hexes import address_in, any_signature_in, id_in_path, to_hex
from ..onchain.outbox import Writing
from ..providers.accounts import rail_named
from ..providers.rail import RailAway
from ..rails import deposits, hooks, payouts
from ..rails.rows import get_deposit, get_payout
from ..reports import rails as report
from ..reports.pages import DEFAULT_PAGE, Page
from .answers import PageAnswer
from .bodies import Amount, AnySignature, Body, Hex20, Seconds
from .depends import Db, RawBody, ReadDb, TheService
from .idempotency import MAX_KEY_LENGTH
from .reports import After, Limit
from .shapes import page_answer

router = APIRouter(prefix="/api/v1", tags=["rails"])
Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,19}$")]


class DepositBody(Body):
    account: Hex20
    amountMicro: Amount
    rail: str


class WithdrawBody(Body):
    account: Hex20
    to: Hex20
    amountMicro: Amount
    nonce: Seconds
    deadlineS: Seconds


class PayoutBody(Body):
    rail: str
    withdraw: WithdrawBody
    signature: AnySignature


class WebhookAnswer(BaseModel):
    eventId: str
    repeated: bool


class DepositAnswer(BaseModel):
    depositId: str
    rail: str
    account: str
    amountMicro: int
    state: str
    pending: str
    why: str
    payUrl: str | None
    expiresAtS: int | None
    receiptId: str | None
    paidMicro: int
    refundedMicro: int
    disputedMicro: int
    dispute: str
    mintedMicro: int | None
    createdAtS: int
    paidAtS: int | None
    creditedAtS: int | None


class PayoutPartAnswer(BaseModel):
    depositId: str
    amountMicro: int
    state: str
    why: str


class PayoutAnswer(BaseModel):
    payoutId: str
    rail: str
    account: str
    amountMicro: int
    state: str
    pending: str
    why: str
    parts: list[PayoutPartAnswer]
    createdAtS: int
    doneAtS: int | None


class RailAnswer(BaseModel):
    name: str
    currency: str
    minorUnitMicro: int
    leastDepositMicro: int
    mostDepositMicro: int


class RailsAnswer(BaseModel):
    till: str | None
    rails: list[RailAnswer]


@router.get("/rails", response_model=RailsAnswer)
def get_rails(service: TheService) -> dict[str, Any]:
    """Which rails there are, what they take, and the till: the account a `Withdraw` that goes back over a rail is made out to."""
    shown = [
        {"name": name, "currency": s.currency, "minorUnitMicro": s.minor_unit_micro, "leastDepositMicro": s.least_deposit_micro,
         "mostDepositMicro": s.most_deposit_micro}
        for name, s in ((name, each.settings) for name, each in service.rails.items())
    ]  # fmt: skip
    return {"till": to_hex(service.till.address) if service.rails else None, "rails": shown}


@router.post("/rails/{rail}/webhook", response_model=WebhookAnswer)
def post_webhook(
    rail: Name, service: TheService, db: Db, body: RawBody, stripe_signature: Annotated[str | None, Header()] = None
) -> dict[str, Any]:
    """What the payment provider tells us, signed over the raw bytes. A hint: the truth is read from the provider."""
    heard = hooks.hear(db, service, rail_named(service.rails, rail), body, stripe_signature)
    return {"eventId": heard.event_id, "repeated": heard.repeated}


@router.post("/deposits", response_model=DepositAnswer, status_code=201)
def post_deposit(
    body: DepositBody, service: TheService, idempotency_key: Annotated[str | None, Header(max_length=MAX_KEY_LENGTH)] = None
) -> DepositAnswer:
    """Make a payment ready, which becomes free balance of the account. Anybody may ask; who knows the id may read it."""
    # The row is kept before the provider is asked: killed between, the loop asks for the same payment.
    account = rail_named(service.rails, body.rail)
    writing: Writing = service.db.writing
    with writing() as db:
        deposit_id = deposits.request(db, service, account, address_in(body.account, "account"), body.amountMicro, idempotency_key).id
    with suppress(RailAway):  # the loop asks again
        deposits.create(service, account, writing, deposit_id)
    with service.db.reading() as db:
        return deposit_answer(report.deposit_line(db, get_deposit(db, deposit_id)))


@router.get("/deposits/{deposit_id}", response_model=DepositAnswer)
def get_one_deposit(deposit_id: str, db: ReadDb) -> DepositAnswer:
    """A deposit as it stands, and why it waits."""
    return deposit_answer(report.deposit_line(db, get_deposit(db, id_in_path(deposit_id, "deposit"))))


@router.post("/payouts", response_model=PayoutAnswer, status_code=201)
def post_payout(body: PayoutBody, service: TheService) -> PayoutAnswer:
    """Pay free balance back over the rail it came by, on the account's signed `Withdraw` to the till. The same again is a success."""
    account = rail_named(service.rails, body.rail)
    said = body.withdraw
    order = Withdraw(address_in(said.account, "account"), address_in(said.to, "to"), said.amountMicro, said.nonce, said.deadlineS)
    payout_id = payouts.request(service, account, service.db.writing, order, any_signature_in(body.signature, "signature"))
    with service.db.reading() as db:
        return payout_answer(report.payout_line(db, get_payout(db, payout_id)))


@router.get("/payouts/{payout_id}", response_model=PayoutAnswer)
def get_one_payout(payout_id: str, db: ReadDb) -> PayoutAnswer:
    """A payout as it stands, and why it waits."""
    return payout_answer(report.payout_line(db, get_payout(db, id_in_path(payout_id, "payout"))))


@router.post("/payouts/{payout_id}/retry", response_model=PayoutAnswer)
def post_retry(payout_id: str, service: TheService, caller: Actor, db: Db) -> PayoutAnswer:
    """Ask the provider anew for what it would not pay back. By the installation, after looking why."""
    if not caller.of_installation:
        raise NotFound("there is no such payout", "payout")
    row = payouts.retry(db, service, id_in_path(payout_id, "payout"))
    note(db, row.operator_id, caller.name, "payout tried again", to_hex(row.id), "", service.now_s())
    return payout_answer(report.payout_line(db, row))


@router.get("/deposits", response_model=PageAnswer[DepositAnswer])
def get_deposits(caller: Auditor, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = "") -> PageAnswer[DepositAnswer]:
    """Deposits, the newest first. They belong to the installation; accounts of one operator see none."""
    return page_answer(report.deposits(db, after, limit) if caller.of_installation else Page([], None), deposit_answer)


@router.get("/payouts", response_model=PageAnswer[PayoutAnswer])
def get_payouts(caller: Auditor, db: ReadDb, limit: Limit = DEFAULT_PAGE, after: After = "") -> PageAnswer[PayoutAnswer]:
    """Payouts, the newest first. They belong to the installation; accounts of one operator see none."""
    return page_answer(report.payouts(db, after, limit) if caller.of_installation else Page([], None), payout_answer)


def deposit_answer(line: report.DepositLine) -> DepositAnswer:
    row = line.deposit
    return DepositAnswer(
        depositId=to_hex(row.id), rail=row.rail, account=to_hex(row.account), amountMicro=row.amount_micro, state=row.state,
        pending=line.pending, why=row.why, payUrl=row.pay_url, expiresAtS=row.expires_at_s,
        receiptId=None if row.receipt_id is None else to_hex(row.receipt_id), paidMicro=row.paid_micro, refundedMicro=row.refunded_micro,
        disputedMicro=row.disputed_micro, dispute=row.dispute, mintedMicro=row.mint_micro, createdAtS=row.created_at_s,
        paidAtS=row.paid_at_s, creditedAtS=row.credited_at_s,
    )  # fmt: skip


def payout_answer(line: report.PayoutLine) -> PayoutAnswer:
    row = line.payout
    parts = [
        PayoutPartAnswer(depositId=to_hex(part.deposit_id), amountMicro=part.amount_micro, state=part.state, why=part.why)
        for part in line.parts
    ]
    return PayoutAnswer(
        payoutId=to_hex(row.id), rail=row.rail, account=to_hex(row.account), amountMicro=row.amount_micro, state=row.state,
        pending=line.pending, why=row.why, parts=parts, createdAtS=row.created_at_s, doneAtS=row.done_at_s,
    )  # fmt: skip
