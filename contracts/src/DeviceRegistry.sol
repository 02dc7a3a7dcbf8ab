// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ControlTypes} from "./ControlTypes.sol";
import {HashChain} from "./HashChain.sol";

/// @title Who may speak for a device, and since when.
/// @notice Every key a device ever had stays here with the blocks and times between which it was registered, and every
/// change extends the device's hash chain, so that an auditor can prove that none is missing. A key is bound with its
/// own signature, to one device and one role, once. The admin admits operators and can do nothing else.
contract DeviceRegistry is AccessControl, EIP712 {
    using ControlTypes for ControlTypes.Rotation;

    bytes32 public constant OPERATOR_ROLE = keccak256("OPERATOR_ROLE");

    enum Status {
        Unknown,
        Active,
        Suspended,
        Retired // for ever
    }

    struct Device {
        address owner;
        address operator;
        Status status;
        uint64 enrolledAtS; // UTC seconds
    }

    struct Channel {
        uint32 ratedWatts; // most the connection can deliver
        bool enabled;
    }

    /// @notice One key's time. `untilBlock` zero: it still stands. At `untilBlock` itself it no longer does.
    struct KeySpan {
        address key;
        uint40 fromBlock;
        uint40 fromS; // UTC seconds
        uint40 untilBlock;
        uint40 untilS; // UTC seconds
        bytes32 lastFrame; // as in the rotation that ended it
    }

    mapping(bytes32 device => Device) public devices;
    mapping(bytes32 device => mapping(uint32 channel => Channel)) public channels;
    /// @notice Head of the chain of a device's key events; root of a link = keccak(abi.encode(device, role as uint8,
    /// oldKey, newKey, lastFrame)), link as in `HashChain`.
    mapping(bytes32 device => bytes32 head) public keyHeads;
    mapping(address key => bool) public keyUsed;
    mapping(bytes32 device => mapping(ControlTypes.Role => KeySpan[])) private _keys;

    event DeviceEnrolled(bytes32 indexed device, address indexed owner, address indexed operator);
    event DeviceStatusChanged(bytes32 indexed device, Status status);
    event OwnerChanged(bytes32 indexed device, address indexed oldOwner, address indexed newOwner);
    event OperatorChanged(bytes32 indexed device, address indexed oldOperator, address indexed newOperator);
    event ChannelChanged(bytes32 indexed device, uint32 indexed channel, uint32 ratedWatts, bool enabled);
    /// @notice `oldKey` zero: a first key, or one after a revocation. `newKey` zero: a revocation.
    event KeyChanged(
        bytes32 indexed device,
        ControlTypes.Role indexed role,
        address oldKey,
        address indexed newKey,
        bytes32 lastFrame,
        bytes32 head
    );

    error DeviceZero();
    error OwnerZero();
    error DeviceKnown(bytes32 device);
    error DeviceUnknown(bytes32 device);
    error DeviceRetired(bytes32 device);
    error StatusRefused(Status status);
    error NotOperator(address sender, address operator);
    error NotOwner(address sender, address owner);
    error OperatorNotAdmitted(address operator);
    error RoleRefused(ControlTypes.Role role);
    error KeyAlreadyUsed(address key);
    error KeyStands(bytes32 device, ControlTypes.Role role, address key);
    error KeyDoesNotStand(bytes32 device, ControlTypes.Role role, address given, address standing);
    error DeadlinePassed(uint64 deadlineS, uint256 nowS);
    error SignatureRefused(address account, bytes32 digest);

    constructor(address admin) EIP712("Wattproof Control", "1") {
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
    }

    modifier onlyOperatorOf(bytes32 device) {
        address operator = _known(device).operator;
        if (msg.sender != operator) revert NotOperator(msg.sender, operator);
        _;
    }

    modifier onlyOwnerOf(bytes32 device) {
        address owner = _known(device).owner;
        if (msg.sender != owner) revert NotOwner(msg.sender, owner);
        _;
    }

    // ------------------------------------------------------------------ devices

    /// @notice Enrols a device under the caller, an admitted operator. The id is fixed for ever, whatever its keys.
    function enrolDevice(bytes32 device, address owner) external onlyRole(OPERATOR_ROLE) {
        if (device == bytes32(0)) revert DeviceZero();
        if (owner == address(0)) revert OwnerZero();
        if (devices[device].status != Status.Unknown) revert DeviceKnown(device);
        devices[device] =
            Device({owner: owner, operator: msg.sender, status: Status.Active, enrolledAtS: uint64(block.timestamp)});
        emit DeviceEnrolled(device, owner, msg.sender);
    }

    /// @notice Suspends, resumes or retires a device. A retired device stays so, and its keys can still be revoked.
    function setStatus(bytes32 device, Status status) external onlyOperatorOf(device) {
        if (devices[device].status == Status.Retired) revert DeviceRetired(device);
        if (status == Status.Unknown) revert StatusRefused(status);
        devices[device].status = status;
        emit DeviceStatusChanged(device, status);
    }

    /// @notice States what one channel of a device can deliver.
    function setChannel(bytes32 device, uint32 channel, uint32 ratedWatts, bool enabled)
        external
        onlyOperatorOf(device)
    {
        channels[device][channel] = Channel({ratedWatts: ratedWatts, enabled: enabled});
        emit ChannelChanged(device, channel, ratedWatts, enabled);
    }

    /// @notice Passes the device on. By its owner.
    function changeOwner(bytes32 device, address newOwner) external onlyOwnerOf(device) {
        if (newOwner == address(0)) revert OwnerZero();
        devices[device].owner = newOwner;
        emit OwnerChanged(device, msg.sender, newOwner);
    }

    /// @notice Puts the device under another admitted operator. By its owner.
    function changeOperator(bytes32 device, address newOperator) external onlyOwnerOf(device) {
        if (!hasRole(OPERATOR_ROLE, newOperator)) revert OperatorNotAdmitted(newOperator);
        emit OperatorChanged(device, devices[device].operator, newOperator);
        devices[device].operator = newOperator;
    }

    // ------------------------------------------------------------------ keys

    /// @notice Registers a key where none stands. By the device's operator.
    /// @param signature 65 bytes of the key itself over `KeyBinding`.
    function registerKey(
        bytes32 device,
        ControlTypes.Role role,
        address key,
        uint64 deadlineS,
        bytes calldata signature
    ) external onlyOperatorOf(device) {
        address standing = standingKey(device, role);
        if (standing != address(0)) revert KeyStands(device, role, standing);
        _requireBinding(device, role, key, deadlineS, signature);
        _changeKey(device, role, address(0), key, bytes32(0));
    }

    /// @notice Replaces a key on the signatures of both over `KeyRotation`. Anyone may send it.
    function rotateKey(
        ControlTypes.Rotation calldata rotation,
        bytes calldata oldKeySignature,
        bytes calldata newKeySignature
    ) external {
        bytes32 digest = _rotationDigest(rotation);
        _requireKeySigned(rotation.oldKey, digest, oldKeySignature);
        _requireKeySigned(rotation.newKey, digest, newKeySignature);
        _rotate(rotation);
    }

    /// @notice Replaces or, with `newKey` zero, revokes a key that is lost, on the signatures of owner and operator
    /// (EOA or ERC-1271) over `KeyRotation`. Anyone may send it.
    /// @param bindingSignature 65 bytes of the new key over `KeyBinding` with the same deadline; empty to revoke.
    function replaceKey(
        ControlTypes.Rotation calldata rotation,
        bytes calldata ownerSignature,
        bytes calldata operatorSignature,
        bytes calldata bindingSignature
    ) external {
        Device storage device = _known(rotation.device);
        bytes32 digest = _rotationDigest(rotation);
        _requireAccountSigned(device.owner, digest, ownerSignature);
        _requireAccountSigned(device.operator, digest, operatorSignature);
        if (rotation.newKey != address(0)) {
            _requireBinding(rotation.device, rotation.role, rotation.newKey, rotation.deadlineS, bindingSignature);
        }
        _rotate(rotation);
    }

    // ------------------------------------------------------------------ views

    /// @return The key that stands now for a role of a device; zero if none.
    function standingKey(bytes32 device, ControlTypes.Role role) public view returns (address) {
        KeySpan[] storage spans = _keys[device][role];
        if (spans.length == 0) return address(0);
        KeySpan storage last = spans[spans.length - 1];
        return last.untilBlock == 0 ? last.key : address(0);
    }

    /// @return How many keys a role of a device has had.
    function keyCount(bytes32 device, ControlTypes.Role role) external view returns (uint256) {
        return _keys[device][role].length;
    }

    /// @return The span of key number `index`, oldest first.
    function keySpan(bytes32 device, ControlTypes.Role role, uint256 index) external view returns (KeySpan memory) {
        return _keys[device][role][index];
    }

    // ------------------------------------------------------------------ inside

    function _known(bytes32 device) private view returns (Device storage found) {
        found = devices[device];
        if (found.status == Status.Unknown) revert DeviceUnknown(device);
    }

    function _rotate(ControlTypes.Rotation calldata rotation) private {
        address standing = standingKey(rotation.device, rotation.role);
        if (rotation.oldKey == address(0) || rotation.oldKey != standing) {
            revert KeyDoesNotStand(rotation.device, rotation.role, rotation.oldKey, standing);
        }
        _changeKey(rotation.device, rotation.role, rotation.oldKey, rotation.newKey, rotation.lastFrame);
    }

    function _changeKey(bytes32 device, ControlTypes.Role role, address oldKey, address newKey, bytes32 lastFrame)
        private
    {
        if (role == ControlTypes.Role.None) revert RoleRefused(role);
        KeySpan[] storage spans = _keys[device][role];
        if (oldKey != address(0)) {
            KeySpan storage ended = spans[spans.length - 1];
            ended.untilBlock = uint40(block.number);
            ended.untilS = uint40(block.timestamp);
            ended.lastFrame = lastFrame;
        }
        if (newKey != address(0)) {
            if (keyUsed[newKey]) revert KeyAlreadyUsed(newKey);
            if (devices[device].status == Status.Retired) revert DeviceRetired(device);
            keyUsed[newKey] = true;
            spans.push(
                KeySpan({
                    key: newKey,
                    fromBlock: uint40(block.number),
                    fromS: uint40(block.timestamp),
                    untilBlock: 0,
                    untilS: 0,
                    lastFrame: bytes32(0)
                })
            );
        }
        bytes32 head = HashChain.extend(keyHeads[device], keccak256(abi.encode(device, role, oldKey, newKey, lastFrame)));
        keyHeads[device] = head;
        emit KeyChanged(device, role, oldKey, newKey, lastFrame, head);
    }

    function _rotationDigest(ControlTypes.Rotation calldata rotation) private view returns (bytes32) {
        _requireInTime(rotation.deadlineS);
        return _hashTypedDataV4(rotation.hashRotation());
    }

    function _requireBinding(
        bytes32 device,
        ControlTypes.Role role,
        address key,
        uint64 deadlineS,
        bytes calldata signature
    ) private view {
        _requireInTime(deadlineS);
        bytes32 digest = _hashTypedDataV4(ControlTypes.hashBinding(device, role, key, deadlineS));
        _requireKeySigned(key, digest, signature);
    }

    function _requireInTime(uint64 deadlineS) private view {
        if (block.timestamp > deadlineS) revert DeadlinePassed(deadlineS, block.timestamp);
    }

    /// @dev Device keys are plain keys. `tryRecover` answers zero for a bad signature, and zero is never a key.
    function _requireKeySigned(address key, bytes32 digest, bytes calldata signature) private pure {
        (address recovered, ECDSA.RecoverError fault,) = ECDSA.tryRecover(digest, signature);
        if (fault != ECDSA.RecoverError.NoError || recovered != key) revert SignatureRefused(key, digest);
    }

    function _requireAccountSigned(address account, bytes32 digest, bytes calldata signature) private view {
        if (!SignatureChecker.isValidSignatureNow(account, digest, signature)) {
            revert SignatureRefused(account, digest);
        }
    }
}
