"""One message, one key, one accepted signature."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BadSignature
from protocol.keys import HALF_ORDER, Signer, check_signature, recover_address

ORDER = 2 * HALF_ORDER + 1
secrets = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32, "big"))
digests = st.binary(min_size=32, max_size=32)


def high_s(signature: bytes) -> bytes:
    """The malleable twin: valid mathematics, refused here."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],))


@given(secrets, digests)
def test_what_is_signed_is_recovered_and_checked(secret: bytes, digest: bytes) -> None:
    signer = Signer(secret)
    signature = signer.sign(digest)
    assert len(signature) == 65
    assert signature[64] in (27, 28)
    assert int.from_bytes(signature[32:64], "big") <= HALF_ORDER
    assert signature == signer.sign(digest)
    assert recover_address(digest, signature) == signer.address
    check_signature(digest, signature, signer.address)  # learns the key
    check_signature(digest, signature, signer.address)  # uses it


@given(secrets, digests, digests)
def test_another_digest_or_key_is_refused_known_or_not(secret: bytes, digest: bytes, other: bytes) -> None:
    signer, stranger = Signer(secret), Signer.create()
    signature = signer.sign(digest)
    for _ in range(2):
        with pytest.raises(BadSignature):
            check_signature(digest, stranger.sign(digest), signer.address)
        if other != digest:
            with pytest.raises(BadSignature):
                check_signature(other, signature, signer.address)
        check_signature(digest, signature, signer.address)


@given(secrets, digests)
def test_high_s_and_other_v_are_refused_known_or_not(secret: bytes, digest: bytes) -> None:
    signer = Signer(secret)
    signature = signer.sign(digest)
    wrong = [high_s(signature), signature[:64] + bytes((signature[64] - 27,)), signature[:64] + b"\x1d", signature[:64]]
    wrong += [signature + b"\x00", b"", bytes(64) + b"\x1b", b"\xff" * 32 + signature[32:], ORDER.to_bytes(32, "big") + signature[32:]]
    for _ in range(2):
        for bad in wrong:
            with pytest.raises(BadSignature):
                check_signature(digest, bad, signer.address)
            with pytest.raises(BadSignature):
                recover_address(digest, bad)
        check_signature(digest, signature, signer.address)


@given(secrets, digests)
def test_the_other_v_is_refused_known_or_not(secret: bytes, digest: bytes) -> None:
    """With a known key, verification alone would take either v; the escrow, which recovers, takes one."""
    signer = Signer(secret)
    signature = signer.sign(digest)
    flipped = signature[:64] + bytes((55 - signature[64],))
    with pytest.raises(BadSignature):
        check_signature(digest, flipped, signer.address)
    check_signature(digest, signature, signer.address)
    with pytest.raises(BadSignature):
        check_signature(digest, flipped, signer.address)


@given(st.binary(max_size=70), digests)
def test_any_bytes_are_a_signature_or_refused(noise: bytes, digest: bytes) -> None:
    try:
        address = recover_address(digest, noise)
    except BadSignature:
        return
    assert address != bytes(20)
    check_signature(digest, noise, address)


def test_a_secret_is_not_in_the_repr() -> None:
    signer = Signer.create()
    assert signer.secret.hex() not in repr(signer)
