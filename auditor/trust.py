"""What an auditor trusts: heads it recorded itself, or a file of all links that `sync` kept.

A head commits to every link before it and to nothing after it: anybody can compute one more link. So a link is trusted if a trusted head
is the head after it, or a later one of the same chain. A single head (`--head`) may be an anchorer's or a device's in the registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from protocol.bundle import AnchorLink, ChainHalt, KeyEvent
from protocol.evidence import anchor_link
from protocol.hashing import ZERO32, keccak


class Trust(NamedTuple):
    """`heads`: all trusted heads. `anchors` (anchorer → head → link), `keys` (device → events): whole chains, where a file keeps them."""

    heads: frozenset[bytes] = frozenset()
    anchors: Mapping[bytes, Mapping[bytes, AnchorLink]] = MappingProxyType({})
    keys: Mapping[bytes, Sequence[KeyEvent]] = MappingProxyType({})
    chain_id: int | None = None
    anchor_log: bytes | None = None
    registry: bytes | None = None
    until_s: int = 0  # the file is complete up to this block time
    halts: tuple[ChainHalt, ...] = ()  # confirmed by a node

    @property
    def nothing(self) -> bool:
        return not self.heads


def trust_heads(heads: Iterable[bytes]) -> Trust:
    """Trust in single heads that the auditor vouches for."""
    return Trust(heads=frozenset(heads))


def key_event_root(device: bytes, event: KeyEvent) -> bytes:
    """What `DeviceRegistry` puts into a link: keccak(abi.encode(device, role, oldKey, newKey, lastFrame))."""
    padding = bytes(12)
    role = event.role.to_bytes(32, "big")
    return keccak(device + role + padding + event.old_key + padding + event.new_key + event.last_frame)


def key_heads(device: bytes, events: Sequence[KeyEvent]) -> list[bytes]:
    """The head after each key event, from the device's first."""
    heads, head = [], ZERO32
    for event in events:
        head = anchor_link(head, key_event_root(device, event), event.time_s)
        heads.append(head)
    return heads


def trusted_links(links: Sequence[AnchorLink], heads: Sequence[bytes], trust: Trust) -> list[bool]:
    """For each link of the bundle (`heads[i]`: the head after it) whether a trusted head commits to it."""
    trusted: list[bool] = []
    commits, anchorer, previous_head = False, b"", b""  # of the link after this one
    known = trust.heads
    for link, head in zip(reversed(links), reversed(heads), strict=True):
        commits = (commits and link.anchorer == anchorer and head == previous_head) or head in known
        anchorer, previous_head = link.anchorer, link.previous_head
        trusted.append(commits)
    return trusted[::-1]
