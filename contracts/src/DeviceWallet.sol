// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

// Whatever a pay key signs: newly locked in one UTC day <= maxDayMicro, in one session or task <= maxSessionMicro, and only for
// providers the owner allowed. Everything else that leaves the wallet leaves by its owner's word.

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {EnergyEscrow} from "./EnergyEscrow.sol";
import {ITaskEscrow} from "./ITaskEscrow.sol";
import {MoneyTypes} from "./MoneyTypes.sol";
import {ProviderBook} from "./ProviderBook.sol";
import {WalletTypes} from "./WalletTypes.sol";

/// @title A device's own wallet: it opens and pays sessions within the limits its owner set, without gas of its own.
/// @notice Owner and device stand in the code of each wallet and never change. The money lies in the wallet's free balance
/// in the escrow. The pay key can open, top up and ask to close, by signed intents that anyone relays, and nothing else.
/// There is no upgrade and no third party with a say. A changed policy holds for new money; what is locked stays as agreed.
/// @dev Wallets are clones of this contract with 52 bytes behind the proxy's 45: owner, device. Nothing is initialised, so
/// there is nothing to take over. The implementation itself is nobody's wallet: its "owner" is 20 bytes of its own code.
contract DeviceWallet is EIP712, IERC1271 {
    using SafeERC20 for IERC20;
    using WalletTypes for WalletTypes.Policy;

    /// @notice One slot, written once for every sum that is locked.
    struct State {
        uint40 day; // the UTC day of `lockedMicro`, in days since 1970-01-01
        uint64 lockedMicro; // newly locked on that day
        uint128 ownerCalls; // by the owner so far, direct or relayed
        bool frozen;
    }

    uint256 private constant ARGUMENTS_AT = 45; // behind the code of OpenZeppelin's minimal proxy
    uint256 private constant ARGUMENTS_BYTES = 52;

    EnergyEscrow public immutable escrow;
    ITaskEscrow public immutable taskEscrow;
    ProviderBook public immutable book;
    IERC20 public immutable token;

    /// @notice Hash of the standing policy (`WalletTypes.hashPolicy`); zero: none yet, the pay key can do nothing.
    bytes32 public policyHash;
    State private _state;

    event PolicySet(bytes32 indexed policyHash, address indexed payKey, WalletTypes.Policy policy);
    event Frozen();
    event Unfrozen();
    event OwnerCalled(uint256 indexed nonce, bytes32 callHash);

    error NotOwner(address sender, address owner);
    error PayKeyRefused(address payKey);
    error PolicyNotStanding(bytes32 given, bytes32 standing);
    error PolicyExpired(uint64 expiresAtS, uint256 nowS);
    error WalletFrozen();
    error ProviderNotListed(address provider);
    error ProviderNotRegistered(address provider);
    error RefundToNotWallet(address refundTo);
    error SignerNotPayKey(address signer, address payKey);
    error KwhCeilingAbovePolicy(uint64 given, uint64 most);
    error HourCeilingAbovePolicy(uint64 given, uint64 most);
    error FlatCeilingAbovePolicy(uint64 given, uint64 most);
    error AboveSessionLimit(uint256 wouldBeMicro, uint64 mostMicro);
    error AboveDayLimit(uint256 wouldBeMicro, uint64 mostMicro);
    error TaskIsAnother(bytes32 task, bytes32 signed);
    error NothingToDeposit();
    error NonceRefused(uint256 given, uint256 standing);
    error DeadlinePassed(uint64 deadlineS, uint256 nowS);
    error SignatureRefused(address account, bytes32 digest);

    constructor(EnergyEscrow escrow_, ITaskEscrow taskEscrow_, ProviderBook book_) EIP712("Wattproof Money", "1") {
        escrow = escrow_;
        taskEscrow = taskEscrow_;
        book = book_;
        token = escrow_.token();
    }

    /// @dev The owner itself, or this wallet calling itself on the owner's signature (`ownerCall`, and nothing else).
    modifier onlyOwner() {
        if (msg.sender != address(this)) {
            if (msg.sender != owner()) revert NotOwner(msg.sender, owner());
            ++_state.ownerCalls;
        }
        _;
    }

    // ------------------------------------------------------------------ views

    /// @return owner_ Who the wallet belongs to, for ever: a key or an account with code.
    function owner() public view returns (address owner_) {
        (owner_,) = _arguments();
    }

    /// @return device_ The id of the device whose wallet this is, as in the registry.
    function device() external view returns (bytes32 device_) {
        (, device_) = _arguments();
    }

    /// @return Whether the owner has stopped all new money.
    function frozen() external view returns (bool) {
        return _state.frozen;
    }

    /// @return Micro-units newly locked on the UTC day that now is.
    function lockedTodayMicro() external view returns (uint256) {
        return _lockedOn(_today());
    }

    /// @return The nonce that the owner's next relayed call must carry: the number of the owner's calls so far. A direct call
    /// counts too, so it voids what the owner signed before and nobody relayed yet.
    function ownerNonce() external view returns (uint256) {
        return _state.ownerCalls;
    }

    /// @notice ERC-1271: the owner's word, given for this wallet alone. The owner signs `Approval(digest)` in the wallet's
    /// domain, so a signature for one wallet is no good for another of the same owner. The pay key has no say here.
    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        bytes32 approval = _hashTypedDataV4(WalletTypes.hashApproval(digest));
        return _isOwners(approval, signature) ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }

    // ------------------------------------------------------------------ the pay key's, relayed by anyone

    /// @notice Opens a session on the pay key's `Open`. A session opens once, so an intent does.
    function openBySignature(
        MoneyTypes.Terms calldata terms,
        uint64 lockMicro,
        uint64 deadlineS,
        WalletTypes.Policy calldata policy,
        bytes calldata signature
    ) external {
        bytes32 intent = MoneyTypes.hashOpen(escrow.sessionIdOf(terms), lockMicro, deadlineS);
        _requirePayKeySigned(policy, intent, deadlineS, signature);
        _requireAllowed(policy, terms);
        _countNewMoney(policy, lockMicro, lockMicro);
        escrow.openAsPayer(terms, lockMicro); // reverts unless the payer is this wallet
    }

    /// @notice Raises a lock on the pay key's `TopUp`. The lock must rise, so a repeat reverts. New money takes the policy
    /// that stands now, also in a session opened under another.
    function topUpBySignature(
        MoneyTypes.Terms calldata terms,
        uint64 totalLockMicro,
        uint64 deadlineS,
        WalletTypes.Policy calldata policy,
        bytes calldata signature
    ) external {
        bytes32 intent = MoneyTypes.hashTopUp(escrow.sessionIdOf(terms), totalLockMicro, deadlineS);
        _requirePayKeySigned(policy, intent, deadlineS, signature);
        _requireAllowed(policy, terms);
        uint256 before = escrow.freeMicroOf(address(this));
        escrow.topUpAsPayer(terms, totalLockMicro); // calls nobody else: nothing can come between
        _countNewMoney(policy, totalLockMicro, before - escrow.freeMicroOf(address(this)));
    }

    /// @notice Asks to close on the pay key's `RequestClose`. It locks nothing, so it works while frozen and after expiry.
    function requestCloseBySignature(
        MoneyTypes.Terms calldata terms,
        uint64 deadlineS,
        WalletTypes.Policy calldata policy,
        bytes calldata signature
    ) external {
        bytes32 intent = MoneyTypes.hashRequestClose(escrow.sessionIdOf(terms), deadlineS);
        _requirePayKeySigned(policy, intent, deadlineS, signature);
        escrow.requestClose(terms);
    }

    /// @notice Opens a task on the pay key's `OpenTask`, with money from the escrow's free balance. A task opens once. Its
    /// node is the provider; the limits per session and day hold.
    /// @param terms The task's terms as `ITaskEscrow` takes them.
    function openTaskBySignature(
        bytes calldata terms,
        bytes32 task,
        uint64 lockMicro,
        uint64 deadlineS,
        WalletTypes.Policy calldata policy,
        bytes calldata signature
    ) external {
        _requirePayKeySigned(policy, WalletTypes.hashOpenTask(task, lockMicro, deadlineS), deadlineS, signature);
        _countNewMoney(policy, lockMicro, lockMicro);
        escrow.withdraw(address(this), lockMicro);
        token.forceApprove(address(taskEscrow), lockMicro);
        taskEscrow.deposit(lockMicro);
        (bytes32 opened, address node) = taskEscrow.openAsRequester(terms, lockMicro);
        if (opened != task) revert TaskIsAnother(opened, task);
        _requireProvider(policy, node);
    }

    // ------------------------------------------------------------------ anyone's

    /// @notice Moves all tokens that lie at this address into the wallet's free balance in the escrow.
    function deposit() public {
        uint256 amountMicro = token.balanceOf(address(this));
        if (amountMicro == 0) revert NothingToDeposit();
        if (amountMicro > type(uint128).max) amountMicro = type(uint128).max; // the rest the next time
        token.forceApprove(address(escrow), amountMicro);
        escrow.deposit(uint128(amountMicro));
    }

    /// @notice Brings what tasks gave back into the free balance in the escrow.
    function returnFromTasks() external {
        taskEscrow.withdraw(address(this), taskEscrow.freeMicroOf(address(this)));
        deposit();
    }

    // ------------------------------------------------------------------ the owner's

    /// @notice Sets what the pay key may do from now on, the pay key included. It leaves what is locked as it is.
    function setPolicy(WalletTypes.Policy calldata policy) external onlyOwner {
        // Zero is what a bad signature would recover to; the owner's key must not travel in the device.
        if (policy.payKey == address(0) || policy.payKey == owner()) revert PayKeyRefused(policy.payKey);
        bytes32 hash = policy.hashPolicy();
        policyHash = hash;
        emit PolicySet(hash, policy.payKey, policy);
    }

    /// @notice Stops all new money. Closes, claims and withdrawals go on.
    function freeze() external onlyOwner {
        _state.frozen = true;
        emit Frozen();
    }

    /// @notice Allows new money again.
    function unfreeze() external onlyOwner {
        _state.frozen = false;
        emit Unfrozen();
    }

    /// @notice Pays out of the free balance in the escrow: all that is not locked, at any time.
    function withdraw(address to, uint128 amountMicro) external onlyOwner {
        escrow.withdraw(to, amountMicro);
    }

    /// @notice Pays out of the free balance in the task escrow.
    function withdrawFromTasks(address to, uint128 amountMicro) external onlyOwner {
        taskEscrow.withdraw(to, amountMicro);
    }

    /// @notice Sends tokens that lie at this address, of any kind: also while the escrow takes no deposits.
    function withdrawTokens(IERC20 token_, address to, uint256 amount) external onlyOwner {
        token_.safeTransfer(to, amount);
    }

    /// @notice Asks to close a session of this wallet.
    function requestClose(MoneyTypes.Terms calldata terms) external onlyOwner {
        escrow.requestClose(terms);
    }

    /// @notice One of the owner's calls above, on the owner's signed `OwnerCall`, whoever sends it. Valid once.
    /// @param call_ The calldata; the owner signs its keccak.
    /// @param nonce The standing `ownerNonce`.
    function ownerCall(bytes calldata call_, uint256 nonce, uint64 deadlineS, bytes calldata signature) external {
        uint128 standing = _state.ownerCalls;
        if (nonce != standing) revert NonceRefused(nonce, standing);
        _requireInTime(deadlineS);
        bytes32 callHash = keccak256(call_);
        bytes32 digest = _hashTypedDataV4(WalletTypes.hashOwnerCall(callHash, nonce, deadlineS));
        if (!_isOwners(digest, signature)) revert SignatureRefused(owner(), digest);
        _state.ownerCalls = standing + 1;
        emit OwnerCalled(nonce, callHash);
        Address.functionCall(address(this), call_);
    }

    // ------------------------------------------------------------------ inside

    /// @dev `policy` is the standing one, and `signature` its pay key's over `structHash` in this wallet's domain, in time.
    function _requirePayKeySigned(
        WalletTypes.Policy calldata policy,
        bytes32 structHash,
        uint64 deadlineS,
        bytes calldata signature
    ) private view {
        (bytes32 given, bytes32 standing) = (policy.hashPolicy(), policyHash);
        if (given != standing) revert PolicyNotStanding(given, standing);
        _requireInTime(deadlineS);
        bytes32 digest = _hashTypedDataV4(structHash);
        (address recovered, ECDSA.RecoverError fault,) = ECDSA.tryRecover(digest, signature);
        if (fault != ECDSA.RecoverError.NoError || recovered != policy.payKey) {
            revert SignatureRefused(policy.payKey, digest);
        }
    }

    function _requireAllowed(WalletTypes.Policy calldata policy, MoneyTypes.Terms calldata terms) private view {
        if (terms.refundTo != address(this)) revert RefundToNotWallet(terms.refundTo);
        if (!terms.metered && terms.signer != policy.payKey) revert SignerNotPayKey(terms.signer, policy.payKey);
        if (terms.maxMicroPerKwh > policy.maxMicroPerKwh) {
            revert KwhCeilingAbovePolicy(terms.maxMicroPerKwh, policy.maxMicroPerKwh);
        }
        if (terms.maxMicroPerHour > policy.maxMicroPerHour) {
            revert HourCeilingAbovePolicy(terms.maxMicroPerHour, policy.maxMicroPerHour);
        }
        if (terms.maxFlatMicro > policy.maxFlatMicro) {
            revert FlatCeilingAbovePolicy(terms.maxFlatMicro, policy.maxFlatMicro);
        }
        _requireProvider(policy, terms.payee);
    }

    function _requireProvider(WalletTypes.Policy calldata policy, address provider) private view {
        address[] calldata listed = policy.providers;
        if (listed.length == 0) {
            if (!book.isRegistered(provider)) revert ProviderNotRegistered(provider);
            return;
        }
        for (uint256 i; i < listed.length; ++i) {
            if (listed[i] == provider) return;
        }
        revert ProviderNotListed(provider);
    }

    /// @dev Books new money of a session or task that will then hold `totalMicro`, `addedMicro` of it new today.
    function _countNewMoney(WalletTypes.Policy calldata policy, uint256 totalMicro, uint256 addedMicro) private {
        if (_state.frozen) revert WalletFrozen();
        if (block.timestamp > policy.expiresAtS) revert PolicyExpired(policy.expiresAtS, block.timestamp);
        if (totalMicro > policy.maxSessionMicro) revert AboveSessionLimit(totalMicro, policy.maxSessionMicro);
        uint40 today = _today();
        uint256 lockedMicro = _lockedOn(today) + addedMicro;
        if (lockedMicro > policy.maxDayMicro) revert AboveDayLimit(lockedMicro, policy.maxDayMicro);
        (_state.day, _state.lockedMicro) = (today, uint64(lockedMicro)); // not above maxDayMicro: it fits
    }

    function _lockedOn(uint40 day) private view returns (uint256) {
        return _state.day == day ? _state.lockedMicro : 0;
    }

    function _today() private view returns (uint40) {
        return uint40(block.timestamp / 1 days);
    }

    function _requireInTime(uint64 deadlineS) private view {
        if (block.timestamp > deadlineS) revert DeadlinePassed(deadlineS, block.timestamp);
    }

    /// @dev The owner's key first, then its word as an account with code: as in `FreeBalances`.
    function _isOwners(bytes32 digest, bytes calldata signature) private view returns (bool) {
        address owner_ = owner();
        (address recovered, ECDSA.RecoverError fault,) = ECDSA.tryRecover(digest, signature);
        if (fault == ECDSA.RecoverError.NoError && recovered == owner_) return true;
        return SignatureChecker.isValidERC1271SignatureNow(owner_, digest, signature);
    }

    function _arguments() private view returns (address owner_, bytes32 device_) {
        assembly ("memory-safe") {
            extcodecopy(address(), 0, ARGUMENTS_AT, ARGUMENTS_BYTES)
            owner_ := shr(96, mload(0))
            device_ := mload(20)
        }
    }
}
