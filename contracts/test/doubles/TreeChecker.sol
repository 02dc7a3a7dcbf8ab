// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

/// @title OpenZeppelin's check of a Merkle path, as any contract that needs a reading would make it.
contract TreeChecker {
    function verify(bytes32[] calldata path, bytes32 root, bytes32 leaf) external pure returns (bool) {
        return MerkleProof.verifyCalldata(path, root, leaf);
    }
}
