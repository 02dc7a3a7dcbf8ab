// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {DeviceWallet} from "../src/DeviceWallet.sol";
import {DeviceWalletFactory} from "../src/DeviceWalletFactory.sol";
import {EnergyEscrow} from "../src/EnergyEscrow.sol";
import {ITaskEscrow} from "../src/ITaskEscrow.sol";
import {MoneyTypes} from "../src/MoneyTypes.sol";
import {ProviderBook} from "../src/ProviderBook.sol";
import {TaskEscrow} from "../src/TaskEscrow.sol";
import {TaskTypes} from "../src/TaskTypes.sol";
import {WalletTypes} from "../src/WalletTypes.sol";
import {TrickyToken} from "./doubles/TrickyToken.sol";
import {Cheats} from "./Cheats.sol";

/// @title Proved for every value, not tried for some (halmos, scripts/prove): what the pay key can lock, and that nothing
/// but the owner's word or a signature of the pay key lowers what the wallet has.
/// @notice One `check_` for each function of the wallet that is not a view, so that together they are all that can happen.
/// Limits, sums, ceilings, deadlines, signatures and callers are symbolic; `ecrecover` is any function of its arguments.
contract WalletProof is Cheats {
    address private constant OWNER = address(0x0e0e);
    address private constant PAYEE = address(0x0a0a);
    uint64 private constant FUNDS = type(uint64).max;
    uint256 private constant START_S = 1_900_000_000;

    EnergyEscrow private _escrow;
    TaskEscrow private _tasks;
    DeviceWallet private _wallet;
    TrickyToken private _token;

    /// @notice A policy but for its providers, so that nothing symbolic has a length.
    struct Limits {
        address payKey;
        uint64 maxMicroPerKwh;
        uint64 maxMicroPerHour;
        uint64 maxFlatMicro;
        uint64 maxSessionMicro;
        uint64 maxDayMicro;
        uint64 expiresAtS;
    }

    struct Sig {
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    function setUp() public {
        vm.warp(START_S);
        _token = new TrickyToken(6);
        _escrow = new EnergyEscrow(_token, address(this));
        _tasks = new TaskEscrow(_token, address(this));
        ProviderBook book = new ProviderBook(address(this));
        DeviceWallet implementation = new DeviceWallet(_escrow, ITaskEscrow(address(_tasks)), book);
        _wallet = DeviceWallet(new DeviceWalletFactory(implementation).create(bytes32(uint256(1)), OWNER));
        _token.mint(address(this), FUNDS);
        _token.approve(address(_escrow), FUNDS);
        _escrow.depositFor(address(_wallet), FUNDS);
    }

    // ------------------------------------------------------------------ what the pay key can lock

    /// @notice Two sessions on one day: each within its limit, both within the day's, each signed by the pay key, and the
    /// balance falls by the locks and nothing else.
    function check_open(
        Limits memory limits,
        uint64[2] memory locks,
        uint64 deadlineS,
        uint64[3] memory ceilings,
        Sig[2] memory sigs
    ) public {
        WalletTypes.Policy memory policy = _set(limits);
        for (uint256 i; i < 2; ++i) {
            MoneyTypes.Terms memory terms = _terms(i, policy.payKey, ceilings);
            bytes memory call_ =
                abi.encodeCall(DeviceWallet.openBySignature, (terms, locks[i], deadlineS, policy, _bytes(sigs[i])));
            if (!_succeeds(call_)) return;
            bytes32 hash = MoneyTypes.hashOpen(_escrow.sessionIdOf(terms), locks[i], deadlineS);
            assert(_recovers(hash, sigs[i], policy.payKey));
            assert(locks[i] <= policy.maxSessionMicro);
        }
        assert(uint256(locks[0]) + locks[1] <= policy.maxDayMicro);
        assert(_free() == FUNDS - locks[0] - locks[1]);
        assert(START_S <= deadlineS && START_S <= policy.expiresAtS);
        assert(ceilings[0] <= policy.maxMicroPerKwh && ceilings[1] <= policy.maxMicroPerHour);
        assert(ceilings[2] <= policy.maxFlatMicro);
    }

    function check_top_up(Limits memory limits, uint64 lock, uint64 total, uint64 deadlineS, Sig memory sig)
        public
    {
        WalletTypes.Policy memory policy = _set(limits);
        MoneyTypes.Terms memory terms = _terms(0, policy.payKey, [uint64(0), 0, 0]);
        vm.prank(address(_wallet));
        if (lock == 0) return;
        _escrow.openAsPayer(terms, lock);
        bytes memory call_ =
            abi.encodeCall(DeviceWallet.topUpBySignature, (terms, total, deadlineS, policy, _bytes(sig)));
        if (!_succeeds(call_)) return;
        bytes32 hash = MoneyTypes.hashTopUp(_escrow.sessionIdOf(terms), total, deadlineS);
        assert(_recovers(hash, sig, policy.payKey));
        assert(total > lock && total <= policy.maxSessionMicro && total - lock <= policy.maxDayMicro);
        assert(_free() == FUNDS - total && _wallet.lockedTodayMicro() == total - lock);
        assert(START_S <= deadlineS && START_S <= policy.expiresAtS);
    }

    function check_open_task(Limits memory limits, uint64 lock, bytes32 task, uint64 deadlineS, Sig memory sig)
        public
    {
        WalletTypes.Policy memory policy = _set(limits);
        TaskTypes.Task memory terms;
        (terms.requester, terms.refundTo, terms.node) = (address(_wallet), address(_wallet), PAYEE);
        (terms.requesterKey, terms.priceMicro) = (policy.payKey, lock);
        (terms.deadlineS, terms.proof) = (uint64(START_S + 1 days), TaskTypes.RELEASE);
        bytes memory call_ = abi.encodeCall(
            DeviceWallet.openTaskBySignature, (abi.encode(terms), task, lock, deadlineS, policy, _bytes(sig))
        );
        if (!_succeeds(call_)) return;
        assert(_recovers(WalletTypes.hashOpenTask(task, lock, deadlineS), sig, policy.payKey));
        assert(task == _tasks.taskIdOf(terms));
        assert(lock <= policy.maxSessionMicro && lock <= policy.maxDayMicro);
        assert(_free() == FUNDS - lock && _wallet.lockedTodayMicro() == lock);
    }

    /// @notice Frozen: nothing is locked, whoever signs what.
    function check_frozen(Limits memory limits, uint64 lock, uint64 deadlineS, Sig memory sig) public {
        WalletTypes.Policy memory policy = _set(limits);
        vm.prank(OWNER);
        _wallet.freeze();
        MoneyTypes.Terms memory terms = _terms(0, policy.payKey, [uint64(0), 0, 0]);
        bytes memory call_ =
            abi.encodeCall(DeviceWallet.openBySignature, (terms, lock, deadlineS, policy, _bytes(sig)));
        assert(!_succeeds(call_));
    }

    // ------------------------------------------------------------------ nobody else lowers the balance

    function check_request_close(Limits memory limits, uint64 deadlineS, Sig memory sig) public {
        WalletTypes.Policy memory policy = _set(limits);
        MoneyTypes.Terms memory terms = _terms(0, policy.payKey, [uint64(0), 0, 0]);
        vm.prank(address(_wallet));
        _escrow.openAsPayer(terms, 1);
        bytes memory call_ =
            abi.encodeCall(DeviceWallet.requestCloseBySignature, (terms, deadlineS, policy, _bytes(sig)));
        if (!_succeeds(call_)) return;
        assert(_recovers(MoneyTypes.hashRequestClose(_escrow.sessionIdOf(terms), deadlineS), sig, policy.payKey));
        assert(_free() == FUNDS - 1);
    }

    /// @notice The owner's functions answer nobody else, whatever is asked.
    function check_owners_functions(address sender, uint8 which, address to, uint128 amount, Limits memory limits)
        public
    {
        if (sender == OWNER || sender == address(_wallet)) return;
        bytes[7] memory calls = [
            abi.encodeCall(DeviceWallet.setPolicy, (_policyOf(limits))),
            abi.encodeCall(DeviceWallet.freeze, ()),
            abi.encodeCall(DeviceWallet.unfreeze, ()),
            abi.encodeCall(DeviceWallet.withdraw, (to, amount)),
            abi.encodeCall(DeviceWallet.withdrawFromTasks, (to, amount)),
            abi.encodeCall(DeviceWallet.withdrawTokens, (IERC20(address(_token)), to, amount)),
            abi.encodeCall(DeviceWallet.requestClose, (_terms(0, PAYEE, [uint64(0), 0, 0])))
        ];
        for (uint256 i; i < 7; ++i) {
            if (i != which) continue;
            vm.prank(sender);
            assert(!_succeeds(calls[i]));
        }
    }

    /// @notice A relayed call of the owner's: signed by the owner, with the standing nonce, which it raises.
    function check_owner_call(address to, uint128 amount, uint256 nonce, uint64 deadlineS, Sig memory sig) public {
        bytes memory inner = abi.encodeCall(DeviceWallet.withdraw, (to, amount));
        uint256 standing = _wallet.ownerNonce();
        if (!_succeeds(abi.encodeCall(DeviceWallet.ownerCall, (inner, nonce, deadlineS, _bytes(sig))))) return;
        assert(_recovers(WalletTypes.hashOwnerCall(keccak256(inner), nonce, deadlineS), sig, OWNER));
        assert(nonce == standing && _wallet.ownerNonce() == standing + 1 && START_S <= deadlineS);
    }

    /// @notice The wallet's word (ERC-1271), with which other contracts would take its money, is its owner's approval.
    function check_is_valid_signature(bytes32 digest, Sig memory sig) public view {
        if (_wallet.isValidSignature(digest, _bytes(sig)) != IERC1271.isValidSignature.selector) return;
        assert(_recovers(WalletTypes.hashApproval(digest), sig, OWNER));
    }

    /// @notice What anyone may do only brings money in.
    function check_sweeps(address sender, uint64 amount, bool fromTasks) public {
        if (fromTasks) {
            _token.mint(address(this), amount);
            _token.approve(address(_tasks), amount);
            _tasks.depositFor(address(_wallet), amount);
        } else {
            _token.mint(address(_wallet), amount);
        }
        vm.prank(sender);
        bool done =
            _succeeds(fromTasks ? abi.encodeCall(DeviceWallet.returnFromTasks, ()) : abi.encodeCall(DeviceWallet.deposit, ()));
        assert(_free() == uint256(FUNDS) + (done ? amount : 0));
    }

    // ------------------------------------------------------------------ inside

    /// @dev These limits as the wallet's policy, for one provider.
    function _set(Limits memory limits) private returns (WalletTypes.Policy memory policy) {
        if (limits.payKey == address(0) || limits.payKey == OWNER) limits.payKey = address(1);
        policy = _policyOf(limits);
        vm.prank(OWNER);
        _wallet.setPolicy(policy);
    }

    function _policyOf(Limits memory limits) private pure returns (WalletTypes.Policy memory policy) {
        policy.providers = new address[](1);
        (policy.payKey, policy.providers[0], policy.expiresAtS) = (limits.payKey, PAYEE, limits.expiresAtS);
        (policy.maxSessionMicro, policy.maxDayMicro) = (limits.maxSessionMicro, limits.maxDayMicro);
        (policy.maxMicroPerKwh, policy.maxMicroPerHour, policy.maxFlatMicro) =
            (limits.maxMicroPerKwh, limits.maxMicroPerHour, limits.maxFlatMicro);
    }

    function _terms(uint256 salt, address signer, uint64[3] memory ceilings)
        private
        view
        returns (MoneyTypes.Terms memory terms)
    {
        (terms.payer, terms.refundTo, terms.payee) = (address(_wallet), address(_wallet), PAYEE);
        (terms.signer, terms.latestEndS, terms.salt) = (signer, uint64(START_S + 1 days), bytes32(salt));
        (terms.maxMicroPerKwh, terms.maxMicroPerHour, terms.maxFlatMicro) = (ceilings[0], ceilings[1], ceilings[2]);
    }

    function _succeeds(bytes memory call_) private returns (bool done) {
        // solhint-disable-next-line avoid-low-level-calls
        (done,) = address(_wallet).call(call_);
    }

    function _free() private view returns (uint256) {
        return _escrow.freeMicroOf(address(_wallet));
    }

    function _bytes(Sig memory sig) private pure returns (bytes memory) {
        return abi.encodePacked(sig.r, sig.s, sig.v);
    }

    function _recovers(bytes32 structHash, Sig memory sig, address signer) private view returns (bool) {
        return ecrecover(moneyDigest(address(_wallet), structHash), sig.v, sig.r, sig.s) == signer;
    }
}
