"""agent_frames_per_second: a meter's readout as bytes → parsed → judged → record → frame, signed → on the disk, synced.

One record a frame, one frame an entry, one `fdatasync` an entry: the agent's live operation. The reference does only what cannot be
left out: one bare signature and one synced append of as many bytes, to a file beside the log.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from meter_agent.journal import Journal
from meter_agent.line.reading import MeterMap, Moment, reading_of
from meter_agent.line.values import parse_data_sets
from meter_agent.recorder import Recorder
from meter_agent.state import State
from protocol.evidence import Flag, Reason
from protocol.hashing import keccak
from protocol.keys import Signer

from .figure import Figure, figure

FRAMES = 400
ROUNDS = 5
READOUT = (
    "C.1.0(10000001)\r\n1.8.0({:012.3f}*kWh)\r\n2.8.0(000000000.000*kWh)\r\n16.7.0(0001.000*kW)\r\n31.7.0(004.348*A)\r\n"
    "32.7.0(230.0*V)\r\nC.5.0(00000000)\r\nC.7.0(0003)\r\n"
)


class Measured(NamedTuple):
    """Frames a second of the agent, of the bare reference, and the mean bytes of an entry."""

    frames_per_second: float
    bare_per_second: float
    entry_bytes: int


def agent_round(directory: Path, signer: Signer) -> tuple[float, int]:
    """Seconds for FRAMES frames, and how many bytes the log grew."""
    key = signer.address
    journal = Journal(directory, State(control_key=key, enrolled_key=key))
    recorder = Recorder(journal, signer, os.urandom(32), 1, "bench", 3_680)
    first, codes = journal.end, MeterMap()
    readouts = [READOUT.format(i / 1_000).encode() for i in range(FRAMES)]
    started = time.perf_counter()
    for i, readout in enumerate(readouts):
        moment = Moment(1_800_000_000 + 900 * i, 0, 0)
        reading = reading_of(parse_data_sets(readout), "/WPr6RIG-1", moment, codes)
        cut = recorder.cut(reading, moment.read_at_s, Reason.PERIODIC, Flag(0), None)
        step = recorder.step([cut], bytes(32), close_frame=True)
        journal.append(step.entry)
        recorder.appended([cut])
    took = time.perf_counter() - started
    grown = journal.end.offset - first.offset
    journal.close()
    return took, grown


def bare_round(directory: Path, signer: Signer, entry_bytes: int) -> float:
    """Seconds for FRAMES bare signatures, each with a synced append."""
    digests = [keccak(i.to_bytes(4, "big")) for i in range(FRAMES)]
    payload = os.urandom(entry_bytes)
    handle = os.open(directory / "bare", os.O_RDWR | os.O_CREAT)
    started = time.perf_counter()
    for i, digest in enumerate(digests):
        signer.sign(digest)
        os.pwrite(handle, payload, i * entry_bytes)
        os.fdatasync(handle)
    took = time.perf_counter() - started
    os.close(handle)
    return took


def agent_frames() -> Measured:
    """The best of several rounds, agent and reference in turn on the same file system."""
    signer = Signer.create()
    best, bare, entry_bytes = float("inf"), float("inf"), 0
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            took, grown = agent_round(directory / "log", signer)
            entry_bytes = grown // FRAMES
            best, bare = min(best, took), min(bare, bare_round(directory, signer, entry_bytes))
    return Measured(FRAMES / best, FRAMES / bare, entry_bytes)


def measure() -> list[Figure]:
    found = agent_frames()
    how = f"1 record/frame, 8 details/record, {found.entry_bytes} bytes and one fdatasync a frame; against bare signature + synced append"
    return [
        figure(
            "agent_frames_per_second", found.frames_per_second, "frames/s", found.bare_per_second,
            "reported as a share of bare synced appends + signature", True, how,
        )
    ]  # fmt: skip
