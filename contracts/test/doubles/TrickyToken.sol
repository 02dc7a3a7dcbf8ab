// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title A token that misbehaves on demand, for the tests of the escrow's doors.
contract TrickyToken is ERC20, ERC20Permit {
    uint8 private immutable _decimals;
    uint256 public feeMicro; // taken from what arrives
    uint256 public surchargeMicro; // taken from the sender on top
    address public refused; // no transfer to this address succeeds
    bool public silentFailure; // transfers do nothing and answer false
    address public callOnTransfer; // called with `callData` in the middle of each transfer
    bytes public callData;
    bool public callSucceeded;

    error TransferRefused(address to);

    constructor(uint8 decimals_) ERC20("Tricky", "TRICK") ERC20Permit("Tricky") {
        _decimals = decimals_;
    }

    function decimals() public view override returns (uint8) {
        return _decimals;
    }

    function mint(address to, uint256 amountMicro) external {
        _mint(to, amountMicro);
    }

    function setFees(uint256 feeMicro_, uint256 surchargeMicro_) external {
        feeMicro = feeMicro_;
        surchargeMicro = surchargeMicro_;
    }

    function setRefused(address refused_) external {
        refused = refused_;
    }

    function setSilentFailure(bool silentFailure_) external {
        silentFailure = silentFailure_;
    }

    function setCall(address target, bytes calldata data) external {
        callOnTransfer = target;
        callData = data;
    }

    /// @dev Lets the token itself be a depositor, so that a call back into the escrow comes from somebody with money.
    function approveFor(address spender, uint256 amountMicro) external {
        _approve(address(this), spender, amountMicro);
    }

    function transfer(address to, uint256 amountMicro) public override returns (bool) {
        return !silentFailure && super.transfer(to, amountMicro);
    }

    function transferFrom(address from, address to, uint256 amountMicro) public override returns (bool) {
        return !silentFailure && super.transferFrom(from, to, amountMicro);
    }

    function _update(address from, address to, uint256 amountMicro) internal override {
        if (to == refused) revert TransferRefused(to);
        super._update(from, to, amountMicro);
        if (from == address(0) || to == address(0)) return;
        if (feeMicro != 0) super._update(to, address(0), feeMicro);
        if (surchargeMicro != 0) super._update(from, address(0), surchargeMicro);
        if (callOnTransfer != address(0)) {
            address target = callOnTransfer;
            callOnTransfer = address(0); // once
            (callSucceeded,) = target.call(callData);
        }
    }
}
