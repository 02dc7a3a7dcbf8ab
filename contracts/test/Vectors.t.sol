// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
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
/// @notice tests/vectors/structs.json: {"vectors": [{type, domain, message, digest, signature, signer, good, fault}, ...]}.
contract VectorsTest is Deployed {
    string private constant FILE = "../tests/vectors/structs.json";
    string private constant TREES = "../tests/vectors/merkle.json";

    VectorHashes private _hashes;
    string private _json;

    function test_vectors() external {
        if (!vm.exists(FILE)) return;
        _hashes = new VectorHashes();
        uint256 known;
        uint256 entries;
        for (_open(FILE); _next(FILE); ++entries) {
            (bool isKnown, bytes32 structHash) = _structHash(vm.parseJsonString(_json, ".type"));
            if (!isKnown) continue; // of no contract's concern
            ++known;
            bytes32 digest = keccak256(abi.encodePacked(hex"1901", _domain(), structHash));
            same(digest, vm.parseJsonBytes32(_json, ".digest"), _named("digest"));
            (address signer, ECDSA.RecoverError fault,) =
                ECDSA.tryRecover(digest, vm.parseJsonBytes(_json, ".signature"));
            bool good = fault == ECDSA.RecoverError.NoError && signer == vm.parseJsonAddress(_json, ".signer");
            holds(good == vm.parseJsonBool(_json, ".good"), _named("signature"));
        }
        atLeast(entries, 200, "entries in structs.json");
        atLeast(known, 100, "vectors of structs that the contracts know");
    }

    /// @notice What the shipped contracts themselves make of the vectors of terms and frames.
    function test_vectors_on_the_shipped_contracts() external {
        if (!vm.exists(FILE)) return;
        vm.warp(START_S);
        EnergyEscrow escrow = deployEscrow(deployToken(0));
        AnchorLog log = deployAnchors();
        for (_open(FILE); _next(FILE);) {
            bytes32 kind = keccak256(bytes(vm.parseJsonString(_json, ".type")));
            bytes32 digest = vm.parseJsonBytes32(_json, ".digest");
            if (kind == keccak256("Terms")) {
                // the code at the address the vector names: the domain follows address and chain
                address place = vm.parseJsonAddress(_json, ".domain.verifyingContract");
                vm.etch(place, address(escrow).code);
                vm.chainId(vm.parseJsonUint(_json, ".domain.chainId"));
                same(EnergyEscrow(place).sessionIdOf(_terms()), digest, _named("session id"));
            } else if (kind == keccak256("Frame")) {
                address signer = vm.parseJsonAddress(_json, ".signer");
                bytes32 head = log.heads(signer);
                bool good = vm.parseJsonBool(_json, ".good");
                // a bad one is refused, or goes to the head of whoever did sign it
                try log.anchorFrame(_frame(), vm.parseJsonBytes(_json, ".signature")) {}
                catch {
                    holds(!good, _named("good, and refused"));
                }
                bytes32 next = good ? keccak256(abi.encodePacked(head, digest, uint64(block.timestamp))) : head;
                same(log.heads(signer), next, _named("head of the meter key"));
            }
        }
    }

    /// @notice merkle.json: every path that npm's library made leads to its root by MerkleProof, and no bad one does.
    function test_trees() external {
        if (!vm.exists(TREES)) return;
        uint256 entries;
        for (_open(TREES); _next(TREES); ++entries) {
            string memory json = _json;
            bytes32 root = vm.parseJsonBytes32(json, ".root");
            bool good = vm.parseJsonBool(json, ".good");
            for (uint256 i; i < 4; ++i) {
                string memory at = string.concat(".paths[", vm.toString(i), "]");
                if (!vm.keyExistsJson(json, at)) break;
                bytes32 leaf = vm.parseJsonBytes32(json, string.concat(at, ".leaf"));
                bytes32[] memory path = vm.parseJsonBytes32Array(json, string.concat(at, ".path"));
                holds(MerkleProof.verify(path, root, leaf) == good, _named(at));
            }
        }
        atLeast(entries, 30, "entries in merkle.json");
    }

    // ------------------------------------------------------------------ reading

    /// @dev The file has one entry a line, because a cheat code copies all the JSON it is given.
    function _open(string memory file) private {
        vm.closeFile(file);
        vm.readLine(file); // {"vectors":[
    }

    /// @dev The next entry in `_json`, without the comma after it; false at the end.
    function _next(string memory file) private returns (bool) {
        bytes memory line = bytes(vm.readLine(file));
        if (line.length < 3) return false; // ]}
        if (line[line.length - 1] == ",") {
            assembly ("memory-safe") {
                mstore(line, sub(mload(line), 1))
            }
        }
        _json = string(line);
        return true;
    }

    function _named(string memory what) private view returns (string memory) {
        return string.concat(vm.parseJsonString(_json, ".name"), ": ", what);
    }

    function _uint(string memory member) private view returns (uint256) {
        return vm.parseJsonUint(_json, string.concat(".message.", member));
    }

    function _word(string memory member) private view returns (bytes32) {
        return vm.parseJsonBytes32(_json, string.concat(".message.", member));
    }

    function _address(string memory member) private view returns (address) {
        return vm.parseJsonAddress(_json, string.concat(".message.", member));
    }

    function _domain() private view returns (bytes32) {
        bytes32 name = keccak256(bytes(vm.parseJsonString(_json, ".domain.name")));
        bytes32 version = keccak256(bytes(vm.parseJsonString(_json, ".domain.version")));
        if (!vm.keyExistsJson(_json, ".domain.chainId")) {
            bytes32 separator =
                keccak256(abi.encode(keccak256("EIP712Domain(string name,string version)"), name, version));
            same(separator, EvidenceTypes.DOMAIN_SEPARATOR, " domain");
            return separator;
        }
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                name,
                version,
                vm.parseJsonUint(_json, ".domain.chainId"),
                vm.parseJsonAddress(_json, ".domain.verifyingContract")
            )
        );
    }

    function _structHash(string memory name) private view returns (bool known, bytes32 hash) {
        bytes32 kind = keccak256(bytes(name));
        known = true;
        if (kind == keccak256("Frame")) hash = _hashes.frame(_frame());
        else if (kind == keccak256("Terms")) hash = _hashes.terms(_terms());
        else if (kind == keccak256("Open")) hash = _openHash();
        else if (kind == keccak256("TopUp")) hash = _topUp();
        else if (kind == keccak256("Payment")) hash = _payment();
        else if (kind == keccak256("MeteredCharge")) hash = _meteredCharge();
        else if (kind == keccak256("RequestClose")) hash = _requestClose();
        else if (kind == keccak256("Withdraw")) hash = _withdraw();
        else if (kind == keccak256("KeyBinding")) hash = _keyBinding();
        else if (kind == keccak256("KeyRotation")) hash = _keyRotation();
        else known = false;
    }

    function _frame() private view returns (EvidenceTypes.Frame memory) {
        return EvidenceTypes.Frame({
            device: _word("device"),
            incarnation: _word("incarnation"),
            firstSequence: uint64(_uint("firstSequence")),
            count: uint32(_uint("count")),
            recordsRoot: _word("recordsRoot"),
            previousFrame: _word("previousFrame"),
            headSeen: _word("headSeen")
        });
    }

    function _terms() private view returns (MoneyTypes.Terms memory terms) {
        terms.payer = _address("payer");
        terms.payee = _address("payee");
        terms.refundTo = _address("refundTo");
        terms.pointCommitment = _word("pointCommitment");
        terms.metered = vm.parseJsonBool(_json, ".message.metered");
        terms.signer = _address("signer");
        terms.tariffHash = _word("tariffHash");
        terms.agreementHash = _word("agreementHash");
        terms.maxMicroPerKwh = uint64(_uint("maxMicroPerKwh"));
        terms.maxMicroPerHour = uint64(_uint("maxMicroPerHour"));
        terms.maxFlatMicro = uint64(_uint("maxFlatMicro"));
        terms.ratedWatts = uint32(_uint("ratedWatts"));
        terms.latestEndS = uint64(_uint("latestEndS"));
        terms.stopGraceS = uint32(_uint("stopGraceS"));
        terms.closeDelayS = uint32(_uint("closeDelayS"));
        terms.closeDelayBlocks = uint32(_uint("closeDelayBlocks"));
        terms.salt = _word("salt");
    }

    function _openHash() private view returns (bytes32) {
        return MoneyTypes.hashOpen(_word("session"), uint64(_uint("lockMicro")), uint64(_uint("deadlineS")));
    }

    function _topUp() private view returns (bytes32) {
        return MoneyTypes.hashTopUp(_word("session"), uint64(_uint("totalLockMicro")), uint64(_uint("deadlineS")));
    }

    function _payment() private view returns (bytes32) {
        return _hashes.payment(MoneyTypes.Payment(_word("session"), uint64(_uint("amountMicro")), _word("frame")));
    }

    function _meteredCharge() private view returns (bytes32) {
        return _hashes.meteredCharge(
            MoneyTypes.MeteredCharge({
                session: _word("session"),
                amountMicro: uint64(_uint("amountMicro")),
                energyMilliwattHours: uint64(_uint("energyMilliwattHours")),
                elapsedS: uint64(_uint("elapsedS")),
                frame: _word("frame")
            })
        );
    }

    function _requestClose() private view returns (bytes32) {
        return MoneyTypes.hashRequestClose(_word("session"), uint64(_uint("deadlineS")));
    }

    function _withdraw() private view returns (bytes32) {
        return MoneyTypes.hashWithdraw(
            _address("account"),
            _address("to"),
            uint128(_uint("amountMicro")),
            _uint("nonce"),
            uint64(_uint("deadlineS"))
        );
    }

    function _keyBinding() private view returns (bytes32) {
        ControlTypes.Role role = ControlTypes.Role(_uint("role"));
        return ControlTypes.hashBinding(_word("device"), role, _address("key"), uint64(_uint("deadlineS")));
    }

    function _keyRotation() private view returns (bytes32) {
        return _hashes.rotation(
            ControlTypes.Rotation({
                device: _word("device"),
                role: ControlTypes.Role(_uint("role")),
                oldKey: _address("oldKey"),
                newKey: _address("newKey"),
                lastFrame: _word("lastFrame"),
                deadlineS: uint64(_uint("deadlineS"))
            })
        );
    }
}
