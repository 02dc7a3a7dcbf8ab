"""Coding of calls, errors and events by the contracts' ABIs. Addresses and bytes are `bytes`, integers `int`, structs tuples."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from eth_abi.codec import ABICodec
from eth_abi.decoding import AddressDecoder
from eth_abi.exceptions import DecodingError, EncodingError
from eth_abi.registry import BaseEquals, registry

from chain.artifacts import load
from chain.deployment import CONTRACTS
from chain.errors import BadAnswer, Permanent
from protocol.hashing import keccak


class _RawAddress(AddressDecoder):
    """eth_abi gives addresses as text; ours are bytes everywhere."""

    decoder_fn: Any = staticmethod(bytes)


def _codec() -> ABICodec:
    ours = registry.copy()  # type: ignore[no-untyped-call]
    ours.unregister_decoder("address")
    ours.register_decoder(BaseEquals("address"), _RawAddress, label="address")  # type: ignore[no-untyped-call]
    return ABICodec(ours)


CODEC = _codec()


class Function(NamedTuple):
    """A contract's function: its selector, and the types it takes and gives."""

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def encode(self, *arguments: Any) -> bytes:
        """Calldata. Raises `Permanent` naming the function if an argument does not fit its type."""
        try:
            return self.selector + bytes(CODEC.encode(self.inputs, arguments))
        except (EncodingError, TypeError, ValueError) as error:
            raise Permanent(f"{self.name}: an argument does not fit {self.inputs}: {error}") from error

    def decode(self, answer: bytes) -> tuple[Any, ...]:
        """What the function returned. Raises `BadAnswer`."""
        return decode(self.outputs, answer, self.name)


class Event(NamedTuple):
    """A contract's event. `parameters` are (name, type, indexed) in the order of the declaration."""

    name: str
    topic: bytes
    parameters: tuple[tuple[str, str, bool], ...]

    def decode(self, topics: list[bytes], data: bytes) -> dict[str, Any]:
        """A log's values by Solidity name. Raises `BadAnswer` if the log cannot be this event."""
        indexed = [(name, kind) for name, kind, is_indexed in self.parameters if is_indexed]
        plain = [(name, kind) for name, kind, is_indexed in self.parameters if not is_indexed]
        if len(topics) != len(indexed) + 1:
            raise BadAnswer(f"a log of {self.name} has {len(topics)} topics, not {len(indexed) + 1}")
        values = dict(zip((name for name, _ in plain), decode([kind for _, kind in plain], data, self.name), strict=True))
        for (name, kind), topic in zip(indexed, topics[1:], strict=True):
            values[name] = decode([kind], topic, self.name)[0]
        return values


class Interface(NamedTuple):
    """What one contract understands."""

    functions: dict[str, Function]
    events: dict[bytes, Event]
    constructor: tuple[str, ...]


def decode(types: tuple[str, ...] | list[str], data: bytes, what: str) -> tuple[Any, ...]:
    """ABI-decode foreign bytes. Raises `BadAnswer` and nothing else."""
    try:
        return tuple(CODEC.decode(types, data))
    except (DecodingError, ValueError, OverflowError) as error:
        raise BadAnswer(f"{what}: the answer is not {', '.join(types) or 'empty'}: {error}") from error


@cache
def interface(contract: str) -> Interface:
    """The interface of one of our contracts, from its artifact."""
    functions: dict[str, Function] = {}
    events: dict[bytes, Event] = {}
    constructor: tuple[str, ...] = ()
    for entry in load(contract).abi:
        inputs = tuple(_type_of(each) for each in entry.get("inputs", ()))
        if entry["type"] == "function":
            if entry["name"] in functions:
                raise Permanent(f"{contract}.{entry['name']} is overloaded; give the functions different names")
            outputs = tuple(_type_of(each) for each in entry["outputs"])
            functions[entry["name"]] = Function(entry["name"], _hash(entry["name"], inputs)[:4], inputs, outputs)
        elif entry["type"] == "event":
            parameters = tuple((each["name"], kind, bool(each["indexed"])) for each, kind in zip(entry["inputs"], inputs, strict=True))
            event = Event(entry["name"], _hash(entry["name"], inputs), parameters)
            events[event.topic] = event
        elif entry["type"] == "constructor":
            constructor = inputs
    return Interface(functions, events, constructor)


@cache
def _errors() -> dict[bytes, tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Selector → (name, types, parameter names) of every custom error of every contract; several share an OpenZeppelin one."""
    found = {}
    for contract in CONTRACTS.values():
        for entry in load(contract).abi:
            if entry["type"] == "error":
                types = tuple(_type_of(each) for each in entry["inputs"])
                found[_hash(entry["name"], types)[:4]] = (entry["name"], types, tuple(each["name"] for each in entry["inputs"]))
    return found


def decode_revert(data: bytes) -> tuple[str, dict[str, Any]]:
    """The error a revert carries: its name and values. An unknown one gives an empty name; foreign bytes never raise."""
    known = _errors().get(data[:4])
    if known is None:
        return "", {}
    name, types, names = known
    try:
        return name, dict(zip(names, decode(types, data[4:], name), strict=True))
    except BadAnswer:
        return name, {}


def _type_of(parameter: dict[str, Any]) -> str:
    """The canonical type: structs written out as tuples (Solidity ABI specification, "Handling tuple types")."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(_type_of(each) for each in parameter["components"]) + ")" + kind.removeprefix("tuple")


def _hash(name: str, types: tuple[str, ...]) -> bytes:
    return keccak(f"{name}({','.join(types)})".encode())
