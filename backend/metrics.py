"""What /metrics shows."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()
_FRAMES = Counter("wattproof_frames", "Frames taken, repeated and refused", ["outcome"], registry=REGISTRY)
REQUEST_SECONDS = Histogram("wattproof_request_seconds", "Time to answer", ["route", "status"], registry=REGISTRY)
LOOP_ROUNDS = Counter("wattproof_loop_rounds", "Rounds of the background loops", ["loop", "outcome"], registry=REGISTRY)
CHAIN_BLOCK = Gauge("wattproof_chain_block", "Last block read, and last final one", ["which"], registry=REGISTRY)
SESSIONS = Gauge("wattproof_sessions", "Sessions by state", ["state"], registry=REGISTRY)
ALARMS = Gauge("wattproof_alarms_open", "Open alarms by severity", ["severity"], registry=REGISTRY)
OUTBOX = Gauge("wattproof_outbox", "Transactions wanted or under way", ["state"], registry=REGISTRY)


class _FrameCounter:
    def count(self, tally: Any) -> None:
        _FRAMES.labels("accepted").inc(tally.accepted)
        _FRAMES.labels("repeated").inc(tally.repeated)
        _FRAMES.labels("refused").inc(len(tally.refused))


FRAMES = _FrameCounter()
