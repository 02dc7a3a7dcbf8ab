// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {DeviceWallet} from "../src/DeviceWallet.sol";
import {EnergyEscrow} from "../src/EnergyEscrow.sol";
import {MoneyTypes} from "../src/MoneyTypes.sol";
import {SessionView} from "../src/Session.sol";
import {TaskEscrow} from "../src/TaskEscrow.sol";
import {TaskTypes} from "../src/TaskTypes.sol";
import {WalletTypes} from "../src/WalletTypes.sol";
import {WalletStage} from "./WalletStage.sol";

/// @title Owners, thieves with the pay key, relayers, providers and a hostile token around two wallets, in any order.
/// @notice Whatever locks money is checked here against the policy as it stood, in words of its own; everything that ever
/// succeeded is sent again later. The thief signs with the pay key itself: what the policy allows is all it gets.
contract WalletHandler is WalletStage {
    uint256 private constant MAX_SESSIONS = 12;
    uint256 private constant MAX_SENT = 64;

    uint256 public steps; // some of the calls: sums are looked at after every eighth
    uint256 public violations;
    uint256 public opened; // so that runs that get nowhere are noticed
    uint256 public tasksOpened;
    uint256 public toppedUp;
    uint256 public paid;
    uint256 public replays;
    uint256[2] public inMicro; // all that ever came to a wallet
    uint256[2] public outMicro; // all that its owner took
    uint256[2] public ownerCalls;
    mapping(uint256 wallet => mapping(uint256 day => uint256)) public lockedOn; // as counted here
    bool[2] public frozen;
    MoneyTypes.Terms[][2] private _terms;
    TaskTypes.Task[][2] private _tasks;
    bytes[] private _sent; // calls to wallets that succeeded: the wallet's number, then the calldata
    uint256 private _salt;

    // ------------------------------------------------------------------ what invariants read

    /// @notice All that a wallet has, wherever it lies, and all that its providers got.
    function worth(uint256 w) external view returns (uint256 has, uint256 gone) {
        address wallet = address(wallets[w]);
        has = token.balanceOf(wallet) + escrow.freeMicroOf(wallet) + taskEscrow.freeMicroOf(wallet);
        for (uint256 i; i < _terms[w].length; ++i) {
            SessionView memory state = escrow.sessionOf(_terms[w][i]);
            if (!state.closed) has += state.lockMicro - state.claimedMicro;
            gone += state.claimedMicro;
        }
        for (uint256 i; i < _tasks[w].length; ++i) {
            TaskEscrow.State memory state = taskEscrow.taskOf(_tasks[w][i]);
            if (!state.closed) has += _tasks[w][i].priceMicro - state.paidMicro;
            gone += state.paidMicro;
        }
    }

    // ------------------------------------------------------------------ time and money in

    function wait_(uint256 seconds_) external {
        ++steps;
        vm.warp(block.timestamp + between(seconds_, 1, 8 hours));
        vm.roll(block.number + between(seconds_, 1, 20));
    }

    function send(uint256 seed, uint256 amount) external {
        uint256 w = seed % 2;
        amount = between(amount, 1, 1e8);
        token.mint(seed % 4 < 2 ? address(wallets[w]) : address(this), amount);
        if (seed % 4 >= 2) escrow.depositFor(address(wallets[w]), uint128(amount));
        inMicro[w] += amount;
    }

    function sweep(uint256 seed) external {
        seed % 4 < 2 ? wallets[seed % 2].deposit() : wallets[seed % 2].returnFromTasks();
    }

    // ------------------------------------------------------------------ the pay key, or somebody who would like to be

    function open(uint256 seed, uint256 lock, uint256 wrong) external {
        uint256 w = seed % 2;
        if (_terms[w].length == MAX_SESSIONS) return;
        MoneyTypes.Terms memory terms = makeTerms(w, seed, wrong, ++_salt);
        uint64 lockMicro = uint64(between(lock, 1, uint256(policies[w].maxSessionMicro) + 2));
        bytes32 intent = MoneyTypes.hashOpen(escrow.sessionIdOf(terms), lockMicro, LATE);
        bytes memory call_ = abi.encodeCall(
            DeviceWallet.openBySignature, (terms, lockMicro, LATE, policyFor(w, wrong), signFor(w, wrong, intent))
        );
        if (!_try(w, call_)) return;
        ++opened;
        _terms[w].push(terms);
        _noteLock(w, wrong, lockMicro, lockMicro, terms.payee);
        if (!termsFit(w, terms)) ++violations;
    }

    function topUp(uint256 seed, uint256 more, uint256 wrong) external {
        uint256 w = seed % 2;
        MoneyTypes.Terms memory terms = _terms[w][(seed >> 8) % _terms[w].length];
        uint64 standing = escrow.sessionOf(terms).lockMicro;
        uint64 total = standing + uint64(between(more, 0, uint256(policies[w].maxSessionMicro) / 32 + 1));
        bytes32 intent = MoneyTypes.hashTopUp(escrow.sessionIdOf(terms), total, LATE);
        bytes memory call_ = abi.encodeCall(
            DeviceWallet.topUpBySignature, (terms, total, LATE, policyFor(w, wrong), signFor(w, wrong, intent))
        );
        if (!_try(w, call_)) return;
        ++toppedUp;
        _noteLock(w, wrong, total, total - standing, terms.payee);
        if (!termsFit(w, terms)) ++violations;
    }

    function openTask(uint256 seed, uint256 lock, uint256 wrong) external {
        uint256 w = seed % 2;
        if (_tasks[w].length == MAX_SESSIONS) return;
        uint64 price = uint64(between(lock, 1, uint256(policies[w].maxSessionMicro) + 2));
        TaskTypes.Task memory task = makeTask(w, seed, price, ++_salt);
        bytes32 id = taskEscrow.taskIdOf(task);
        bytes32 signed = WalletTypes.hashOpenTask(wrong % 32 == 31 ? bytes32(wrong) : id, price, LATE);
        bytes memory call_ = abi.encodeCall(
            DeviceWallet.openTaskBySignature,
            (abi.encode(task), id, price, LATE, policyFor(w, wrong), signFor(w, wrong, signed))
        );
        if (!_try(w, call_)) return;
        ++tasksOpened;
        _tasks[w].push(task);
        _noteLock(w, wrong, price, price, task.node);
    }

    function requestClose(uint256 seed, uint256 wrong) external {
        uint256 w = seed % 2;
        MoneyTypes.Terms memory terms = _terms[w][(seed >> 8) % _terms[w].length];
        bytes32 intent = MoneyTypes.hashRequestClose(escrow.sessionIdOf(terms), LATE);
        bytes memory call_ = abi.encodeCall(
            DeviceWallet.requestCloseBySignature, (terms, LATE, policyFor(w, wrong), signFor(w, wrong, intent))
        );
        if (_try(w, call_) && !honest(wrong)) ++violations;
    }

    /// @notice The thief pays itself: any payment the session's signer can sign is signed.
    function claim(uint256 seed, uint256 amount) external {
        uint256 w = seed % 2;
        MoneyTypes.Terms memory terms = _terms[w][(seed >> 8) % _terms[w].length];
        MoneyTypes.PaidClaim[] memory rows = new MoneyTypes.PaidClaim[](1);
        rows[0].payment.session = escrow.sessionIdOf(terms);
        rows[0].payment.amountMicro = uint64(between(amount, 0, uint256(escrow.sessionOf(terms).lockMicro) + 1));
        rows[0].signer = terms.signer;
        bytes32 hash =
            keccak256(abi.encode(MoneyTypes.PAYMENT_TYPEHASH, rows[0].payment.session, rows[0].payment.amountMicro, 0));
        (rows[0].v, rows[0].r, rows[0].s) = vm.sign(payKeyOf[terms.signer], moneyDigest(address(escrow), hash));
        escrow.claimPaid(terms.payee, rows);
        ++paid;
    }

    function release(uint256 seed, uint256 amount) external {
        uint256 w = seed % 2;
        TaskTypes.Task memory task = _tasks[w][(seed >> 8) % _tasks[w].length];
        uint64 amountMicro = uint64(between(amount, 1, uint256(task.priceMicro) + 1));
        bytes32 hash =
            keccak256(abi.encode(MoneyTypes.PAYMENT_TYPEHASH, taskEscrow.taskIdOf(task), amountMicro, bytes32(0)));
        bytes memory signature = signed(payKeyOf[task.requesterKey], moneyDigest(address(taskEscrow), hash));
        taskEscrow.payReleased(task, amountMicro, 0, signature);
        ++paid;
    }

    function close(uint256 seed) external {
        uint256 w = seed % 2;
        if (seed % 4 < 2) {
            MoneyTypes.Terms memory terms = _terms[w][(seed >> 8) % _terms[w].length];
            if (seed % 8 < 4) vm.prank(terms.payee);
            escrow.close(terms);
        } else {
            TaskTypes.Task memory task = _tasks[w][(seed >> 8) % _tasks[w].length];
            if (seed % 8 < 4) vm.prank(task.node);
            taskEscrow.close(task);
        }
    }

    /// @notice Sends something that once succeeded again, to the wallet it was for or the other. Money in is harmless.
    function replay(uint256 seed) external {
        bytes storage call_ = _sent[seed % _sent.length];
        // solhint-disable-next-line avoid-low-level-calls
        (bool done,) = address(wallets[(seed >> 64) % 2]).call(call_);
        if (done) ++violations;
        ++replays;
    }

    // ------------------------------------------------------------------ the owner, or somebody who would like to be

    function ownerActs(uint256 seed, uint256 what, uint256 amount, uint256 wrong) external {
        uint256 w = seed % 2;
        bytes memory call_;
        WalletTypes.Policy memory policy = policies[w];
        amount = between(amount, 0, uint256(escrow.freeMicroOf(address(wallets[w]))) / 4 + 1);
        what %= 8;
        if (what == 0) (policy, call_) = newPolicy(w, seed);
        else if (what == 1) call_ = abi.encodeCall(DeviceWallet.freeze, ());
        else if (what <= 3) call_ = abi.encodeCall(DeviceWallet.unfreeze, ());
        else if (what == 4) call_ = abi.encodeCall(DeviceWallet.withdraw, (RECEIVER, uint128(amount)));
        else if (what == 5) call_ = abi.encodeCall(DeviceWallet.withdrawFromTasks, (RECEIVER, uint128(amount)));
        else if (what == 6) call_ = abi.encodeCall(DeviceWallet.withdrawTokens, (token, RECEIVER, amount));
        else call_ = abi.encodeCall(DeviceWallet.requestClose, (_terms[w][seed % _terms[w].length]));
        if (!_asOwner(w, seed, wrong, call_)) return;
        ++ownerCalls[w];
        if (wrong % 4 == 3) ++violations; // not the owner's word
        if (what == 0) policies[w] = policy;
        if (what == 1) frozen[w] = true;
        if (what == 2 || what == 3) frozen[w] = false;
        if (what >= 4 && what <= 6) outMicro[w] += amount;
    }

    function _asOwner(uint256 w, uint256 seed, uint256 wrong, bytes memory call_) private returns (bool done) {
        bool byOwner = wrong % 4 != 3;
        if (seed % 16 < 8) {
            if (byOwner) vm.prank(vm.addr(OWNER_KEY));
            // solhint-disable-next-line avoid-low-level-calls
            (done,) = address(wallets[w]).call(call_); // else from here, a stranger
            return done;
        }
        uint256 nonce = wallets[w].ownerNonce();
        bytes32 hash = WalletTypes.hashOwnerCall(keccak256(call_), nonce, LATE);
        uint256 key = byOwner ? OWNER_KEY : payKeyOf[policies[w].payKey];
        bytes memory signature = signed(key, moneyDigest(address(wallets[w]), hash));
        return _try(w, abi.encodeCall(DeviceWallet.ownerCall, (call_, nonce, LATE, signature)));
    }

    /// @notice The token calls back in the middle of a transfer, with an intent or a sweep, and takes fees now and then.
    function hostileToken(uint256 seed, uint256 lock) external {
        uint256 w = seed % 2;
        MoneyTypes.Terms memory terms = makeTerms(w, seed, 0, ++_salt);
        uint64 lockMicro = uint64(between(lock, 1, uint256(policies[w].maxSessionMicro)));
        bytes32 intent = MoneyTypes.hashOpen(escrow.sessionIdOf(terms), lockMicro, LATE);
        bytes memory call_ = seed % 8 < 4
            ? abi.encodeCall(DeviceWallet.openBySignature, (terms, lockMicro, LATE, policies[w], signFor(w, 0, intent)))
            : abi.encodeCall(DeviceWallet.returnFromTasks, ());
        token.setCall(address(wallets[w]), call_);
        token.setFees(seed % 3 == 0 ? 1 : 0, seed % 3 == 1 ? 1 : 0);
        try wallets[w].deposit() {
            if (seed % 3 < 2) ++violations; // the escrow takes no token that moves another amount
            if (seed % 8 < 4 && token.callSucceeded()) {
                _terms[w].push(terms);
                _noteLock(w, 0, lockMicro, lockMicro, terms.payee);
            }
        } catch {}
        token.setFees(0, 0);
        token.setCall(address(0), "");
    }

    function book_(uint256 seed) external {
        seed % 4 == 0 ? book.dismiss(provider(2)) : book.admit(provider(2));
    }

    // ------------------------------------------------------------------ inside

    function _try(uint256 w, bytes memory call_) private returns (bool done) {
        ++steps;
        // solhint-disable-next-line avoid-low-level-calls
        (done,) = address(wallets[w]).call(call_);
        if (!done) return false;
        if (_sent.length < MAX_SENT) _sent.push(call_);
        else _sent[uint256(keccak256(call_)) % MAX_SENT] = call_;
    }

    /// @dev What the owner's policy says, in its own words: money was locked, so all of it must have held.
    function _noteLock(uint256 w, uint256 wrong, uint256 totalMicro, uint256 addedMicro, address payee) private {
        uint256 day = block.timestamp / 86_400;
        lockedOn[w][day] += addedMicro;
        bool held = honest(wrong) && !frozen[w] && block.timestamp <= policies[w].expiresAtS
            && totalMicro <= policies[w].maxSessionMicro && lockedOn[w][day] <= policies[w].maxDayMicro
            && providerFits(w, payee);
        if (!held) ++violations;
    }
}
