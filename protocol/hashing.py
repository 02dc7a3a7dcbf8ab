"""Keccak-256, the one hash of this project.

safe-pysha3 does about 750,000 short hashes a second; pycryptodome, the fall-back where no wheel of the former exists,
about 220,000. Both are proven equal by test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import rfc8785

from .errors import Malformed

ZERO32 = bytes(32)


class Digest(Protocol):
    """A hash being worked out."""

    def digest(self) -> bytes: ...


def _pick() -> Callable[[bytes], Digest]:
    try:
        from _pysha3 import keccak_256
    except ImportError:  # pragma: no cover - only where no wheel exists
        from Crypto.Hash import keccak as pycryptodome_keccak

        return lambda data: pycryptodome_keccak.new(digest_bits=256, data=data)
    fast: Callable[[bytes], Digest] = keccak_256
    return fast


keccak_of: Callable[[bytes], Digest] = _pick()
"""`keccak_of(data).digest()` is `keccak(data)` without the cost of one call: for the loops that hash every record there is."""


def keccak(data: bytes) -> bytes:
    """Keccak-256 of `data`, 32 bytes."""
    return keccak_of(data).digest()


def document_hash(document: dict[str, Any]) -> bytes:
    """keccak of a document's RFC 8785 form (policies, agreements, tariffs). Raises `Malformed` for integers from 2^53 on."""
    try:
        return keccak(rfc8785.dumps(document))
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise Malformed(f"has no canonical JSON form ({error})", "document") from None
