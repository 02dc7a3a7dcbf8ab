"""audit_meter_year_s: a year of quarter-hours as one bundle file, from its bytes to the report; pricing in, offline, all links trusted.

One record a frame and 16; every frame in an epoch of 1,000 frames of its own, an epoch every 5 minutes of the year (105,120 links). The
paths have the siblings of a random tree: making 35,040 trees of a thousand leaves would take minutes and cost the verifier nothing more.
"""

from __future__ import annotations

import os
import time

from auditor.verify import verify
from protocol.bundle import encode_bundle
from protocol.hashing import keccak
from protocol.keys import Signer, check_signature
from tests.auditor.make_bundle import Evidence

from .figure import Figure, best_rate, figure

RECORDS = 35_040
ROUNDS = 3


def measure() -> list[Figure]:
    """Best of three: seconds to verify, against the bare signatures and Keccaks of the same file on the same cores."""
    signer, digest = Signer.create(), keccak(b"bare")
    signature = signer.sign(digest)

    def bare() -> int:
        for _ in range(2_000):
            check_signature(digest, signature, signer.address)
        return 2_000

    rate, cores = best_rate(bare), os.cpu_count() or 1
    figures = []
    for per_frame, name, goal in ((1, "audit_meter_year_s", 3.0), (16, "audit_meter_year_s_frame16", 1.0)):
        scene = Evidence(records=RECORDS - 1, per_frame=per_frame, epoch_frames=1_000, real_trees=False)
        raw, trust = encode_bundle(scene.bundle()), scene.kept()
        seconds = min(_seconds(raw, trust) for _ in range(ROUNDS))
        frames = len(scene.frames)
        how = (
            f"{RECORDS} records, {per_frame} a frame, {len(scene.links)} links, {len(raw) / 1e6:.1f} MB, {cores} cores; "
            f"reference: its {frames} signatures bare, {rate:,.0f}/s/core"
        )
        figures.append(figure(name, seconds, "s", frames / rate / cores, f"≤ {goal:g} s", seconds <= goal, how))
    return figures


def _seconds(raw: bytes, trust: object) -> float:
    started = time.perf_counter()
    report = verify(raw, trust)  # type: ignore[arg-type]
    elapsed = time.perf_counter() - started
    assert not report.failed, report.failed
    return elapsed
