"""What agents call besides frames: their stream, vouchers, ready, confirmations, hand-overs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from protocol.control import SupplyConfirmation
from protocol.eip712 import from_json
from protocol.evidence import ChargeKeyVoucher, HandOver

from ..devices.points import add_hand_over, add_voucher, get_device
from ..errors import BadRequest
from ..hexes import hash_in, id_in_path, signature_in
from ..sessions.life import confirm, get_session, ready
from ..supply import stream
from .bodies import ReadyBody, SignedHandOver, SignedVoucher
from .core_answers import ConfirmationAnswer, HandOverAnswer, ReadyAnswer, VoucherAnswer
from .depends import AgentCaller, Db, TheService, require_agent

router = APIRouter(prefix="/api/v1/agents/{device}", tags=["agents"])
COMMENT_EACH_S = 5
"""A comment line this often: an agent that hears nothing for longer knows that the line is dead."""


@router.get("/stream", response_class=EventSourceResponse, dependencies=[Depends(require_agent, scope="function")])
async def get_stream(device: str, service: TheService) -> AsyncIterator[ServerSentEvent]:
    """Everything that is for this agent, in order: first what waits, then what comes. Signed itself; the line is not trusted."""
    device_id = id_in_path(device, "device")
    subscription = service.hub.subscribe(device_id)
    try:
        cursor = stream.Cursor()
        yield ServerSentEvent(event="have", raw_data=await run_in_threadpool(stream.have, service, device_id))
        while not service.hub.stopping.is_set():
            events = await run_in_threadpool(stream.news, service, device_id, cursor)
            for event in events:
                yield ServerSentEvent(event=event.event, raw_data=event.data, id=event.id)
            if not await subscription.wait(COMMENT_EACH_S):
                yield ServerSentEvent(comment="here")
    finally:
        service.hub.unsubscribe(device_id, subscription)


@router.post("/vouchers", response_model=VoucherAnswer)
def post_voucher(body: SignedVoucher, device: str, service: TheService, db: Db) -> dict[str, Any]:
    """A fresh charge key the service may put in terms. Signed by the meter key, so no other proof is asked."""
    found = get_device(db, id_in_path(device, "device"), lock=True)
    voucher = from_json(ChargeKeyVoucher, body.voucher, "voucher")
    row = add_voucher(db, service, found, voucher, signature_in(body.signature, "signature"))
    return {"chargeKey": body.voucher["chargeKey"], "used": row.session is not None}


@router.post("/hand-overs", response_model=HandOverAnswer)
def post_hand_over(body: SignedHandOver, device: str, service: TheService, db: Db) -> dict[str, Any]:
    """A meter swap, signed by the meter key. It counts once an operator approved it."""
    found = get_device(db, id_in_path(device, "device"), lock=True)
    row = add_hand_over(db, service, found, from_json(HandOver, body.handOver, "handOver"), signature_in(body.signature, "signature"))
    return {"id": row.id, "approved": row.operator_signature is not None}


@router.post("/ready", response_model=ReadyAnswer)
def post_ready(body: ReadyBody, agent: AgentCaller, service: TheService, db: Db) -> dict[str, Any]:
    """The grant is accepted, and here is the nonce RECONNECT must answer."""
    row = get_session(db, hash_in(body.session, "session"), lock=True)
    if row.device != agent.device:
        raise BadRequest("this session is not at a point of this device", "session")
    waiting = ready(db, service, row, hash_in(body.nonce, "nonce"))
    return {"commanded": not waiting, "why": waiting}


@router.post("/confirmations", response_model=ConfirmationAnswer)
def post_confirmation(body: dict[str, Any], device: str, service: TheService, db: Db) -> dict[str, Any]:
    """What the agent measured, signed by the meter key. A repeat is a success."""
    found = get_device(db, id_in_path(device, "device"), lock=True)
    document = dict(body)
    signature = document.pop("signature", None)
    if not isinstance(signature, str):
        raise BadRequest("is missing", "signature")
    said = from_json(SupplyConfirmation, document, "confirmation")
    return {"new": confirm(db, service, found, said, signature_in(signature, "signature"))}
