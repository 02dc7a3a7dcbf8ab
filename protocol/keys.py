"""secp256k1 keys: sign, recover, check. libsecp256k1 through coincurve.

Signatures are 65 bytes r‖s‖v with v = 27 or 28 and low s (EIP-2): one message, one key, one accepted signature form.
"""

from __future__ import annotations

from functools import lru_cache

from coincurve import PrivateKey, PublicKey
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.context import GLOBAL_CONTEXT

from .errors import BadSignature
from .hashing import keccak

SIGNATURE_SIZE = 65
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half the order of secp256k1 (SEC 2 §2.4.1): s above it is the malleable twin of a valid signature."""

_HALF_ORDER_BYTES = HALF_ORDER.to_bytes(32, "big")


def address_of_public(public: PublicKey) -> bytes:
    """The 20-byte Ethereum address of a public key."""
    return keccak(public.format(compressed=False)[1:])[12:]


class Signer:
    """A private key that signs digests. `address` is its 20-byte address; the secret never appears in a repr."""

    __slots__ = ("_key", "address")

    def __init__(self, secret: bytes) -> None:
        self._key = PrivateKey(secret)
        self.address = address_of_public(self._key.public_key)

    @classmethod
    def create(cls) -> Signer:
        """A new random key from the system's own randomness."""
        return cls(PrivateKey().secret)

    @property
    def secret(self) -> bytes:
        """The 32 secret bytes, for an encrypted key file only."""
        return bytes(self._key.secret)

    @property
    def public_key(self) -> bytes:
        """The uncompressed public key, 65 bytes."""
        return bytes(self._key.public_key.format(compressed=False))

    def sign(self, digest: bytes) -> bytes:
        """65 bytes r‖s‖v over a 32-byte digest; deterministic (RFC 6979), low s."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return raw[:64] + bytes((raw[64] + 27,))

    def __repr__(self) -> str:
        return f"Signer(0x{self.address.hex()})"


def _check_form(signature: bytes) -> None:
    if len(signature) != SIGNATURE_SIZE:
        raise BadSignature(f"a signature has {SIGNATURE_SIZE} bytes, this one {len(signature)}")
    if signature[64] not in (27, 28):
        raise BadSignature(f"v must be 27 or 28, not {signature[64]}")
    if signature[32:64] > _HALF_ORDER_BYTES:
        raise BadSignature("s is in the upper half of the curve order (not canonical)")


_new, _view, _context = ffi.new, ffi.buffer, GLOBAL_CONTEXT.ctx
_parse, _recover = lib.secp256k1_ecdsa_recoverable_signature_parse_compact, lib.secp256k1_ecdsa_recover


@lru_cache(maxsize=4096)  # one entry a meter: its address is worked out once
def _address(point: bytes) -> bytes:
    """The address of a key as the library keeps it in memory: the same key has the same 64 bytes in one process, and only there."""
    public = _new("secp256k1_pubkey *")
    _view(public)[:] = point
    return address_of_public(PublicKey(public))


def recover_address(digest: bytes, signature: bytes) -> bytes:
    """The 20-byte address that signed `digest`. Raises `BadSignature`; never returns the zero address.

    Always by recovery, as the contracts do: verification against a known key would be a sixth faster, but takes either v, and a
    signature that we take and the chain refuses is power given away.
    """
    _check_form(signature)
    # The library's own two calls, as coincurve's PublicKey makes them; its wrappers cost a tenth on top, for every frame there is.
    made, public = _new("secp256k1_ecdsa_recoverable_signature *"), _new("secp256k1_pubkey *")
    good = len(digest) == 32 and _parse(_context, made, signature, signature[64] - 27)
    if not good or not _recover(_context, public, made, digest):
        raise BadSignature("no key makes this signature (ValueError)")
    return _address(_view(public)[:])


def check_signature(digest: bytes, signature: bytes, address: bytes) -> None:
    """Raise `BadSignature` unless `address` made `signature` over `digest`."""
    signer = recover_address(digest, signature)
    if signer != address:
        raise BadSignature(f"signed by 0x{signer.hex()}, not by 0x{address.hex()}")


def der_signature(raw: bytes) -> bytes:
    """The 64 bytes r‖s as a DER ECDSA signature (SEC 1 §C.5)."""
    parts = b""
    for half in (raw[:32], raw[32:64]):
        number = half.lstrip(b"\x00") or b"\x00"
        if number[0] & 0x80:
            number = b"\x00" + number
        parts += b"\x02" + bytes((len(number),)) + number
    return b"\x30" + bytes((len(parts),)) + parts
