"""Merkle trees of OpenZeppelin's shape, so that `MerkleProof.sol` accepts every path and npm's SimpleMerkleTree agrees.

Shape: a complete binary tree in an array of 2n-1 nodes, leaves at the end in reverse, parent(i) = (i-1)//2; a parent is
keccak of its two children in ascending order. Source: @openzeppelin/merkle-tree 1.0.8 `core.ts`; OpenZeppelin Contracts 5.3.0
`MerkleProof.sol`. A leaf here is already a hash (32 bytes) of at least 66 bytes, so no inner node can pose as a leaf.
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import Malformed
from .hashing import keccak_of

MAX_PROOF = 32
"""Hashes in a path at most: 2^32 leaves are more than an epoch ever holds."""


def _nodes(leaves: Sequence[bytes]) -> list[bytes]:
    """The nodes from the first leaf to the root: the reverse of OpenZeppelin's array. Each parent is appended after its children."""
    if not leaves:
        raise Malformed("a tree needs at least one leaf", "leaves")
    nodes = list(leaves)
    unpaired = iter(nodes)  # sees the parents as they are appended; at the end only the root is left
    for a, b in zip(unpaired, unpaired, strict=False):
        nodes.append(keccak_of(a + b if a < b else b + a).digest())
    return nodes


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over `leaves` in the order given (frame tree)."""
    return _nodes(leaves)[-1]


class Tree:
    """A tree kept whole, to hand out paths. `sort=True` sorts the leaves first (epoch tree)."""

    def __init__(self, leaves: Sequence[bytes], *, sort: bool = False) -> None:
        self.leaves = sorted(leaves) if sort else list(leaves)
        self._nodes = _nodes(self.leaves)[::-1]
        self._place = {leaf: i for i, leaf in enumerate(self.leaves)}

    @property
    def root(self) -> bytes:
        return self._nodes[0]

    def path(self, leaf: bytes) -> list[bytes]:
        """The sibling hashes from `leaf` up to the root. Raises `Malformed` if the leaf is not in the tree."""
        if leaf not in self._place:
            raise Malformed(f"0x{leaf.hex()} is not a leaf of this tree", "leaf")
        i = len(self._nodes) - 1 - self._place[leaf]
        siblings = []
        while i > 0:
            siblings.append(self._nodes[i + 1 if i % 2 else i - 1])
            i = (i - 1) // 2
        return siblings


def root_from_path(leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root that `leaf` and its siblings lead to (`MerkleProof.processProof`)."""
    if len(path) > MAX_PROOF:
        raise Malformed(f"a path has at most {MAX_PROOF} hashes, this one {len(path)}", "path")
    node = leaf
    for sibling in path:
        node = keccak_of(node + sibling if node < sibling else sibling + node).digest()
    return node
