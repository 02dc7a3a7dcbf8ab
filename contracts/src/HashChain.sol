// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

/// @title One link of an on-chain hash chain: the same for anchors and for key events.
library HashChain {
    /// @param head The head so far; zero before the first link.
    /// @param root What the link commits to.
    /// @return The new head, bound to the time of the block, in UTC seconds.
    function extend(bytes32 head, bytes32 root) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(head, root, uint64(block.timestamp)));
    }
}
