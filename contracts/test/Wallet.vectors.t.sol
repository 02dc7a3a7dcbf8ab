// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {MoneyTypes} from "../src/MoneyTypes.sol";
import {WalletTypes} from "../src/WalletTypes.sol";
import {Cheats} from "./Cheats.sol";

/// @title tests/vectors/wallets.json read by Solidity: addresses as OpenZeppelin computes them, words as the contract hashes them.
contract WalletVectors is Cheats {
    string private constant FILE = "../tests/vectors/wallets.json";

    function test_wallet_vectors() external {
        uint256 addresses;
        uint256 words;
        vm.closeFile(FILE);
        vm.readLine(FILE); // {"vectors":[
        for (string memory json = _next(); bytes(json).length != 0; json = _next()) {
            bytes32 kind = keccak256(bytes(vm.parseJsonString(json, ".kind")));
            if (kind == keccak256("address")) {
                ++addresses;
                _checkAddress(json);
            } else if (kind == keccak256("word")) {
                ++words;
                _checkWord(json);
            }
        }
        atLeast(addresses, 4, "addresses");
        atLeast(words, 60, "words");
    }

    function _checkAddress(string memory json) private pure {
        (bytes32 device, address owner) = (vm.parseJsonBytes32(json, ".device"), vm.parseJsonAddress(json, ".owner"));
        address found = Clones.predictDeterministicAddressWithImmutableArgs(
            vm.parseJsonAddress(json, ".implementation"),
            abi.encodePacked(owner, device),
            keccak256(abi.encode(device, owner)),
            vm.parseJsonAddress(json, ".factory")
        );
        holds(found == vm.parseJsonAddress(json, ".wallet"), vm.parseJsonString(json, ".name"));
    }

    function _checkWord(string memory json) private pure {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Wattproof Money"),
                keccak256("1"),
                vm.parseJsonUint(json, ".standing.chainId"),
                vm.parseJsonAddress(json, ".standing.wallet")
            )
        );
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", domain, _hash(json)));
        same(digest, vm.parseJsonBytes32(json, ".digest"), vm.parseJsonString(json, ".name"));
    }

    function _hash(string memory json) private pure returns (bytes32) {
        bytes32 kind = keccak256(bytes(vm.parseJsonString(json, ".type")));
        uint64 deadlineS = uint64(vm.parseJsonUint(json, ".message.deadlineS"));
        if (kind == keccak256("OwnerCall")) {
            uint256 nonce = vm.parseJsonUint(json, ".message.nonce");
            return WalletTypes.hashOwnerCall(vm.parseJsonBytes32(json, ".message.callHash"), nonce, deadlineS);
        }
        if (kind == keccak256("OpenTask")) {
            uint64 lockMicro = uint64(vm.parseJsonUint(json, ".message.lockMicro"));
            return WalletTypes.hashOpenTask(vm.parseJsonBytes32(json, ".message.task"), lockMicro, deadlineS);
        }
        bytes32 session = vm.parseJsonBytes32(json, ".message.session");
        if (kind == keccak256("RequestClose")) return MoneyTypes.hashRequestClose(session, deadlineS);
        if (kind == keccak256("TopUp")) {
            return MoneyTypes.hashTopUp(session, uint64(vm.parseJsonUint(json, ".message.totalLockMicro")), deadlineS);
        }
        return MoneyTypes.hashOpen(session, uint64(vm.parseJsonUint(json, ".message.lockMicro")), deadlineS);
    }

    /// @dev The next entry without the comma after it; empty at the end.
    function _next() private view returns (string memory) {
        bytes memory line = bytes(vm.readLine(FILE));
        if (line.length < 3) return ""; // ]}
        if (line[line.length - 1] == ",") {
            assembly ("memory-safe") {
                mstore(line, sub(mload(line), 1))
            }
        }
        return string(line);
    }
}
