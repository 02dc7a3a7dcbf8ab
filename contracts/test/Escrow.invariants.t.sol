// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {SessionView} from "../src/Session.sol";
import {Cheats} from "./Cheats.sol";
import {EscrowHandler} from "./EscrowHandler.sol";

/// @title What holds of the escrow after any calls by anyone.
contract EscrowInvariants is Cheats {
    EscrowHandler private _handler;

    function setUp() external {
        _handler = new EscrowHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @notice The handler does get somewhere: what holds of calls that are all refused would say little.
    function test_the_handler_opens_claims_and_closes() external {
        uint256 seed = 1;
        for (uint256 i; i < 3000; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            (uint256 a, uint256 b, uint256 c) = (seed >> 16, seed >> 80, seed >> 144);
            bytes memory data;
            if (seed % 10 == 0) data = abi.encodeCall(EscrowHandler.wait_, (a, b));
            else if (seed % 10 == 1) data = abi.encodeCall(EscrowHandler.deposit, (a, b, c));
            else if (seed % 10 == 2) data = abi.encodeCall(EscrowHandler.withdraw, (a, b, c));
            else if (seed % 10 == 3) data = abi.encodeCall(EscrowHandler.topUp, (a, b));
            else if (seed % 10 == 4) data = abi.encodeCall(EscrowHandler.claimPaid, (a, b));
            else if (seed % 10 == 5) data = abi.encodeCall(EscrowHandler.claimMetered, (a, b, c, a));
            else if (seed % 10 == 6 && i % 20 == 0) data = abi.encodeCall(EscrowHandler.close, (a, b));
            else if (seed % 10 == 7 && i % 20 == 0) data = abi.encodeCall(EscrowHandler.requestClose, (a, b));
            else if (seed % 10 == 8) data = abi.encodeCall(EscrowHandler.creditNote, (a, b));
            else data = abi.encodeCall(EscrowHandler.open, (seed, a % 2 == 0, c));
            // solhint-disable-next-line avoid-low-level-calls
            (bool done,) = address(_handler).call(data);
            done; // refused or not
        }
        same(_handler.sessionCount(), 12, "sessions");
        atLeast(_handler.paidClaims(), 30, "payments claimed");
        atLeast(_handler.meteredClaims(), 30, "charges claimed");
        atLeast(_handler.closes(), 3, "sessions closed");
        same(_handler.violations(), 0, "violations");
    }

    /// @notice in = out + held, and held is exactly what is owed: free balances and the rests of open sessions.
    function invariant_in_is_out_and_held() external view {
        uint256 held = _handler.token().balanceOf(address(_handler.escrow()));
        same(_handler.inMicro(), _handler.outMicro() + held, "in = out + held");
        uint256 owed = _handler.freeMicro();
        for (uint256 i; i < _handler.sessionCount(); ++i) {
            SessionView memory state = _handler.stateOf(i);
            if (!state.closed) owed += state.lockMicro - state.claimedMicro;
        }
        same(held, owed, "held = owed");
    }

    function invariant_claimed_is_within_the_lock() external view {
        for (uint256 i; i < _handler.sessionCount(); ++i) {
            SessionView memory state = _handler.stateOf(i);
            holds(state.claimedMicro <= state.lockMicro, "claimed <= locked");
        }
    }

    /// @notice No claim beyond a signature, mode or bound, no close before it was due, no id opened twice.
    function invariant_nothing_beyond_a_bound() external view {
        same(_handler.violations(), 0, "violations");
    }

    /// @notice A closed session stays as it was closed: its id is a tombstone.
    function invariant_closed_is_for_ever() external view {
        for (uint256 i; i < _handler.sessionCount(); ++i) {
            EscrowHandler.Kept memory entry = _handler.kept(i);
            SessionView memory state = _handler.stateOf(i);
            holds(entry.closed == state.closed, "closed for ever");
            same(entry.claimedMicro, state.claimedMicro, "claimed only by claims");
            if (state.closed) same(entry.returnedMicro, state.lockMicro - state.claimedMicro, "returned once, whole");
        }
    }
}
