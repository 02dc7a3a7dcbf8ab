// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

/// @title What a meter signs, as the chain sees it.
/// @notice The evidence domain has a name and a version only: a reading means the same on any chain.
library EvidenceTypes {
    /// @notice A run of records closed by the meter key.
    struct Frame {
        bytes32 device; // fixed at enrolment, whatever the device's keys
        bytes32 incarnation; // random, new at every start of the agent
        uint64 firstSequence; // sequence number of the first record
        uint32 count; // records in the frame
        bytes32 recordsRoot; // Merkle root of the record struct hashes, in sequence order
        bytes32 previousFrame; // digest of the frame before, zero for the very first
        bytes32 headSeen; // anchor head the meter last saw
    }

    bytes32 internal constant FRAME_TYPEHASH = keccak256(
        "Frame(bytes32 device,bytes32 incarnation,uint64 firstSequence,uint32 count,bytes32 recordsRoot,bytes32 previousFrame,bytes32 headSeen)"
    );

    bytes32 internal constant DOMAIN_SEPARATOR = keccak256(
        abi.encode(
            keccak256("EIP712Domain(string name,string version)"), keccak256("Wattproof Evidence"), keccak256("1")
        )
    );

    /// @return The digest the meter key signs: keccak(0x19 0x01, domain separator, struct hash).
    function digest(Frame calldata frame) internal pure returns (bytes32) {
        bytes32 structHash = keccak256(abi.encode(FRAME_TYPEHASH, frame));
        return keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR, structHash));
    }
}
