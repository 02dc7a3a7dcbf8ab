"""structs.json: every typed struct in its domain, signed rightly, and wrongly in each way that has a name."""

from __future__ import annotations

from typing import Any

from protocol import control, evidence, money
from protocol.eip712 import EVIDENCE, Domain, control_domain, digest, money_domain, struct_hash, to_json, type_of
from protocol.keys import Signer

from .signed import hexed, signer, word, wrong_signatures

CHAIN_ID, FOREIGN_CHAIN_ID = 31_337, 1
ESCROW, REGISTRY, FOREIGN_CONTRACT = (word(name)[:20] for name in ("escrow", "registry", "a foreign contract"))
JSON_MAX = (1 << 53) - 1

DOMAINS = {"evidence": EVIDENCE, "money": money_domain(CHAIN_ID, ESCROW), "control": control_domain(CHAIN_ID, REGISTRY)}
SIGNERS = {"evidence": "meter key", "money": "pay key", "control": "control key"}
_EVIDENCE: list[type] = [
    evidence.Record, evidence.Frame, evidence.Receipt, evidence.ChargeKeyVoucher, evidence.HandOver, evidence.Ruling,
]  # fmt: skip
_MONEY: list[type] = [
    money.Terms, money.Open, money.TopUp, money.Payment, money.MeteredCharge, money.RequestClose, money.Withdraw,
]  # fmt: skip
_CONTROL: list[type] = [
    control.SessionGrant, control.SupplyCommand, control.SupplyConfirmation, control.AgentHello, control.KeyBinding,
    control.KeyRotation,
]  # fmt: skip
STRUCTS = dict.fromkeys(_EVIDENCE, "evidence") | dict.fromkeys(_MONEY, "money") | dict.fromkeys(_CONTROL, "control")
"""Every struct of docs/walls.md and the domain it belongs to."""
ALL_SIGNATURE_FAULTS = (evidence.Frame, money.Open, money.Payment, money.MeteredCharge, control.SupplyCommand)
"""Those that doors take most often carry every malformed signature; the others share the same code."""
TWINS = {money.Open: money.TopUp, money.TopUp: money.Open, evidence.Frame: evidence.Receipt, money.Payment: money.MeteredCharge}
"""A struct whose signature somebody might try to pass off as the other's."""


ENUMS = {"role": 2, "action": 2, "state": 3, "cause": 7, "reason": 6}
"""Members that count from 1 to this in Solidity too, which does not even take another number."""


def value(cls: type, largest: bool = False) -> Any:
    """A value of a struct: `largest` fills every member as far as JSON can carry it."""
    members = []
    for field in type_of(cls).fields:
        kind, seed = field.solidity_type, word(f"{cls.__name__}.{field.name}")
        nested = next((c for c in STRUCTS if c.__name__ == kind), None)
        if nested is not None:
            members.append(value(nested, largest))
        elif field.name in ENUMS:
            members.append(ENUMS[field.name] if largest else 1)
        elif kind == "bool":
            members.append(largest)
        elif kind == "address":
            members.append(b"\xff" * 20 if largest else seed[:20])
        elif kind.startswith("bytes"):
            members.append(b"\xff" * 32 if largest else seed)
        else:
            bits = int(kind.removeprefix("u").removeprefix("int"))
            most = min(JSON_MAX, (1 << (bits - kind.startswith("int"))) - 1)
            members.append((-most if kind.startswith("int") else most) if largest else int.from_bytes(seed[:6], "big") % (most + 1))
    return cls(*members)


def _entry(name: str, domain: Domain, message: Any, signature: bytes, by: bytes, fault: str = "") -> dict[str, Any]:
    fields: dict[str, Any] = {"name": domain.name, "version": domain.version}
    if domain.chain_id is not None and domain.verifying_contract is not None:
        fields |= {"chainId": domain.chain_id, "verifyingContract": hexed(domain.verifying_contract)}
    kind = type_of(type(message))
    return {
        "name": name, "type": kind.name, "encodeType": kind.encode_type, "typeHash": hexed(kind.type_hash), "domain": fields,
        "domainSeparator": hexed(domain.separator()), "message": to_json(message), "structHash": hexed(struct_hash(message)),
        "digest": hexed(digest(domain, message)), "signature": hexed(signature), "signer": hexed(by), "good": not fault, "fault": fault,
    }  # fmt: skip


def _foreign(own: str) -> dict[str, Domain]:
    """Every domain that a signature must not be taken from, by the name of the fault."""
    faults = {f"signed in the {other} domain": domain for other, domain in DOMAINS.items() if other != own}
    if own == "money":
        faults["signed for a foreign chain id"] = money_domain(FOREIGN_CHAIN_ID, ESCROW)
        faults["signed for a foreign escrow"] = money_domain(CHAIN_ID, FOREIGN_CONTRACT)
    if own == "control":
        faults["signed for a foreign chain id"] = control_domain(FOREIGN_CHAIN_ID, REGISTRY)
        faults["signed for a foreign registry"] = control_domain(CHAIN_ID, FOREIGN_CONTRACT)
    return faults


def _of(cls: type, own: str) -> list[dict[str, Any]]:
    name, domain, key = cls.__name__, DOMAINS[own], signer(SIGNERS[own])
    message, largest = value(cls), value(cls, largest=True)
    good = key.sign(digest(domain, message))
    entries = [
        _entry(f"{name}: typical", domain, message, good, key.address),
        _entry(f"{name}: every member as large as JSON carries it", domain, largest, key.sign(digest(domain, largest)), key.address),
    ]

    def bad(fault: str, signature: bytes, by: bytes = key.address) -> None:
        entries.append(_entry(f"{name}: {fault}", domain, message, signature, by, fault))

    for fault, foreign in _foreign(own).items():
        bad(fault, key.sign(digest(foreign, message)))
    if own == "money":
        meter = signer(SIGNERS["evidence"])
        bad("evidence key signed it in the evidence domain", meter.sign(digest(EVIDENCE, message)), meter.address)
    bad("signed by another key", Signer(word("a stranger")).sign(digest(domain, message)))
    bad("changed after signing", key.sign(digest(domain, largest)))
    bad("no signer: the zero address, which ecrecover gives for nonsense", bytes(64) + b"\x1b", bytes(20))
    if cls in TWINS:
        twin = TWINS[cls]
        bad(f"signed as {twin.__name__}", key.sign(digest(domain, value(twin)._replace(**_common(message, twin)))))
    if cls in ALL_SIGNATURE_FAULTS:
        for fault, signature in wrong_signatures(good).items():
            bad(fault, signature)
    return entries


def _common(message: Any, twin: type) -> dict[str, Any]:
    """The members that two structs share."""
    shared = set(message._fields) & {field.attribute for field in type_of(twin).fields}
    return {name: getattr(message, name) for name in sorted(shared)}


def document() -> list[dict[str, Any]]:
    """The whole file."""
    return [entry for cls, own in STRUCTS.items() for entry in _of(cls, own)]
