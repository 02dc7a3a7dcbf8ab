"""The agent's log as it adds up: entries whole, the tip and the state found again, what a session needs kept; a meter key changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meter_agent.enrolment import initialise
from meter_agent.journal import Entry, Journal, Tip
from meter_agent.keystore import Keystore
from meter_agent.line import MeterReading
from meter_agent.recorder import Recorder
from meter_agent.rotation import rotate_meter_key
from meter_agent.state import Live, Phase, State, following
from onsite.errors import LogDamaged
from onsite.log import Position, segments
from protocol.control import KeyRotation
from protocol.eip712 import control_domain, digest, from_json
from protocol.evidence import Flag, Reason
from protocol.keys import Signer, check_signature, recover_address
from protocol.wire import check_frame, decode_frame
from tests.agent.paper import Paper

KEY = bytes(20)
PASSPHRASE = b"correct horse battery staple"


def first_state() -> State:
    return State(control_key=KEY, enrolled_key=KEY)


def reading(register: int) -> MeterReading:
    return MeterReading("M1", "", register, 0, 100, 9, 230_000, 0, 0, Flag(0), [("1.8.0", b"(1)")] * 70, 0, 0, 0)


def write(journal: Journal, recorder: Recorder, count: int, *, close: bool = True, start_s: int = 0) -> None:
    for i in range(count):
        cut = recorder.cut(reading(100 * i), journal.tip.end_s + 60 if journal.tip.end_s else 1_000, Reason.PERIODIC, Flag(0), None)
        journal.append(recorder.step([cut], bytes(32), close_frame=close).entry)
    assert start_s == 0


@settings(max_examples=50, deadline=None)
@given(
    st.none() | st.binary(min_size=1, max_size=50), st.lists(st.binary(min_size=1, max_size=20), max_size=3), st.booleans(), st.booleans()
)
def test_entries_come_back_as_they_were(frame: bytes | None, drafts: list[bytes], state: bool, tip: bool) -> None:
    entry = Entry(
        frame, tuple(drafts), {"a": 1}, ({"text": "OCMF|"},), None, first_state() if state else None, Tip(next_sequence=7) if tip else None
    )
    assert Entry.decode(entry.encode()) == entry


@given(st.binary(max_size=60))
def test_bytes_that_are_no_entry_are_damage(raw: bytes) -> None:
    try:
        Entry.decode(raw)
    except LogDamaged:
        pass
    except Exception as error:
        pytest.fail(f"{type(error).__name__}: {error}")


def test_state_tip_and_drafts_are_found_again(tmp_path: Path) -> None:
    signer = Signer.create()
    journal = Journal(tmp_path, first_state())
    recorder = Recorder(journal, signer, os.urandom(32), 1, "p", 3_680)
    write(journal, recorder, 3)
    write(journal, recorder, 2, close=False)
    journal.save(journal.state.with_(highest_number=9))
    tip, drafts = journal.tip, journal.drafts
    journal.close()
    journal = Journal(tmp_path, first_state())
    assert (journal.tip, journal.drafts, journal.state.highest_number) == (tip, drafts, 9)
    # The drafts of the run before are framed by this one's first frame, in order, under a new incarnation.
    recorder = Recorder(journal, signer, recorder._device, 1, "p", 3_680)
    write(journal, recorder, 1)
    last = [entry.frame for _, entry in journal.entries(None) if entry.frame][-1]
    signed = decode_frame(last)
    check_frame(signed, signer.address)
    assert [r.sequence for r in signed.records] == [4, 5, 6]
    assert signed.frame.previous_frame == tip.previous_frame
    assert all(len(details) == 64 for details in signed.details)
    assert journal.drafts == []
    journal.close()


def test_segments_the_open_session_needs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onsite.log.SEGMENT_S", -1)  # a segment an entry
    paper = Paper()
    session = paper.session()
    journal = Journal(tmp_path, paper.state)
    recorder = Recorder(journal, paper.meter, paper.device, 1, "p", 3_680)
    write(journal, recorder, 4)
    live = Live(
        session=session.id, granted=session.grant(send=False), phase=Phase.SUPPLYING, charge_index=0, start=journal.end, first_sequence=5
    )
    journal.save(journal.state.with_(live=live))
    write(journal, recorder, 4)
    before = len(segments(tmp_path))
    future = 1e11
    assert journal.drop_before(Position(10**6, 0), future) > 0
    assert len(segments(tmp_path)) < before
    assert [signed.records[i].sequence for signed, i in journal.session_records()] == [5, 6, 7, 8]
    journal.save(journal.state.with_(live=None))
    assert journal.drop_before(Position(10**6, 0), future) > 0
    journal.close()


def test_there_is_no_step_the_table_does_not_have() -> None:
    assert following(None, "grant") is Phase.GRANTED
    for phase, step in ((None, "reconnect"), (Phase.GRANTED, "reconnect"), (Phase.ENDING, "reconnect"), (Phase.ENDING, "end")):
        with pytest.raises(AssertionError):
            following(phase, step)


def test_a_meter_key_is_rotated_at_the_device(tmp_path: Path) -> None:
    paper = Paper()
    state = tmp_path / "agent"
    before = initialise(state, PASSPHRASE, paper.device, 1, None)
    document = rotate_meter_key(state, PASSPHRASE, paper.config, 2_000_000_000)
    rotation = from_json(KeyRotation, document["rotation"])
    identity = digest(control_domain(paper.config.chain_id, paper.config.registry), rotation)
    signers = [recover_address(identity, bytes.fromhex(raw[2:])) for raw in document["signatures"]]
    assert signers == [rotation.old_key, rotation.new_key]
    assert rotation.old_key == bytes.fromhex(before["meterKey"][2:])
    assert Keystore(state / "keys").meter(PASSPHRASE).address == rotation.new_key
    public = json.loads((state / "identity.json").read_text())
    assert public["meterKey"] == "0x" + rotation.new_key.hex()
    assert json.loads((state / "rotation.json").read_text()) == document
    assert (state / "keys" / f"meter-{rotation.old_key.hex()}.json").stat().st_mode & 0o777 == 0o600
    check_signature(identity, bytes.fromhex(document["signatures"][1][2:]), rotation.new_key)
