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

    /// @notice One reading. The registers are those at `endS`.
    struct Record {
        bytes32 device;
        uint32 channel;
        uint64 sequence;
        uint64 startS; // UTC seconds
        uint64 endS; // UTC seconds
        uint64 importMilliwattHours; // register, never a difference
        uint64 exportMilliwattHours;
        uint64 stepMilliwattHours;
        uint32 voltageMillivolts;
        uint32 currentMilliamps;
        int64 powerMilliwatts;
        uint32 flags; // docs/walls.md
        uint8 reason;
        bytes32 meterHash; // serial number and placement
        bytes32 detailsHash;
        bytes32 salt;
    }

    bytes32 internal constant RECORD_TYPEHASH = keccak256(
        "Record(bytes32 device,uint32 channel,uint64 sequence,uint64 startS,uint64 endS,uint64 importMilliwattHours,uint64 exportMilliwattHours,uint64 stepMilliwattHours,uint32 voltageMillivolts,uint32 currentMilliamps,int64 powerMilliwatts,uint32 flags,uint8 reason,bytes32 meterHash,bytes32 detailsHash,bytes32 salt)"
    );
    bytes32 internal constant CHARGE_KEY_VOUCHER_TYPEHASH =
        keccak256("ChargeKeyVoucher(bytes32 device,uint32 channel,address chargeKey,uint64 madeAtS)");
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
        return _digest(keccak256(abi.encode(FRAME_TYPEHASH, frame)));
    }

    /// @return The struct hash of a record: the leaf of its frame's tree.
    function hashRecord(Record calldata record) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECORD_TYPEHASH, record));
    }

    /// @return The digest by which a meter key vouches for a charge key.
    function voucherDigest(bytes32 device, uint32 channel, address chargeKey, uint64 madeAtS)
        internal
        pure
        returns (bytes32)
    {
        return _digest(keccak256(abi.encode(CHARGE_KEY_VOUCHER_TYPEHASH, device, channel, chargeKey, madeAtS)));
    }

    function _digest(bytes32 structHash) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", DOMAIN_SEPARATOR, structHash));
    }
}
