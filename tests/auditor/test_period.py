"""Several bills of one meter as one history."""

from __future__ import annotations

from typing import Any

import orjson

from auditor.period import verify_period
from auditor.report import PERIOD_CHECKS, Report, Verdict
from auditor.trust import Trust
from protocol import evidence
from protocol.bundle import Bundle, BundledFrame, encode_bundle
from protocol.eip712 import digest, money_domain
from protocol.evidence import Reason, Record
from protocol.pricing import price
from protocol.tariff import Tariff
from protocol.wire import SignedFrame, frame_document

from .make_bundle import CHAIN_ID, Evidence

SCENE = Evidence(records=30)


def bill(scene: Evidence, first: int, last: int) -> Bundle:
    """The bill of records `first`…`last` of a longer history."""
    whole = scene.bundle()
    frames = tuple(frame for frame in whole.frames if first <= frame.frame.first_sequence <= last)
    records = [record for frame in frames for record in frame.records if isinstance(record, Record)]
    assert records[0].reason == Reason.START
    priced = price(Tariff.from_document(scene.tariff), scene.start_s, records)
    assert whole.charge is not None
    charge: Any = whole.charge.value._replace(
        amount_micro=priced.total_micro, energy_milliwatt_hours=priced.energy_milliwatt_hours, elapsed_s=records[-1].end_s - scene.start_s,
        frame=evidence.frame_digest(frames[-1].frame),
    )  # fmt: skip
    signature = scene.charge_key.sign(digest(money_domain(CHAIN_ID, scene.escrow), charge))
    return whole._replace(
        session=whole.session._replace(first_sequence=first, last_sequence=last), frames=frames, bill=priced.to_document(),
        charge=whole.charge._replace(value=charge, signatures=(signature,)), claimed_micro=priced.total_micro, receipts=(), ocmf=(),
    )  # fmt: skip


def two_sessions(jump: int = 0) -> Evidence:
    """Thirty records; at 15 one session stops, at 16 the next starts on the same register (or `jump` milliwatt-hours above it)."""
    scene = Evidence(records=30)
    stop = scene.records[15][0]._replace(reason=int(Reason.STOP))
    register = stop.import_milliwatt_hours + jump
    start = scene.records[16][0]._replace(reason=int(Reason.START), start_s=stop.end_s, end_s=stop.end_s, import_milliwatt_hours=register)
    shift = jump - (scene.records[16][0].import_milliwatt_hours - stop.import_milliwatt_hours)
    rest = [(r._replace(import_milliwatt_hours=r.import_milliwatt_hours + shift), d) for r, d in scene.records[17:]]
    scene.records = [*scene.records[:15], (stop, scene.records[15][1]), (start, scene.records[16][1]), *rest]
    scene.signed = scene.make_frames(scene.records, 1)
    scene.links.clear()
    scene.frames = scene.anchor(scene.signed)
    return scene


def judged(*files: tuple[str, bytes], trust: Trust | None = None) -> Report:
    return verify_period(files, trust or Trust())


def failed(report: Report) -> dict[str, str]:
    return {check.name: check.detail for check in report.failed}


def whole(scene: Evidence) -> tuple[bytes, bytes]:
    scene.make_bill = lambda: ({"totalMicro": 0, "energyMilliwattHours": 0}, 0)  # type: ignore[method-assign]  # replaced by `bill`
    return encode_bundle(bill(scene, 0, 15)), encode_bundle(bill(scene, 16, 30))


def test_two_bills_in_a_row_are_one_history() -> None:
    scene = two_sessions()
    one, two = whole(scene)
    report = judged(("b", two), ("a", one), trust=scene.kept())
    assert failed(report) == {}
    assert [check.name for check in report.checks] == list(PERIOD_CHECKS)
    assert report.facts["lastSequence"] == 30


def test_energy_between_bills_is_named() -> None:
    one, two = whole(two_sessions(jump=7_000))
    assert "7000 mWh between record 15 and record 16 are in no bill" in failed(judged(("a", one), ("b", two)))["period-registers"]


def test_a_missing_bill_is_named_by_its_records_and_bare_frames_fill_the_gap() -> None:
    scene = two_sessions()
    one, two = whole(scene)
    third = encode_bundle(bill(scene, 16, 30)._replace(frames=bill(scene, 16, 30).frames[4:]))
    found = failed(judged(("a", one), ("b", third)))
    assert found["period-sequence"].startswith("records 16…19: missing before record 20")
    assert "files" in found
    bare = orjson.dumps({"frames": [frame_document(SignedFrame(*frame[:4])) for frame in scene.frames[16:20]]})
    report = judged(("a", one), ("b", two), ("c", bare))
    assert failed(report) == {}
    assert "period-sequence" not in failed(judged(("a", one), ("b", third), ("c", bare)))


def test_two_frames_for_one_place_in_two_files_are_named() -> None:
    scene = two_sessions()
    one, two = whole(scene)
    signed = scene.signed[3]
    record = signed.records[0]._replace(power_milliwatts=5)
    frame = evidence.make_frame([record], signed.frame.incarnation, signed.frame.previous_frame, signed.frame.head_seen)
    twin = SignedFrame(frame, scene.meter.sign(evidence.frame_digest(frame)), (record,), signed.details)
    report = judged(("a", one), ("b", two), ("c", orjson.dumps({"frames": [frame_document(twin)]})))
    assert failed(report)["period-equivocation"].startswith("record 3: frame")


def test_records_billed_twice_and_files_that_do_not_belong_are_named() -> None:
    scene = two_sessions()
    one, two = whole(scene)
    again = bill(scene, 0, 15)
    twice = encode_bundle(again._replace(session=again.session._replace(session=bytes(32))))
    assert failed(judged(("a", one), ("b", twice)))["period-bills"].startswith("records 0…15: billed by")
    assert "period-bills" not in failed(judged(("a", one), ("same", one), ("b", two)))
    other = encode_bundle(Evidence(records=3, seed=9).bundle())
    assert "period-device" in failed(judged(("a", one), ("x", other)))
    assert failed(judged(("a", one), ("x", b"{}"))).keys() == {"files"}
    assert failed(judged(("x", b"junk"))).keys() == {"files"}


def test_frames_of_an_unknown_key_are_not_called_checked() -> None:
    frames: list[BundledFrame] = SCENE.frames[:3]
    bare = orjson.dumps({"frames": [frame_document(SignedFrame(*frame[:4])) for frame in frames]})
    assert judged(("c", bare)).verdict_of("files") is Verdict.NOT_CHECKED
    broken = orjson.loads(bare)
    broken["frames"][1]["records"][0]["powerMilliwatts"] += 1
    assert "record-hashes" in failed(judged(("c", orjson.dumps(broken))))["files"]


def test_what_was_not_looked_at_is_not_called_pass() -> None:
    for raw in (b"", b"garbage", b'{"frames":[]}'):
        report = verify_period([("file", raw)], Trust())
        for check in report.checks:
            assert check.verdict is not Verdict.PASS or check.name == "files", (raw, check)
