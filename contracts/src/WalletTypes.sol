// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

/// @title What an owner allows a device, and the messages that only wallets know, with their EIP-712 struct hashes.
/// @notice `Open`, `TopUp` and `RequestClose` are those of `MoneyTypes`, signed in the wallet's own domain.
library WalletTypes {
    /// @notice All that the pay key may do. Whatever it signs, no more than this is lost.
    struct Policy {
        address payKey; // a plain key; signs intents and, in payment mode, payments
        address[] providers; // payees allowed; none listed: any that the provider book has
        uint64 maxMicroPerKwh; // highest ceiling that terms may name, tax included
        uint64 maxMicroPerHour; // the same
        uint64 maxFlatMicro; // the same
        uint64 maxSessionMicro; // most that one session or task may lock
        uint64 maxDayMicro; // most that may be newly locked in one UTC day; what comes back does not count
        uint64 expiresAtS; // UTC seconds after which nothing is newly locked
    }

    bytes32 internal constant OWNER_CALL_TYPEHASH =
        keccak256("OwnerCall(bytes32 callHash,uint256 nonce,uint64 deadlineS)");
    bytes32 internal constant APPROVAL_TYPEHASH = keccak256("Approval(bytes32 digest)");
    bytes32 internal constant OPEN_TASK_TYPEHASH =
        keccak256("OpenTask(bytes32 task,uint64 lockMicro,uint64 deadlineS)");

    /// @return What a wallet keeps of its policy: keccak(abi.encode(policy)).
    function hashPolicy(Policy calldata policy) internal pure returns (bytes32) {
        return keccak256(abi.encode(policy));
    }

    function hashOwnerCall(bytes32 callHash, uint256 nonce, uint64 deadlineS) internal pure returns (bytes32) {
        return keccak256(abi.encode(OWNER_CALL_TYPEHASH, callHash, nonce, deadlineS));
    }

    function hashApproval(bytes32 digest) internal pure returns (bytes32) {
        return keccak256(abi.encode(APPROVAL_TYPEHASH, digest));
    }

    function hashOpenTask(bytes32 task, uint64 lockMicro, uint64 deadlineS) internal pure returns (bytes32) {
        return keccak256(abi.encode(OPEN_TASK_TYPEHASH, task, lockMicro, deadlineS));
    }
}
