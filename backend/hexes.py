"""Bytes as the `0x` text of every door, and back."""

from __future__ import annotations

from protocol.eip712 import hex_bytes
from protocol.errors import Malformed

from .errors import BadRequest, NotFound


def to_hex(raw: bytes) -> str:
    return "0x" + raw.hex()


def hash_in(text: str, where: str) -> bytes:
    """32 bytes from a path or body. Raises `BadRequest`."""
    return _sized(text, 32, where)


def address_in(text: str, where: str) -> bytes:
    """20 bytes, in any case of letters. Raises `BadRequest`."""
    return _sized(text.lower(), 20, where)


def signature_in(text: str, where: str) -> bytes:
    return _sized(text, 65, where)


def any_signature_in(text: str, where: str) -> bytes:
    """A signature of any length: of a key, or whatever an account with code takes."""
    return _sized(text, None, where)


def id_in_path(text: str, where: str) -> bytes:
    """32 bytes that name something: what is not even an id is not found."""
    try:
        return hex_bytes(text, 32, where)
    except Malformed:
        raise NotFound("ids are 0x and 64 hexadecimal digits", where) from None


def _sized(text: str, size: int | None, where: str) -> bytes:
    try:
        return hex_bytes(text, size, where)
    except Malformed as error:
        raise BadRequest(error.what, where) from None
