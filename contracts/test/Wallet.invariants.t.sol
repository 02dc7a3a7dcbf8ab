// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {Cheats} from "./Cheats.sol";
import {WalletHandler} from "./WalletHandler.sol";

/// @title What holds of wallets, escrow and tasks together after any calls by anyone.
contract WalletInvariants is Cheats {
    WalletHandler private _handler;

    function setUp() external {
        _handler = new WalletHandler();
        for (uint256 w; w < 2; ++w) {
            _handler.ownerActs(uint256(keccak256(abi.encode(w))) << 4 | w, 0, 0, 0); // a first policy
            _handler.send(w, 1e8);
            _handler.sweep(w);
        }
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @notice The handler does get somewhere: what holds of calls that are all refused would say little.
    function test_the_handler_opens_pays_and_replays() external {
        uint256 seed = 1;
        for (uint256 i; i < 3000; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            _step(seed);
        }
        atLeast(_handler.opened(), 10, "sessions opened");
        atLeast(_handler.toppedUp(), 3, "locks raised");
        atLeast(_handler.tasksOpened(), 10, "tasks opened");
        atLeast(_handler.paid(), 50, "claims and releases");
        atLeast(_handler.replays(), 50, "replays");
        atLeast(_handler.ownerCalls(0), 50, "owner's calls");
        _holds();
    }

    /// forge-config: default.invariant.runs = 200
    /// forge-config: default.invariant.depth = 500
    /// forge-config: long.invariant.runs = 2000
    /// forge-config: long.invariant.depth = 500
    function invariant_wallets_lose_nothing_but_by_policy_or_owner() external view {
        same(_handler.violations(), 0, "violations");
        if (_handler.steps() % 8 == 0) _holds(); // a sum that is wrong stays wrong
    }

    /// @notice Once more at the end of every run.
    function afterInvariant() external view {
        _holds();
    }

    function _holds() private view {
        same(_handler.violations(), 0, "violations");
        for (uint256 w; w < 2; ++w) {
            (uint256 has, uint256 gone) = _handler.worth(w);
            same(_handler.inMicro(w), has + gone + _handler.outMicro(w), "in = has + paid + taken by the owner");
            same(_handler.wallets(w).ownerNonce(), _handler.ownerCalls(w), "no call of the owner but these");
            uint256 today = _handler.lockedOn(w, block.timestamp / 86_400);
            same(_handler.wallets(w).lockedTodayMicro(), today, "locked today");
            holds(_handler.wallets(w).frozen() == _handler.frozen(w), "frozen");
        }
    }

    function _step(uint256 seed) private {
        (uint256 a, uint256 b, uint256 c) = (seed >> 16, seed >> 80, seed >> 144);
        bytes memory data;
        uint256 kind = seed % 16;
        if (kind < 2) data = abi.encodeCall(WalletHandler.open, (seed >> 4, b, c));
        else if (kind < 5) data = abi.encodeCall(WalletHandler.topUp, (a, b, c));
        else if (kind == 5) data = abi.encodeCall(WalletHandler.openTask, (seed >> 4, b, c));
        else if (kind == 6) data = abi.encodeCall(WalletHandler.claim, (a, b));
        else if (kind == 7) data = abi.encodeCall(WalletHandler.release, (a, b));
        else if (kind == 8) data = abi.encodeCall(WalletHandler.wait_, (a));
        else if (kind == 9) data = abi.encodeCall(WalletHandler.send, (a, b));
        else if (kind == 10) data = abi.encodeCall(WalletHandler.sweep, (a));
        else if (kind == 11) data = abi.encodeCall(WalletHandler.ownerActs, (seed >> 4, b, c, a));
        else if (kind == 12) data = abi.encodeCall(WalletHandler.replay, (seed >> 4));
        else if (kind == 13) data = abi.encodeCall(WalletHandler.hostileToken, (seed >> 4, b));
        else if (kind == 14) data = abi.encodeCall(WalletHandler.book_, (a));
        else data = abi.encodeCall(WalletHandler.requestClose, (a, b));
        // solhint-disable-next-line avoid-low-level-calls
        (bool done,) = address(_handler).call(data);
        done; // refused or not
    }
}
