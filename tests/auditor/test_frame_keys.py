"""Frames anchored after a key's end: they hold where they stand at or before the frame that this end names, and that must be seen."""

from __future__ import annotations

from auditor.report import Check, Report, Verdict
from auditor.verify import verify
from protocol import evidence
from protocol.bundle import AnchorLink, Bundle, BundledFrame, Erasure, HiddenRecord, encode_bundle
from protocol.bundle_parts import AFTER_THE_BILL
from protocol.evidence import Flag, Record, record_hash
from protocol.hashing import ZERO32, keccak
from protocol.keys import Signer

from .make_bundle import Evidence

BILLED, NAMED = 9, 12  # frames of the bill: 0…8; the rotation names frame 12, and all are anchored hours later, in one epoch


def scene_of(last_frame: bytes | None = None, bill: int = BILLED) -> tuple[Evidence, list[BundledFrame]]:
    """A bill of the first frames, a rotation just after record 12, and all the frames there are."""
    scene = Evidence(records=15, epoch_s=14_400, epoch_frames=20)
    named = scene.signed[NAMED].digest if last_frame is None else last_frame
    time_s = scene.records[NAMED][0].end_s + 1
    assert time_s < scene.links[0].time_s
    scene.key_events.append(scene.key_event(scene.meter.address, Signer.create().address, named, time_s))
    frames = scene.frames
    scene.records, scene.signed, scene.frames = scene.records[:bill], scene.signed[:bill], frames[:bill]
    return scene, frames


def hidden(frames: list[BundledFrame]) -> tuple[BundledFrame, ...]:
    found = []
    for frame in frames:
        record = frame.records[0]
        assert isinstance(record, Record)
        found.append(frame._replace(records=(HiddenRecord(record.sequence, record_hash(record)),), details=((),)))
    return tuple(found)


def audited(scene: Evidence, bundle: Bundle) -> tuple[Check, Report]:
    report = verify(encode_bundle(bundle), scene.kept(), processes=1)
    return next(check for check in report.checks if check.name == "frame-keys"), report


def with_frames_after(scene: Evidence, frames: list[BundledFrame], through: int) -> Bundle:
    erasure = Erasure(BILLED, through, scene.start_s, AFTER_THE_BILL)
    return scene.bundle()._replace(frames=(*scene.frames, *hidden(frames[BILLED : through + 1])), erasures=(erasure,))


def test_the_file_shows_the_frame_that_the_rotation_names_after_the_bill() -> None:
    scene, frames = scene_of()
    check, report = audited(scene, with_frames_after(scene, frames, NAMED))
    assert check.verdict is Verdict.PASS, check
    assert not report.failed
    assert {c.name for c in report.checks if c.verdict is not Verdict.PASS} == {"erasures", "chain-facts"}


def test_without_that_frame_nothing_is_known_and_nothing_is_alleged() -> None:
    scene, frames = scene_of()
    for bundle in (scene.bundle(), with_frames_after(scene, frames, NAMED - 1)):
        check, report = audited(scene, bundle)
        assert check.verdict is Verdict.NOT_CHECKED
        assert check.detail.startswith("record 0: anchored at")
        assert "nothing shows whether it stands at or before it" in check.detail
        assert not report.failed


def test_frames_behind_the_named_one_fail_also_after_the_bill() -> None:
    scene, frames = scene_of()
    check, _ = audited(scene, with_frames_after(scene, frames, NAMED + 2))
    assert (check.verdict, check.places) == (Verdict.FAIL, ("record 13", "record 14"))


def test_a_chain_that_does_not_lead_to_the_named_frame_is_broken() -> None:
    scene, frames = scene_of()
    bundle = with_frames_after(scene, frames, NAMED)
    without = tuple(frame for frame in bundle.frames if frame.frame.first_sequence != 10)
    _, report = audited(scene, bundle._replace(frames=without))
    assert {"sequence", "frame-chain"} <= {failed.name for failed in report.failed}


def test_no_frame_named_and_a_frame_named_before_the_file_are_failures() -> None:
    scene, _ = scene_of(last_frame=ZERO32)
    assert audited(scene, scene.bundle())[0].found == BILLED
    scene, frames = scene_of(last_frame=scene.signed[2].digest)
    check, _ = audited(scene, scene.bundle()._replace(frames=tuple(frames[3:BILLED])))
    assert (check.verdict, check.places[0]) == (Verdict.FAIL, "record 3")


def test_a_frame_whose_clock_passed_the_rotation_stands_after_whatever_it_named() -> None:
    scene, _ = scene_of(last_frame=keccak(b"elsewhere"), bill=16)
    check, _ = audited(scene, scene.bundle())
    assert (check.verdict, check.places) == (Verdict.FAIL, ("record 13", "record 14", "record 15"))


def test_a_frame_that_saw_a_head_made_after_the_rotation_stands_after_it() -> None:
    scene, _ = scene_of(last_frame=keccak(b"elsewhere"))
    rotated_s = scene.key_events[-1].time_s
    first = scene.links[0]
    early = AnchorLink(first.anchorer, first.previous_head, keccak(b"others"), rotated_s + 1, 3, scene.bytes(32))
    scene.links = [early, first._replace(previous_head=early.head)]
    for i, seen in ((7, ZERO32), (8, early.head)):  # a clock flagged as wrong says nothing
        record = scene.records[i][0]._replace(flags=int(Flag.CLOCK_NOT_SYNCHRONISED))
        frame = evidence.make_frame([record], scene.signed[i].frame.incarnation, scene.signed[i].frame.previous_frame, seen)
        if i == 8:
            frame = frame._replace(previous_frame=evidence.frame_digest(scene.frames[7].frame))
        signature = scene.meter.sign(evidence.frame_digest(frame))
        scene.frames[i] = BundledFrame(frame, signature, (record,), (scene.records[i][1],), 1, ())
    check, _ = audited(scene, scene.bundle()._replace(frames=tuple(frame._replace(link=1) for frame in scene.frames)))
    assert (check.verdict, check.places) == (Verdict.FAIL, ("record 8",))
