// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

/// @title What a requester and a node agree on, and the node's word for it.
/// @notice Amounts are micro-units of the settlement token (6 decimals), energy is milliwatt-hours, time is UTC seconds.
/// The requester's word is `MoneyTypes`' own: `Open`, `Payment` and `RequestClose` with the task's id in place of the session's.
library TaskTypes {
    // What pays a task. Numbers, not an enum: a foreign number is then refused by name.
    uint8 internal constant COMPLETION = 1; // the node's `Completion` and the requester key's `Payment` for it
    uint8 internal constant ENERGY = 2; // the node's `Completion` and two records of the meter
    uint8 internal constant RELEASE = 3; // the requester key's `Payment` alone

    /// @notice What was agreed. A task's id is the money-domain digest of this. Members a proof has no use for are zero.
    struct Task {
        address requester; // whose free balance holds the price
        address node; // who is credited
        address refundTo; // whose free balance gets what was not earned
        address requesterKey; // accepts, releases, asks to close
        address nodeKey; // COMPLETION, ENERGY: signs `Completion`; for ENERGY vouched for by the meter key
        bytes32 descriptionHash; // keccak of the RFC 8785 form of the description, milestones in it
        uint64 priceMicro; // locked whole at the opening
        uint64 deadlineS; // what is done later does not count
        uint32 proofGraceS; // seconds after the end for proofs of what was done before it
        uint8 proof; // 1 COMPLETION, 2 ENERGY, 3 RELEASE
        bytes32 device; // ENERGY: of the meter
        uint32 channel; // ENERGY
        address meterKey; // ENERGY: signs the frames
        uint64 energyMilliwattHours; // ENERGY: asked for the price
        uint64 startFromS; // ENERGY: no record from before this counts; zero: from the opening
        bytes32 salt;
    }

    /// @notice The node's word: done, up to `amountMicro` in all.
    struct Completion {
        bytes32 task;
        uint64 amountMicro; // cumulative
        bytes32 result; // COMPLETION: hash of what was done. ENERGY: keccak(start record's struct hash, end record's)
    }

    bytes32 internal constant TASK_TYPEHASH = keccak256(
        "Task(address requester,address node,address refundTo,address requesterKey,address nodeKey,bytes32 descriptionHash,uint64 priceMicro,uint64 deadlineS,uint32 proofGraceS,uint8 proof,bytes32 device,uint32 channel,address meterKey,uint64 energyMilliwattHours,uint64 startFromS,bytes32 salt)"
    );
    bytes32 internal constant COMPLETION_TYPEHASH =
        keccak256("Completion(bytes32 task,uint64 amountMicro,bytes32 result)");
    bytes32 internal constant GIVE_UP_TYPEHASH = keccak256("GiveUp(bytes32 task,uint64 deadlineS)");

    uint256 private constant TASK_BYTES = 512; // 16 words

    error TaskMalformed(uint256 length, uint256 wantedLength);

    /// @return task The task of this ABI encoding. Solidity checks the range of a member when it is read or hashed.
    function decode(bytes calldata terms) internal pure returns (Task calldata task) {
        if (terms.length != TASK_BYTES) revert TaskMalformed(terms.length, TASK_BYTES);
        assembly ("memory-safe") {
            task := terms.offset
        }
    }

    function hashTask(Task calldata task) internal pure returns (bytes32) {
        return keccak256(abi.encode(TASK_TYPEHASH, task));
    }

    function hashCompletion(bytes32 task, uint64 amountMicro, bytes32 result) internal pure returns (bytes32) {
        return keccak256(abi.encode(COMPLETION_TYPEHASH, task, amountMicro, result));
    }

    function hashGiveUp(bytes32 task, uint64 deadlineS) internal pure returns (bytes32) {
        return keccak256(abi.encode(GIVE_UP_TYPEHASH, task, deadlineS));
    }
}
