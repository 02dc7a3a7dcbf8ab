"""verify_records_*: wire bytes → decoded, hashed, rebuilt root, checked signature; against bare libsecp256k1 and bare Keccak."""

from __future__ import annotations

import os

from coincurve import PublicKey

from protocol import evidence, keys, wire
from protocol.hashing import keccak

from .figure import Figure, best_rate, figure

RECORDS = 4096
DETAIL = (("1.8.0", b"0001234.567*kWh"),)


def wire_frames(per_frame: int, signer: keys.Signer) -> list[bytes]:
    """RECORDS records with one detail each, in signed frames of `per_frame`, as wire bytes."""
    device, meter, frames, previous = os.urandom(32), os.urandom(32), [], bytes(32)
    for first in range(0, RECORDS, per_frame):
        records = tuple(
            evidence.Record(device, 1, first + i, 900 * (first + i), 900 * (first + i + 1), (first + i) * 57_000, 0, 1_000, 230_000, 1_000,
                            228_000, 0, 2, meter, evidence.details_hash(DETAIL), os.urandom(32))
            for i in range(per_frame)
        )  # fmt: skip
        frame = evidence.make_frame(records, device, previous, bytes(32))
        previous = evidence.frame_digest(frame)
        signed = wire.SignedFrame(frame, signer.sign(previous), records, (DETAIL,) * per_frame)
        frames.append(wire.encode_frame(signed))
    return frames


def measure() -> list[Figure]:
    signer = keys.Signer.create()
    digest = keccak(b"bare")
    der, public = keys.der_signature(signer.sign(digest)[:64]), PublicKey(signer.public_key)

    def bare_verify() -> int:  # the library's own verification; ours recovers, because a verification takes either v
        for _ in range(2000):
            public.verify(der, digest, hasher=None)
        return 2000

    block = bytes(544)  # a record's packed form: 17 words

    def bare_hash() -> int:
        for _ in range(50_000):
            keccak(block)
        return 50_000

    verify_rate, hash_rate = best_rate(bare_verify), best_rate(bare_hash)
    figures = []
    for per_frame in (1, 16, 256):
        frames = wire_frames(per_frame, signer)

        def check(frames: list[bytes] = frames) -> int:
            for raw in frames:
                wire.check_frame(wire.decode_frame(raw), signer.address)
            return RECORDS

        rate = best_rate(check)
        limit = 1 / (1 / (verify_rate * per_frame) + 1 / hash_rate)
        goal, met = {
            1: ("≥ 50 % of bare verification", rate >= 0.5 * verify_rate),
            16: ("≥ 100,000 records/s/core", rate >= 100_000),
            256: ("reported", True),
        }[per_frame]
        how = f"{per_frame} records/frame, 1 detail/record; bare libsecp256k1 {verify_rate:,.0f}/s, bare Keccak {hash_rate:,.0f}/s"
        reference = verify_rate if per_frame == 1 else limit
        figures.append(figure(f"verify_records_frame{per_frame}", rate, "records/s/core", reference, goal, met, how))
    return figures
