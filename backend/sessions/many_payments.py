"""Payments of many sessions in one request and one transaction: checked in bulk, kept one by one.

Every payment that is taken is kept as signed, not only the highest of a session: which frame the payer consented to, at which sum, is
evidence in a dispute, and where the highest names a frame that turns out to be disputed, the claim falls back to the one below it.

Signatures are recovered before the transaction begins; inside it everything is read, written and compared by statements over all sessions
at once. A refused payment does not undo the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from protocol.errors import BadSignature
from protocol.keys import SIGNATURE_SIZE, recover_address
from protocol.money import payment_digest, signing_prefix

from .. import jsons
from ..context import Service
from ..errors import BadRequest
from ..models import AgentMessage, Base, SignedAmount
from .life import get_session, ready
from .states import State

MAX_PAYMENTS = 256
"""Payments in one request: its transaction stays at some tens of milliseconds, so that ingest does not wait for it."""
MOST_MICRO = 2**53 - 1
# Statements over the tables themselves: objects for thousands of rows a second would cost more than the signatures.
_TABLES = Base.metadata.tables
_AMOUNTS, _MESSAGES, _SESSIONS, _DEVICES = (_TABLES[name] for name in ("signed_amounts", "agent_messages", "sessions", "devices"))
_COMPARED = (
    "session", "signer", "metered", "state", "lock_micro", "wanted_lock_micro", "operator_id", "device", "disputed_from_s", "granted_at_s",
    "ready_nonce",
)  # fmt: skip
_CHARGE = update(_SESSIONS).where(_SESSIONS.c.session == bindparam("of")).values(charge_micro=bindparam("micro"))
_OVER = (State.QUOTED, State.SETTLING, State.SETTLED)


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    session: str
    amountMicro: int
    frame: str
    signature: str


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    payments: list[_Item]


class Signed(NamedTuple):
    """A payment with its place in the request and whoever signed it."""

    place: int
    session: bytes
    amount_micro: int
    frame: bytes
    signature: bytes
    signer: bytes


class Refusal(NamedTuple):
    place: int
    code: str  # malformed, bad_signature, unknown_session, metered, over, not_rising, above_lock
    detail: str


class Outcome(NamedTuple):
    accepted: int
    repeated: int
    refused: list[Refusal]

    def to_document(self) -> dict[str, Any]:
        refused = [{"index": each.place, "code": each.code, "detail": each.detail} for each in sorted(self.refused)]
        return {"accepted": self.accepted, "repeated": self.repeated, "refused": refused}


class _Standing(NamedTuple):
    """What a payment is compared with."""

    signer: bytes
    metered: bool
    state: str
    most_micro: int
    operator_id: int
    device: bytes
    claimable: bool
    granted: bool
    waits_for_payment: bool


def read_payments(service: Service, body: bytes) -> tuple[list[Signed], list[Refusal]]:
    """The payments of a request and who signed each; touches no database. Raises `BadRequest` for what is no such request."""
    try:
        items = msgspec.json.decode(body, type=_Body).payments
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no list of payments: {error}", "body") from None
    if len(items) > MAX_PAYMENTS:
        raise BadRequest(f"at most {MAX_PAYMENTS} in one request, not {len(items)}; send the rest in the next", "payments")
    prefix = signing_prefix(service.deployment.chain_id, service.deployment.escrow)
    signed: list[Signed] = []
    refused: list[Refusal] = []
    for place, item in enumerate(items):
        try:
            session, frame, signature = (_raw(item.session, 32), _raw(item.frame, 32), _raw(item.signature, SIGNATURE_SIZE))
            if not 0 < item.amountMicro <= MOST_MICRO:
                raise ValueError("amountMicro is not in 1…2^53-1")
            signer = recover_address(payment_digest(prefix, session, item.amountMicro, frame), signature)
        except BadSignature as error:
            refused.append(Refusal(place, "bad_signature", str(error)))
        except ValueError as error:
            refused.append(Refusal(place, "malformed", str(error)))
        else:
            signed.append(Signed(place, session, item.amountMicro, frame, signature, signer))
    return signed, refused


def _raw(text: str, size: int) -> bytes:
    raw = bytes.fromhex(text[2:]) if text.startswith("0x") and len(text) == 2 + 2 * size else b""
    if len(raw) != size:  # also where white space, which `fromhex` skips, stands for digits
        raise ValueError(f"expected 0x and {2 * size} hexadecimal digits")
    return raw


def take_payments(db: Session, service: Service, signed: list[Signed], refused: list[Refusal]) -> Outcome:
    """Keep the payments that hold, in the order given, and pass each session's highest to its agent."""
    standing = _standing(db, {payment.session for payment in signed})
    highest = _highest(db, standing)
    before = dict(highest)
    known = _known(db, [p for p in signed if p.amount_micro <= highest.get(p.session, 0)])
    taken: list[Signed] = []
    repeated = 0
    for payment in signed:
        key = (payment.session, payment.amount_micro, payment.frame)
        found = standing.get(payment.session)
        refusal = _refusal(payment, found, highest.get(payment.session, 0))
        if found is not None and payment.signer == found.signer and key in known:
            repeated += 1
        elif refusal is not None:
            refused.append(refusal)
        else:
            taken.append(payment)
            highest[payment.session] = payment.amount_micro
            known.add(key)
    if taken:
        _keep(db, service, taken, standing)
        _pass_on(db, service, {payment.session: payment for payment in taken}, standing)
        _start(db, service, [s for s in {p.session for p in taken} if s not in before and standing[s].waits_for_payment])
    return Outcome(len(taken), repeated, refused)


def _refusal(payment: Signed, found: _Standing | None, highest_micro: int) -> Refusal | None:
    if found is None:
        return Refusal(payment.place, "unknown_session", "there is no such session here")
    if found.metered:
        return Refusal(payment.place, "metered", "this session is metered: its charges are signed by the agent")
    if payment.signer != found.signer:
        return Refusal(payment.place, "bad_signature", f"signed by 0x{payment.signer.hex()}; the pay key of the terms signs payments")
    if found.state in _OVER:
        return Refusal(payment.place, "over", f"the session is {found.state}")
    if payment.amount_micro <= highest_micro:
        return Refusal(payment.place, "not_rising", f"payments are cumulative; {highest_micro} is signed already")
    if payment.amount_micro > found.most_micro:
        return Refusal(payment.place, "above_lock", f"is above the lock ({found.most_micro}); top up first")
    return None


def _standing(db: Session, sessions: set[bytes]) -> dict[bytes, _Standing]:
    """The sessions as they stand, their devices locked: in one order, so that two requests cannot wait for each other in a circle."""
    ask, named = db.connection(), _SESSIONS.c.session.in_(sessions)
    devices = [device for (device,) in ask.execute(select(_SESSIONS.c.device).where(named).distinct())]
    ask.execute(select(_DEVICES.c.device).where(_DEVICES.c.device.in_(devices)).order_by(_DEVICES.c.device).with_for_update()).all()
    rows = ask.execute(select(*(_SESSIONS.c[name] for name in _COMPARED)).where(named)).all()
    return {
        session: _Standing(
            signer, metered, state, lock or wanted, operator, device, disputed is None, granted is not None,
            state == State.OPEN and nonce is not None,
        )
        for session, signer, metered, state, lock, wanted, operator, device, disputed, granted, nonce in rows
    }  # fmt: skip


def _highest(db: Session, sessions: Iterable[bytes]) -> dict[bytes, int]:
    query = select(_AMOUNTS.c.session, func.max(_AMOUNTS.c.amount_micro)).where(_AMOUNTS.c.session.in_(list(sessions)))
    return {session: amount for session, amount in db.connection().execute(query.group_by(_AMOUNTS.c.session))}


def _known(db: Session, candidates: list[Signed]) -> set[tuple[bytes, int, bytes]]:
    """Which of these are kept already: their repeat is a success."""
    if not candidates:
        return set()
    query = select(SignedAmount.session, SignedAmount.amount_micro, SignedAmount.frame).where(
        SignedAmount.session.in_({p.session for p in candidates}), SignedAmount.amount_micro.in_({p.amount_micro for p in candidates})
    )
    return {(session, amount, frame) for session, amount, frame in db.execute(query)}


def _keep(db: Session, service: Service, taken: list[Signed], standing: dict[bytes, _Standing]) -> None:
    now = service.now_s()
    db.connection().execute(_AMOUNTS.insert(), [
        {
            "operator_id": standing[p.session].operator_id, "session": p.session, "kind": "payment", "amount_micro": p.amount_micro,
            "frame": p.frame, "signature": p.signature, "received_at_s": now, "claimable": standing[p.session].claimable,
            "energy_milliwatt_hours": 0, "elapsed_s": 0,
        }
        for p in taken
    ])  # fmt: skip
    charged = {p.session: p.amount_micro for p in taken if standing[p.session].claimable}
    if charged:
        db.connection().execute(_CHARGE, [{"of": session, "micro": micro} for session, micro in charged.items()])


def _pass_on(db: Session, service: Service, latest: dict[bytes, Signed], standing: dict[bytes, _Standing]) -> None:
    """The highest payment of each session goes to its agent, in place of those it has not taken yet; before a grant it waits with it."""
    now, granted = service.now_s(), [payment for payment in latest.values() if standing[payment.session].granted]
    if not granted:
        return
    devices = {standing[payment.session].device for payment in granted}
    db.execute(
        update(AgentMessage)
        .where(AgentMessage.device.in_(devices), AgentMessage.session.in_([payment.session for payment in granted]),
               AgentMessage.event == "payment", AgentMessage.done_at_s.is_(None))
        .values(done_at_s=now).execution_options(synchronize_session=False)
    )  # fmt: skip
    db.connection().execute(_MESSAGES.insert(), [
        {
            "operator_id": standing[p.session].operator_id, "device": standing[p.session].device, "event": "payment", "session": p.session,
            "number": None, "data": _document(p), "created_at_s": now, "done_at_s": None,
        }
        for p in granted
    ])  # fmt: skip
    for device in devices:
        service.wake(db, device)


def _document(payment: Signed) -> str:
    return jsons.dumps({
        "session": "0x" + payment.session.hex(), "amountMicro": payment.amount_micro, "frame": "0x" + payment.frame.hex(),
        "signature": "0x" + payment.signature.hex(),
    })  # fmt: skip


def _start(db: Session, service: Service, sessions: list[bytes]) -> None:
    """The first payment comes before power: an agent that waits with its nonce gets its RECONNECT."""
    for session in sorted(sessions):
        row = get_session(db, session, lock=True)
        nonce, row.ready_nonce = row.ready_nonce, None
        if nonce is not None:
            ready(db, service, row, nonce)
