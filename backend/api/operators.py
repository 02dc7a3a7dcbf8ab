"""What operators call: tariffs, points, sessions, alarms. For now the holder of the operator token is the operator."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from protocol.control import Cause
from protocol.eip712 import EVIDENCE, digest, from_json
from protocol.evidence import HandOver
from protocol.ocmf import check_public_key
from protocol.tariff import Tariff

from .. import jsons
from ..accounts.acts import note
from ..accounts.depends import Actor, Reader
from ..devices.enrol import enrol
from ..devices.points import NewPoint, create_point, get_device, get_point, list_points, point_at, put_tariff
from ..devices.policies import parse_policy
from ..errors import BadRequest, NotFound
from ..hexes import address_in, hash_in, id_in_path, signature_in, to_hex
from ..models import HandOverRow
from ..money.rating import advance
from ..sessions.life import end, get_session, list_sessions, live_session
from ..sessions.states import State
from ..sessions.views import point_view, session_view
from .answers import PageAnswer
from .bodies import NewPointBody, OcmfKeyBody, TariffBody
from .core_answers import HandOverAnswer, PointAnswer, ServiceAnswer, SessionAnswer, TariffPostedAnswer
from .depends import Db, ReadDb, TheService
from .reports import PointId as PointPath
from .reports import RowId

router = APIRouter(prefix="/api/v1", tags=["operators"])
Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str, Query(pattern="^[0-9a-zA-Z-]{0,66}$", description="`next` of the page before")]


@router.get("/service", response_model=ServiceAnswer)
def get_service_facts(service: TheService) -> dict[str, Any]:
    """Whom and what this service works with: open, nothing here is secret."""
    deployment = service.deployment
    return {
        "serviceKey": to_hex(service.keys.service.address), "chainId": deployment.chain_id, "escrow": to_hex(deployment.escrow),
        "registry": to_hex(deployment.registry), "anchorLog": to_hex(deployment.anchor_log), "token": to_hex(deployment.token),
        "providerBook": _hex(deployment.provider_book), "taskEscrow": _hex(deployment.task_escrow),
        "walletFactory": _hex(deployment.wallet_factory),
        "payee": to_hex(service.payee), "anchorer": to_hex(service.keys.sender.address),
        "epochS": service.settings.settlement.epoch_seconds,
    }  # fmt: skip


def _hex(address: bytes | None) -> str | None:
    return None if address is None else to_hex(address)


@router.post("/tariffs", response_model=TariffPostedAnswer)
def post_tariff(body: TariffBody, caller: Actor, service: TheService, db: Db) -> dict[str, Any]:
    """Keep a tariff document. The same again is a success: it is named by its hash."""
    tariff: Tariff = put_tariff(db, service, caller.operator_id, body.document)
    return {"tariffHash": to_hex(tariff.hash)}


@router.post("/points", response_model=PointAnswer)
def post_point(body: NewPointBody, caller: Actor, service: TheService, db: Db) -> dict[str, Any]:
    """Enrol a point; with a binding of the meter key also on the chain. The same again is a success."""
    modulus = 10**body.registerDigits * body.stepMilliwattHours
    if modulus > 2**53 - 1:
        raise BadRequest("so many digits of this step make a register above 2^53 mWh", "registerDigits")
    binding = None
    if body.binding is not None:
        binding = (body.binding.deadlineS, signature_in(body.binding.signature, "binding.signature"))
    new = NewPoint(
        hash_in(body.device, "device"), body.channel, body.name, body.placement, body.serial, address_in(body.meterKey, "meterKey"),
        body.ratedWatts, hash_in(body.tariffHash, "tariffHash"), parse_policy(body.policy), modulus,
        None if body.owner is None else address_in(body.owner, "owner"), binding,
    )  # fmt: skip
    known = point_at(db, new.device, new.channel)
    point = create_point(db, service, caller.operator_id, new)
    if known is None:
        detail = f"device {to_hex(new.device)} channel {new.channel}, {new.rated_watts} W, meter {new.serial}"
        note(db, caller.operator_id, caller.name, "point enrolled", f"point {point.id}", detail, service.now_s())
    if binding is not None:
        enrol(db, service, get_device(db, point.device, lock=True), point, binding)
    return point_view(db, service, point)


@router.get("/points", response_model=PageAnswer[PointAnswer])
def get_points(caller: Reader, service: TheService, db: ReadDb, limit: Limit = 50, after: Cursor = "") -> dict[str, Any]:
    """A page of points."""
    points = list_points(db, caller.operator_id, after, limit)
    return {"items": [point_view(db, service, p) for p in points], "next": points[-1].id if len(points) == limit else None}


@router.get("/points/{point_id}", response_model=PointAnswer)
def get_one_point(point_id: PointPath, caller: Reader, service: TheService, db: ReadDb) -> dict[str, Any]:
    """A point, with its last reading."""
    return point_view(db, service, get_point(db, point_id, caller.operator_id))


@router.get("/sessions", response_model=PageAnswer[SessionAnswer])
def get_sessions(
    caller: Reader, service: TheService, db: ReadDb, limit: Limit = 50, after: Cursor = "", state: State | None = None
) -> dict[str, Any]:  # fmt: skip
    """A page of sessions, by id."""
    cursor = id_in_path(after, "after") if after else b""
    rows = list_sessions(db, caller.operator_id, cursor, limit, None if state is None else state.value)
    return {"items": [session_view(db, service, r) for r in rows], "next": to_hex(rows[-1].session) if len(rows) == limit else None}


@router.post("/sessions/{session}/end", response_model=SessionAnswer)
def post_end(session: str, caller: Actor, service: TheService, db: Db) -> dict[str, Any]:
    """The operator ends a session: supply goes off, the rest of the money goes back."""
    row = get_session(db, id_in_path(session, "session"), caller.operator_id, lock=True)
    if row.state in (State.OPEN, State.RUNNING):
        note(db, caller.operator_id, caller.name, "session ended", f"session {to_hex(row.session)}", "", service.now_s())
    end(db, service, row, Cause.OPERATOR, f"{caller.name} ended it")
    return session_view(db, service, row)


@router.post("/hand-overs/{hand_over_id}/approve", response_model=HandOverAnswer)
def post_approval(hand_over_id: RowId, caller: Actor, service: TheService, db: Db) -> dict[str, Any]:
    """Approve a meter swap: the operator's key signs it, and pricing goes on from the new meter's register."""
    row = db.get(HandOverRow, hand_over_id)
    if row is None or row.operator_id != caller.operator_id:
        raise NotFound("no such hand-over", "hand_over_id")
    get_device(db, row.device, lock=True)
    if row.operator_signature is None:
        row.operator_signature = service.keys.sender.sign(digest(EVIDENCE, from_json(HandOver, jsons.loads(row.document))))
        db.flush()
        place = f"device {to_hex(row.device)} channel {row.channel}"
        note(db, caller.operator_id, caller.name, "meter swap approved", place, f"record {row.sequence}", service.now_s())
        session = live_session(db, row.device, row.channel)
        if session is not None and session.blocked:
            advance(db, service, session, retry=True)
    return {"id": row.id, "approved": True}


@router.post("/points/{point_id}/enabled/{enabled}", response_model=PointAnswer)
def post_enabled(point_id: PointPath, enabled: bool, caller: Actor, service: TheService, db: Db) -> dict[str, Any]:
    """Take a point out of service, or back. A running session goes on."""
    point = get_point(db, point_id, caller.operator_id)
    if point.enabled != enabled:
        what = "point put into service" if enabled else "point taken out of service"
        note(db, caller.operator_id, caller.name, what, f"point {point.id}", "", service.now_s())
    point.enabled = enabled
    return point_view(db, service, point)


@router.post("/points/{point_id}/ocmf-key", response_model=PointAnswer)
def post_ocmf_key(point_id: PointPath, body: OcmfKeyBody, caller: Actor, service: TheService, db: Db) -> dict[str, Any]:
    """State the key of a calibrated meter at this point that signs OCMF by itself: its texts then stand in the bundles."""
    point = get_point(db, point_id, caller.operator_id)
    key = bytes.fromhex(body.publicKey[2:])
    check_public_key(key)
    if point.ocmf_public_key != key:
        note(db, caller.operator_id, caller.name, "OCMF key stated", f"point {point.id}", body.publicKey, service.now_s())
    point.ocmf_public_key = key
    return point_view(db, service, point)
