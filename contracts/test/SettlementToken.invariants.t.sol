// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {SettlementToken} from "../src/SettlementToken.sol";
import {Deployed} from "./Deployed.sol";

/// @title A payment service, its cap keeper and holders.
contract TokenHandler is Deployed {
    SettlementToken public immutable token;
    uint256 public mintedMicro;
    uint256 public paidOutMicro;
    uint256 public violations;
    mapping(uint256 day => uint256) public mintedOn;
    mapping(bytes32 receiptId => bool) private _seen;

    constructor() {
        vm.warp(START_S);
        token = deployToken(1e9);
    }

    function holder(uint256 seed) public pure returns (address) {
        return address(uint160(0x1000 + seed % 3));
    }

    function wait_(uint256 seconds_) external {
        vm.warp(block.timestamp + between(seconds_, 0, 1 days));
    }

    function mint(uint256 receipt, uint256 to, uint256 amount, uint256 sender) external {
        bytes32 receiptId = bytes32(between(receipt, 0, 50));
        amount = between(amount, 0, uint256(token.dailyCapMicro()) + 1);
        address by = sender % 8 == 0 ? holder(sender) : MINTER;
        vm.prank(by);
        token.mint(receiptId, holder(to), uint128(amount));
        if (_seen[receiptId] || by != MINTER) ++violations;
        _seen[receiptId] = true;
        mintedMicro += amount;
        mintedOn[block.timestamp / 1 days] += amount;
        if (mintedOn[block.timestamp / 1 days] > token.dailyCapMicro()) ++violations;
    }

    function payOut(uint256 who, uint256 amount) external {
        amount = between(amount, 0, token.balanceOf(holder(who)) + 1);
        vm.prank(holder(who));
        token.payOut(bytes32(amount), uint128(amount));
        paidOutMicro += amount;
    }

    function setDailyCap(uint256 cap, bool byMinter) external {
        vm.prank(byMinter ? MINTER : CAP_KEEPER);
        token.setDailyCap(uint128(between(cap, 0, 1e10)));
        if (byMinter) ++violations;
    }
}

/// @title What holds of the token after any calls by anyone.
contract SettlementTokenInvariants is Deployed {
    TokenHandler private _handler;

    function setUp() external {
        _handler = new TokenHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_supply_is_minted_less_paid_out() external view {
        same(_handler.token().totalSupply(), _handler.mintedMicro() - _handler.paidOutMicro(), "supply");
    }

    function invariant_receipts_once_days_within_the_cap_by_the_right_key() external view {
        same(_handler.violations(), 0, "violations");
    }
}
