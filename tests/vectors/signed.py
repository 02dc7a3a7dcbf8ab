"""What every generator of vectors shares: fixed keys, fixed bytes, and the ways in which a signature can be wrong."""

from __future__ import annotations

from protocol.hashing import keccak
from protocol.keys import HALF_ORDER, Signer

ORDER = 2 * HALF_ORDER + 1


def word(name: str) -> bytes:
    """32 bytes that depend on nothing but the name."""
    return keccak(b"wattproof vector: " + name.encode())


def signer(name: str) -> Signer:
    """A key anybody can have: for vectors only."""
    return Signer(word("key of " + name))


def hexed(raw: bytes) -> str:
    return "0x" + raw.hex()


def high_s(signature: bytes) -> bytes:
    """The other signature of the same key over the same digest: s negated, v turned round."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],))


def wrong_signatures(good: bytes) -> dict[str, bytes]:
    """Every malformed or non-canonical form of a good signature, by the name of its fault."""
    return {
        "high-s": high_s(good),
        "wrong v": good[:64] + bytes((55 - good[64],)),
        "v is 0 or 1": good[:64] + bytes((good[64] - 27,)),
        "v is 29": good[:64] + b"\x1d",
        "truncated signature": good[:64],
        "signature with a byte too many": good + b"\x00",
        "empty signature": b"",
        "r is zero": bytes(32) + good[32:],
        "s is zero": good[:32] + bytes(32) + good[64:],
        "r is not below the order": ORDER.to_bytes(32, "big") + good[32:],
    }
