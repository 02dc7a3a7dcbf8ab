"""Enrolment on the chain: the device under this operator, its meter key on its own signature, its control key on ours, its channel."""

from __future__ import annotations

from sqlalchemy.orm import Session

from protocol.control import KeyBinding, KeyRole
from protocol.eip712 import digest

from ..context import Service
from ..models import Device, Point
from ..onchain.outbox import intend

BINDING_VALID_S = 30 * 86_400
"""Our own binding waits in the outbox for as long as a halted chain may take."""


def enrol(db: Session, service: Service, device: Device, point: Point, binding: tuple[int, bytes]) -> None:
    """Want a device and one of its channels on the registry. The same again wants nothing new."""
    deadline_s, signature = binding
    calls, operator = service.calls, service.keys.sender.address
    if device.enrolment != "enrolled":
        control = service.keys.control.of(device.device, device.control_generation)
        ours = KeyBinding(device.device, KeyRole.CONTROL, control.address, service.now_s() + BINDING_VALID_S)
        wanted = (
            ("enrol", calls.enrol_device(device.device, device.owner or operator), b"device"),
            ("enrol", calls.register_key(KeyBinding(device.device, KeyRole.METER, device.meter_key, deadline_s), signature), b"meter"),
            ("enrol", calls.register_key(ours, control.sign(digest(service.control, ours))), b"control"),
        )
        for kind, call, part in wanted:
            intend(db, service, device.operator_id, call, kind=kind, cause=(device.device, part), reference=device.device)
        device.enrolment = "pending"
    call = calls.set_channel(device.device, point.channel, point.rated_watts, True)
    cause = (device.device, b"channel", point.channel, point.rated_watts)
    intend(db, service, device.operator_id, call, kind="enrol", cause=cause, reference=device.device)
