// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

// Tokens held = sum of free balances + sum over open sessions of (lock - claimed); only deposits and withdrawals move it.

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ClaimRules, Refusal} from "./ClaimRules.sol";
import {FreeBalances} from "./FreeBalances.sol";
import {MoneyTypes} from "./MoneyTypes.sol";
import {Session, SessionView, Sessions} from "./Session.sol";

/// @title Prepaid energy: locked by the payer, claimed on signed amounts, the rest returned.
/// @notice Nobody can claim more than the signer named in the terms signed, nor, for a metered session, more than the
/// ceilings and the rated power allow for the time that passed on the chain. What was not claimed goes to `refundTo`
/// after a bounded delay, whoever is gone. There is no administrator and no upgrade; the terms of a session never change.
/// @dev A session is one slot (`Session`), found under its id and the terms a claim needs (`MoneyTypes.paidKey`, `meteredKey`). Calls that
/// need other terms bring them all, and the id is computed from them.
contract EnergyEscrow is FreeBalances {
    using MoneyTypes for MoneyTypes.Terms;

    uint32 private constant MAX_CLOSE_DELAY_S = 7 days; // nobody's money is held longer after a request
    uint32 private constant MAX_CLOSE_DELAY_BLOCKS = 1000; // 33 minutes at 2 s a block, 4 hours at 15 s
    uint32 private constant MAX_SESSION_S = 62 days; // twice the longest term of continuous supply

    mapping(bytes32 key => Session) private _sessions;

    event SessionOpened(bytes32 indexed session, address indexed payer, address indexed payee, uint64 lockMicro);
    event LockRaised(bytes32 indexed session, uint64 totalLockMicro);
    /// @notice `amountMicro` is cumulative; the payee was credited the difference.
    event ChargeClaimed(bytes32 indexed session, address indexed payee, uint64 amountMicro, bytes32 frame);
    event ClaimSkipped(bytes32 indexed session, Refusal refusal, uint256 value, uint256 bound);
    event CloseRequested(bytes32 indexed session, address indexed sender);
    event SessionClosed(bytes32 indexed session, uint64 claimedMicro, uint64 returnedMicro);
    event CreditNoteGiven(
        bytes32 indexed session, address indexed payee, address indexed refundTo, uint64 amountMicro
    );

    error PayeeZero();
    error SignerZero();
    error RefundToRefused(address refundTo);
    error LockZero(bytes32 session);
    error LatestEndRefused(uint64 latestEndS, uint256 afterS, uint256 notAfterS);
    error CloseDelayRefused(uint32 closeDelayS, uint32 mostS);
    error CloseDelayBlocksRefused(uint32 closeDelayBlocks, uint32 mostBlocks);
    error StopGraceRefused(uint32 stopGraceS, uint32 mostS);
    error SessionIdUsed(bytes32 session);
    error SessionUnknown(bytes32 session);
    error SessionIsClosed(bytes32 session);
    error NotPayer(address sender, address payer);
    error NotPayee(address sender, address payee);
    error LockMustRise(bytes32 session, uint64 totalLockMicro, uint64 standingMicro);
    error CloseAlreadyRequested(bytes32 session, uint256 requestedAtS);
    error MayNotRequestClose(address sender, bytes32 session);
    error CloseNotDue(bytes32 session, uint256 dueAtS, uint256 dueAtBlock);

    constructor(IERC20Metadata token_, address guardian_) FreeBalances(token_, guardian_) {}

    // ------------------------------------------------------------------ views

    /// @return The id of the session these terms make on this chain and escrow.
    function sessionIdOf(MoneyTypes.Terms calldata terms) public view returns (bytes32) {
        return _hashTypedDataV4(terms.hashTerms());
    }

    /// @return The state of the session of these terms; all zero if it was never opened.
    function sessionOf(MoneyTypes.Terms calldata terms) external view returns (SessionView memory) {
        return _sessions[_key(terms, sessionIdOf(terms))].expand();
    }

    // ------------------------------------------------------------------ open and top up

    /// @notice Opens a session and locks `lockMicro` of the caller, who is the payer.
    function openAsPayer(MoneyTypes.Terms calldata terms, uint64 lockMicro) external {
        address payer = terms.payer;
        if (msg.sender != payer) revert NotPayer(msg.sender, payer);
        _open(terms, payer, sessionIdOf(terms), lockMicro);
    }

    /// @notice Opens a session on the payer's signed `Open`, whoever sends it.
    function openBySignature(MoneyTypes.Terms calldata terms, uint64 lockMicro, uint64 deadlineS, bytes calldata signature)
        external
    {
        (address payer, bytes32 id) = (terms.payer, sessionIdOf(terms));
        _requireSigned(payer, MoneyTypes.hashOpen(id, lockMicro, deadlineS), deadlineS, signature);
        _open(terms, payer, id, lockMicro);
    }

    /// @notice Raises the lock to `totalLockMicro`. The caller is the payer. A repeat has no effect: it reverts.
    function topUpAsPayer(MoneyTypes.Terms calldata terms, uint64 totalLockMicro) external {
        if (msg.sender != terms.payer) revert NotPayer(msg.sender, terms.payer);
        _topUp(terms, sessionIdOf(terms), totalLockMicro);
    }

    /// @notice Raises the lock on the payer's signed `TopUp`, whoever sends it.
    function topUpBySignature(
        MoneyTypes.Terms calldata terms,
        uint64 totalLockMicro,
        uint64 deadlineS,
        bytes calldata signature
    ) external {
        bytes32 id = sessionIdOf(terms);
        _requireSigned(terms.payer, MoneyTypes.hashTopUp(id, totalLockMicro, deadlineS), deadlineS, signature);
        _topUp(terms, id, totalLockMicro);
    }

    // ------------------------------------------------------------------ claim

    /// @notice Credits the payee on signed payments of many sessions. A row that cannot be paid is skipped with
    /// `ClaimSkipped`, so that one payer cannot block the others. Open to anyone: only the payee is credited.
    function claimPaid(address payee, MoneyTypes.PaidClaim[] calldata rows) external {
        bytes32 domain = _domainSeparatorV4();
        uint256 earnedMicro;
        for (uint256 i; i < rows.length; ++i) {
            MoneyTypes.PaidClaim calldata row = rows[i];
            (bytes32 id, uint64 amountMicro, address signer) =
                (row.payment.session, row.payment.amountMicro, row.signer);
            bytes32 key = MoneyTypes.paidKey(id, payee, signer);
            Session session = _sessions[key];
            (Refusal refusal, uint256 value, uint256 bound) = ClaimRules.checkAmount(session, amountMicro);
            if (refusal == Refusal.None) {
                bytes32 digest = MessageHashUtils.toTypedDataHash(domain, MoneyTypes.hashPayment(row.payment));
                if (!_isKeySignature(signer, digest, row.v, row.r, row.s)) refusal = Refusal.SignatureRefused;
            }
            if (refusal == Refusal.None) {
                _sessions[key] = session.withClaimed(amountMicro);
                unchecked {
                    earnedMicro += amountMicro - session.claimedMicro();
                }
                emit ChargeClaimed(id, payee, amountMicro, row.payment.frame);
            } else {
                emit ClaimSkipped(id, refusal, value, bound);
            }
        }
        _credit(payee, earnedMicro);
    }

    /// @notice Credits the payee on charges signed by charge keys, within the bounds of `ClaimRules.checkMetered`.
    /// Rows are skipped as in `claimPaid`.
    function claimMetered(address payee, MoneyTypes.MeteredClaim[] calldata rows) external {
        bytes32 domain = _domainSeparatorV4();
        uint256 earnedMicro;
        for (uint256 i; i < rows.length; ++i) {
            MoneyTypes.MeteredClaim calldata row = rows[i];
            (bytes32 id, uint64 amountMicro, address signer) = (row.charge.session, row.charge.amountMicro, row.signer);
            bytes32 key = MoneyTypes.meteredKey(id, payee, signer, row.limits);
            Session session = _sessions[key];
            (Refusal refusal, uint256 value, uint256 bound) = ClaimRules.checkAmount(session, amountMicro);
            if (refusal == Refusal.None) {
                (refusal, value, bound) = ClaimRules.checkMetered(session, amountMicro, row.charge, row.limits);
            }
            if (refusal == Refusal.None) {
                bytes32 digest = MessageHashUtils.toTypedDataHash(domain, MoneyTypes.hashMeteredCharge(row.charge));
                if (!_isKeySignature(signer, digest, row.v, row.r, row.s)) refusal = Refusal.SignatureRefused;
            }
            if (refusal == Refusal.None) {
                _sessions[key] = session.withClaimed(amountMicro);
                unchecked {
                    earnedMicro += amountMicro - session.claimedMicro();
                }
                emit ChargeClaimed(id, payee, amountMicro, row.charge.frame);
            } else {
                emit ClaimSkipped(id, refusal, value, bound);
            }
        }
        _credit(payee, earnedMicro);
    }

    /// @notice Gives back part of what was claimed: from the caller, who is the payee, to the session's `refundTo`.
    function creditNote(MoneyTypes.Terms calldata terms, uint64 amountMicro) external {
        if (msg.sender != terms.payee) revert NotPayee(msg.sender, terms.payee);
        bytes32 id = sessionIdOf(terms);
        if (_sessions[_key(terms, id)].openedAtS() == 0) revert SessionUnknown(id);
        _debit(terms.payee, amountMicro);
        _credit(terms.refundTo, amountMicro);
        emit CreditNoteGiven(id, terms.payee, terms.refundTo, amountMicro);
    }

    // ------------------------------------------------------------------ close

    /// @notice Starts the delay after which anyone may close. By the payer or its pay key; after the latest end, by
    /// anyone. A metered session's signer is the seller's charge key and has no say here.
    function requestClose(MoneyTypes.Terms calldata terms) external {
        bytes32 id = sessionIdOf(terms);
        bool allowed = msg.sender == terms.payer || (!terms.metered && msg.sender == terms.signer)
            || block.timestamp > terms.latestEndS;
        if (!allowed) revert MayNotRequestClose(msg.sender, id);
        _requestClose(terms, id);
    }

    /// @notice Starts the delay on a `RequestClose` signed by the payer or its pay key, whoever sends it.
    function requestCloseBySignature(MoneyTypes.Terms calldata terms, uint64 deadlineS, bytes calldata signature) external {
        bytes32 id = sessionIdOf(terms);
        bytes32 structHash = MoneyTypes.hashRequestClose(id, deadlineS);
        bool byPayKey = !terms.metered && _isSignedBy(terms.signer, _hashTypedDataV4(structHash), signature);
        _requireSigned(byPayKey ? terms.signer : terms.payer, structHash, deadlineS, signature);
        _requestClose(terms, id);
    }

    /// @notice Ends the session for ever and returns lock - claimed to `refundTo`. By the payee at once; by anyone once
    /// `closeDelayS` and `closeDelayBlocks` have passed since the request (both, so that a halted chain does not eat
    /// the payee's time to claim).
    function close(MoneyTypes.Terms calldata terms) external {
        bytes32 id = sessionIdOf(terms);
        (bytes32 key, Session session) = _openSession(terms, id);
        if (msg.sender != terms.payee) {
            uint256 dueAtS = session.closeRequestedAtS() + terms.closeDelayS;
            uint256 dueAtBlock = session.closeRequestedBlock() + terms.closeDelayBlocks;
            bool due = session.closeRequestedAtS() != 0 && block.timestamp >= dueAtS && block.number >= dueAtBlock;
            if (!due) revert CloseNotDue(id, dueAtS, dueAtBlock);
        }
        _sessions[key] = session.asClosed();
        uint64 returnedMicro = session.lockMicro() - session.claimedMicro();
        _credit(terms.refundTo, returnedMicro);
        emit SessionClosed(id, session.claimedMicro(), returnedMicro);
    }

    // ------------------------------------------------------------------ inside

    function _open(MoneyTypes.Terms calldata terms, address payer, bytes32 id, uint64 lockMicro)
        private
        whenNewBusinessOpen
    {
        address payee = terms.payee;
        _checkTerms(terms, payee);
        if (lockMicro == 0) revert LockZero(id);
        bytes32 key = _key(terms, id);
        if (_sessions[key].openedAtS() != 0) revert SessionIdUsed(id);
        _debit(payer, lockMicro);
        _sessions[key] = Sessions.create(lockMicro);
        emit SessionOpened(id, payer, payee, lockMicro);
    }

    function _checkTerms(MoneyTypes.Terms calldata terms, address payee) private view {
        if (payee == address(0)) revert PayeeZero();
        // ecrecover answers zero for a bad signature: zero must never be somebody.
        if (terms.signer == address(0)) revert SignerZero();
        address refundTo = terms.refundTo;
        if (refundTo == address(0) || refundTo == payee) revert RefundToRefused(refundTo);
        unchecked {
            (uint64 latestEndS, uint256 nowS) = (terms.latestEndS, block.timestamp);
            if (latestEndS <= nowS || latestEndS > nowS + MAX_SESSION_S) {
                revert LatestEndRefused(latestEndS, nowS, nowS + MAX_SESSION_S);
            }
        }
        (uint32 closeDelayS, uint32 closeDelayBlocks, uint32 stopGraceS) =
            (terms.closeDelayS, terms.closeDelayBlocks, terms.stopGraceS);
        if (closeDelayS > MAX_CLOSE_DELAY_S) revert CloseDelayRefused(closeDelayS, MAX_CLOSE_DELAY_S);
        if (closeDelayBlocks > MAX_CLOSE_DELAY_BLOCKS) {
            revert CloseDelayBlocksRefused(closeDelayBlocks, MAX_CLOSE_DELAY_BLOCKS);
        }
        // Else the session could close while it may still be metered.
        if (stopGraceS > closeDelayS) revert StopGraceRefused(stopGraceS, closeDelayS);
    }

    function _topUp(MoneyTypes.Terms calldata terms, bytes32 id, uint64 totalLockMicro) private {
        (bytes32 key, Session session) = _openSession(terms, id);
        if (session.closeRequestedAtS() != 0) revert CloseAlreadyRequested(id, session.closeRequestedAtS());
        if (totalLockMicro <= session.lockMicro()) revert LockMustRise(id, totalLockMicro, session.lockMicro());
        _debit(terms.payer, totalLockMicro - session.lockMicro());
        _sessions[key] = session.withLock(totalLockMicro);
        emit LockRaised(id, totalLockMicro);
    }

    function _requestClose(MoneyTypes.Terms calldata terms, bytes32 id) private {
        (bytes32 key, Session session) = _openSession(terms, id);
        if (session.closeRequestedAtS() != 0) revert CloseAlreadyRequested(id, session.closeRequestedAtS());
        _sessions[key] = session.withCloseRequest();
        emit CloseRequested(id, msg.sender);
    }

    /// @dev The session of these terms, which must be there and not closed.
    function _openSession(MoneyTypes.Terms calldata terms, bytes32 id)
        private
        view
        returns (bytes32 key, Session session)
    {
        key = _key(terms, id);
        session = _sessions[key];
        if (session.openedAtS() == 0) revert SessionUnknown(id);
        if (session.closed()) revert SessionIsClosed(id);
    }

    function _key(MoneyTypes.Terms calldata terms, bytes32 id) private pure returns (bytes32) {
        (address payee, address signer) = (terms.payee, terms.signer);
        return terms.metered
            ? MoneyTypes.meteredKey(id, payee, signer, terms.limitsOf())
            : MoneyTypes.paidKey(id, payee, signer);
    }
}
