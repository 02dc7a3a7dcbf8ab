"""Honest evidence passes; each single fault makes the check fail that is named for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from auditor import frames as frames_module
from auditor.report import CHECKS, Kind, Report, Verdict
from auditor.verify import verify
from protocol import evidence, ocmf
from protocol.bundle import (
    ANOTHER_POINT,
    AnchorLink,
    Bundle,
    BundledFrame,
    ChainHalt,
    CreditNote,
    Erasure,
    HiddenRecord,
    OcmfText,
    Signed,
    Tail,
    decode_bundle,
    encode_bundle,
)
from protocol.control import Cause, SupplyConfirmation, SupplyState
from protocol.eip712 import EVIDENCE, control_domain, digest, money_domain
from protocol.evidence import HandOver, Record, Ruling
from protocol.hashing import ZERO32, document_hash, keccak
from protocol.keys import Signer
from protocol.money import ceiling_micro, deliverable_milliwatt_hours, session_id

from .make_bundle import CHAIN_ID, Evidence
from .test_ocmf import foreign_text

SCENE = Evidence(records=12, per_frame=1)
GOOD = SCENE.bundle()


def report(bundle: Bundle, scene: Evidence = SCENE) -> Report:
    return verify(encode_bundle(bundle), scene.kept(), processes=1)


def failed(bundle: Bundle, scene: Evidence = SCENE) -> dict[str, str]:
    return {check.name: check.detail for check in report(bundle, scene).failed}


@pytest.mark.parametrize("arguments", [
    {}, {"metered": False}, {"records": 100, "per_frame": 16}, {"records": 1}, {"records": 300, "per_frame": 256}, {"details": False},
    {"epoch_s": 3_600, "epoch_frames": 9},
])  # fmt: skip
@pytest.mark.parametrize("trust", ["kept", "heads"])
def test_honest_evidence_passes_every_check_but_what_only_a_node_knows(arguments: dict[str, Any], trust: str) -> None:
    scene = Evidence(**arguments)
    found = verify(encode_bundle(scene.bundle()), getattr(scene, trust)())
    assert {check.name: check.detail for check in found.checks if check.verdict is not Verdict.PASS} == {
        "chain-facts": "as the file says; `compare-chain` asks your own node"
    }
    assert found.exit_code == 0
    assert [check.name for check in found.checks] == list(CHECKS)


def test_without_a_trusted_head_time_and_keys_are_not_checked() -> None:
    found = verify(encode_bundle(GOOD))
    assert {check.name for check in found.unchecked} == {"links", "times", "receipts", "key-events", "frame-keys", "chain-facts"}
    assert found.exit_code == 0


def test_a_head_that_the_links_only_follow_is_no_proof() -> None:
    found = verify(encode_bundle(GOOD), SCENE.heads()._replace(heads=frozenset([SCENE.links[4].head])))
    assert found.verdict_of("links") is Verdict.NOT_CHECKED
    assert "anybody could have added them" in next(c.detail for c in found.checks if c.name == "links")


def test_one_process_or_many_say_the_same() -> None:
    scene = Evidence(records=2_000, real_trees=False)
    bundle = scene.bundle()
    frames = list(bundle.frames)
    frames[700] = frames[700]._replace(signature=frames[701].signature)
    raw = encode_bundle(bundle._replace(frames=tuple(frames)))
    alone, together = (verify(raw, scene.kept(), processes=n) for n in (1, 3))
    assert alone == together
    assert alone.verdict_of("frame-signatures") is Verdict.FAIL


def test_a_worker_that_is_killed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = encode_bundle(Evidence(records=1_200, real_trees=False).bundle())
    monkeypatch.setattr(frames_module, "examine_slice", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(BrokenProcessPool):
        verify(raw, processes=2)


# ------------------------------------------------------------------ records and completeness


def changed_record(position: int, **fields: Any) -> Bundle:
    frames = list(GOOD.frames)
    record = frames[position].records[0]
    assert isinstance(record, Record)
    frames[position] = frames[position]._replace(records=(record._replace(**fields),))
    return GOOD._replace(frames=tuple(frames))


@pytest.mark.parametrize("fields", [
    {"import_milliwatt_hours": 1}, {"export_milliwatt_hours": 7}, {"power_milliwatts": -1}, {"flags": 1}, {"reason": 4}, {"salt": ZERO32},
    {"meter_hash": ZERO32}, {"start_s": 3}, {"end_s": 10**12}, {"voltage_millivolts": 0}, {"channel": 2}, {"step_milliwatt_hours": 1},
])  # fmt: skip
def test_a_changed_record_is_named(fields: dict[str, Any]) -> None:
    assert failed(changed_record(4, **fields))["record-hashes"].startswith("record 4:")


def test_a_deleted_record_is_named() -> None:
    scene = Evidence(records=40, per_frame=10)
    bundle = scene.bundle()
    frames = list(bundle.frames)
    records, details = frames[1].records, frames[1].details
    frames[1] = frames[1]._replace(records=records[:3] + records[4:], details=details[:3] + details[4:])
    found = failed(bundle._replace(frames=tuple(frames)), scene)
    assert found["sequence"].startswith("record 13: is missing from its frame (records 10…19)")
    assert "record-hashes" not in found


@pytest.mark.parametrize(("dropped", "named"), [
    (slice(5, 6), "record 5:"), (slice(5, 8), "records 5…7:"), (slice(0, 1), "records 0…0:"), (slice(12, 13), "records 12…12:"),
])  # fmt: skip
def test_a_deleted_frame_is_named(dropped: slice, named: str) -> None:
    frames = list(GOOD.frames)
    del frames[dropped]
    found = failed(GOOD._replace(frames=tuple(frames)))
    assert found["sequence"].startswith(named)


def test_no_frames_at_all() -> None:
    found = report(GOOD._replace(frames=()))
    assert found.verdict_of("sequence") is Verdict.FAIL
    assert found.exit_code == Kind.COMPLETENESS


def test_swapped_frames_are_named() -> None:
    frames = list(GOOD.frames)
    frames[3], frames[4] = frames[4], frames[3]
    found = failed(GOOD._replace(frames=tuple(frames)))
    assert {"sequence", "frame-chain"} <= found.keys()


def test_a_frame_of_another_device_is_named() -> None:
    other = Evidence(records=12, seed=2)
    frames = (*GOOD.frames[:5], other.frames[5], *GOOD.frames[6:])
    assert {"record-hashes", "frame-signatures", "frame-chain"} <= failed(GOOD._replace(frames=frames)).keys()


def resign(
    scene: Evidence, start: int, change: Callable[[evidence.Frame], evidence.Frame], signer: Signer | None = None
) -> list[BundledFrame]:
    """The scene's frames from `start` on changed and signed again, each naming the one before, in epochs of their own."""
    frames, previous = list(scene.frames[:start]), scene.signed[start - 1].digest if start else ZERO32
    for signed in scene.signed[start:]:
        frame = change(signed.frame)._replace(previous_frame=previous)
        previous = evidence.frame_digest(frame)
        frames.append(BundledFrame(frame, (signer or scene.meter).sign(previous), signed.records, signed.details, None, ()))
    return frames


def test_a_new_incarnation_is_counted_and_one_that_comes_back_is_named() -> None:
    other = SCENE.bytes(32)
    frames = resign(SCENE, 4, lambda frame: frame._replace(incarnation=other))
    found = report(GOOD._replace(frames=tuple(frames)))
    assert next(c.detail for c in found.checks if c.name == "incarnations") == "2 start(s) of the agent"
    back = SCENE.frames[0].frame.incarnation
    frames = resign(SCENE, 4, lambda frame: frame._replace(incarnation=other if frame.first_sequence < 8 else back))
    assert failed(GOOD._replace(frames=tuple(frames)))["incarnations"].startswith("record 8:")


def test_a_rolled_back_log_is_accepted_and_said_but_overlapping_branches_are_equivocation() -> None:
    fork, other = SCENE.signed[4], SCENE.bytes(32)
    last = SCENE.records[-1][0]
    record = SCENE.records[5][0]._replace(start_s=last.end_s, end_s=last.end_s + 900, import_milliwatt_hours=last.import_milliwatt_hours)
    for begun_s, verdict in ((last.end_s, Verdict.PASS), (last.end_s - 1, Verdict.FAIL)):
        branch = record._replace(start_s=begun_s)
        frame = evidence.make_frame([branch], other, fork.digest, ZERO32)
        item = BundledFrame(frame, SCENE.meter.sign(evidence.frame_digest(frame)), (branch,), (SCENE.records[5][1],), None, ())
        found = report(GOOD._replace(frames=(*GOOD.frames, item)))
        assert found.verdict_of("equivocation") is verdict
        assert found.verdict_of("sequence") is Verdict.PASS
        assert ("rolled back" in next(c.detail for c in found.checks if c.name == "frame-chain")) is (verdict is Verdict.PASS)


def conflicting(position: int) -> BundledFrame:
    """A second frame that the same meter signed for the same place."""
    signed = SCENE.signed[position]
    record = signed.records[0]._replace(power_milliwatts=1)
    frame = evidence.make_frame([record], signed.frame.incarnation, signed.frame.previous_frame, signed.frame.head_seen)
    return BundledFrame(frame, SCENE.meter.sign(evidence.frame_digest(frame)), (record,), signed.details, None, ())


def test_equivocation_needs_a_ruling() -> None:
    bundle = GOOD._replace(conflicts=(conflicting(6),))
    assert failed(bundle)["equivocation"].startswith("record 6: the device signed two frames")
    session, place = GOOD.session, GOOD.frames[6].frame
    ruling = Ruling(session.session, session.device, place.incarnation, 6, 6, evidence.frame_digest(place), session.opened_at_s + 10**6)
    both = (SCENE.operator.sign(digest(EVIDENCE, ruling)), SCENE.payer.sign(digest(EVIDENCE, ruling)))
    assert failed(bundle._replace(rulings=(Signed(ruling, both),))) == {}
    assert "rulings" in failed(bundle._replace(rulings=(Signed(ruling, (both[0], both[0])),)))
    wrong = ruling._replace(accepted_frame=ZERO32)
    signed = (SCENE.operator.sign(digest(EVIDENCE, wrong)), SCENE.payer.sign(digest(EVIDENCE, wrong)))
    assert "the ruling accepts" in failed(bundle._replace(rulings=(Signed(wrong, signed),)))["equivocation"]
    forged = conflicting(6)._replace(signature=bytes(65))
    assert "no key of the device signed it" in failed(GOOD._replace(conflicts=(forged,)))["equivocation"]


def test_an_arbiter_named_by_the_agreement_rules_alone() -> None:
    arbiter = Signer.create()
    agreement = {"parties": "two", "arbiter": "0x" + arbiter.address.hex()}
    scene = Evidence(records=12)
    scene.terms = scene.terms._replace(agreement_hash=document_hash(agreement))
    bundle = scene.bundle()._replace(agreement=agreement)
    place = bundle.frames[2].frame
    ruling = Ruling(bundle.session.session, bundle.session.device, place.incarnation, 2, 2, evidence.frame_digest(place), 1)
    signed = Signed(ruling, (arbiter.sign(digest(EVIDENCE, ruling)),))
    assert failed(bundle._replace(rulings=(signed,)), scene) == {}
    assert "rulings" in failed(bundle._replace(rulings=(signed._replace(signatures=(SCENE.payer.sign(digest(EVIDENCE, ruling)),)),)), scene)
    assert "agreement" in failed(bundle._replace(agreement={**agreement, "x": 1}), scene)
    assert verify(encode_bundle(bundle._replace(agreement=None))).verdict_of("agreement") is Verdict.NOT_CHECKED


# ------------------------------------------------------------------ anchoring and keys


def test_a_wrong_link_is_named() -> None:
    links = list(GOOD.links)
    links[5] = links[5]._replace(root=ZERO32)
    found = failed(GOOD._replace(links=tuple(links)))
    assert found["links"].startswith("link 5:")
    links = list(GOOD.links)
    links[6] = links[6]._replace(time_s=links[6].time_s + 1)
    assert failed(GOOD._replace(links=tuple(links)))["links"].startswith("link 6:")
    links = list(GOOD.links)
    links[6] = links[6]._replace(block_number=links[6].block_number + 1)
    assert failed(GOOD._replace(links=tuple(links)))["links"].startswith("link 6: names another block")


def test_a_run_that_borrows_a_trusted_head_is_not_trusted() -> None:
    """Links of another run before trusted ones must not ride on them."""
    forged = AnchorLink(SCENE.anchorer.address, ZERO32, SCENE.bytes(32), SCENE.start_s, 1, None)
    links = (forged, *GOOD.links)
    frames = tuple(frame._replace(link=0 if frame.link is None else frame.link + 1) for frame in GOOD.frames)
    first = frames[0]._replace(link=0, path=())
    links = (forged._replace(root=evidence.frame_digest(first.frame)), *GOOD.links)
    found = failed(GOOD._replace(links=links, frames=(first, *frames[1:])))
    assert found["links"].startswith("link 0: is not in the chain you keep")


def test_frames_anchored_on_the_meters_own_chain() -> None:
    """`anchorFrame`: root = frame digest, empty path, the meter key's chain."""
    signed = SCENE.signed[3]
    link = AnchorLink(SCENE.meter.address, ZERO32, signed.digest, SCENE.links[10].time_s, 700, SCENE.bytes(32))
    frames = list(GOOD.frames)
    frames[3] = frames[3]._replace(link=len(GOOD.links), path=())
    bundle = GOOD._replace(links=(*GOOD.links, link), frames=tuple(frames))
    trust = SCENE.kept()
    trust = trust._replace(heads=trust.heads | {link.head}, anchors={**trust.anchors, link.anchorer: {link.head: link}})
    assert verify(encode_bundle(bundle), trust).failed == ()


def test_a_path_that_leads_elsewhere_is_named() -> None:
    frames = list(GOOD.frames)
    frames[2] = frames[2]._replace(path=(*frames[2].path[:-1], ZERO32))
    assert failed(GOOD._replace(frames=tuple(frames)))["epoch-inclusion"].startswith("record 2:")
    frames[2] = GOOD.frames[2]._replace(link=10**9)
    assert failed(GOOD._replace(frames=tuple(frames)))["epoch-inclusion"].startswith("record 2:")


def late_key_scene(rotate_at: int, anchored_late: bool, last_frame: int | None) -> tuple[Evidence, Bundle]:
    """The meter key is rotated after the frame at `rotate_at` was anchored; `last_frame` is the one the rotation names."""
    scene = Evidence(records=12)
    time_s = scene.links[scene.frames[rotate_at].link or 0].time_s + 1
    if anchored_late:
        time_s = scene.start_s + 1
    named = ZERO32 if last_frame is None else scene.signed[last_frame].digest
    scene.key_events.append(scene.key_event(scene.meter.address, Signer.create().address, named, time_s))
    return scene, scene.bundle()


def test_frames_after_a_rotation_are_named_unless_its_last_frame_covers_them() -> None:
    scene, bundle = late_key_scene(6, False, 6)
    found = failed(bundle, scene)
    assert set(found) == {"frame-keys"}
    assert found["frame-keys"].startswith("record 7: anchored at")
    scene, bundle = late_key_scene(6, False, 12)
    assert failed(bundle, scene) == {}
    scene, bundle = late_key_scene(0, True, 12)  # all anchored after the rotation, all before its last frame
    assert failed(bundle, scene) == {}
    scene, bundle = late_key_scene(6, False, None)
    assert "is not in this file" in failed(bundle, scene)["frame-keys"]


def test_a_key_registered_too_late_is_named() -> None:
    scene = Evidence(records=12)
    scene.key_events = [scene.key_event(bytes(20), scene.meter.address, ZERO32, scene.start_s + 3_600)]
    found = failed(scene.bundle(), scene)
    assert found["frame-keys"].startswith("record 0: anchored at")
    assert {"point", "charge-key"} <= found.keys()


def test_a_frame_signed_by_a_revoked_or_unknown_key_is_named() -> None:
    stranger = Signer.create()
    frames = resign(SCENE, 9, lambda frame: frame, stranger)
    found = failed(GOOD._replace(frames=tuple(frames)))
    assert found["frame-signatures"].startswith(f"record 9: signed by 0x{stranger.address.hex()}")


def test_a_withheld_or_invented_key_event_is_named() -> None:
    scene, bundle = late_key_scene(6, False, 12)
    assert "is withheld" in failed(bundle._replace(key_events=bundle.key_events[:1]), scene)["key-events"]
    invented = SCENE.key_event(SCENE.meter.address, Signer.create().address, SCENE.signed[-1].digest, SCENE.start_s + 60)
    assert "never happened" in failed(GOOD._replace(key_events=(*GOOD.key_events, invented)))["key-events"]
    changed = GOOD.key_events[0]._replace(time_s=GOOD.key_events[0].time_s - 1)
    assert failed(GOOD._replace(key_events=(changed,)))["key-events"].startswith("key event 0:")
    other = SCENE.key_event(Signer.create().address, Signer.create().address, ZERO32, SCENE.start_s)
    assert "did not stand" in failed(GOOD._replace(key_events=(*GOOD.key_events, other)))["key-events"]


def test_records_dated_after_their_anchor_or_before_the_head_they_saw_are_named() -> None:
    scene = Evidence(records=12)
    for late in (0, 10**6):
        link = scene.frames[3].link or 0
        clock = 1 if late == 0 else 0
        record = scene.records[3][0]._replace(end_s=scene.links[link].time_s + 61, flags=clock)
        frame = evidence.make_frame([record], scene.signed[3].frame.incarnation, scene.signed[2].digest, ZERO32)
        signed = BundledFrame(frame, scene.meter.sign(evidence.frame_digest(frame)), (record,), (scene.records[3][1],), link, ())
        frames = (*scene.frames[:3], signed, *scene.frames[4:])
        found = failed(scene.bundle()._replace(frames=frames), scene)
        assert ("times" in found) is (clock == 0)
    head = scene.links[-1].head
    frames = tuple(resign(scene, 1, lambda frame: frame._replace(head_seen=head if frame.first_sequence == 1 else ZERO32)))
    assert scene.links[-1].time_s > scene.records[1][0].end_s + 600
    assert "times" not in failed(scene.bundle()._replace(frames=frames), scene)  # an offline frame may be that late
    long = Evidence(records=40)
    head = long.links[-1].head
    frames = tuple(resign(long, 1, lambda frame: frame._replace(head_seen=head if frame.first_sequence == 1 else ZERO32)))
    assert failed(long.bundle()._replace(frames=frames), long)["times"].startswith("record 1: ends at")


# ------------------------------------------------------------------ receipts


def with_receipt(**fields: Any) -> Bundle:
    value = GOOD.receipts[0].value._replace(**fields)
    return GOOD._replace(receipts=(Signed(value, (SCENE.service.sign(digest(EVIDENCE, value)),)),))


def test_a_promise_that_was_not_kept_is_named() -> None:
    anchored_s = GOOD.links[-1].time_s
    late = {"anchor_by_s": anchored_s - 100, "received_at_s": anchored_s - 300}
    assert failed(with_receipt(**late))["receipts"].startswith("record 12: was promised by")
    halted = with_receipt(**late)._replace(chain_halts=(ChainHalt(5, anchored_s - 200, anchored_s - 90),))
    found = report(halted)
    assert found.verdict_of("receipts") is Verdict.NOT_CHECKED  # the halt is the file's own word
    early = with_receipt(**late)._replace(chain_halts=(ChainHalt(5, anchored_s - 400, anchored_s - 290),))
    assert "receipts" in failed(early)  # over before the promise


def test_frames_that_wait_are_not_an_omission_before_their_time() -> None:
    frames = (*GOOD.frames[:-1], GOOD.frames[-1]._replace(link=None, path=()))
    waiting = report(with_receipt(anchor_by_s=GOOD.links[-1].time_s + 1)._replace(frames=frames))
    assert waiting.verdict_of("receipts") is Verdict.NOT_CHECKED
    assert waiting.verdict_of("epoch-inclusion") is Verdict.NOT_CHECKED
    omitted = failed(with_receipt(anchor_by_s=GOOD.links[-1].time_s - 1)._replace(frames=frames))
    assert omitted["receipts"].endswith("was never anchored")


def test_a_receipt_for_another_frame_is_named() -> None:
    assert "the service acknowledged frame" in failed(with_receipt(frame=ZERO32))["receipts"]
    value = GOOD.receipts[0].value
    forged = Signed(value, (SCENE.meter.sign(digest(EVIDENCE, value)),))
    assert "receipts" in failed(GOOD._replace(receipts=(forged,)))
    assert report(GOOD._replace(receipts=())).verdict_of("receipts") is Verdict.NOT_CHECKED


# ------------------------------------------------------------------ bill and money


def test_an_altered_tariff_is_named() -> None:
    cheaper = {**GOOD.tariff, "version": 2}
    assert "tariff" in failed(GOOD._replace(tariff=cheaper))
    assert "tariff" in failed(GOOD._replace(tariff={}))


def test_a_tariff_above_the_agreed_ceilings_is_named() -> None:
    scene = Evidence(records=12)
    scene.terms = scene.terms._replace(max_micro_per_kwh=400_000)
    assert failed(scene.bundle(), scene)["tariff-ceilings"].startswith("tariff: asks up to 499800 micro a kWh")


def test_an_altered_bill_line_is_named() -> None:
    line = {**GOOD.bill["lines"][0], "quantity": GOOD.bill["lines"][0]["quantity"] + 1}
    found = failed(GOOD._replace(bill={**GOOD.bill, "lines": [line, *GOOD.bill["lines"][1:]]}))
    assert found["arithmetic"].startswith("bill.lines[0].quantity:")
    assert "is missing" in failed(GOOD._replace(bill={**GOOD.bill, "lines": []}))["arithmetic"]
    assert "arithmetic" in failed(GOOD._replace(bill={}))
    more = {**GOOD.bill, "lines": [*GOOD.bill["lines"], line]}
    assert "is not among the lines" in failed(GOOD._replace(bill=more))["arithmetic"]


def recharged(**fields: Any) -> Bundle:
    assert GOOD.charge is not None
    value: Any = GOOD.charge.value._replace(**fields)
    signature = SCENE.charge_key.sign(digest(money_domain(CHAIN_ID, SCENE.escrow), value))
    return GOOD._replace(charge=Signed(value, (signature,)))


def test_claims_charges_and_bounds() -> None:
    assert GOOD.charge is not None
    amount = GOOD.charge.value.amount_micro
    assert set(failed(GOOD._replace(claimed_micro=amount + 1))) == {"claim"}
    note = CreditNote(1, GOOD.session.opened_at_s, SCENE.bytes(32))
    assert failed(GOOD._replace(claimed_micro=amount + 1, credit_notes=(note,))) == {}
    assert "claim" in failed(GOOD._replace(credit_notes=(note._replace(amount_micro=amount + 1),)))
    assert {"claim", "charge", "tail"} <= failed(recharged(amount_micro=amount + 1)).keys()
    assert "ceilings" in failed(recharged(amount_micro=GOOD.session.lock_micro + 1))
    assert "rating" in failed(recharged(energy_milliwatt_hours=10**12))
    assert "charge" in failed(recharged(elapsed_s=10**6))
    assert "ceilings" in failed(recharged(elapsed_s=10**9))
    assert failed(recharged(frame=ZERO32))["charge"].startswith("charge.frame:")
    assert "charge" in failed(recharged(session=ZERO32))
    assert "claim" in failed(GOOD._replace(charge=None))


def test_a_charge_within_the_bounds_of_the_escrow_is_honest_where_the_records_go_beyond() -> None:
    """The closing record ends after the latest end, or a clock is behind: the meter signs no more than the escrow can pay."""
    scene = Evidence(records=12)
    used_s = scene.records[-1][0].end_s - scene.start_s
    scene.terms = scene.terms._replace(latest_end_s=scene.start_s + used_s - 2)
    bundle = scene.bundle()
    assert set(failed(bundle, scene)) == {"charge", "ceilings"}  # signed as if the terms went on

    def charged(**fields: Any) -> dict[str, str]:
        value: Any = bundle.charge.value._replace(**fields)
        signature = scene.charge_key.sign(digest(money_domain(CHAIN_ID, scene.escrow), value))
        return failed(bundle._replace(charge=Signed(value, (signature,))), scene)

    assert charged(elapsed_s=used_s - 2) == {}
    assert charged(elapsed_s=used_s - 3).keys() == {"charge"}
    short_s, total = used_s // 10, bundle.bill["totalMicro"]
    scene.terms = scene.terms._replace(latest_end_s=scene.start_s + short_s)
    most = deliverable_milliwatt_hours(scene.terms.rated_watts, short_s)
    amount = ceiling_micro(scene.terms, most, short_s)
    bundle = scene.bundle()._replace(tail=Tail("beyond the latest end", total - amount), claimed_micro=amount)
    assert most < bundle.bill["energyMilliwattHours"]
    assert charged(elapsed_s=short_s, energy_milliwatt_hours=most, amount_micro=amount) == {}
    assert "charge" in charged(elapsed_s=short_s, energy_milliwatt_hours=most - 1, amount_micro=amount)


def test_a_tail_has_a_name() -> None:
    assert GOOD.charge is not None
    amount = GOOD.charge.value.amount_micro
    smaller = recharged(amount_micro=amount - 5)._replace(claimed_micro=amount - 5)
    assert set(failed(smaller)) == {"tail"}
    assert set(failed(smaller._replace(tail=Tail(" ", 5)))) == {"tail"}
    assert failed(smaller._replace(tail=Tail("switching", 5))) == {}


def test_a_foreign_escrow_or_chain_is_named() -> None:
    session = GOOD.session
    payer = session.terms._replace(payer=bytes(20))
    for other in (session._replace(escrow=bytes(20)), session._replace(chain_id=1), session._replace(terms=payer)):
        assert "session-id" in failed(GOOD._replace(session=other))
    moved = session._replace(escrow=bytes(20), session=session_id(session.terms, CHAIN_ID, bytes(20)))
    assert "charge" in failed(GOOD._replace(session=moved))  # the id was made to fit, the signature was not


def test_the_charge_key_and_the_point_are_the_meters() -> None:
    assert GOOD.voucher is not None
    assert "charge-key" in failed(GOOD._replace(voucher=None))
    itself = Signed(GOOD.voucher.value, (SCENE.charge_key.sign(digest(EVIDENCE, GOOD.voucher.value)),))
    assert "charge-key" in failed(GOOD._replace(voucher=itself))
    other = GOOD.voucher.value._replace(charge_key=SCENE.payer.address)
    assert "charge-key" in failed(GOOD._replace(voucher=Signed(other, (SCENE.meter.sign(digest(EVIDENCE, other)),))))
    assert "point" in failed(GOOD._replace(session=GOOD.session._replace(point_salt=ZERO32)))
    assert "rating" in failed(GOOD._replace(session=GOOD.session._replace(rated_watts=1)))


def test_energy_beyond_the_rating_is_named_record_by_record() -> None:
    scene = Evidence(records=12)
    record, details = scene.records[5]
    rest = [(r._replace(import_milliwatt_hours=r.import_milliwatt_hours + 10**8), d) for r, d in scene.records[5:]]
    scene.records = [*scene.records[:5], *rest]
    scene.signed = scene.make_frames(scene.records, 1)
    scene.links.clear()
    scene.frames = scene.anchor(scene.signed)
    assert failed(scene.bundle(), scene)["registers"].startswith("record 5:")
    assert record.sequence == 5
    assert details


# ------------------------------------------------------------------ attached


def test_a_meter_swap_needs_its_hand_over() -> None:
    scene = Evidence(records=12)
    new = evidence.meter_hash("WP-0002", "bay 1")
    old, details = scene.records[6]
    swap = old._replace(reason=int(evidence.Reason.SWAP))
    offset = old.import_milliwatt_hours - 5_000
    after = [(r._replace(meter_hash=new, import_milliwatt_hours=r.import_milliwatt_hours - offset), d) for r, d in scene.records[7:]]
    scene.records = [*scene.records[:6], (swap, details), *after]
    value = HandOver(scene.device, 1, 6, swap.end_s, swap.meter_hash, swap.import_milliwatt_hours, 0, new, 5_000, 0)
    signed = Signed(value, (scene.meter.sign(digest(EVIDENCE, value)), scene.operator.sign(digest(EVIDENCE, value))))
    scene.hand_overs = (signed,)
    scene.signed = scene.make_frames(scene.records, 1)
    scene.links.clear()
    scene.frames = scene.anchor(scene.signed)
    bundle = scene.bundle()
    assert failed(bundle, scene) == {}
    assert {"registers", "arithmetic"} <= failed(bundle._replace(hand_overs=()), scene).keys()
    one_sided = signed._replace(signatures=(signed.signatures[0], signed.signatures[0]))
    assert "hand-overs" in failed(bundle._replace(hand_overs=(one_sided,)), scene)


def hidden(*sequences: int) -> Bundle:
    frames = list(GOOD.frames)
    for sequence in sequences:
        record = frames[sequence].records[0]
        assert isinstance(record, Record)
        frames[sequence] = frames[sequence]._replace(records=(HiddenRecord(sequence, evidence.record_hash(record)),), details=((),))
    return GOOD._replace(frames=tuple(frames))


def test_erased_records_are_neither_pass_nor_fail() -> None:
    erased = hidden(*range(13))._replace(
        erasures=(Erasure(0, 12, 1_800_000_000, "supply: two years"),),
        ocmf=tuple(text._replace(text=None) for text in GOOD.ocmf),
        session=GOOD.session._replace(point_salt=None),
    )
    found = report(erased)
    assert found.failed == ()
    assert {c.name for c in found.checks if c.verdict is Verdict.ERASED} == {"arithmetic", "charge", "ocmf", "erasures", "point"}
    assert "erased (2027-01-15, by supply: two years)" in next(c.detail for c in found.checks if c.name == "erasures")
    assert found.verdict_of("record-hashes") is Verdict.PASS  # hashes, frames and signatures stay


def test_hiding_without_a_rule_and_rules_without_hiding_are_named() -> None:
    assert failed(hidden(4))["erasures"].startswith("record 4: is hidden")
    assert failed(GOOD._replace(erasures=(Erasure(4, 4, 1, "x"),)))["erasures"].startswith("record 4: is still there")
    wrong = hidden(4)._replace(erasures=(Erasure(4, 4, 1, "x"),))
    frames = list(wrong.frames)
    frames[4] = frames[4]._replace(records=(HiddenRecord(4, ZERO32),))
    assert "record-hashes" in failed(wrong._replace(frames=tuple(frames)))


def test_records_of_another_point_are_hidden_and_the_bill_still_checked() -> None:
    scene = Evidence(records=12)
    record, details = scene.records[5]
    scene.records[5] = (record._replace(channel=2), details)
    scene.signed = scene.make_frames(scene.records, 1)
    scene.links.clear()
    scene.frames = scene.anchor(scene.signed)
    frames = list(scene.frames)
    frames[5] = frames[5]._replace(records=(HiddenRecord(5, evidence.record_hash(scene.records[5][0])),), details=((),))
    scene.frames, scene.records = frames, [pair for pair in scene.records if pair[0].channel == 1]
    found = report(scene.bundle()._replace(erasures=(Erasure(5, 5, 1, ANOTHER_POINT),)), scene)
    assert found.failed == ()
    assert found.verdict_of("arithmetic") is Verdict.PASS
    assert found.verdict_of("erasures") is Verdict.ERASED


def test_ocmf_texts_agree_with_the_records() -> None:
    begin, end = GOOD.ocmf
    assert report(GOOD._replace(ocmf=())).verdict_of("ocmf") is Verdict.NOT_CHECKED
    assert report(GOOD._replace(ocmf=(begin,))).verdict_of("ocmf") is Verdict.NOT_CHECKED
    assert begin.text is not None
    assert end.text is not None
    changed = end._replace(text=end.text.replace('"ST":"G"', '"ST":"S"'))
    assert "textHash" in failed(GOOD._replace(ocmf=(begin, changed)))["ocmf"]
    other = Evidence(records=12, seed=3)
    foreign = other.make_ocmf(GOOD.session.session)
    assert "ocmf" in failed(GOOD._replace(ocmf=foreign))
    scene = Evidence(records=12)
    scene.records[0] = (scene.records[0][0]._replace(import_milliwatt_hours=0), scene.records[0][1])
    lying = scene.make_ocmf(GOOD.session.session)
    assert failed(GOOD._replace(ocmf=lying))["ocmf"].startswith("ocmf[0]: reads 0 mWh")
    elsewhere = SCENE.make_ocmf(ZERO32)
    assert "another session" in failed(GOOD._replace(ocmf=elsewhere))["ocmf"]


@pytest.mark.parametrize(("curve", "algorithm"), [(ec.SECP256K1(), ocmf.ALGORITHM), (ec.SECP256R1(), ocmf.P256_ALGORITHM)])
def test_a_foreign_meters_text_is_kept_byte_for_byte_and_checked_by_its_own_key(curve: ec.EllipticCurve, algorithm: str) -> None:
    text, public, _ = foreign_text(curve, algorithm)
    item = OcmfText(text, keccak(text.encode()), public)
    bundle = GOOD._replace(ocmf=(*GOOD.ocmf, item))
    assert decode_bundle(encode_bundle(bundle)).ocmf[-1].text == text
    assert failed(bundle) == {}
    changed = text.replace("12.345", "12.346")
    forged = OcmfText(changed, keccak(changed.encode()), public)
    assert failed(GOOD._replace(ocmf=(*GOOD.ocmf, forged)))["ocmf"] == "ocmf[2]: not signed by the public key given"


def test_why_supply_ended_is_the_meter_keys_word() -> None:
    session = GOOD.session
    said = SupplyConfirmation(
        session.device, session.channel, SupplyState.DISCONNECTED, session.session, 3, bytes(32), SCENE.start_s + 60, True, 0, 0,
        Cause.LOAD_FINISHED,
    )  # fmt: skip
    domain = control_domain(session.chain_id, session.registry)

    def ended(value: SupplyConfirmation, signer: Signer = SCENE.meter) -> Bundle:
        return GOOD._replace(end=Signed(value, (signer.sign(digest(domain, value)),)))

    found = report(decode_bundle(encode_bundle(ended(said))))
    assert next(c.detail for c in found.checks if c.name == "end") == "disconnected: load finished"
    assert found.exit_code == 0
    assert "does not say" in next(c.detail for c in report(GOOD).checks if c.name == "end")
    for wrong in (
        ended(said, SCENE.operator),
        ended(said._replace(session=bytes(32))),
        ended(said._replace(state=SupplyState.CONNECTED)),
        GOOD._replace(end=Signed(said._replace(cause=Cause.CREDIT), (SCENE.meter.sign(digest(domain, said)),))),
        GOOD._replace(end=Signed(said, ())),
    ):
        assert "end" in failed(wrong)
