"""AnchorLog: one chain an anchorer, one successor a head, frames by anyone."""

from __future__ import annotations

from typing import Any

from protocol.eip712 import EVIDENCE, digest
from protocol.hashing import keccak
from tests.contracts.support import World, person, split

ROOT = keccak(b"epoch root")
NOTHING = bytes(32)
HALF_ORDER_TWIN = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def link(head: bytes, root: bytes, time_s: int) -> bytes:
    return keccak(head + root + time_s.to_bytes(8, "big"))


def head_of(world: World, address: bytes) -> bytes:
    return bytes(world.anchors.functions.heads(address).call())


def test_links_follow_the_formula(world: World) -> None:
    head = NOTHING
    for number in range(3):
        root = keccak(b"root %d" % number)
        time_s = world.now()
        receipt = world.send(world.anchors.functions.anchor(head, root), "operator")
        head = link(head, root, time_s)
        assert head_of(world, world.address("operator")) == head
        (event,) = world.events(receipt, world.anchors, "Anchored")
        assert event == {"anchorer": "0x" + world.address("operator").hex(), "root": root, "head": head}


def test_a_head_has_one_successor(world: World) -> None:
    time_s = world.now()
    world.send(world.anchors.functions.anchor(NOTHING, ROOT), "operator")
    standing = link(NOTHING, ROOT, time_s)
    again = world.anchors.functions.anchor(NOTHING, keccak(b"another"))
    world.reverts(again, "operator", "HeadMoved", NOTHING, standing)
    assert head_of(world, world.address("operator")) == standing


def test_anchorers_do_not_meet(world: World) -> None:
    world.send(world.anchors.functions.anchor(NOTHING, ROOT), "operator")
    head = head_of(world, world.address("operator"))
    world.send(world.anchors.functions.anchor(NOTHING, ROOT), "stranger")
    assert head_of(world, world.address("operator")) == head
    world.reverts(world.anchors.functions.anchor(head, ROOT), "stranger", "HeadMoved", head)


def test_anyone_anchors_a_frame_on_its_meters_own_chain(world: World) -> None:
    meter = person("meter")
    frame = world.frame(keccak(b"device"))
    world.send(world.anchors.functions.anchor(NOTHING, ROOT), "operator")
    operators = head_of(world, world.address("operator"))
    time_s = world.now()
    receipt = world.send(world.anchors.functions.anchorFrame(frame, world.frame_signed(frame, meter)), "stranger")
    root = digest(EVIDENCE, frame)
    head = link(NOTHING, root, time_s)
    assert head_of(world, meter.address) == head
    assert head_of(world, world.address("operator")) == operators
    assert world.events(receipt, world.anchors, "Anchored") == [
        {"anchorer": "0x" + meter.address.hex(), "root": root, "head": head}
    ]
    time_s = world.now()
    world.send(world.anchors.functions.anchorFrame(frame, world.frame_signed(frame, meter)), "stranger")
    assert head_of(world, meter.address) == link(head, root, time_s), "the same frame again is one more true link"


def test_every_member_of_a_frame_is_signed(world: World) -> None:
    meter = person("meter")
    frame = world.frame(keccak(b"device"))
    signature = world.frame_signed(frame, meter)
    members: dict[str, Any] = frame._asdict()
    for field, value in members.items():
        altered: Any = value + 1 if isinstance(value, int) else keccak(value)
        other = frame._replace(**{field: altered})
        world.send(world.anchors.functions.anchorFrame(other, signature), "stranger")
        assert head_of(world, meter.address) == NOTHING, f"a frame with another {field} passed for the meter's"


def test_frame_signatures_must_be_whole_and_low(world: World) -> None:
    frame = world.frame(keccak(b"device"))
    signature = world.frame_signed(frame, person("meter"))
    v, r, s = split(signature)
    high = (HALF_ORDER_TWIN - int.from_bytes(s, "big")).to_bytes(32, "big")
    anchor_frame = world.anchors.functions.anchorFrame
    world.reverts(anchor_frame(frame, r + high + bytes((55 - v,))), "stranger", "ECDSAInvalidSignatureS", high)
    world.reverts(anchor_frame(frame, signature[:64]), "stranger", "ECDSAInvalidSignatureLength", 64)
    world.reverts(anchor_frame(frame, bytes(65)), "stranger", "ECDSAInvalidSignature")
    world.reverts(anchor_frame(frame, r + s + bytes((v - 27,))), "stranger", "ECDSAInvalidSignature")
