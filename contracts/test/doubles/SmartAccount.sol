// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title An account with code: signs through one key (ERC-1271), sends what that key tells it to.
contract SmartAccount is IERC1271 {
    address public immutable key;

    error NotKey(address sender);

    constructor(address key_) {
        key = key_;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        (address recovered,,) = ECDSA.tryRecover(digest, signature);
        return recovered == key ? IERC1271.isValidSignature.selector : bytes4(0);
    }

    function execute(address target, bytes calldata data) external returns (bytes memory answer) {
        if (msg.sender != key) revert NotKey(msg.sender);
        bool success;
        (success, answer) = target.call(data);
        if (!success) {
            // The target's own error, unchanged.
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }
}
