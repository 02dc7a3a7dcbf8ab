"""Paths that `protocol` hands out are accepted by OpenZeppelin's MerkleProof on a chain, and none that was spoiled is."""

from __future__ import annotations

import pytest

from protocol.hashing import keccak
from protocol.merkle import Tree, root
from tests.contracts.support import World


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 17])
@pytest.mark.parametrize("sort", [False, True])
def test_paths_are_accepted_on_chain(world: World, count: int, sort: bool) -> None:
    checker = world.double("TreeChecker")
    leaves = [keccak(b"leaf %d" % number) for number in range(count)]
    tree = Tree(leaves, sort=sort)
    assert tree.root == root(sorted(leaves) if sort else leaves)
    for leaf in leaves:
        path = list(tree.path(leaf))
        assert checker.functions.verify(path, tree.root, leaf).call() is True
        assert checker.functions.verify(path, tree.root, keccak(leaf)).call() is False
        if path:
            assert checker.functions.verify([keccak(path[0]), *path[1:]], tree.root, leaf).call() is False
            assert checker.functions.verify(path[:-1], tree.root, leaf).call() is False
