// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {TaskEscrow} from "../src/TaskEscrow.sol";
import {TaskTypes} from "../src/TaskTypes.sol";
import {Cheats} from "./Cheats.sol";
import {TaskHandler} from "./TaskHandler.sol";

/// @title What holds of the task escrow after any calls by anyone, over a hostile token.
contract TaskInvariants is Cheats {
    TaskHandler private _handler;

    function setUp() external {
        _handler = new TaskHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    /// @notice The handler does get somewhere: what holds of calls that are all refused would say little.
    function test_the_handler_pays_by_each_proof_and_closes() external {
        uint256 seed = 1;
        for (uint256 i; i < 4000; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            // solhint-disable-next-line avoid-low-level-calls
            (bool done,) = address(_handler).call(_call(seed % 12, seed >> 16, seed >> 80, seed >> 144, i));
            done; // refused or not
            if (i % 500 != 0) continue;
            _inIsOutAndHeld();
            _paidIsWithinThePriceAndTheEnergy();
            _noEnergyIsSoldTwice();
        }
        same(_handler.taskCount(), 14, "tasks");
        for (uint256 proof = 1; proof <= 3; ++proof) {
            atLeast(_handler.payments(proof), 5, "payments by each proof");
        }
        atLeast(_handler.closes(), 3, "tasks closed");
        same(_handler.violations(), 0, "violations");
    }

    // forge runs a campaign for each invariant function, and a signature costs it most: so there are two.

    function invariant_money() external view {
        _inIsOutAndHeld();
        _paidIsWithinThePriceAndTheEnergy();
    }

    function invariant_energy_and_bounds() external view {
        _noEnergyIsSoldTwice();
        // nothing paid without its words and records, no close before it was due, no id opened twice
        same(_handler.violations(), 0, "violations");
        _closedIsForEver();
    }

    /// @dev in = out + held, and held is exactly what is owed: free balances and the rests of open tasks.
    function _inIsOutAndHeld() private view {
        uint256 held = _handler.token().balanceOf(address(_handler.escrow()));
        same(_handler.inMicro(), _handler.outMicro() + held, "in = out + held");
        uint256 owed = _handler.freeMicro();
        for (uint256 i; i < _handler.taskCount(); ++i) {
            TaskEscrow.State memory state = _handler.stateOf(i);
            if (!state.closed) owed += _handler.kept(i).task.priceMicro - state.paidMicro;
        }
        same(held, owed, "held = owed");
    }

    function _paidIsWithinThePriceAndTheEnergy() private view {
        for (uint256 i; i < _handler.taskCount(); ++i) {
            TaskEscrow.State memory state = _handler.stateOf(i);
            TaskTypes.Task memory task = _handler.kept(i).task;
            same(state.paidMicro, _handler.kept(i).paidMicro, "paid only by payments");
            holds(state.paidMicro <= task.priceMicro, "paid <= price");
            if (task.proof != TaskTypes.ENERGY) continue;
            holds(state.soldMilliwattHours <= task.energyMilliwattHours, "sold <= asked");
            uint256 worth = uint256(task.priceMicro) * state.soldMilliwattHours / task.energyMilliwattHours;
            holds(state.paidMicro <= worth, "paid <= price x sold / asked");
        }
    }

    /// @dev All that tasks paid for at one meter is no more than what it measured.
    function _noEnergyIsSoldTwice() private view {
        for (uint256 meter; meter < 2; ++meter) {
            uint256 sold;
            for (uint256 i; i < _handler.taskCount(); ++i) {
                if (_handler.kept(i).meter == meter) sold += _handler.stateOf(i).soldMilliwattHours;
            }
            holds(sold <= _handler.delivered(meter), "sold <= measured");
        }
    }

    /// @dev A closed task stays closed: its id is a tombstone.
    function _closedIsForEver() private view {
        for (uint256 i; i < _handler.taskCount(); ++i) {
            if (_handler.kept(i).closed) holds(_handler.stateOf(i).closed, "closed for ever");
        }
    }

    function _call(uint256 kind, uint256 a, uint256 b, uint256 c, uint256 i) private pure returns (bytes memory) {
        if (kind == 0) return abi.encodeCall(TaskHandler.wait_, (a % 60));
        if (kind == 1) return abi.encodeCall(TaskHandler.deposit, (a, b, c));
        if (kind == 2) return abi.encodeCall(TaskHandler.withdraw, (a, b, c));
        if (kind == 3) return abi.encodeCall(TaskHandler.payReleased, (a, b));
        if (kind == 4) return abi.encodeCall(TaskHandler.payCompleted, (a, b));
        if (kind == 11) return abi.encodeCall(TaskHandler.serve, (a, b));
        if (kind == 5 || kind == 6) return abi.encodeCall(TaskHandler.payDelivered, (a, b, c, a >> 4));
        if (kind == 7) return abi.encodeCall(TaskHandler.measure, (a, b));
        if (kind == 8 && i % 20 == 0) return abi.encodeCall(TaskHandler.close, (a, b));
        if (kind == 9 && i % 20 == 0) return abi.encodeCall(TaskHandler.requestClose, (a, b));
        if (kind == 10) return abi.encodeCall(TaskHandler.trick, (a, b));
        return abi.encodeCall(TaskHandler.open, (a));
    }
}
