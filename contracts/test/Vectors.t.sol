// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {AnchorLog} from "../src/AnchorLog.sol";
import {ControlTypes} from "../src/ControlTypes.sol";
import {EnergyEscrow} from "../src/EnergyEscrow.sol";
import {EvidenceTypes} from "../src/EvidenceTypes.sol";
import {MoneyTypes} from "../src/MoneyTypes.sol";
import {Deployed} from "./Deployed.sol";

/// @title Opens the calldata hashes to calls.
contract VectorHashes {
    function frame(EvidenceTypes.Frame calldata value) external pure returns (bytes32) {
        return keccak256(abi.encode(EvidenceTypes.FRAME_TYPEHASH, value));
    }

    function terms(MoneyTypes.Terms calldata value) external pure returns (bytes32) {
        return MoneyTypes.hashTerms(value);
    }

    function payment(MoneyTypes.Payment calldata value) external pure returns (bytes32) {
        return MoneyTypes.hashPayment(value);
    }

    function meteredCharge(MoneyTypes.MeteredCharge calldata value) external pure returns (bytes32) {
        return MoneyTypes.hashMeteredCharge(value);
    }

    function rotation(ControlTypes.Rotation calldata value) external pure returns (bytes32) {
        return ControlTypes.hashRotation(value);
    }
}

/// @title The committed vectors, read by Solidity: every struct that a contract knows has the same digest here.
/// @notice tests/vectors/structs.json: {"vectors": [{type, domain, message, digest, signature, signer}, ...]}.
contract VectorsTest is Deployed {
    string private constant FILE = "../tests/vectors/structs.json";

    VectorHashes private _hashes;
    string private _json;

    function test_vectors() external {
        if (!vm.exists(FILE)) return;
        _hashes = new VectorHashes();
        _json = vm.readFile(FILE);
        uint256 known;
        uint256 i;
        for (; vm.keyExistsJson(_json, _at(i, "")); ++i) {
            (bool isKnown, bytes32 structHash) = _structHash(i, vm.parseJsonString(_json, _at(i, ".type")));
            if (!isKnown) continue; // of no contract's concern
            ++known;
            bytes32 digest = keccak256(abi.encodePacked(hex"1901", _domain(i), structHash));
            same(digest, vm.parseJsonBytes32(_json, _at(i, ".digest")), _at(i, " digest"));
            address signer = ECDSA.recover(digest, vm.parseJsonBytes(_json, _at(i, ".signature")));
            holds(signer == vm.parseJsonAddress(_json, _at(i, ".signer")), _at(i, " signer"));
        }
        atLeast(i, 1, "entries in structs.json");
        atLeast(known, 5, "structs that the contracts know");
    }

    /// @notice What the shipped contracts themselves make of the vectors of terms and frames.
    function test_vectors_on_the_shipped_contracts() external {
        if (!vm.exists(FILE)) return;
        _json = vm.readFile(FILE);
        vm.warp(START_S);
        EnergyEscrow escrow = deployEscrow(deployToken(0));
        AnchorLog log = deployAnchors();
        for (uint256 i; vm.keyExistsJson(_json, _at(i, "")); ++i) {
            bytes32 kind = keccak256(bytes(vm.parseJsonString(_json, _at(i, ".type"))));
            bytes32 digest = vm.parseJsonBytes32(_json, _at(i, ".digest"));
            if (kind == keccak256("Terms")) {
                // the code at the address the vector names: the domain follows address and chain
                address place = vm.parseJsonAddress(_json, _at(i, ".domain.verifyingContract"));
                vm.etch(place, address(escrow).code);
                vm.chainId(vm.parseJsonUint(_json, _at(i, ".domain.chainId")));
                same(EnergyEscrow(place).sessionIdOf(_terms(i)), digest, _at(i, " session id"));
            } else if (kind == keccak256("Frame")) {
                address signer = vm.parseJsonAddress(_json, _at(i, ".signer"));
                bytes32 head = log.heads(signer);
                log.anchorFrame(_frame(i), vm.parseJsonBytes(_json, _at(i, ".signature")));
                bytes32 next = keccak256(abi.encodePacked(head, digest, uint64(block.timestamp)));
                same(log.heads(signer), next, _at(i, " head of the meter key"));
            }
        }
    }

    // ------------------------------------------------------------------ reading

    function _at(uint256 i, string memory rest) private pure returns (string memory) {
        return string.concat(".vectors[", vm.toString(i), "]", rest);
    }

    function _uint(uint256 i, string memory member) private view returns (uint256) {
        return vm.parseJsonUint(_json, _at(i, string.concat(".message.", member)));
    }

    function _word(uint256 i, string memory member) private view returns (bytes32) {
        return vm.parseJsonBytes32(_json, _at(i, string.concat(".message.", member)));
    }

    function _address(uint256 i, string memory member) private view returns (address) {
        return vm.parseJsonAddress(_json, _at(i, string.concat(".message.", member)));
    }

    function _domain(uint256 i) private view returns (bytes32) {
        bytes32 name = keccak256(bytes(vm.parseJsonString(_json, _at(i, ".domain.name"))));
        bytes32 version = keccak256(bytes(vm.parseJsonString(_json, _at(i, ".domain.version"))));
        if (!vm.keyExistsJson(_json, _at(i, ".domain.chainId"))) {
            bytes32 separator =
                keccak256(abi.encode(keccak256("EIP712Domain(string name,string version)"), name, version));
            same(separator, EvidenceTypes.DOMAIN_SEPARATOR, _at(i, " domain"));
            return separator;
        }
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                name,
                version,
                vm.parseJsonUint(_json, _at(i, ".domain.chainId")),
                vm.parseJsonAddress(_json, _at(i, ".domain.verifyingContract"))
            )
        );
    }

    function _structHash(uint256 i, string memory name) private view returns (bool known, bytes32 hash) {
        bytes32 kind = keccak256(bytes(name));
        known = true;
        if (kind == keccak256("Frame")) hash = _hashes.frame(_frame(i));
        else if (kind == keccak256("Terms")) hash = _hashes.terms(_terms(i));
        else if (kind == keccak256("Open")) hash = _open(i);
        else if (kind == keccak256("TopUp")) hash = _topUp(i);
        else if (kind == keccak256("Payment")) hash = _payment(i);
        else if (kind == keccak256("MeteredCharge")) hash = _meteredCharge(i);
        else if (kind == keccak256("RequestClose")) hash = _requestClose(i);
        else if (kind == keccak256("Withdraw")) hash = _withdraw(i);
        else if (kind == keccak256("KeyBinding")) hash = _keyBinding(i);
        else if (kind == keccak256("KeyRotation")) hash = _keyRotation(i);
        else known = false;
    }

    function _frame(uint256 i) private view returns (EvidenceTypes.Frame memory) {
        return EvidenceTypes.Frame({
            device: _word(i, "device"),
            incarnation: _word(i, "incarnation"),
            firstSequence: uint64(_uint(i, "firstSequence")),
            count: uint32(_uint(i, "count")),
            recordsRoot: _word(i, "recordsRoot"),
            previousFrame: _word(i, "previousFrame"),
            headSeen: _word(i, "headSeen")
        });
    }

    function _terms(uint256 i) private view returns (MoneyTypes.Terms memory terms) {
        terms.payer = _address(i, "payer");
        terms.payee = _address(i, "payee");
        terms.refundTo = _address(i, "refundTo");
        terms.pointCommitment = _word(i, "pointCommitment");
        terms.metered = vm.parseJsonBool(_json, _at(i, ".message.metered"));
        terms.signer = _address(i, "signer");
        terms.tariffHash = _word(i, "tariffHash");
        terms.agreementHash = _word(i, "agreementHash");
        terms.maxMicroPerKwh = uint64(_uint(i, "maxMicroPerKwh"));
        terms.maxMicroPerHour = uint64(_uint(i, "maxMicroPerHour"));
        terms.maxFlatMicro = uint64(_uint(i, "maxFlatMicro"));
        terms.ratedWatts = uint32(_uint(i, "ratedWatts"));
        terms.latestEndS = uint64(_uint(i, "latestEndS"));
        terms.stopGraceS = uint32(_uint(i, "stopGraceS"));
        terms.closeDelayS = uint32(_uint(i, "closeDelayS"));
        terms.closeDelayBlocks = uint32(_uint(i, "closeDelayBlocks"));
        terms.salt = _word(i, "salt");
    }

    function _open(uint256 i) private view returns (bytes32) {
        return MoneyTypes.hashOpen(_word(i, "session"), uint64(_uint(i, "lockMicro")), uint64(_uint(i, "deadlineS")));
    }

    function _topUp(uint256 i) private view returns (bytes32) {
        return
            MoneyTypes.hashTopUp(_word(i, "session"), uint64(_uint(i, "totalLockMicro")), uint64(_uint(i, "deadlineS")));
    }

    function _payment(uint256 i) private view returns (bytes32) {
        return _hashes.payment(
            MoneyTypes.Payment(_word(i, "session"), uint64(_uint(i, "amountMicro")), _word(i, "frame"))
        );
    }

    function _meteredCharge(uint256 i) private view returns (bytes32) {
        return _hashes.meteredCharge(
            MoneyTypes.MeteredCharge({
                session: _word(i, "session"),
                amountMicro: uint64(_uint(i, "amountMicro")),
                energyMilliwattHours: uint64(_uint(i, "energyMilliwattHours")),
                elapsedS: uint64(_uint(i, "elapsedS")),
                frame: _word(i, "frame")
            })
        );
    }

    function _requestClose(uint256 i) private view returns (bytes32) {
        return MoneyTypes.hashRequestClose(_word(i, "session"), uint64(_uint(i, "deadlineS")));
    }

    function _withdraw(uint256 i) private view returns (bytes32) {
        return MoneyTypes.hashWithdraw(
            _address(i, "account"),
            _address(i, "to"),
            uint128(_uint(i, "amountMicro")),
            _uint(i, "nonce"),
            uint64(_uint(i, "deadlineS"))
        );
    }

    function _keyBinding(uint256 i) private view returns (bytes32) {
        ControlTypes.Role role = ControlTypes.Role(_uint(i, "role"));
        return ControlTypes.hashBinding(_word(i, "device"), role, _address(i, "key"), uint64(_uint(i, "deadlineS")));
    }

    function _keyRotation(uint256 i) private view returns (bytes32) {
        return _hashes.rotation(
            ControlTypes.Rotation({
                device: _word(i, "device"),
                role: ControlTypes.Role(_uint(i, "role")),
                oldKey: _address(i, "oldKey"),
                newKey: _address(i, "newKey"),
                lastFrame: _word(i, "lastFrame"),
                deadlineS: uint64(_uint(i, "deadlineS"))
            })
        );
    }
}
