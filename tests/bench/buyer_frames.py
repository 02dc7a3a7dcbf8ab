"""buyer_frames_per_second: wire bytes → decoded, checked, chained, priced, compared with the own meter → payment signed, journalled.

One record a frame, every frame answered by a payment of its own, the payments of 256 frames in one synced entry of the journal (live, a
frame is answered as it comes; this is a buyer catching up, or one core serving many sessions). The reference does only what cannot be left
out: one bare verification and one bare signature a frame.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from coincurve import PublicKey

from buyer_agent.own_meter import Own, Series
from buyer_agent.payer import MAX_ANSWER
from protocol.hashing import keccak
from protocol.keys import Signer, der_signature
from tests.buyer.paper import Paper, now_s

from .figure import Figure, best_rate, figure

FRAMES = 2_048
ROUNDS = 3
GOAL = 2_000


def _paper(state: Path) -> tuple[Paper, list[bytes], list[Own]]:
    paper = Paper(state, step=1_000)
    frames = [paper.start(), *(paper.use(1_000) for _ in range(FRAMES - 1))]
    begun = paper.opened_at_s * 1_000
    readings = [Own(begun + 500 * i, begun + 500 * i + 100, max(0, 500 * i), 10) for i in range(-4, 2 * FRAMES + 8)]
    return paper, frames, readings


def rate() -> float:
    """Frames a second, the best of some rounds, each with a new journal."""
    with tempfile.TemporaryDirectory() as name:
        paper, frames, readings = _paper(Path(name))
        round_ = 0

        def work() -> int:
            nonlocal round_
            round_ += 1
            paper.state = Path(name) / str(round_)
            series = Series()
            for own in readings:
                series.add(own)
            journal = paper.journal()
            payer, paid, now = paper.payer(journal, series), 0, now_s()
            for start in range(0, len(frames), MAX_ANSWER):
                for raw in frames[start : start + MAX_ANSWER]:
                    payer.take(raw, now)
                paid += len(payer.answer())
            journal.close()
            assert paid == len(frames) - 1, "every frame with energy is answered"
            return len(frames)

        return best_rate(work, ROUNDS)


def bare() -> float:
    """Bare verifications, each with a bare signature, a second."""
    signer, digest = Signer.create(), keccak(b"bare")
    der, public = der_signature(signer.sign(digest)[:64]), PublicKey(signer.public_key)

    def work() -> int:
        for _ in range(1_000):
            public.verify(der, digest, hasher=None)
            signer.sign(digest)
        return 1_000

    return best_rate(work, 10)


def measure() -> list[Figure]:
    found, reference = rate(), bare()
    how = f"1 record/frame, compared with an own meter read twice a second, {MAX_ANSWER} payments a synced entry; bare {reference:,.0f}/s"
    return [figure("buyer_frames_per_second", found, "frames/s/core", reference, f"≥ {GOAL:,}/s", found >= GOAL, how)]
