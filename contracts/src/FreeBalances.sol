// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuard} from "@openzeppelin/contracts/utils/ReentrancyGuard.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {MoneyTypes} from "./MoneyTypes.sol";

/// @title The doors of the escrow: money in, money out, and the balances between them.
/// @notice A deposit adds to a free balance exactly what arrived; a withdrawal takes from it exactly what left. The
/// only role, the guardian, may stop new deposits and new sessions; it cannot touch what is already inside.
abstract contract FreeBalances is EIP712, ReentrancyGuard {
    using SafeERC20 for IERC20;

    struct Account {
        uint128 freeMicro; // not locked in any session
        uint128 nonce; // of the next relayed withdrawal
    }

    uint8 private constant TOKEN_DECIMALS = 6; // what makes one unit of every amount here one micro-unit

    IERC20 public immutable token;
    address public immutable guardian;

    /// @notice True while the guardian refuses new deposits and new sessions.
    bool public newBusinessStopped;

    mapping(address account => Account) internal _accounts;

    event Deposited(address indexed account, address indexed from, uint128 amountMicro);
    event Withdrawn(address indexed account, address indexed to, uint128 amountMicro);
    event NewBusinessStopped(address indexed guardian);
    event NewBusinessResumed(address indexed guardian);

    error DecimalsRefused(uint8 decimals, uint8 wanted);
    error NotGuardian(address sender, address guardian);
    error NewBusinessIsStopped();
    error AccountZero();
    error RecipientRefused(address to);
    error BalanceTooLow(address account, uint256 wantedMicro, uint256 freeMicro);
    /// @notice The token moved another amount than it was asked to (a fee on transfer, for example).
    error MovedOtherAmount(uint256 askedMicro, uint256 movedMicro);
    error NonceRefused(address account, uint256 given, uint256 standing);
    error DeadlinePassed(uint64 deadlineS, uint256 nowS);
    error SignatureRefused(address account, bytes32 digest);

    constructor(IERC20Metadata token_, address guardian_) EIP712("Wattproof Money", "1") {
        uint8 decimals = token_.decimals();
        if (decimals != TOKEN_DECIMALS) revert DecimalsRefused(decimals, TOKEN_DECIMALS);
        token = token_;
        guardian = guardian_;
    }

    modifier whenNewBusinessOpen() {
        if (newBusinessStopped) revert NewBusinessIsStopped();
        _;
    }

    /// @notice Refuses new deposits and new sessions. Claims, top-ups, closes and withdrawals go on.
    function stopNewBusiness() external {
        if (msg.sender != guardian) revert NotGuardian(msg.sender, guardian);
        newBusinessStopped = true;
        emit NewBusinessStopped(msg.sender);
    }

    /// @notice Accepts new deposits and new sessions again.
    function resumeNewBusiness() external {
        if (msg.sender != guardian) revert NotGuardian(msg.sender, guardian);
        newBusinessStopped = false;
        emit NewBusinessResumed(msg.sender);
    }

    /// @return Micro-units of the account that are in no session.
    function freeMicroOf(address account) external view returns (uint128) {
        return _accounts[account].freeMicro;
    }

    /// @return The nonce the account's next relayed withdrawal must carry.
    function nonceOf(address account) external view returns (uint256) {
        return _accounts[account].nonce;
    }

    /// @notice Moves tokens of the caller into the caller's free balance.
    function deposit(uint128 amountMicro) external {
        _deposit(msg.sender, amountMicro);
    }

    /// @notice Moves tokens of the caller into the free balance of another account.
    function depositFor(address account, uint128 amountMicro) external {
        _deposit(account, amountMicro);
    }

    /// @notice Like `deposit`, with the approval as an ERC-2612 permit of the caller.
    /// @dev A permit is public once sent, and anyone may use it first. The allowance is then there already, so a
    /// permit that fails is passed over and the transfer itself decides. Only the caller's own tokens can move.
    function depositWithPermit(uint128 amountMicro, uint256 deadlineS, uint8 v, bytes32 r, bytes32 s) external {
        // solhint-disable-next-line no-empty-blocks
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amountMicro, deadlineS, v, r, s) {} catch {}
        _deposit(msg.sender, amountMicro);
    }

    /// @notice Pays the caller's free balance out to `to`.
    function withdraw(address to, uint128 amountMicro) external {
        _withdraw(msg.sender, to, amountMicro);
    }

    /// @notice Pays an account's free balance out on its signature (EOA or ERC-1271), whoever sends it.
    /// @param nonce The account's standing nonce: a signature pays once.
    /// @param deadlineS UTC seconds after which the signature is void.
    function withdrawBySignature(
        address account,
        address to,
        uint128 amountMicro,
        uint256 nonce,
        uint64 deadlineS,
        bytes calldata signature
    ) external {
        uint128 standing = _accounts[account].nonce;
        if (nonce != standing) revert NonceRefused(account, nonce, standing);
        _requireSigned(account, MoneyTypes.hashWithdraw(account, to, amountMicro, nonce, deadlineS), deadlineS, signature);
        _accounts[account].nonce = standing + 1;
        _withdraw(account, to, amountMicro);
    }

    function _deposit(address account, uint128 amountMicro) private nonReentrant whenNewBusinessOpen {
        if (account == address(0)) revert AccountZero();
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amountMicro);
        uint256 moved = token.balanceOf(address(this)) - before;
        if (moved != amountMicro) revert MovedOtherAmount(amountMicro, moved);
        _credit(account, amountMicro);
        emit Deposited(account, msg.sender, amountMicro);
    }

    /// @dev Tokens sent to the escrow itself or to zero would be held for nobody.
    function _withdraw(address account, address to, uint128 amountMicro) private nonReentrant {
        if (to == address(0) || to == address(this)) revert RecipientRefused(to);
        _debit(account, amountMicro);
        uint256 before = token.balanceOf(address(this));
        token.safeTransfer(to, amountMicro);
        uint256 moved = before - token.balanceOf(address(this));
        if (moved != amountMicro) revert MovedOtherAmount(amountMicro, moved);
        emit Withdrawn(account, to, amountMicro);
    }

    function _credit(address account, uint256 amountMicro) internal {
        // No overflow: the sum of all balances is what the token moved here, each time at most 2^128 - 1, checked.
        _accounts[account].freeMicro += uint128(amountMicro);
    }

    function _debit(address account, uint256 amountMicro) internal {
        Account storage slot = _accounts[account];
        uint256 free = slot.freeMicro;
        if (amountMicro > free) revert BalanceTooLow(account, amountMicro, free);
        unchecked {
            slot.freeMicro = uint128(free - amountMicro);
        }
    }

    /// @dev `signature` is the account's over `structHash` in this contract's money domain, and still good.
    function _requireSigned(address account, bytes32 structHash, uint64 deadlineS, bytes calldata signature)
        internal
        view
    {
        if (block.timestamp > deadlineS) revert DeadlinePassed(deadlineS, block.timestamp);
        bytes32 digest = _hashTypedDataV4(structHash);
        if (!_isSignedBy(account, digest, signature)) revert SignatureRefused(account, digest);
    }

    /// @dev A key's own signature first, then the account's word (ERC-1271): in this order a plain account costs no
    /// look at its code. An account with code that also has a key (EIP-7702) is bound by that key as on any chain.
    function _isSignedBy(address account, bytes32 digest, bytes calldata signature) internal view returns (bool) {
        if (signature.length == 65) {
            (bytes32 r, bytes32 s) = abi.decode(signature, (bytes32, bytes32));
            if (_isKeySignature(account, digest, uint8(signature[64]), r, s)) return true;
        }
        return SignatureChecker.isValidERC1271SignatureNow(account, digest, signature);
    }

    /// @dev High s, a wrong v and the zero address that `ecrecover` answers are refused by `tryRecover`.
    function _isKeySignature(address key, bytes32 digest, uint8 v, bytes32 r, bytes32 s) internal pure returns (bool) {
        (address recovered, ECDSA.RecoverError fault,) = ECDSA.tryRecover(digest, v, r, s);
        return fault == ECDSA.RecoverError.NoError && recovered == key;
    }
}
