"""Rows as the JSON of the API. Fields are the wire's names; nothing here decides anything."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from protocol.control import Cause
from protocol.eip712 import typed_data
from protocol.money import Open

from .. import jsons
from ..context import Service
from ..devices.points import control_key, get_device, get_point, tariff_of
from ..evidence.rulings import open_disputes
from ..hexes import to_hex
from ..models import Point, Reading, SessionRow, SessionStep
from ..money.disputes import ruling_by_s
from ..money.settlement import last_claimable
from ..supply.commands import terms_of
from .quotes import estimate
from .states import State
from .unlocked import is_unlocked


def point_view(db: Session, service: Service, point: Point) -> dict[str, Any]:
    device = get_device(db, point.device)
    deployment = service.deployment
    reading = db.get(Reading, point.id)
    return {
        "pointId": point.id, "device": to_hex(point.device), "channel": point.channel, "name": point.name, "placement": point.placement,
        "serial": point.serial, "ratedWatts": point.rated_watts, "tariffHash": to_hex(point.tariff_hash),
        "policy": jsons.loads(point.policy),
        "enabled": point.enabled, "meterKey": to_hex(device.meter_key), "controlKey": to_hex(control_key(service, device)),
        "serviceKey": to_hex(service.keys.service.address), "chainId": deployment.chain_id, "escrow": to_hex(deployment.escrow),
        "registry": to_hex(deployment.registry), "enrolment": device.enrolment, "online": point.device in service.hub.connected(),
        "reading": None if reading is None else _reading(reading),
    }  # fmt: skip


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "sequence": reading.sequence, "endS": reading.end_s, "importMilliwattHours": reading.import_milliwatt_hours,
        "exportMilliwattHours": reading.export_milliwatt_hours, "powerMilliwatts": reading.power_milliwatts,
        "voltageMillivolts": reading.voltage_millivolts, "flags": reading.flags, "quarantinedSinceS": reading.quarantined_since_s,
        "supply": reading.supply, "supplyAtS": reading.supply_at_s,
    }  # fmt: skip


def quote_view(db: Session, service: Service, row: SessionRow) -> dict[str, Any]:
    terms = terms_of(row)
    point, device = get_point(db, row.point_id), get_device(db, row.device)
    opening = Open(row.session, row.wanted_lock_micro, row.quote_expires_at_s + service.settings.terms.quote_valid_seconds)
    return {
        "quoteId": row.quote_id, "terms": jsons.loads(row.terms), "session": to_hex(row.session),
        "tariff": tariff_of(db, service, row.operator_id, row.tariff_hash).document, "policy": jsons.loads(row.policy),
        "estimate": estimate(terms, row.wanted_lock_micro), "expiresAtS": row.quote_expires_at_s,
        "typedData": typed_data(service.money, opening), "accessToken": service.access_token(row.session),
        "point": {
            "device": to_hex(row.device), "channel": point.channel, "meterKey": to_hex(device.meter_key),
            "pointSalt": to_hex(row.point_salt),
        },
        "offerHash": None if row.offer is None else to_hex(row.offer), "follows": None if row.follows is None else to_hex(row.follows),
    }  # fmt: skip


def session_view(db: Session, service: Service, row: SessionRow, *, with_token: bool = False) -> dict[str, Any]:
    """A session as its payer and its operator see it."""
    steps = db.scalars(select(SessionStep).where(SessionStep.session == row.session).order_by(SessionStep.id)).all()
    base = f"/api/v1/sessions/{to_hex(row.session)}"
    charged = last_claimable(db, row)
    view = {
        "session": to_hex(row.session), "state": row.state, "pointId": row.point_id, "metered": row.metered, "payer": to_hex(row.payer),
        "terms": jsons.loads(row.terms), "lockMicro": row.lock_micro, "wantedLockMicro": row.wanted_lock_micro, "billMicro": row.bill_micro,
        "energyMilliwattHours": row.energy_milliwatt_hours, "chargeMicro": row.charge_micro,
        "claimableMicro": 0 if charged is None else charged.amount_micro,
        "claimedMicro": row.claimed_micro,
        "returnedMicro": row.returned_micro, "tailMicro": row.tail_micro, "creditNoteMicro": row.credit_note_micro,
        "openedAtS": row.opened_at_s, "runningAtS": row.running_at_s, "endedAtS": row.ended_at_s, "settledAtS": row.settled_at_s,
        "endCause": Cause(row.end_cause).name if row.end_cause in tuple(Cause) else str(row.end_cause), "endDetail": row.end_detail,
        "closeRequestedAtS": row.close_requested_at_s, "disconnectedAtS": row.disconnected_at_s, "blocked": row.blocked,
        "disputedFromS": row.disputed_from_s, "firstSequence": row.first_sequence, "lastSequence": row.last_sequence,
        "offerHash": None if row.offer is None else to_hex(row.offer), "follows": None if row.follows is None else to_hex(row.follows),
        "unlockedMicro": row.unlocked_micro if is_unlocked(row) else None, "dispute": _dispute(db, service, row),
        "waitingFor": waiting_for(row), "steps": [{"from": s.from_state, "to": s.to_state, "why": s.why, "atS": s.at_s} for s in steps],
        "links": {"self": base, "bill": f"{base}/bill", "bundle": f"{base}/bundle"},
    }  # fmt: skip
    if with_token:
        view["accessToken"] = service.access_token(row.session)
    return view


def _dispute(db: Session, service: Service, row: SessionRow) -> dict[str, Any] | None:
    """What a ruling may be about: each place that two frames claim, and until when one is waited for."""
    if row.disputed_from_s is None and not row.blocked:
        return None
    places = [
        {
            "incarnation": to_hex(d.conflict.incarnation), "firstSequence": d.conflict.first_sequence, "lastSequence": d.last_sequence,
            "kind": d.conflict.kind, "heldFrame": None if d.held is None else to_hex(d.held.digest),
            "refusedFrame": to_hex(d.conflict.digest),
        }
        for d in open_disputes(db, row)
    ]  # fmt: skip
    return {"fromS": row.disputed_from_s, "places": places, "blocked": row.blocked, "rulingByS": ruling_by_s(service, row)}


def waiting_for(row: SessionRow) -> str:
    """Why a session is where it is, in one sentence; empty when it waits for nothing but use."""
    if row.waits and row.state == State.OPEN:
        return "the end of the session before it at this point"
    if row.state in (State.ENDED, State.SETTLING) and row.closed_at_s is None and (row.disputed_from_s is not None or row.blocked):
        return "a ruling on what is disputed, the end of the time for one, or the credit note that follows from it"
    if is_unlocked(row) and row.state in (State.ENDED, State.SETTLING):
        return "the chain, to lock what was used on the operator's credit"
    return {
        State.QUOTED: "the payer's signature",
        State.OPENING: "the lock to be final on the chain",
        State.OPEN: "the agent to be ready" if row.ready_nonce is None else "supply to be measured connected",
        State.RUNNING: row.blocked,
        State.ENDING: "supply to be measured disconnected" if row.disconnected_at_s is None else "the meter's last record",
        State.ENDED: "the settlement's next round",
        State.SETTLING: "the credit note to be final" if row.claimed_micro - row.credit_note_micro > row.charge_micro
        else "the last claim to be final" if row.claimed_micro < row.charge_micro else "the close to be final",
        State.SETTLED: "",
    }[State(row.state)]
