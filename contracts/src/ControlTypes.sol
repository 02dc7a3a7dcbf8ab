// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

/// @title The messages that change a device's keys, and their EIP-712 struct hashes.
library ControlTypes {
    bytes32 internal constant KEY_BINDING_TYPEHASH =
        keccak256("KeyBinding(bytes32 device,uint8 role,address key,uint64 deadlineS)");
    bytes32 internal constant KEY_ROTATION_TYPEHASH = keccak256(
        "KeyRotation(bytes32 device,uint8 role,address oldKey,address newKey,bytes32 lastFrame,uint64 deadlineS)"
    );

    /// @notice What a device uses a key for. One role a key, for ever.
    enum Role {
        None,
        Meter, // 1: signs frames and OCMF
        Control // 2: signs grants and supply commands
    }

    /// @notice A change of key. `newKey` zero: the old key is revoked and none follows yet.
    struct Rotation {
        bytes32 device;
        Role role;
        address oldKey;
        address newKey;
        bytes32 lastFrame; // the last frame the old key speaks for, whenever it is anchored; zero: none unanchored
        uint64 deadlineS; // UTC seconds after which the signatures are void
    }

    function hashBinding(bytes32 device, Role role, address key, uint64 deadlineS) internal pure returns (bytes32) {
        return keccak256(abi.encode(KEY_BINDING_TYPEHASH, device, role, key, deadlineS));
    }

    function hashRotation(Rotation calldata rotation) internal pure returns (bytes32) {
        return keccak256(abi.encode(KEY_ROTATION_TYPEHASH, rotation));
    }
}
