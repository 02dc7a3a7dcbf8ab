// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

// Tokens held = sum of free balances + sum over open tasks of (price - paid); only deposits and withdrawals move it.

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {EnergyProof} from "./EnergyProof.sol";
import {FreeBalances} from "./FreeBalances.sol";
import {MoneyTypes} from "./MoneyTypes.sol";
import {TaskTypes} from "./TaskTypes.sol";

/// @title Small work between nodes: the price is held, earned by proof, and what was not earned goes back.
/// @notice A task pays what its own kind of proof shows and never more than its price; amounts are cumulative, so a
/// repeat does nothing. After the end and the agreed grace anyone may send the rest to `refundTo`, whoever is gone. One
/// milliwatt-hour of one meter is sold once. There is no administrator and no upgrade; a task never changes.
/// @dev Every call brings the whole task; the id, and so the slot, is computed from it. What a wallet calls is `ITaskEscrow`.
contract TaskEscrow is FreeBalances {
    using EnergyProof for EnergyProof.Stretch;
    using TaskTypes for TaskTypes.Task;

    uint32 private constant MAX_TASK_S = 62 days; // as a session of the energy escrow
    uint32 private constant MAX_PROOF_GRACE_S = 7 days; // nobody's money is held longer after the end
    /// @notice How much older than the opening the first record may be: a meter cuts one a minute in a session, and the
    /// opening takes some blocks to be mined.
    uint32 public constant START_TOLERANCE_S = 120;
    /// @notice Time the node has to stop after a request to close; what is done until then counts.
    uint32 public constant STOP_GRACE_S = 120;

    /// @notice A task in one slot.
    struct State {
        uint64 paidMicro; // credited to the node so far; never above the price
        uint64 soldMilliwattHours; // ENERGY: proven so far; never above what was asked
        uint40 openedAtS; // zero: never opened
        uint40 endsAtS; // the deadline, or earlier after a request to close
        bool closed; // for ever: ids are tombstones
    }

    mapping(bytes32 id => State) private _tasks;
    /// @dev Import register up to which energy of a meter has been sold. A meter: device, channel, meter key, meter hash.
    mapping(bytes32 meter => uint64 milliwattHours) private _soldThrough;

    event TaskOpened(bytes32 indexed task, address indexed requester, address indexed node, uint64 priceMicro);
    /// @notice `amountMicro` is cumulative; the node was credited the difference.
    event TaskPaid(bytes32 indexed task, address indexed node, uint64 amountMicro, bytes32 result);
    event EnergySold(
        bytes32 indexed task, address indexed meterKey, uint64 fromMilliwattHours, uint64 throughMilliwattHours
    );
    event TaskCloseRequested(bytes32 indexed task, address indexed sender, uint256 endsAtS);
    event TaskClosed(bytes32 indexed task, uint64 paidMicro, uint64 returnedMicro);

    error NotRequester(address sender, address requester);
    error NodeZero();
    error RefundToRefused(address refundTo);
    error RequesterKeyZero();
    error PriceZero();
    error LockNotPrice(uint64 lockMicro, uint64 priceMicro);
    error DeadlineRefused(uint64 deadlineS, uint256 afterS, uint256 notAfterS);
    error ProofGraceRefused(uint32 proofGraceS, uint32 mostS);
    error ProofKindRefused(uint8 proof);
    error MembersRefused(uint8 proof);
    error KeyShared(address key);
    error StartFromRefused(uint64 startFromS, uint64 deadlineS);
    error TaskIdUsed(bytes32 task);
    error TaskUnknown(bytes32 task);
    error TaskIsClosed(bytes32 task);
    error OtherProofAgreed(bytes32 task, uint8 given, uint8 agreed);
    error NothingNew(bytes32 task, uint64 amountMicro, uint64 paidMicro);
    error AbovePrice(bytes32 task, uint64 amountMicro, uint64 priceMicro);
    error AmountBeyondEnergy(bytes32 task, uint64 amountMicro, uint256 mostMicro);
    error EnergyAlreadySold(bytes32 task, uint64 registerMilliwattHours, uint64 soldThroughMilliwattHours);
    error MayNotRequestClose(address sender, bytes32 task);
    error EndsAlready(bytes32 task, uint256 endsAtS);
    error CloseNotDue(bytes32 task, uint256 dueAtS);

    constructor(IERC20Metadata token_, address guardian_) FreeBalances(token_, guardian_) {}

    // ------------------------------------------------------------------ views

    /// @return The id of the task on this chain and escrow.
    function taskIdOf(TaskTypes.Task calldata task) public view returns (bytes32) {
        return _hashTypedDataV4(task.hashTask());
    }

    /// @return The state of this task; all zero if it was never opened.
    function taskOf(TaskTypes.Task calldata task) external view returns (State memory) {
        return _tasks[taskIdOf(task)];
    }

    /// @return Import register, in milliwatt-hours, up to which energy of this meter has been sold; zero: none yet.
    function soldThrough(bytes32 device, uint32 channel, address meterKey, bytes32 meterHash)
        external
        view
        returns (uint64)
    {
        return _soldThrough[_meter(device, channel, meterKey, meterHash)];
    }

    // ------------------------------------------------------------------ open

    /// @notice Opens a task and holds its price out of the caller's free balance. The caller is the requester.
    function openTask(TaskTypes.Task calldata task) external returns (bytes32 id) {
        if (msg.sender != task.requester) revert NotRequester(msg.sender, task.requester);
        id = taskIdOf(task);
        _open(task, id);
    }

    /// @notice `openTask` for a requester with code, which need not look into the task: the rest can only return to it.
    /// @param terms The ABI encoding of a `Task`.
    /// @param lockMicro The task's price.
    function openAsRequester(bytes calldata terms, uint64 lockMicro) external returns (bytes32 id, address node) {
        TaskTypes.Task calldata task = TaskTypes.decode(terms);
        if (msg.sender != task.requester) revert NotRequester(msg.sender, task.requester);
        if (task.refundTo != task.requester) revert RefundToRefused(task.refundTo);
        if (lockMicro != task.priceMicro) revert LockNotPrice(lockMicro, task.priceMicro);
        (id, node) = (taskIdOf(task), task.node);
        _open(task, id);
    }

    /// @notice Opens a task on the requester's signed `Open` (session: the task's id, lock: its price), whoever sends it.
    function openTaskBySignature(TaskTypes.Task calldata task, uint64 deadlineS, bytes calldata signature)
        external
        returns (bytes32 id)
    {
        id = taskIdOf(task);
        _requireSigned(task.requester, MoneyTypes.hashOpen(id, task.priceMicro, deadlineS), deadlineS, signature);
        _open(task, id);
    }

    // ------------------------------------------------------------------ pay

    /// @notice RELEASE: pays up to `amountMicro` in all on the requester key's `Payment`.
    /// @param frame What the payment names beside the amount: a measurement, a milestone; not checked here.
    function payReleased(TaskTypes.Task calldata task, uint64 amountMicro, bytes32 frame, bytes calldata signature)
        external
    {
        bytes32 id = _payable(task, TaskTypes.RELEASE);
        _requirePayment(task, id, amountMicro, frame, signature);
        _pay(task, id, amountMicro, frame);
    }

    /// @notice COMPLETION: pays up to `amountMicro` in all on the node key's `Completion` and the requester key's
    /// `Payment` of the same amount whose `frame` is the digest of that completion.
    function payCompleted(
        TaskTypes.Task calldata task,
        uint64 amountMicro,
        bytes32 result,
        bytes calldata completionSignature,
        bytes calldata paymentSignature
    ) external {
        bytes32 id = _payable(task, TaskTypes.COMPLETION);
        bytes32 completion = _requireCompletion(task, id, amountMicro, result, completionSignature);
        _requirePayment(task, id, amountMicro, completion, paymentSignature);
        _pay(task, id, amountMicro, result);
    }

    /// @notice ENERGY: pays up to `amountMicro` in all, at most price x delivered / asked rounded down, for the energy
    /// between two readings of the meter that nobody bought yet. The node key's `Completion` names both records, so
    /// that nobody else decides which energy is sold to whom.
    function payDelivered(
        TaskTypes.Task calldata task,
        uint64 amountMicro,
        bytes calldata completionSignature,
        EnergyProof.Stretch calldata stretch
    ) external {
        bytes32 id = _payable(task, TaskTypes.ENERGY);
        State storage state = _tasks[id];
        uint256 notBeforeS = state.openedAtS - START_TOLERANCE_S;
        if (task.startFromS > notBeforeS) notBeforeS = task.startFromS;
        bytes32 result = stretch.check(task, notBeforeS, state.endsAtS);
        _requireCompletion(task, id, amountMicro, result, completionSignature);
        _sell(task, id, stretch);
        uint256 mostMicro = uint256(task.priceMicro) * state.soldMilliwattHours / task.energyMilliwattHours;
        if (amountMicro > mostMicro) revert AmountBeyondEnergy(id, amountMicro, mostMicro);
        _pay(task, id, amountMicro, result);
    }

    // ------------------------------------------------------------------ close

    /// @notice Ends the task `STOP_GRACE_S` from now instead of at its deadline. By the requester or its key.
    function requestClose(TaskTypes.Task calldata task) external {
        bytes32 id = taskIdOf(task);
        bool allowed = msg.sender == task.requester || msg.sender == task.requesterKey;
        if (!allowed) revert MayNotRequestClose(msg.sender, id);
        _requestClose(id);
    }

    /// @notice The same on a `RequestClose` signed by the requester or its key, whoever sends it.
    function requestCloseBySignature(TaskTypes.Task calldata task, uint64 deadlineS, bytes calldata signature) external {
        bytes32 id = taskIdOf(task);
        _requireEither(task.requesterKey, task.requester, MoneyTypes.hashRequestClose(id, deadlineS), deadlineS, signature);
        _requestClose(id);
    }

    /// @notice Ends the task for ever and returns price - paid to `refundTo`. By the node at once, which gives up the
    /// rest; by anyone `proofGraceS` after the end. Proofs are taken until then.
    function close(TaskTypes.Task calldata task) external {
        bytes32 id = taskIdOf(task);
        if (msg.sender != task.node) {
            uint256 dueAtS = uint256(_openTask(id).endsAtS) + task.proofGraceS;
            if (block.timestamp < dueAtS) revert CloseNotDue(id, dueAtS);
        }
        _close(task, id);
    }

    /// @notice Closes at once on a `GiveUp` signed by the node or its key, whoever sends it.
    function closeBySignature(TaskTypes.Task calldata task, uint64 deadlineS, bytes calldata signature) external {
        bytes32 id = taskIdOf(task);
        _requireEither(task.nodeKey, task.node, TaskTypes.hashGiveUp(id, deadlineS), deadlineS, signature);
        _close(task, id);
    }

    // ------------------------------------------------------------------ inside

    function _open(TaskTypes.Task calldata task, bytes32 id) private whenNewBusinessOpen {
        _checkParties(task);
        _checkTimes(task);
        _checkProof(task);
        if (_tasks[id].openedAtS != 0) revert TaskIdUsed(id);
        _debit(task.requester, task.priceMicro);
        // Both times are below now + 62 days: 40 bits last until the year 36812.
        _tasks[id].openedAtS = uint40(block.timestamp);
        _tasks[id].endsAtS = uint40(task.deadlineS);
        emit TaskOpened(id, task.requester, task.node, task.priceMicro);
    }

    function _checkParties(TaskTypes.Task calldata task) private pure {
        if (task.node == address(0)) revert NodeZero();
        // Else a node that gives up would be paid for it.
        if (task.refundTo == address(0) || task.refundTo == task.node) revert RefundToRefused(task.refundTo);
        if (task.requesterKey == address(0)) revert RequesterKeyZero();
        if (task.priceMicro == 0) revert PriceZero();
    }

    function _checkTimes(TaskTypes.Task calldata task) private view {
        (uint64 deadlineS, uint256 nowS) = (task.deadlineS, block.timestamp);
        if (deadlineS <= nowS || deadlineS > nowS + MAX_TASK_S) {
            revert DeadlineRefused(deadlineS, nowS, nowS + MAX_TASK_S);
        }
        if (task.proofGraceS > MAX_PROOF_GRACE_S) revert ProofGraceRefused(task.proofGraceS, MAX_PROOF_GRACE_S);
        if (task.startFromS >= deadlineS) revert StartFromRefused(task.startFromS, deadlineS);
    }

    /// @dev Members a proof has no use for must be zero, so that nobody signs a meter or a key that nothing checks.
    function _checkProof(TaskTypes.Task calldata task) private pure {
        uint8 proof = task.proof;
        if (proof < TaskTypes.COMPLETION || proof > TaskTypes.RELEASE) revert ProofKindRefused(proof);
        bool keyed = task.nodeKey != address(0);
        if (keyed == (proof == TaskTypes.RELEASE)) revert MembersRefused(proof);
        bool metered = task.meterKey != address(0) && task.energyMilliwattHours != 0 && task.device != bytes32(0);
        bool unmetered = task.meterKey == address(0) && task.energyMilliwattHours == 0 && task.device == bytes32(0)
            && task.channel == 0 && task.startFromS == 0;
        if (!(proof == TaskTypes.ENERGY ? metered : unmetered)) revert MembersRefused(proof);
        // One role a key: two words by one key are one word.
        if (task.nodeKey == task.requesterKey) revert KeyShared(task.nodeKey);
        if (task.meterKey == task.requesterKey || (metered && task.meterKey == task.nodeKey)) {
            revert KeyShared(task.meterKey);
        }
    }

    function _payable(TaskTypes.Task calldata task, uint8 proof) private view returns (bytes32 id) {
        id = taskIdOf(task);
        _openTask(id);
        if (task.proof != proof) revert OtherProofAgreed(id, proof, task.proof);
    }

    function _requirePayment(
        TaskTypes.Task calldata task,
        bytes32 id,
        uint64 amountMicro,
        bytes32 frame,
        bytes calldata signature
    ) private view {
        bytes32 digest =
            _hashTypedDataV4(keccak256(abi.encode(MoneyTypes.PAYMENT_TYPEHASH, id, amountMicro, frame)));
        if (!_isSignedBy(task.requesterKey, digest, signature)) revert SignatureRefused(task.requesterKey, digest);
    }

    /// @return digest What the requester's key accepts.
    function _requireCompletion(
        TaskTypes.Task calldata task,
        bytes32 id,
        uint64 amountMicro,
        bytes32 result,
        bytes calldata signature
    ) private view returns (bytes32 digest) {
        digest = _hashTypedDataV4(TaskTypes.hashCompletion(id, amountMicro, result));
        if (!_isSignedBy(task.nodeKey, digest, signature)) revert SignatureRefused(task.nodeKey, digest);
    }

    /// @dev Signed by `key` or else by `account`.
    function _requireEither(
        address key,
        address account,
        bytes32 structHash,
        uint64 deadlineS,
        bytes calldata signature
    ) private view {
        bool byKey = _isSignedBy(key, _hashTypedDataV4(structHash), signature);
        _requireSigned(byKey ? key : account, structHash, deadlineS, signature);
    }

    function _pay(TaskTypes.Task calldata task, bytes32 id, uint64 amountMicro, bytes32 result) private {
        uint64 paidMicro = _tasks[id].paidMicro;
        if (amountMicro <= paidMicro) revert NothingNew(id, amountMicro, paidMicro);
        if (amountMicro > task.priceMicro) revert AbovePrice(id, amountMicro, task.priceMicro);
        _tasks[id].paidMicro = amountMicro;
        _credit(task.node, amountMicro - paidMicro);
        emit TaskPaid(id, task.node, amountMicro, result);
    }

    /// @dev Takes the energy between the registers off the market, but for what was sold before.
    function _sell(TaskTypes.Task calldata task, bytes32 id, EnergyProof.Stretch calldata stretch) private {
        bytes32 meter = _meter(task.device, task.channel, task.meterKey, stretch.end.record.meterHash);
        (uint64 sold, uint64 from, uint64 through) = (
            _soldThrough[meter], stretch.start.record.importMilliwattHours, stretch.end.record.importMilliwattHours
        );
        if (from < sold) from = sold;
        if (through <= from) revert EnergyAlreadySold(id, through, from);
        _soldThrough[meter] = through;
        uint256 total = uint256(_tasks[id].soldMilliwattHours) + (through - from);
        uint64 asked = task.energyMilliwattHours;
        _tasks[id].soldMilliwattHours = total < asked ? uint64(total) : asked;
        emit EnergySold(id, task.meterKey, from, through);
    }

    function _requestClose(bytes32 id) private {
        uint256 endsAtS = block.timestamp + STOP_GRACE_S;
        uint256 standing = _openTask(id).endsAtS;
        if (endsAtS >= standing) revert EndsAlready(id, standing);
        _tasks[id].endsAtS = uint40(endsAtS);
        emit TaskCloseRequested(id, msg.sender, endsAtS);
    }

    function _close(TaskTypes.Task calldata task, bytes32 id) private {
        uint64 paidMicro = _openTask(id).paidMicro;
        _tasks[id].closed = true;
        uint64 returnedMicro = task.priceMicro - paidMicro;
        _credit(task.refundTo, returnedMicro);
        emit TaskClosed(id, paidMicro, returnedMicro);
    }

    /// @dev The state of a task that must be there and not closed.
    function _openTask(bytes32 id) private view returns (State storage state) {
        state = _tasks[id];
        if (state.openedAtS == 0) revert TaskUnknown(id);
        if (state.closed) revert TaskIsClosed(id);
    }

    function _meter(bytes32 device, uint32 channel, address meterKey, bytes32 meterHash) private pure returns (bytes32) {
        return keccak256(abi.encode(device, channel, meterKey, meterHash));
    }
}
