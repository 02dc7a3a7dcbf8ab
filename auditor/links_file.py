"""The file of links that an auditor keeps: one JSON line an event, appended only, each head recomputed when written and when read.

```
{"format":"wattproof-links","version":1,"chainId":…,"genesisHash":"0x…","registry":"0x…","anchorLog":"0x…","blockNumber":n}
{"anchorer":"0x…","root":"0x…","timeS":n,"blockNumber":n,"transaction":"0x…","head":"0x…"}
{"device":"0x…","role":1,"oldKey":"0x…","newKey":"0x…","lastFrame":"0x…","timeS":n,"blockNumber":n,"transaction":"0x…","head":"0x…"}
{"through":n,"blockHash":"0x…","timeS":n}
```

The last kind is a checkpoint: everything up to that block is above it. What follows the last checkpoint was being written when the
program was stopped, and is read again from the node.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import orjson

from protocol.bundle import AnchorLink, KeyEvent
from protocol.eip712 import MAX_JSON_INTEGER, canonical_hex
from protocol.errors import Malformed
from protocol.evidence import anchor_link
from protocol.hashing import ZERO32
from protocol.wire import keys_problem

from .trust import Trust, key_event_root

FORMAT, VERSION = "wattproof-links", 1
MAX_LINE_BYTES = 2_048
"""The longest kind of line has about 600."""


class Header(NamedTuple):
    """Which chain and contracts a file is of; `block_number`: no event of theirs is older."""

    chain_id: int
    genesis_hash: bytes
    registry: bytes
    anchor_log: bytes
    block_number: int


class Checkpoint(NamedTuple):
    """The chain was read through this block."""

    through: int
    block_hash: bytes
    time_s: int


class Kept(NamedTuple):
    """A file's content up to its last checkpoint. `size`: where that ends in bytes; `heads`: the newest of each chain."""

    header: Header
    anchors: dict[bytes, dict[bytes, AnchorLink]]
    keys: dict[bytes, list[KeyEvent]]
    checkpoint: Checkpoint | None
    size: int
    heads: dict[bytes, bytes]  # anchorer (20 bytes) or device (32 bytes) → head
    all_heads: set[bytes]


# ------------------------------------------------------------------ lines


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()


def header_line(header: Header) -> bytes:
    chain, genesis, registry, log, block = header
    return _line(
        format=FORMAT, version=VERSION, chainId=chain, genesisHash=_hex(genesis), registry=_hex(registry), anchorLog=_hex(log),
        blockNumber=block,
    )  # fmt: skip


def anchor_line(link: AnchorLink) -> bytes:
    return _line(
        anchorer=_hex(link.anchorer), root=_hex(link.root), timeS=link.time_s, blockNumber=link.block_number,
        transaction=_hex(link.transaction or ZERO32), head=_hex(link.head),
    )  # fmt: skip


def key_line(device: bytes, event: KeyEvent, head: bytes) -> bytes:
    return _line(
        device=_hex(device), role=event.role, oldKey=_hex(event.old_key), newKey=_hex(event.new_key), lastFrame=_hex(event.last_frame),
        timeS=event.time_s, blockNumber=event.block_number, transaction=_hex(event.transaction), head=_hex(head),
    )  # fmt: skip


def checkpoint_line(checkpoint: Checkpoint) -> bytes:
    return _line(through=checkpoint.through, blockHash=_hex(checkpoint.block_hash), timeS=checkpoint.time_s)


def _line(**fields: Any) -> bytes:
    return orjson.dumps(fields) + b"\n"


# ------------------------------------------------------------------ reading

_SHAPES = {
    "format": frozenset(("format", "version", "chainId", "genesisHash", "registry", "anchorLog", "blockNumber")),
    "anchorer": frozenset(("anchorer", "root", "timeS", "blockNumber", "transaction", "head")),
    "device": frozenset(("device", "role", "oldKey", "newKey", "lastFrame", "timeS", "blockNumber", "transaction", "head")),
    "through": frozenset(("through", "blockHash", "timeS")),
}


def _fields(line: bytes, where: str) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise Malformed("the line is too long", where)
    try:
        fields = orjson.loads(line)
    except ValueError as error:
        raise Malformed(f"is not JSON ({error})", where) from None
    if type(fields) is not dict:
        raise Malformed("must be an object", where)
    shape = next((shape for name, shape in _SHAPES.items() if name in fields), None)
    if shape is None or fields.keys() != shape:
        raise Malformed(keys_problem(fields, shape) if shape else "is none of the kinds of line", where)
    return fields


def _integer(fields: dict[str, Any], name: str, where: str) -> int:
    value = fields[name]
    if type(value) is not int or not 0 <= value <= MAX_JSON_INTEGER:
        raise Malformed("must be an integer in 0…2^53-1", f"{where}.{name}")
    return value


def _bytes(fields: dict[str, Any], name: str, size: int, where: str) -> bytes:
    return canonical_hex(fields[name], size, f"{where}.{name}")


def _read_header(line: bytes, where: str) -> Header:
    fields = _fields(line, where)
    if fields.get("format") != FORMAT or fields.get("version") != VERSION:
        raise Malformed(f'is not a file of links: the first line must say "format":"{FORMAT}","version":{VERSION}', where)
    return Header(
        _integer(fields, "chainId", where), _bytes(fields, "genesisHash", 32, where), _bytes(fields, "registry", 20, where),
        _bytes(fields, "anchorLog", 20, where), _integer(fields, "blockNumber", where),
    )  # fmt: skip


def _take_anchor(kept: Kept, fields: dict[str, Any], where: str) -> None:
    anchorer = _bytes(fields, "anchorer", 20, where)
    link = AnchorLink(
        anchorer, kept.heads.get(anchorer, ZERO32), _bytes(fields, "root", 32, where), _integer(fields, "timeS", where),
        _integer(fields, "blockNumber", where), _bytes(fields, "transaction", 32, where),
    )  # fmt: skip
    head = link.head
    if head != _bytes(fields, "head", 32, where):
        raise Malformed("its head does not follow from the link before it: the file was changed", where)
    kept.anchors.setdefault(anchorer, {})[head] = link
    kept.heads[anchorer] = head
    kept.all_heads.add(head)


def _take_key(kept: Kept, fields: dict[str, Any], where: str) -> None:
    device = _bytes(fields, "device", 32, where)
    event = KeyEvent(
        _integer(fields, "role", where), _bytes(fields, "oldKey", 20, where), _bytes(fields, "newKey", 20, where),
        _bytes(fields, "lastFrame", 32, where), _integer(fields, "timeS", where), _integer(fields, "blockNumber", where),
        _bytes(fields, "transaction", 32, where),
    )  # fmt: skip
    head = anchor_link(kept.heads.get(device, ZERO32), key_event_root(device, event), event.time_s)
    if head != _bytes(fields, "head", 32, where):
        raise Malformed("its head does not follow from the event before it: the file was changed", where)
    kept.keys.setdefault(device, []).append(event)
    kept.heads[device] = head
    kept.all_heads.add(head)


def _through_checkpoint(raw: bytes) -> int:
    """Where the last whole checkpoint line ends; 0 if there is none."""
    end = len(raw)
    while True:
        start = raw.rfind(b'\n{"through":', 0, end)
        if start < 0:
            return 0
        stop = raw.find(b"\n", start + 1)
        if stop >= 0:
            return stop + 1
        end = start + 1


def read_links(path: Path) -> Kept:
    """A file up to its last checkpoint, every head recomputed. Raises `Malformed` naming the line, `OSError`."""
    raw = path.read_bytes()
    first = raw.find(b"\n")
    header = _read_header(raw[: max(first, 0)], f"{path}:1")
    size = _through_checkpoint(raw) or first + 1
    kept = Kept(header, {}, {}, None, size, {}, set())
    checkpoint: Checkpoint | None = None
    for number, line in enumerate(raw[first + 1 : size].split(b"\n")[:-1], 2):
        where = f"{path}:{number}"
        fields = _fields(line, where)
        if "anchorer" in fields:
            _take_anchor(kept, fields, where)
        elif "device" in fields:
            _take_key(kept, fields, where)
        elif "through" in fields:
            through = _integer(fields, "through", where)
            if checkpoint is not None and through < checkpoint.through:
                raise Malformed("goes back behind the checkpoint before it", where)
            checkpoint = Checkpoint(through, _bytes(fields, "blockHash", 32, where), _integer(fields, "timeS", where))
        else:
            raise Malformed("a second header", where)
    return kept._replace(checkpoint=checkpoint)


def load_trust(path: Path) -> Trust:
    """What a kept file lets its owner trust."""
    kept = read_links(path)
    return Trust(
        heads=frozenset(kept.all_heads), anchors=kept.anchors, keys=kept.keys, chain_id=kept.header.chain_id,
        anchor_log=kept.header.anchor_log, registry=kept.header.registry, until_s=kept.checkpoint.time_s if kept.checkpoint else 0,
    )  # fmt: skip
