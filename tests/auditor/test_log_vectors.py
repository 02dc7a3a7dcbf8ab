"""The golden vectors of whole logs (tests/vectors/logs.json): each fault fails the check named for it, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditor.conflicts import conflict_problems
from auditor.frames import CheckedFrame, examine
from auditor.log import walk
from auditor.registers import register_problems
from protocol.bundle import BundledFrame, SessionFacts
from protocol.evidence import Record
from protocol.money import Terms
from protocol.wire import decode_frame

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "logs.json").read_text("utf-8"))["vectors"]


def _examined(documents: list[dict[str, Any]]) -> list[CheckedFrame]:
    found = []
    for position, document in enumerate(documents):
        signed = decode_frame(document)
        bundled = BundledFrame(signed.frame, signed.signature, signed.records, signed.details, None, ())
        checked, problems = examine(bundled, f"frames[{position}]")
        assert not problems
        found.append(checked)
    return found


def _facts(modulus: int, records: list[Record]) -> SessionFacts:
    """What the checks of a log read of a session: device, channel, rating, modulus and how far it goes."""
    zero, nobody = bytes(32), bytes(20)
    terms = Terms(nobody, nobody, nobody, zero, True, nobody, zero, zero, 0, 0, 0, 0, 0, 0, 0, 0, zero)
    return SessionFacts(
        session=zero, terms=terms, chain_id=1, escrow=nobody, registry=nobody, anchor_log=nobody, opened_at_s=0, lock_micro=0,
        point_salt=None, device=records[0].device, channel=1, rated_watts=3_000, register_modulus_milliwatt_hours=modulus,
        operator=nobody, service_key=nobody, first_sequence=records[0].sequence, last_sequence=records[-1].sequence,
    )  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_log(vector: dict[str, Any]) -> None:
    frames, conflicts = _examined(vector["frames"]), _examined(vector["conflicts"])
    log = walk(frames)
    facts = _facts(vector["registerModulusMilliwattHours"], log.records())
    disputed, _ = conflict_problems(facts, log, conflicts, [], {frames[0].signer})
    problems = [*log.problems, *disputed, *register_problems(facts, log.records(), [])]
    assert sorted({problem.check for problem in problems}) == vector["problems"], problems
    assert bool(log.rolled_back) == vector["rolledBack"]
