"""Who is calling as an agent: an AgentHello, signed by the meter key, fresh, and used once."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson
from sqlalchemy import delete, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from protocol.control import AgentHello
from protocol.eip712 import digest, from_json, hex_bytes
from protocol.errors import BadSignature, Malformed
from protocol.keys import check_signature

from ..context import Service
from ..errors import Unauthorized
from ..models import Device, HelloNonce

HELLO_WITHIN_S = 60
"""A hello is taken this long before and after the time it names; its nonce is remembered twice as long."""
MAX_HELLO_CHARACTERS = 2_000


def check_hello(db: Session, service: Service, device: Device, authorization: str | None) -> Device:
    """Raise `Unauthorized` unless the header is a fresh AgentHello signed by the device's meter key. Uses up its nonce."""
    hello, signature = _parse(authorization)
    now = service.now_s()
    if hello.device != device.device:
        raise Unauthorized("the hello names another device than the path", "Authorization")
    if abs(hello.at_s - now) > HELLO_WITHIN_S:
        raise Unauthorized(f"the hello is of {hello.at_s}; here it is {now}; set the agent's clock", "Authorization")
    try:
        check_signature(digest(service.control, hello), signature, device.meter_key)
    except BadSignature as error:
        raise Unauthorized(f"{error}; the meter key signs AgentHello in the control domain", "Authorization") from None
    db.execute(delete(HelloNonce).where(HelloNonce.at_s < now - 2 * HELLO_WITHIN_S))
    try:
        with db.begin_nested():
            db.execute(insert(HelloNonce).values(operator_id=device.operator_id, device=device.device, nonce=hello.nonce, at_s=hello.at_s))
    except IntegrityError:
        raise Unauthorized("this hello was used before; each request takes a new nonce", "Authorization") from None
    return device


def _parse(authorization: str | None) -> tuple[AgentHello, bytes]:
    scheme, _, text = (authorization or "").partition(" ")
    if scheme != "Wattproof" or not text or len(text) > MAX_HELLO_CHARACTERS:
        raise Unauthorized('an agent sends `Authorization: Wattproof <base64url of {"device","atS","nonce","signature"}>`', "Authorization")
    try:
        document: Any = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not isinstance(document, dict):
            raise Malformed("must be an object", "hello")
        signature = hex_bytes(document.pop("signature", None), 65, "hello.signature")
        return from_json(AgentHello, document, "hello"), signature
    except (binascii.Error, ValueError, Malformed) as error:
        raise Unauthorized(f"the hello cannot be read: {error}", "Authorization") from None
