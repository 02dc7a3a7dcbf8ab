"""EIP-712 typed structs with packed encoders.

A struct is a `NamedTuple` whose class is passed to `@struct("TypeString(type name,…)")`. The decorator checks that the fields
stand in the order of the type string and compiles an encoder that writes the 32-byte words directly: a few microseconds
against 120 for the generic encoding, and proven equal to it by property tests.

Python fields are the snake_case of the EIP-712 names. Values: bytesN and address as `bytes`, intN/uintN as `int`, bool as
`bool`, a nested struct as its own NamedTuple. A value out of its range raises `Malformed` naming the field.

Source: EIP-712, https://eips.ethereum.org/EIPS/eip-712
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from .errors import Malformed
from .hashing import keccak

T = TypeVar("T")
Packer = Callable[[Any], bytes]

_MEMBER = re.compile(r"([A-Za-z0-9]+) ([A-Za-z0-9]+)")


class Field(NamedTuple):
    """One member of a typed struct."""

    solidity_type: str
    name: str  # the EIP-712 name, camelCase
    attribute: str  # the Python name, snake_case


class StructType(NamedTuple):
    """What `@struct` learnt about a class: its type string, its hash, its fields and its encoder."""

    name: str
    encode_type: str
    type_hash: bytes
    fields: tuple[Field, ...]
    nested: dict[str, type]
    pack: Packer


_TYPES: dict[type, StructType] = {}
_BY_NAME: dict[str, type] = {}


def snake(name: str) -> str:
    """`endS` -> `end_s`, `importMilliwattHours` -> `import_milliwatt_hours`."""
    return re.sub(r"([A-Z])", lambda m: "_" + m.group(1).lower(), name)


def camel(name: str) -> str:
    """`end_s` -> `endS`: the way back."""
    return re.sub(r"_([a-z])", lambda m: m.group(1).upper(), name)


def _uint_packer(bits: int) -> Packer:
    limit = 1 << bits

    def pack(value: Any) -> bytes:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
            raise Malformed(f"must be an integer in 0…2^{bits}-1, not {value!r}")
        return value.to_bytes(32, "big")

    return pack


def _int_packer(bits: int) -> Packer:
    limit = 1 << (bits - 1)

    def pack(value: Any) -> bytes:
        if not isinstance(value, int) or isinstance(value, bool) or not -limit <= value < limit:
            raise Malformed(f"must be an integer in -2^{bits - 1}…2^{bits - 1}-1, not {value!r}")
        return value.to_bytes(32, "big", signed=True)

    return pack


def _bytes_packer(size: int, left: bool) -> Packer:
    padding = bytes(32 - size)

    def pack(value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) != size:
            raise Malformed(f"must be {size} bytes, not {value!r}")
        return padding + value if left else value + padding

    return pack


def _pack_bool(value: Any) -> bytes:
    if not isinstance(value, bool):
        raise Malformed(f"must be true or false, not {value!r}")
    return bytes(31) + (b"\x01" if value else b"\x00")


def _packer(solidity_type: str) -> Packer:
    if solidity_type == "address":
        return _bytes_packer(20, left=True)
    if solidity_type == "bool":
        return _pack_bool
    if solidity_type.startswith("uint"):
        return _uint_packer(int(solidity_type[4:]))
    if solidity_type.startswith("int"):
        return _int_packer(int(solidity_type[3:]))
    if solidity_type.startswith("bytes") and solidity_type != "bytes":
        return _bytes_packer(int(solidity_type[5:]), left=False)
    nested = _BY_NAME.get(solidity_type)
    if nested is not None:
        return struct_hash
    raise TypeError(f"no packer for Solidity type {solidity_type!r}")


def _encoder(type_hash: bytes, fields: tuple[Field, ...]) -> Packer:
    packers = tuple((field.name, _packer(field.solidity_type)) for field in fields)

    def pack(value: Any) -> bytes:
        words = [type_hash]
        for (name, packer), member in zip(packers, value, strict=True):
            try:
                words.append(packer(member))
            except Malformed as error:
                raise Malformed(error.what, f"{name}.{error.where}" if error.where else name) from None
        return b"".join(words)

    return pack


def struct(type_string: str) -> Callable[[type[T]], type[T]]:
    """Register a NamedTuple class as the EIP-712 struct `type_string` (without its nested types)."""

    def register(cls: type[T]) -> type[T]:
        name, _, members = type_string.partition("(")
        fields = tuple(Field(kind, member, snake(member)) for kind, member in _MEMBER.findall(members))
        declared = getattr(cls, "_fields", ())
        if tuple(field.attribute for field in fields) != tuple(declared):
            raise TypeError(f"{name}: fields {declared} do not follow the type string")
        nested = {field.solidity_type: _BY_NAME[field.solidity_type] for field in fields if field.solidity_type in _BY_NAME}
        encode_type = type_string + "".join(type_of(nested[n]).encode_type for n in sorted(nested))
        type_hash = keccak(encode_type.encode())
        _BY_NAME[name] = cls
        _TYPES[cls] = StructType(name, encode_type, type_hash, fields, nested, _encoder(type_hash, fields))
        return cls

    return register


def type_of(cls: type) -> StructType:
    """The registered struct type of a class."""
    return _TYPES[cls]


def struct_hash(value: Any) -> bytes:
    """hashStruct(value), 32 bytes. Raises `Malformed` naming the first field out of range."""
    return keccak(_TYPES[type(value)].pack(value))


_CHAIN_DOMAIN_TYPE_HASH = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_PLAIN_DOMAIN_TYPE_HASH = keccak(b"EIP712Domain(string name,string version)")


class Domain(NamedTuple):
    """An EIP-712 domain; `chain_id` and `verifying_contract` are both present or both absent."""

    name: str
    version: str = "1"
    chain_id: int | None = None
    verifying_contract: bytes | None = None

    def separator(self) -> bytes:
        """hashStruct of the domain, 32 bytes."""
        head = keccak(self.name.encode()) + keccak(self.version.encode())
        if self.chain_id is None or self.verifying_contract is None:
            return keccak(_PLAIN_DOMAIN_TYPE_HASH + head)
        return keccak(
            _CHAIN_DOMAIN_TYPE_HASH + head + _uint_packer(256)(self.chain_id) + _bytes_packer(20, True)(self.verifying_contract)
        )


EVIDENCE = Domain("Wattproof Evidence")
"""A reading means the same on any chain: name and version only."""
_EVIDENCE_PREFIX = b"\x19\x01" + EVIDENCE.separator()


def money_domain(chain_id: int, escrow: bytes) -> Domain:
    """The domain of everything that moves money: `escrow` is the 20-byte address of EnergyEscrow (or a wallet)."""
    return Domain("Wattproof Money", "1", chain_id, escrow)


def control_domain(chain_id: int, registry: bytes) -> Domain:
    """The domain of grants, commands and key changes: `registry` is the 20-byte address of DeviceRegistry."""
    return Domain("Wattproof Control", "1", chain_id, registry)


def digest(domain: Domain, value: Any) -> bytes:
    """The 32 bytes that are signed: keccak(0x19 0x01 ‖ domain separator ‖ hashStruct(value))."""
    prefix = _EVIDENCE_PREFIX if domain is EVIDENCE else b"\x19\x01" + domain.separator()
    return keccak(prefix + struct_hash(value))


def _member_json(field: Field, value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if type(value) in _TYPES:
        return to_json(value)
    return value


def to_json(value: Any) -> dict[str, Any]:
    """A struct as a JSON object: EIP-712 names, bytes as lower-case 0x hex."""
    fields = _TYPES[type(value)].fields
    return {field.name: _member_json(field, member) for field, member in zip(fields, value, strict=True)}


MAX_JSON_INTEGER = (1 << 53) - 1
"""Larger integers are not exact in every JSON reader (RFC 8259 §6), so no door takes them."""


def _from_member(field: Field, nested: dict[str, type], value: Any, where: str) -> Any:
    kind = field.solidity_type
    if kind in nested:
        return from_json(nested[kind], value, where)
    if kind == "bool":
        if not isinstance(value, bool):
            raise Malformed("must be true or false", where)
        return value
    if kind == "address" or kind.startswith("bytes"):
        return hex_bytes(value, 20 if kind == "address" else int(kind[5:]), where)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_JSON_INTEGER:
        raise Malformed("must be an integer below 2^53", where)
    return value


def hex_bytes(value: Any, size: int | None, where: str) -> bytes:
    """`0x…` text as bytes of exactly `size` (any size if None). Raises `Malformed`."""
    if not isinstance(value, str) or not value.startswith("0x"):
        raise Malformed("must be a 0x hex string", where)
    try:
        raw = bytes.fromhex(value[2:])
    except ValueError:
        raise Malformed("is not hexadecimal", where) from None
    if len(value) != 2 + 2 * len(raw):  # bytes.fromhex skips white space; a canonical text has none
        raise Malformed("is not hexadecimal", where)
    if size is not None and len(raw) != size:
        raise Malformed(f"must be {size} bytes, has {len(raw)}", where)
    return raw


def canonical_hex(value: Any, size: int | None, where: str) -> bytes:
    """As `hex_bytes`, and lower case only: in evidence one value has one text, so that no byte of a file can be changed unnoticed."""
    raw = hex_bytes(value, size, where)
    if value[2:] != raw.hex():
        raise Malformed("must be lower-case hexadecimal", where)
    return raw


def from_json(cls: type[T], document: Any, where: str = "") -> T:
    """A struct from its JSON object: exactly the struct's fields, each in range. Raises `Malformed` naming the field."""
    kind = _TYPES[cls]
    where = where or kind.name
    if not isinstance(document, dict):
        raise Malformed("must be an object", where)
    unknown = set(document) - {field.name for field in kind.fields}
    if unknown:
        raise Malformed(f"unknown field {sorted(map(str, unknown))[0]!r}", where)
    members = []
    for field in kind.fields:
        if field.name not in document:
            raise Malformed("is missing", f"{where}.{field.name}")
        members.append(_from_member(field, kind.nested, document[field.name], f"{where}.{field.name}"))
    value = cls(*members)
    try:
        kind.pack(value)
    except Malformed as error:
        raise Malformed(error.what, f"{where}.{error.where}") from None
    return value


def typed_data(domain: Domain, value: Any) -> dict[str, Any]:
    """The `eth_signTypedData_v4` document a browser wallet shows and signs."""
    domain_fields = [{"name": "name", "type": "string"}, {"name": "version", "type": "string"}]
    domain_values: dict[str, Any] = {"name": domain.name, "version": domain.version}
    if domain.chain_id is not None and domain.verifying_contract is not None:
        domain_fields += [{"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"}]
        domain_values |= {"chainId": domain.chain_id, "verifyingContract": "0x" + domain.verifying_contract.hex()}
    kind = _TYPES[type(value)]
    types: dict[str, Any] = {"EIP712Domain": domain_fields}
    for struct_type in (kind, *(_TYPES[cls] for cls in kind.nested.values())):
        types[struct_type.name] = [{"name": f.name, "type": f.solidity_type} for f in struct_type.fields]
    return {"types": types, "primaryType": kind.name, "domain": domain_values, "message": to_json(value)}
