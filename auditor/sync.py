"""`sync`: all links of a chain's anchor log and registry, from a node, into the file that `--trust` reads.

Guarantees: every head is recomputed from the event before it, so an event that the node leaves out is noticed; only final blocks are
written; the file is only ever appended to, and a stop at any moment costs one window of blocks read again; a chain that gave up a block
the file goes through is called *rewound* and the file left as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from chain.client import ChainClient
from chain.deployment import Deployment
from chain.errors import ChainError, ChainMoved, Permanent
from chain.event_types import Anchored, KeyChanged
from chain.events import MAX_BLOCKS, decode_log
from chain.rpc import Block, Log
from protocol.bundle import AnchorLink, KeyEvent
from protocol.evidence import anchor_link
from protocol.hashing import ZERO32

from .links_file import Checkpoint, Header, Kept, anchor_line, checkpoint_line, header_line, key_line, read_links
from .trust import key_event_root


class Rewound(Permanent):
    """The chain no longer has a block that the file goes through."""


class Withheld(Permanent):
    """The node's events do not lead from one head to the next: some are missing or made up."""


class Synced(NamedTuple):
    """What a run did."""

    links: int
    key_events: int
    through: int
    time_s: int


def start_file(path: Path, deployment: Deployment) -> None:
    """Make a new file for a deployment. Raises `FileExistsError`."""
    header = Header(
        deployment.chain_id, deployment.genesis_hash, deployment.registry, deployment.anchor_log, deployment.block_number
    )  # fmt: skip
    with path.open("xb") as file:
        file.write(header_line(header))
        _sync(file)


def deployment_of(header: Header) -> Deployment:
    """What a client needs to read the contracts that a file is of (escrow and token are not read)."""
    return Deployment(
        header.chain_id, header.genesis_hash, header.block_number, header.registry, header.anchor_log, bytes(20), bytes(20)
    )  # fmt: skip


def sync(path: Path, client: ChainClient, say: Callable[[str], None] = lambda _: None) -> Synced:
    """Bring a file up to the node's newest final block. Raises `Malformed` (the file), `ChainError` (the node, `Rewound`, `Withheld`)."""
    kept = read_links(path)
    _check_chain(kept, client)
    final = client.final_head()
    start = kept.header.block_number if kept.checkpoint is None else kept.checkpoint.through + 1
    links = events = 0
    with path.open("r+b") as file:
        file.truncate(kept.size)  # what a stopped run had begun to write after its last checkpoint
        file.seek(kept.size)
        while start <= final.number:
            end = min(final.number, start + MAX_BLOCKS - 1)
            more_links, more_events, last = _read_window(file, client, kept.heads, start, end)
            file.write(checkpoint_line(Checkpoint(last.number, last.hash, last.time_s)))
            _sync(file)
            links, events, start = links + more_links, events + more_events, end + 1
            say(f"through block {end} of {final.number}: {links} links, {events} key events")
    _check_heads(kept.heads, client, final)
    return Synced(links, events, final.number, final.time_s)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _check_chain(kept: Kept, client: ChainClient) -> None:
    header, checkpoint = kept.header, kept.checkpoint
    genesis = client.block(0)
    if client.chain_id() != header.chain_id or genesis is None or genesis.hash != header.genesis_hash:
        raise Rewound(f"the node serves another chain than the file (chain {header.chain_id}, genesis 0x{header.genesis_hash.hex()})")
    if checkpoint is None:
        return
    there = client.block(checkpoint.through)
    if there is None:
        raise Rewound(
            f"the file goes through block {checkpoint.through}, the node's chain ends before: the node is behind, or the chain was "
            "rewound; ask another node, and keep the file"
        )
    if there.hash != checkpoint.block_hash:
        raise Rewound(
            f"block {checkpoint.through} was 0x{checkpoint.block_hash.hex()} and final; the node now has 0x{there.hash.hex()} there: "
            "the chain was rewound; keep the file, it is evidence"
        )


def _read_window(file: BinaryIO, client: ChainClient, heads: dict[bytes, bytes], first: int, last: int) -> tuple[int, int, Block]:
    """Append the events of some final blocks; returns how many of each kind, and the last block."""
    logs = client.logs((client.deployment.anchor_log, client.deployment.registry), first=first, last=last)
    links = events = 0
    block: Block | None = None
    for log in logs:
        if block is None or block.number != log.block.number:
            block = _existing(client, log.block.number)
        if block.hash != log.block.hash:
            raise ChainMoved(f"block {log.block.number} changed while it was read; run sync again")
        line, is_link = _line(client, log, block.time_s, heads)
        file.write(line)
        links, events = links + (is_link and bool(line)), events + (not is_link and bool(line))
    return links, events, _existing(client, last)


def _existing(client: ChainClient, number: int) -> Block:
    block = client.block(number)
    if block is None:
        raise ChainMoved(f"block {number} is gone while it was read; run sync again")
    return block


def _line(client: ChainClient, log: Log, time_s: int, heads: dict[bytes, bytes]) -> tuple[bytes, bool]:
    """The line for a log, its head recomputed from the head before; nothing for events that are in no chain."""
    is_link = log.address == client.deployment.anchor_log
    body = decode_log("AnchorLog" if is_link else "DeviceRegistry", log)
    if isinstance(body, Anchored):
        link = AnchorLink(body.anchorer, heads.get(body.anchorer, ZERO32), body.root, time_s, log.block.number, log.transaction)
        _extend(heads, body.anchorer, link.head, body.head, log)
        return anchor_line(link), True
    if isinstance(body, KeyChanged):
        event = KeyEvent(body.role, body.old_key, body.new_key, body.last_frame, time_s, log.block.number, log.transaction)
        head = anchor_link(heads.get(body.device, ZERO32), key_event_root(body.device, event), time_s)
        _extend(heads, body.device, head, body.head, log)
        return key_line(body.device, event, head), False
    return b"", is_link


def _extend(heads: dict[bytes, bytes], owner: bytes, computed: bytes, stated: bytes, log: Log) -> None:
    if computed != stated:
        raise Withheld(
            f"0x{owner.hex()}: the event in block {log.block.number} does not follow from the one before; "
            "the node left one out or made one up; ask another node"
        )
    heads[owner] = computed


def _check_heads(heads: dict[bytes, bytes], client: ChainClient, final: Block) -> None:
    """The contracts' own heads: an event left out at the end shows here."""
    for owner, head in heads.items():
        try:
            standing = client.anchor_head(owner, final.hash) if len(owner) == 20 else client.key_head(owner, final.hash)
        except ChainError as error:
            raise ChainMoved(f"the heads in block {final.number} cannot be read ({error}); run sync again") from error
        if standing != head:
            raise Withheld(
                f"0x{owner.hex()}: the contract's head is 0x{standing.hex()}, the events lead to 0x{head.hex()}; ask another node"
            )
