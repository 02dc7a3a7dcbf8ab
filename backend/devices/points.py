"""Devices and points: enrolment, look-up, charge-key vouchers. Queries about them are here and nowhere else."""

from __future__ import annotations

import secrets
from typing import Any, NamedTuple

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from protocol.control import KeyBinding, KeyRole
from protocol.eip712 import EVIDENCE, digest, to_json
from protocol.errors import BadSignature
from protocol.evidence import ChargeKeyVoucher, HandOver, meter_hash
from protocol.keys import check_signature
from protocol.tariff import Tariff

from .. import jsons
from ..context import Service
from ..errors import BadRequest, Conflict, NotFound, TooMany
from ..hexes import to_hex
from ..models import Device, DeviceKey, FrameRow, HandOverRow, Point, TariffRow, Voucher
from .policies import ParsedPolicy, Policy, stored_policy

MAX_FREE_VOUCHERS = 16
"""Charge keys an agent may have waiting for one point: one serves a session, the rest bridge an agent that is offline."""
MAX_PAGE = 200


class NewPoint(NamedTuple):
    """What enrolling a point takes. `binding` is (deadline_s, signature) of KeyBinding by the meter key."""

    device: bytes
    channel: int
    name: str
    placement: str
    serial: str
    meter_key: bytes
    rated_watts: int
    tariff_hash: bytes
    policy: ParsedPolicy
    register_modulus_milliwatt_hours: int
    owner: bytes | None
    binding: tuple[int, bytes] | None


def put_tariff(db: Session, service: Service, operator_id: int, document: dict[str, Any]) -> Tariff:
    """Keep a tariff; the same again is a success. Raises `protocol.errors.Malformed`."""
    tariff = Tariff.from_document(document)
    if db.get(TariffRow, (operator_id, tariff.hash)) is None:
        text = jsons.canonical(document)
        db.add(TariffRow(operator_id=operator_id, hash=tariff.hash, document=text, created_at_s=service.now_s()))
        db.flush()
    return tariff


def tariff_of(db: Session, service: Service, operator_id: int, tariff_hash: bytes) -> Tariff:
    """A stored tariff, parsed once a process. Raises `NotFound`."""
    cache: dict[bytes, Tariff] = service.caches.setdefault("tariffs", {})
    if tariff_hash not in cache:
        row = db.get(TariffRow, (operator_id, tariff_hash))
        if row is None:
            raise NotFound("post the tariff first", "tariffHash")
        cache[tariff_hash] = Tariff.from_document(jsons.loads(row.document))
    return cache[tariff_hash]


def create_point(db: Session, service: Service, operator_id: int, new: NewPoint) -> Point:
    """Enrol a point, and its device if it is new here. The same again is a success; anything else about it is a `Conflict`."""
    tariff_of(db, service, operator_id, new.tariff_hash)
    device = _device_for(db, service, operator_id, new)
    found = db.scalar(select(Point).where(Point.device == new.device, Point.channel == new.channel))
    values = {
        "name": new.name, "serial": new.serial, "placement": new.placement, "meter_hash": meter_hash(new.serial, new.placement),
        "rated_watts": new.rated_watts, "register_modulus_milliwatt_hours": new.register_modulus_milliwatt_hours,
        "tariff_hash": new.tariff_hash, "policy": new.policy.text,
    }  # fmt: skip
    if found is not None:
        changed = [name for name, value in values.items() if getattr(found, name) != value]
        if changed:
            raise Conflict(f"this channel is a point already, with another {changed[0]}", changed[0])
        return found
    point = Point(
        id=f"p{secrets.token_hex(10)}", operator_id=operator_id, device=device.device, channel=new.channel, enabled=True,
        created_at_s=service.now_s(), **values,
    )  # fmt: skip
    db.add(point)
    db.flush()
    return point


def _device_for(db: Session, service: Service, operator_id: int, new: NewPoint) -> Device:
    device = db.get(Device, new.device)
    now = service.now_s()
    if new.binding is not None:
        _check_binding(service, new, now)
    if device is not None:
        if device.operator_id != operator_id:
            raise Conflict("this device belongs to another operator here", "device")
        if device.meter_key != new.meter_key:
            raise Conflict(f"this device's meter key is {to_hex(device.meter_key)}; keys change by rotation", "meterKey")
        return device
    taken = db.scalar(select(DeviceKey.device).where(DeviceKey.key == new.meter_key))
    if taken is not None:
        raise Conflict(f"this key is or was the meter key of device {to_hex(taken)}; one key serves one device", "meterKey")
    device = Device(
        device=new.device, operator_id=operator_id, meter_key=new.meter_key, control_generation=1, control_number=0, owner=new.owner,
        enrolment="not-asked", created_at_s=now,
    )  # fmt: skip
    db.add(device)
    db.flush()
    db.add(DeviceKey(operator_id=operator_id, device=new.device, key=new.meter_key, from_s=0))
    return device


def _check_binding(service: Service, new: NewPoint, now: int) -> None:
    assert new.binding is not None
    deadline_s, signature = new.binding
    if deadline_s < now + 60:
        raise BadRequest("lies less than a minute ahead; the chain would refuse it", "binding.deadlineS")
    binding = KeyBinding(new.device, KeyRole.METER, new.meter_key, deadline_s)
    try:
        check_signature(digest(service.control, binding), signature, new.meter_key)
    except BadSignature as error:
        raise BadRequest(f"{error}; the meter key signs KeyBinding in the control domain", "binding.signature") from None


def control_key(service: Service, device: Device) -> bytes:
    """The address of the device's present control key."""
    return service.keys.control.of(device.device, device.control_generation).address


def get_point(db: Session, point_id: str, operator_id: int | None = None) -> Point:
    """A point by id (of one operator, where the caller is one). Raises `NotFound`."""
    point = db.get(Point, point_id)
    if point is None or (operator_id is not None and point.operator_id != operator_id):
        raise NotFound(f"no point {point_id!r}", "pointId")
    return point


def point_at(db: Session, device: bytes, channel: int) -> Point | None:
    return db.scalar(select(Point).where(Point.device == device, Point.channel == channel))


def list_points(db: Session, operator_id: int, after: str, limit: int) -> list[Point]:
    """A page of points by id."""
    query = select(Point).where(Point.operator_id == operator_id, Point.id > after).order_by(Point.id).limit(min(limit, MAX_PAGE))
    return list(db.scalars(query))


def get_device(db: Session, device: bytes, *, lock: bool = False) -> Device:
    """A device; `lock` keeps others from changing it until this transaction ends. Raises `NotFound`."""
    query = select(Device).where(Device.device == device)
    found = db.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFound("this device is not enrolled here", "device")
    return found


def policy_of(point: Point) -> Policy:
    return stored_policy(point.policy)


def add_voucher(db: Session, service: Service, device: Device, voucher: ChargeKeyVoucher, signature: bytes) -> Voucher:
    """Keep a charge key the meter key vouches for. The same again is a success."""
    if voucher.device != device.device:
        raise BadRequest("names another device than the path", "voucher.device")
    if point_at(db, voucher.device, voucher.channel) is None:
        raise NotFound(f"channel {voucher.channel} of this device is not a point", "voucher.channel")
    try:
        check_signature(digest(EVIDENCE, voucher), signature, device.meter_key)
    except BadSignature as error:
        raise BadRequest(f"{error}; the meter key signs vouchers", "signature") from None
    found = db.get(Voucher, voucher.charge_key)
    if found is not None:
        if (found.device, found.channel) != (voucher.device, voucher.channel):
            raise Conflict("this charge key is vouched for elsewhere; a charge key serves one session", "voucher.chargeKey")
        return found
    if len(free_vouchers(db, voucher.device, voucher.channel)) >= MAX_FREE_VOUCHERS:
        raise TooMany(f"{MAX_FREE_VOUCHERS} charge keys wait for this point already", "voucher")
    row = Voucher(
        operator_id=device.operator_id, device=voucher.device, channel=voucher.channel, charge_key=voucher.charge_key,
        made_at_s=voucher.made_at_s, signature=signature,
    )  # fmt: skip
    db.add(row)
    db.flush()
    return row


def free_vouchers(db: Session, device: bytes, channel: int) -> list[Voucher]:
    """Charge keys that no session uses yet, the newest first."""
    query = select(Voucher).where(Voucher.device == device, Voucher.channel == channel, Voucher.session.is_(None))
    return list(db.scalars(query.order_by(Voucher.made_at_s.desc(), Voucher.charge_key).limit(MAX_FREE_VOUCHERS)))


def add_hand_over(db: Session, service: Service, device: Device, hand_over: HandOver, signature: bytes) -> HandOverRow:
    """Keep a meter swap signed by the meter key; it counts once an operator approved it. The same again is a success."""
    if hand_over.device != device.device:
        raise BadRequest("names another device than the path", "handOver.device")
    point = point_at(db, hand_over.device, hand_over.channel)
    if point is None:
        raise NotFound(f"channel {hand_over.channel} of this device is not a point", "handOver.channel")
    try:
        check_signature(digest(EVIDENCE, hand_over), signature, _key_of_record(db, device, hand_over.sequence))
    except BadSignature as error:
        raise BadRequest(f"{error}; the meter key signs hand-overs", "signature") from None
    document = jsons.dumps(to_json(hand_over))
    found = db.scalar(select(HandOverRow).where(
        HandOverRow.device == hand_over.device, HandOverRow.channel == hand_over.channel, HandOverRow.sequence == hand_over.sequence
    ))  # fmt: skip
    if found is not None:
        if found.document != document:
            raise Conflict("another hand-over was signed for this record", "handOver.sequence")
        return found
    row = HandOverRow(
        operator_id=device.operator_id, device=hand_over.device, channel=hand_over.channel, sequence=hand_over.sequence,
        document=document, signature=signature, received_at_s=service.now_s(),
    )  # fmt: skip
    db.add(row)
    db.flush()
    return row


def _key_of_record(db: Session, device: Device, sequence: int) -> bytes:
    """The meter key whose frame holds this record: a hand-over made before a rotation and sent after it is the old key's."""
    holds = (FrameRow.device == device.device, FrameRow.first_sequence <= sequence, FrameRow.last_sequence >= sequence)
    return db.scalar(select(FrameRow.meter_key).where(*holds).order_by(FrameRow.id.desc()).limit(1)) or device.meter_key


def meter_key_at(db: Session, device: bytes, time_s: int) -> bytes:
    """The meter key that stood at a time, as the registry's history says."""
    stood = (DeviceKey.device == device, DeviceKey.from_s <= time_s, or_(DeviceKey.until_s.is_(None), DeviceKey.until_s > time_s))
    found = db.scalar(select(DeviceKey.key).where(*stood).order_by(DeviceKey.from_s.desc()).limit(1))
    return found or get_device(db, device).meter_key


def hand_overs_of(db: Session, device: bytes, channel: int, *, approved: bool = True) -> list[HandOverRow]:
    """Meter swaps of a point in the order of its log."""
    query = select(HandOverRow).where(HandOverRow.device == device, HandOverRow.channel == channel)
    if approved:
        query = query.where(HandOverRow.operator_signature.is_not(None))
    return list(db.scalars(query.order_by(HandOverRow.sequence)))
