// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {EvidenceTypes} from "./EvidenceTypes.sol";
import {TaskTypes} from "./TaskTypes.sol";

/// @title What a meter says about a stretch of energy: two records, each in a frame the meter key signed.
/// @notice Nothing here asks anybody but the key the task names: not the registry, not the anchors.
library EnergyProof {
    /// @notice A record and the way from it to the meter key's signature.
    struct Reading {
        EvidenceTypes.Frame frame;
        bytes signature; // 65 bytes r, s, v by the meter key over the frame
        EvidenceTypes.Record record;
        bytes32[] path; // from the record's struct hash to the frame's root
    }

    /// @notice The stretch between the registers of two readings, sold by a key the meter key vouched for.
    struct Stretch {
        Reading start;
        Reading end;
        uint64 voucherMadeAtS;
        bytes voucherSignature; // 65 bytes by the meter key over `ChargeKeyVoucher` for the task's node key
    }

    /// @dev The meter's own word that this register or its time cannot be trusted: clock not synchronised (bit 0),
    /// estimated (1), tamper (2), door open (3), seal broken (4), quarantined register (10).
    uint32 internal constant REFUSED_FLAGS = 1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 10;

    error PointRefused(bytes32 device, uint32 channel);
    error RecordNotInFrame(uint64 sequence, uint64 firstSequence, uint32 count);
    error RecordFlagged(uint64 sequence, uint32 flags);
    error PathRefused(bytes32 record, bytes32 root);
    error MeterSignatureRefused(address meterKey, bytes32 digest);
    error MeterDiffers(bytes32 startMeterHash, bytes32 endMeterHash);
    error RecordsOutOfOrder(uint64 startSequence, uint64 endSequence);
    error RegisterFell(uint64 startMilliwattHours, uint64 endMilliwattHours);
    error StartTooEarly(uint64 endS, uint256 notBeforeS);
    error EndTooLate(uint64 endS, uint256 notAfterS);

    /// @notice Reverts unless both readings are the meter's about the task's point, in order, between the two times.
    /// @return The `Completion.result` that stands for these two records.
    function check(Stretch calldata stretch, TaskTypes.Task calldata task, uint256 notBeforeS, uint256 notAfterS)
        internal
        pure
        returns (bytes32)
    {
        bytes32 digest =
            EvidenceTypes.voucherDigest(task.device, task.channel, task.nodeKey, stretch.voucherMadeAtS);
        _requireMeterKey(task.meterKey, digest, stretch.voucherSignature);
        bytes32 startHash = _checkReading(stretch.start, task);
        bytes32 endHash = _checkReading(stretch.end, task);
        _checkOrder(stretch.start.record, stretch.end.record, notBeforeS, notAfterS);
        return keccak256(abi.encodePacked(startHash, endHash));
    }

    function _checkReading(Reading calldata reading, TaskTypes.Task calldata task) private pure returns (bytes32 hash) {
        EvidenceTypes.Record calldata record = reading.record;
        EvidenceTypes.Frame calldata frame = reading.frame;
        if (record.device != task.device || frame.device != task.device || record.channel != task.channel) {
            revert PointRefused(record.device, record.channel);
        }
        (uint256 first, uint256 sequence) = (frame.firstSequence, record.sequence);
        if (sequence < first || sequence >= first + frame.count) {
            revert RecordNotInFrame(record.sequence, frame.firstSequence, frame.count);
        }
        if (record.flags & REFUSED_FLAGS != 0) revert RecordFlagged(record.sequence, record.flags);
        hash = EvidenceTypes.hashRecord(record);
        if (!MerkleProof.verifyCalldata(reading.path, frame.recordsRoot, hash)) {
            revert PathRefused(hash, frame.recordsRoot);
        }
        _requireMeterKey(task.meterKey, EvidenceTypes.digest(frame), reading.signature);
    }

    function _checkOrder(
        EvidenceTypes.Record calldata start,
        EvidenceTypes.Record calldata end,
        uint256 notBeforeS,
        uint256 notAfterS
    ) private pure {
        if (start.meterHash != end.meterHash) revert MeterDiffers(start.meterHash, end.meterHash);
        if (start.sequence >= end.sequence) revert RecordsOutOfOrder(start.sequence, end.sequence);
        if (start.importMilliwattHours > end.importMilliwattHours) {
            revert RegisterFell(start.importMilliwattHours, end.importMilliwattHours);
        }
        // The register is the one at a record's end, so its end is what counts.
        if (start.endS < notBeforeS) revert StartTooEarly(start.endS, notBeforeS);
        if (end.endS > notAfterS) revert EndTooLate(end.endS, notAfterS);
    }

    /// @dev High s, a wrong v and the zero address that `ecrecover` answers are refused by `tryRecover`.
    function _requireMeterKey(address meterKey, bytes32 digest, bytes calldata signature) private pure {
        (address recovered, ECDSA.RecoverError fault,) = ECDSA.tryRecover(digest, signature);
        if (fault != ECDSA.RecoverError.NoError || recovered != meterKey) revert MeterSignatureRefused(meterKey, digest);
    }
}
