"""What final events of the registry do here: enrolment, keys, and the device's chain of key events for the bundles."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from chain import event_types as events
from protocol.control import Cause, KeyRole

from ..context import Service
from ..devices.points import control_key
from ..models import ChainEventRow, Device, DeviceKey, KeyEventRow, SessionRow, Voucher
from ..sessions.life import end
from ..sessions.states import LIVE


def is_our_meter(db: Session, key: bytes) -> bool:
    """Whether a key is, or was, the meter key of one of our devices."""
    return db.scalar(select(DeviceKey.id).where(DeviceKey.key == key).limit(1)) is not None


def apply(db: Session, service: Service, row: ChainEventRow, body: events.Body) -> bool:
    """Apply an event of the registry. False if it is none that matters here."""
    if not isinstance(body, events.KeyChanged):
        return False
    device = db.get(Device, body.device)
    if device is None:
        return False
    db.add(KeyEventRow(
        operator_id=device.operator_id, device=body.device, role=body.role, old_key=body.old_key, new_key=body.new_key,
        last_frame=body.last_frame, head=body.head, time_s=row.time_s, block_number=row.block_number, transaction_hash=row.transaction_hash,
    ))  # fmt: skip
    db.flush()
    if body.role == KeyRole.METER:
        _meter_key(db, device, row, body)
        if any(body.old_key):
            _end_sessions(db, service, device)
    _enrolled(db, service, device)
    return True


def _meter_key(db: Session, device: Device, row: ChainEventRow, body: events.KeyChanged) -> None:
    known = {key.key: key for key in db.scalars(select(DeviceKey).where(DeviceKey.device == device.device))}
    old = known.get(body.old_key)
    if old is not None:
        old.until_s, old.last_frame = row.time_s, body.last_frame
        # Vouched for by a key that ended, they would prove nothing of a session that opens now: the agent vouches anew when it comes back.
        db.execute(delete(Voucher).where(Voucher.device == device.device, Voucher.session.is_(None)))
    if any(body.new_key):
        device.meter_key = body.new_key
        if body.new_key not in known:
            db.add(DeviceKey(operator_id=device.operator_id, device=device.device, key=body.new_key, from_s=row.time_s))
    db.flush()


def _end_sessions(db: Session, service: Service, device: Device) -> None:
    """Another meter key ends what runs: its terms commit to the old one. The old key's last charge stands."""
    for found in db.scalars(select(SessionRow).where(SessionRow.device == device.device, SessionRow.state.in_(LIVE))).all():
        end(db, service, found, Cause.OPERATOR, "the meter's key was changed")


def _enrolled(db: Session, service: Service, device: Device) -> None:
    """Enrolled: both keys stand on the chain as they stand here."""
    standing: dict[int, bytes] = {}
    for event in db.scalars(select(KeyEventRow).where(KeyEventRow.device == device.device).order_by(KeyEventRow.id)):
        standing[event.role] = event.new_key
    ours = {int(KeyRole.METER): device.meter_key, int(KeyRole.CONTROL): control_key(service, device)}
    if standing == ours:
        device.enrolment = "enrolled"
