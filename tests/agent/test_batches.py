"""What goes into one request: every frame's charge, and no more than the service takes. On a real log, without a service."""

from __future__ import annotations

import os
import queue
from pathlib import Path

from meter_agent.clock import Clock
from meter_agent.journal import Entry, Journal, Tip
from meter_agent.service import Service
from meter_agent.uplink import MAX_BATCH_OCMF, Acknowledged, Sender
from protocol.evidence import Record, details_hash, frame_digest, make_frame
from protocol.wire import SignedFrame, encode_frame
from tests.agent.paper import Paper


def filled(paper: Paper, directory: Path, count: int) -> Journal:
    """A log of frames, each with a charge and an OCMF text: many short sessions."""
    journal, previous, incarnation = Journal(directory / "log", paper.state), bytes(32), os.urandom(32)
    for i in range(1, count + 1):
        record = Record(paper.device, 1, i, i, i + 1, i, 0, 1, 0, 0, 0, 0, 2, bytes(32), details_hash([]), os.urandom(32))
        frame = make_frame((record,), incarnation, previous, bytes(32))
        previous = frame_digest(frame)
        signed = SignedFrame(frame, paper.meter.sign(previous), (record,), ((),))
        charge = {"session": "0x" + "11" * 32, "amountMicro": i, "frame": "0x" + previous.hex()}
        tip = Tip(previous_frame=previous, next_sequence=i + 1, end_s=i + 1)
        journal.append(Entry(frame=encode_frame(signed), charge=charge, ocmf=({"session": "0x", "text": str(i)},), tip=tip))
    return journal


def test_a_request_has_every_charge_and_no_more_texts_than_the_service_takes(tmp_path: Path) -> None:
    paper, clock = Paper(), Clock()
    journal, service = filled(paper, tmp_path, 40), Service(paper.config, paper.meter, clock)
    acknowledged = Acknowledged(tmp_path / "receipts")
    sender = Sender(paper.config, journal, acknowledged, service, clock, queue.Queue())
    amounts: list[int] = []
    for _ in range(3):
        batch = sender._collect()
        assert batch is not None
        assert len(batch.ocmf) <= MAX_BATCH_OCMF
        assert len(batch.charges) == len(batch.frames)
        amounts += [charge["amountMicro"] for charge in batch.charges]
        sender._at = batch.end
    assert amounts == list(range(1, 41))
    service.close()
    journal.close()
    acknowledged.close()
