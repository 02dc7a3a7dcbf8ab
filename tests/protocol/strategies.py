"""Random values of every typed struct, and damage to their JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from protocol import control, evidence, money
from protocol.eip712 import EVIDENCE, Domain, control_domain, money_domain, type_of

EVIDENCE_STRUCTS: list[type] = [
    evidence.Record, evidence.Frame, evidence.Receipt, evidence.ChargeKeyVoucher, evidence.HandOver, evidence.Ruling,
]  # fmt: skip
MONEY_STRUCTS: list[type] = [
    money.Terms, money.Open, money.TopUp, money.Payment, money.MeteredCharge, money.RequestClose, money.Withdraw,
]  # fmt: skip
CONTROL_STRUCTS: list[type] = [
    control.SessionGrant, control.SupplyCommand, control.SupplyConfirmation, control.AgentHello, control.KeyBinding,
    control.KeyRotation,
]  # fmt: skip
STRUCTS = EVIDENCE_STRUCTS + MONEY_STRUCTS + CONTROL_STRUCTS

JSON_MAX = (1 << 53) - 1

words = st.binary(min_size=32, max_size=32)
addresses = st.binary(min_size=20, max_size=20)
chain_ids = st.integers(1, JSON_MAX)


def member(kind: str, most: int | None = None) -> st.SearchStrategy[Any]:
    """Values of a Solidity type, edges included; integers up to `most` in size where given."""
    nested = {type_of(cls).name: cls for cls in STRUCTS}.get(kind)
    if nested is not None:
        return values(nested, most)
    if kind == "address":
        return addresses
    if kind == "bool":
        return st.booleans()
    if kind.startswith("bytes"):
        return st.binary(min_size=int(kind[5:]), max_size=int(kind[5:]))
    signed = kind.startswith("int")
    bits = int(kind.removeprefix("u").removeprefix("int"))
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if most is not None:
        low, high = max(low, -most), min(high, most)
    return st.one_of(st.sampled_from([low, high]), st.integers(low, high))


def values(cls: type, most: int | None = None) -> st.SearchStrategy[Any]:
    """Any value of a struct."""
    return st.tuples(*(member(field.solidity_type, most) for field in type_of(cls).fields)).map(lambda members: cls(*members))


@st.composite
def domains(draw: st.DrawFn, cls: type) -> Domain:
    """The domain a struct belongs to, on any chain."""
    if cls in EVIDENCE_STRUCTS:
        return EVIDENCE
    make = money_domain if cls in MONEY_STRUCTS else control_domain
    return make(draw(chain_ids), draw(addresses))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=34).map(lambda b: "0x" + b.hex()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
"""Whatever a JSON reader can return."""


@st.composite
def damaged(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """A document with one field, possibly nested, dropped, added or replaced by something else."""
    copy = dict(document)
    name = draw(st.sampled_from(sorted(copy)))
    inner = copy[name]
    match draw(st.sampled_from(["drop", "add", "replace", "inside"])):
        case "drop":
            del copy[name]
        case "add":
            copy[draw(st.text(max_size=5))] = draw(json_values)
        case "replace":
            copy[name] = draw(json_values)
        case _ if isinstance(inner, dict) and inner:
            copy[name] = draw(damaged(inner))
        case _ if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            copy[name] = [draw(damaged(inner[0])), *inner[1:]]
        case _:
            copy[name] = draw(json_values)
    return copy
