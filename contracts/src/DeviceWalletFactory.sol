// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {DeviceWallet} from "./DeviceWallet.sol";

/// @title Where wallets come from.
/// @notice A wallet's address follows from device and owner alone, so money can be sent there before it exists. Anyone may
/// create it: owner and device are part of its code, and nothing is left to be initialised by whoever comes first.
contract DeviceWalletFactory {
    address public immutable implementation;

    event WalletCreated(address indexed wallet, bytes32 indexed device, address indexed owner);

    error DeviceZero();
    error OwnerZero();
    error WalletExists(address wallet);

    constructor(DeviceWallet implementation_) {
        implementation = address(implementation_);
    }

    /// @return The address of the wallet of this device and owner, whether it exists or not.
    function walletOf(bytes32 device, address owner) public view returns (address) {
        return Clones.predictDeterministicAddressWithImmutableArgs(
            implementation, abi.encodePacked(owner, device), _salt(device, owner)
        );
    }

    /// @notice Creates the wallet of a device and its owner.
    function create(bytes32 device, address owner) external returns (address wallet) {
        wallet = walletOf(device, owner);
        if (wallet.code.length != 0) revert WalletExists(wallet);
        _create(device, owner);
    }

    /// @notice Creates the wallet if it is not there, and relays its owner's signed call: with a first policy, the wallet
    /// is ready to pay after one transaction that the owner need not send.
    function createAndCall(
        bytes32 device,
        address owner,
        bytes calldata call_,
        uint256 nonce,
        uint64 deadlineS,
        bytes calldata signature
    ) external returns (address wallet) {
        wallet = walletOf(device, owner);
        if (wallet.code.length == 0) _create(device, owner);
        DeviceWallet(wallet).ownerCall(call_, nonce, deadlineS, signature);
    }

    function _create(bytes32 device, address owner) private {
        if (device == bytes32(0)) revert DeviceZero();
        if (owner == address(0)) revert OwnerZero();
        address wallet = Clones.cloneDeterministicWithImmutableArgs(
            implementation, abi.encodePacked(owner, device), _salt(device, owner)
        );
        emit WalletCreated(wallet, device, owner);
    }

    function _salt(bytes32 device, address owner) private pure returns (bytes32) {
        return keccak256(abi.encode(device, owner));
    }
}
