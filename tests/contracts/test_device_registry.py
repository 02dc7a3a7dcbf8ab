"""DeviceRegistry: enrolment, roles, and keys with their whole history."""

from __future__ import annotations

from typing import Any

import pytest
from eth_abi.abi import encode

from protocol.control import KeyRotation
from protocol.hashing import keccak
from protocol.keys import Signer
from tests.contracts.support import ZERO, World, person

DEVICE = keccak(b"device")
METER, CONTROL = 1, 2
LAST_FRAME = keccak(b"last frame")
ACTIVE, SUSPENDED, RETIRED = 1, 2, 3


@pytest.fixture
def enrolled(world: World) -> World:
    """A device of `owner` under `operator`, without keys."""
    role = world.registry.functions.OPERATOR_ROLE().call()
    world.send(world.registry.functions.grantRole(role, world.address("operator")), "admin")
    world.send(world.registry.functions.enrolDevice(DEVICE, world.address("owner")), "operator")
    return world


def register(world: World, key: Signer, role: int = METER, device: bytes = DEVICE, **changes: Any) -> Any:
    deadline = changes.get("deadline", world.now() + 60)
    signature = changes.get("signature", world.binding(device, role, changes.get("signer", key), deadline))
    return world.registry.functions.registerKey(device, role, key.address, deadline, signature)


def rotation(world: World, old: bytes, new: bytes, role: int = METER, **changes: Any) -> KeyRotation:
    base = KeyRotation(DEVICE, role, old, new, LAST_FRAME, world.now() + 60)
    return base._replace(**changes)


def standing(world: World, role: int = METER) -> bytes:
    return bytes.fromhex(world.registry.functions.standingKey(DEVICE, role).call()[2:])


def span(world: World, index: int, role: int = METER) -> tuple[Any, ...]:
    values = world.registry.functions.keySpan(DEVICE, role, index).call()
    key, *rest = values.values() if isinstance(values, dict) else values
    return (bytes.fromhex(key[2:]), *rest)


def text(address: bytes) -> str:
    return "0x" + address.hex()


# -------------------------------------------------------------------- devices


def test_only_an_admitted_operator_enrols_and_an_id_is_fixed(enrolled: World) -> None:
    enrol = enrolled.registry.functions.enrolDevice
    owner = enrolled.address("owner")
    enrolled.reverts(enrol(keccak(b"other"), owner), "stranger", "AccessControlUnauthorizedAccount")
    enrolled.reverts(enrol(DEVICE, enrolled.address("stranger")), "operator", "DeviceKnown", DEVICE)
    enrolled.reverts(enrol(bytes(32), owner), "operator", "DeviceZero")
    enrolled.reverts(enrol(keccak(b"other"), ZERO), "operator", "OwnerZero")


def test_only_the_admin_admits_operators(world: World) -> None:
    role = world.registry.functions.OPERATOR_ROLE().call()
    grant = world.registry.functions.grantRole(role, world.address("stranger"))
    world.reverts(grant, "stranger", "AccessControlUnauthorizedAccount")
    world.reverts(grant, "operator", "AccessControlUnauthorizedAccount")


def test_an_unknown_device_has_no_doors(enrolled: World) -> None:
    unknown = keccak(b"unknown")
    functions = enrolled.registry.functions
    for call in (
        functions.setStatus(unknown, SUSPENDED),
        functions.setChannel(unknown, 1, 3680, True),
        functions.changeOwner(unknown, enrolled.address("owner")),
        functions.changeOperator(unknown, enrolled.address("operator")),
        register(enrolled, person("meter"), device=unknown),
    ):
        enrolled.reverts(call, "operator", "DeviceUnknown", unknown)


def test_channels_and_status_are_the_operators(enrolled: World) -> None:
    functions = enrolled.registry.functions
    receipt = enrolled.send(functions.setChannel(DEVICE, 1, 22_080, True), "operator")
    assert enrolled.events(receipt, enrolled.registry, "ChannelChanged") == [
        {"device": DEVICE, "channel": 1, "ratedWatts": 22_080, "enabled": True}
    ]
    assert list(functions.channels(DEVICE, 1).call()) == [22_080, True]
    enrolled.reverts(functions.setChannel(DEVICE, 1, 1, True), "owner", "NotOperator", text(enrolled.address("owner")))
    enrolled.reverts(functions.setStatus(DEVICE, SUSPENDED), "owner", "NotOperator")
    enrolled.reverts(functions.setStatus(DEVICE, 0), "operator", "StatusRefused", 0)
    enrolled.send(functions.setStatus(DEVICE, SUSPENDED), "operator")
    enrolled.send(functions.setStatus(DEVICE, ACTIVE), "operator")
    enrolled.send(functions.setStatus(DEVICE, RETIRED), "operator")
    enrolled.reverts(functions.setStatus(DEVICE, ACTIVE), "operator", "DeviceRetired", DEVICE)
    enrolled.reverts(register(enrolled, person("meter")), "operator", "DeviceRetired", DEVICE)


def test_owner_passes_the_device_on_and_chooses_its_operator(enrolled: World) -> None:
    functions = enrolled.registry.functions
    stranger = enrolled.address("stranger")
    enrolled.reverts(functions.changeOwner(DEVICE, stranger), "operator", "NotOwner")
    enrolled.reverts(functions.changeOwner(DEVICE, ZERO), "owner", "OwnerZero")
    enrolled.reverts(functions.changeOperator(DEVICE, stranger), "owner", "OperatorNotAdmitted", text(stranger))
    role = functions.OPERATOR_ROLE().call()
    enrolled.send(functions.grantRole(role, stranger), "admin")
    enrolled.reverts(functions.changeOperator(DEVICE, stranger), "operator", "NotOwner")
    enrolled.send(functions.changeOperator(DEVICE, stranger), "owner")
    enrolled.reverts(functions.setStatus(DEVICE, SUSPENDED), "operator", "NotOperator")
    enrolled.send(functions.setStatus(DEVICE, SUSPENDED), "stranger")
    enrolled.send(functions.changeOwner(DEVICE, enrolled.address("payer")), "owner")
    enrolled.reverts(functions.changeOwner(DEVICE, stranger), "owner", "NotOwner")


# -------------------------------------------------------------------- keys


def test_a_key_is_registered_on_its_own_signature(enrolled: World) -> None:
    key, block, time_s = person("meter"), enrolled.w3.eth.block_number + 1, enrolled.now()
    receipt = enrolled.send(register(enrolled, key), "operator")
    assert standing(enrolled) == key.address
    assert standing(enrolled, CONTROL) == ZERO
    assert span(enrolled, 0) == (key.address, block, time_s, 0, 0, bytes(32))
    root = keccak(encode(["bytes32", "uint8", "address", "address", "bytes32"], [DEVICE, METER, ZERO, key.address, bytes(32)]))
    head = keccak(bytes(32) + root + time_s.to_bytes(8, "big"))
    assert bytes(enrolled.registry.functions.keyHeads(DEVICE).call()) == head
    (event,) = enrolled.events(receipt, enrolled.registry, "KeyChanged")
    assert (event["newKey"], event["head"], event["role"]) == (text(key.address), head, METER)


@pytest.mark.parametrize("fault", ["another signer", "another role", "another device", "too late", "short", "high s"])
def test_a_key_without_its_own_good_signature_is_refused(enrolled: World, fault: str) -> None:
    key, deadline = person("meter"), enrolled.now() + 60
    good = enrolled.binding(DEVICE, METER, key, deadline)
    high = (0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 - int.from_bytes(good[32:64], "big")).to_bytes(32, "big")
    faults: dict[str, dict[str, Any]] = {
        "another signer": {"signer": person("thief")},
        "another role": {"signature": enrolled.binding(DEVICE, CONTROL, key, deadline)},
        "another device": {"signature": enrolled.binding(keccak(b"other"), METER, key, deadline)},
        "too late": {"deadline": enrolled.now() - 1},
        "short": {"signature": good[:64]},
        "high s": {"signature": good[:32] + high + bytes((55 - good[64],))},
    }
    error = "DeadlinePassed" if fault == "too late" else "SignatureRefused"
    enrolled.reverts(register(enrolled, key, **faults[fault]), "operator", error)


def test_zero_is_never_a_key(enrolled: World) -> None:
    call = enrolled.registry.functions.registerKey(DEVICE, METER, ZERO, enrolled.now() + 60, bytes(65))
    enrolled.reverts(call, "operator", "SignatureRefused")


def test_roles_are_meter_and_control_only(enrolled: World) -> None:
    enrolled.reverts(register(enrolled, person("meter"), role=0), "operator", "RoleRefused", 0)


def test_only_the_operator_registers_and_only_where_none_stands(enrolled: World) -> None:
    enrolled.reverts(register(enrolled, person("meter")), "owner", "NotOperator")
    enrolled.send(register(enrolled, person("meter")), "operator")
    standing_key = text(person("meter").address)
    enrolled.reverts(register(enrolled, person("other")), "operator", "KeyStands", DEVICE, METER, standing_key)


def test_one_key_one_role_one_device_once(enrolled: World) -> None:
    key = person("meter")
    enrolled.send(register(enrolled, key), "operator")
    used = text(key.address)
    enrolled.reverts(register(enrolled, key, role=CONTROL), "operator", "KeyAlreadyUsed", used)
    other = keccak(b"other")
    enrolled.send(enrolled.registry.functions.enrolDevice(other, enrolled.address("owner")), "operator")
    enrolled.reverts(register(enrolled, key, device=other), "operator", "KeyAlreadyUsed", used)


def test_rotation_on_both_keys_signatures_by_anyone(enrolled: World) -> None:
    old, new = person("meter"), person("meter 2")
    enrolled.send(register(enrolled, old), "operator")
    head = bytes(enrolled.registry.functions.keyHeads(DEVICE).call())
    message = rotation(enrolled, old.address, new.address)
    block, time_s = enrolled.w3.eth.block_number + 1, enrolled.now()
    call = enrolled.registry.functions.rotateKey(message, enrolled.rotation(message, old), enrolled.rotation(message, new))
    enrolled.send(call, "stranger")
    assert standing(enrolled) == new.address
    assert span(enrolled, 0)[3:] == (block, time_s, LAST_FRAME)
    assert span(enrolled, 1) == (new.address, block, time_s, 0, 0, bytes(32))
    assert enrolled.registry.functions.keyCount(DEVICE, METER).call() == 2
    root = keccak(
        encode(["bytes32", "uint8", "address", "address", "bytes32"], [DEVICE, METER, old.address, new.address, LAST_FRAME])
    )
    expected = keccak(head + root + time_s.to_bytes(8, "big"))
    assert bytes(enrolled.registry.functions.keyHeads(DEVICE).call()) == expected
    enrolled.reverts(call, "stranger", "KeyDoesNotStand", DEVICE, METER, text(old.address), text(new.address))


def test_rotation_needs_both_keys(enrolled: World) -> None:
    old, new, thief = person("meter"), person("meter 2"), person("thief")
    enrolled.send(register(enrolled, old), "operator")
    message = rotation(enrolled, old.address, new.address)
    rotate = enrolled.registry.functions.rotateKey
    by_old, by_new, by_thief = (enrolled.rotation(message, key) for key in (old, new, thief))
    enrolled.reverts(rotate(message, by_thief, by_new), "operator", "SignatureRefused", text(old.address))
    enrolled.reverts(rotate(message, by_old, by_thief), "operator", "SignatureRefused", text(new.address))
    changed = message._replace(last_frame=keccak(b"another"))
    enrolled.reverts(rotate(changed, by_old, by_new), "operator", "SignatureRefused")
    none = rotation(enrolled, old.address, ZERO)
    enrolled.reverts(rotate(none, enrolled.rotation(none, old), bytes(65)), "operator", "SignatureRefused")
    late = rotation(enrolled, old.address, new.address, deadline_s=enrolled.now() - 1)
    enrolled.reverts(
        rotate(late, enrolled.rotation(late, old), enrolled.rotation(late, new)), "operator", "DeadlinePassed"
    )
    used = rotation(enrolled, old.address, old.address)
    enrolled.reverts(
        rotate(used, enrolled.rotation(used, old), enrolled.rotation(used, old)), "operator", "KeyAlreadyUsed"
    )


def replace(world: World, message: KeyRotation, owner: str, operator: str, new: Signer | None) -> Any:
    binding = b"" if new is None else world.binding(DEVICE, message.role, new, message.deadline_s)
    by_owner, by_operator = (world.rotation(message, world.signers[name]) for name in (owner, operator))
    return world.registry.functions.replaceKey(message, by_owner, by_operator, binding)


def test_a_lost_key_is_replaced_by_owner_and_operator_with_the_new_keys_word(enrolled: World) -> None:
    old, new = person("meter"), person("meter 2")
    enrolled.send(register(enrolled, old), "operator")
    message = rotation(enrolled, old.address, new.address)
    enrolled.reverts(replace(enrolled, message, "owner", "stranger", new), "stranger", "SignatureRefused")
    enrolled.reverts(replace(enrolled, message, "stranger", "operator", new), "stranger", "SignatureRefused")
    enrolled.reverts(replace(enrolled, message, "owner", "operator", person("thief")), "stranger", "SignatureRefused")
    enrolled.reverts(replace(enrolled, message, "owner", "operator", None), "stranger", "SignatureRefused")
    enrolled.send(replace(enrolled, message, "owner", "operator", new), "stranger")
    assert standing(enrolled) == new.address


def test_revocation_leaves_no_key_until_another_is_registered(enrolled: World) -> None:
    old, new = person("meter"), person("meter 2")
    enrolled.send(register(enrolled, old), "operator")
    message = rotation(enrolled, old.address, ZERO)
    enrolled.send(replace(enrolled, message, "owner", "operator", None), "stranger")
    assert standing(enrolled) == ZERO
    assert span(enrolled, 0)[5] == LAST_FRAME
    enrolled.reverts(register(enrolled, old), "operator", "KeyAlreadyUsed")
    enrolled.send(register(enrolled, new), "operator")
    assert standing(enrolled) == new.address
    assert enrolled.registry.functions.keyCount(DEVICE, METER).call() == 2


def test_owner_may_be_a_contract(enrolled: World) -> None:
    account = enrolled.double("SmartAccount", enrolled.address("owner"))
    enrolled.send(enrolled.registry.functions.changeOwner(DEVICE, account.address), "owner")
    old, new = person("meter"), person("meter 2")
    enrolled.send(register(enrolled, old), "operator")
    message = rotation(enrolled, old.address, new.address)
    enrolled.reverts(replace(enrolled, message, "stranger", "operator", new), "stranger", "SignatureRefused")
    enrolled.send(replace(enrolled, message, "owner", "operator", new), "stranger")
    assert standing(enrolled) == new.address
