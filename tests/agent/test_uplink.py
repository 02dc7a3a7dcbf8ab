"""Frames to the service: catching up, receipts by the pinned key only, a service that went back in time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from protocol.evidence import Flag
from protocol.keys import Signer
from tests.agent.point import AgentPoint, until

MakePoint = Callable[..., AgentPoint]
EACH_SECOND = "recordIntervalS = 1\n"


def idle(make_point: MakePoint) -> AgentPoint:
    """A point without a session that makes a record a second."""
    point = make_point()
    text = point.config.read_text().replace("recordIntervalS = 900", "recordIntervalS = 1")
    point.config.write_text(text)
    return point


def shown(point: AgentPoint) -> dict[str, object]:
    return dict(json.loads(point.command("show", "--state", str(point.state), "--json").stdout))
@pytest.mark.slow
def test_frames_not_receipted_are_sent_again_byte_for_byte_many_a_request(make_point: MakePoint) -> None:
    point = idle(make_point)
    point.desk.receipts = False
    point.start()
    point.desk.wait(lambda: len(point.desk.frames) >= 6, "frames")
    assert shown(point)["receiptedThrough"] is None
    held = list(point.desk.raw)
    point.desk.receipts = True
    until(lambda: (shown(point)["receiptedThrough"] or 0) >= 6, "receipts")
    assert max(point.desk.requests) > 1
    assert point.desk.raw[: len(held)] == held
    assert point.desk.faults == []


def test_catching_up_after_the_service_was_away(make_point: MakePoint) -> None:
    point = idle(make_point)
    point.start()
    point.desk.wait(lambda: len(point.desk.frames) >= 2, "frames")
    point.desk.up = False
    point.desk.drop_streams()
    time.sleep(6)
    point.desk.up = True
    before = len(point.desk.frames)
    point.desk.wait(lambda: len(point.desk.records) >= point.desk.frames[before - 1].last_sequence + 5, "the rest")
    # Offline the records waited for one frame; none is missing (the desk checks that they run on).
    assert any(frame.frame.count >= 3 for frame in point.desk.frames[before:])
    assert point.desk.faults == []
@pytest.mark.slow
def test_a_service_restored_from_a_backup_gets_again_what_it_had_acknowledged(make_point: MakePoint) -> None:
    point = idle(make_point)
    point.start()
    point.desk.wait(lambda: len(point.desk.frames) >= 5, "frames")
    with point.desk.changed:
        raw = list(point.desk.raw)
        point.desk.up = False
        del point.desk.frames[2:], point.desk.raw[2:]
    point.desk.drop_streams()
    time.sleep(1)
    point.desk.up = True
    point.desk.wait(lambda: len(point.desk.frames) >= len(raw) + 1, "everything again")
    assert point.desk.raw[: len(raw)] == raw
@pytest.mark.slow
def test_receipts_of_another_key_acknowledge_nothing(make_point: MakePoint) -> None:
    point = idle(make_point)
    right, point.desk.service = point.desk.service, Signer.create()
    point.start()
    point.desk.wait(lambda: len(point.desk.frames) >= 2, "frames")
    time.sleep(1)
    assert shown(point)["receiptedThrough"] is None
    assert all(r.flags & Flag.CLOCK_NOT_SYNCHRONISED for r in point.desk.records)
    assert "not by the pinned service key" in point.agent_log()
    point.desk.service = right
    until(lambda: shown(point)["receiptedThrough"], "a receipt")
    point.desk.wait(lambda: not point.desk.records[-1].flags & Flag.CLOCK_NOT_SYNCHRONISED, "a clock that is right")
@pytest.mark.slow
def test_a_log_that_was_rolled_back_says_so(make_point: MakePoint) -> None:
    point = idle(make_point)
    point.start()
    point.desk.wait(lambda: len(point.desk.frames) >= 2, "frames")
    assert point.stop() == 0
    copy = {path.name: path.read_bytes() for path in (point.state / "log").iterdir()}
    held = len(point.desk.frames)
    point.start()
    point.desk.wait(lambda: len(point.desk.frames) >= held + 3, "more frames")
    assert point.stop() == 0
    for path in (point.state / "log").iterdir():
        path.unlink()
    for name, content in copy.items():
        (point.state / "log" / name).write_bytes(content)
    with point.desk.changed:  # a service takes the branch; the desk does by forgetting the other one
        del point.desk.frames[held:], point.desk.raw[held:]
    point.start()
    point.desk.wait(lambda: len(point.desk.frames) > held, "the branch")
    assert point.desk.records[-1].flags & Flag.LOG_ROLLED_BACK or point.desk.frames[held].records[0].flags & Flag.LOG_ROLLED_BACK
@pytest.mark.slow
def test_each_start_is_an_incarnation_that_names_the_last_frame(make_point: MakePoint) -> None:
    point = idle(make_point)
    for _ in range(3):
        seen = len(point.desk.frames)
        point.start()
        point.desk.wait(lambda seen=seen: len(point.desk.frames) > seen, "a frame")
        point.kill()
    assert len({frame.frame.incarnation for frame in point.desk.frames}) == 3
    assert point.desk.faults == []
@pytest.mark.slow
def test_a_command_line_error_is_a_sentence(make_point: MakePoint) -> None:
    point = make_point()
    done = point.command("run", "--state", str(point.state), "--config", "/nowhere.toml", check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    wrong = point.directory / "wrong"
    wrong.write_text("not the right passphrase")
    wrong.chmod(0o600)
    done = point.command(
        "run", "--state", str(point.state), "--config", str(point.config), "--passphrase-file", str(wrong), check=False
    )
    assert "wrong passphrase" in done.stderr
    assert "Traceback" not in done.stderr
    point.start()
    done = point.command(
        "run", "--state", str(point.state), "--config", str(point.config), "--passphrase-file", str(point.passphrase), check=False
    )
    assert "in use by another agent" in done.stderr
    assert "Traceback" not in done.stderr
