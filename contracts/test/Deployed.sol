// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {AnchorLog} from "../src/AnchorLog.sol";
import {EnergyEscrow} from "../src/EnergyEscrow.sol";
import {SettlementToken} from "../src/SettlementToken.sol";
import {Cheats} from "./Cheats.sol";

/// @title The contracts as they are shipped: deployed from the bytes of chain/artifacts.
abstract contract Deployed is Cheats {
    uint256 internal constant START_S = 1_900_000_000;
    address internal constant GUARDIAN = address(0x6a);
    address internal constant MINTER = address(0x31);
    address internal constant CAP_KEEPER = address(0xca);

    function deployAnchors() internal returns (AnchorLog) {
        return AnchorLog(vm.deployCode("../chain/artifacts/AnchorLog.json", ""));
    }

    function deployToken(uint128 dailyCapMicro) internal returns (SettlementToken) {
        bytes memory arguments = abi.encode("Settlement", "SET", MINTER, CAP_KEEPER, dailyCapMicro);
        return SettlementToken(vm.deployCode("../chain/artifacts/SettlementToken.json", arguments));
    }

    function deployEscrow(SettlementToken token) internal returns (EnergyEscrow) {
        bytes memory arguments = abi.encode(address(token), GUARDIAN);
        return EnergyEscrow(vm.deployCode("../chain/artifacts/EnergyEscrow.json", arguments));
    }
}
