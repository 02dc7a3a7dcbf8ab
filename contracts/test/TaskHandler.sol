// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {EnergyProof} from "../src/EnergyProof.sol";
import {EvidenceTypes} from "../src/EvidenceTypes.sol";
import {MoneyTypes} from "../src/MoneyTypes.sol";
import {TaskEscrow} from "../src/TaskEscrow.sol";
import {TaskTypes} from "../src/TaskTypes.sol";
import {TrickyToken} from "./doubles/TrickyToken.sol";
import {Deployed} from "./Deployed.sol";

/// @title People and meters who use the task escrow in any order, over a token that cheats and calls back when it likes.
/// @notice Two meters deliver energy in their own time. What was paid is checked here, against bounds computed anew.
contract TaskHandler is Deployed {
    struct Kept {
        TaskTypes.Task task;
        uint256 number; // of its keys
        uint256 meter;
        uint64 paidMicro; // when last seen
        bool closed;
    }

    uint256 private constant PEOPLE = 5;
    uint256 private constant MAX_TASKS = 14;
    uint256 private constant METERS = 2;
    uint256 private constant PAY_KEYS = 2000;
    uint256 private constant NODE_KEYS = 3000;
    uint256 private constant METER_KEYS = 4000;

    TrickyToken public immutable token;
    TaskEscrow public immutable escrow;
    uint256 public inMicro; // all deposits
    uint256 public outMicro; // all withdrawals
    uint256[4] public payments; // by proof, so that runs that get nowhere are noticed
    uint256 public closes;
    uint256 public violations;
    Kept[] private _kept;
    EvidenceTypes.Record[][METERS] private _records;

    constructor() {
        vm.warp(START_S);
        token = new TrickyToken(6);
        escrow = TaskEscrow(
            vm.deployCode("../chain/artifacts/TaskEscrow.json", abi.encode(address(token), GUARDIAN))
        );
        for (uint256 i; i < PEOPLE; ++i) {
            token.mint(person(i), 1e12);
            vm.prank(person(i));
            token.approve(address(escrow), type(uint256).max);
        }
        token.mint(address(token), 1e12);
        token.approveFor(address(escrow), type(uint256).max);
        for (uint256 i; i < METERS; ++i) {
            _measure(i, 0);
        }
    }

    // ------------------------------------------------------------------ what invariants read

    /// @notice The token itself is one of the people: its calls come from inside a transfer.
    function person(uint256 seed) public view returns (address) {
        uint256 index = seed % PEOPLE;
        return index == 0 ? address(token) : vm.addr(index);
    }

    function taskCount() external view returns (uint256) {
        return _kept.length;
    }

    function kept(uint256 index) external view returns (Kept memory) {
        return _kept[index];
    }

    function stateOf(uint256 index) public view returns (TaskEscrow.State memory) {
        return escrow.taskOf(_kept[index].task);
    }

    function freeMicro() external view returns (uint256 sum) {
        for (uint256 i; i < PEOPLE; ++i) {
            sum += escrow.freeMicroOf(person(i));
        }
    }

    /// @return All energy a meter ever measured.
    function delivered(uint256 meter) external view returns (uint256) {
        return _records[meter][_records[meter].length - 1].importMilliwattHours;
    }

    // ------------------------------------------------------------------ what happens

    function wait_(uint256 seconds_) external {
        vm.warp(block.timestamp + between(seconds_, 1, 4 minutes));
    }

    function measure(uint256 meter, uint256 energy) external {
        _measure(meter % METERS, between(energy, 0, 400));
    }

    /// @notice The token cheats, or calls back once in the middle of the next transfer.
    function trick(uint256 seed, uint256 index) external {
        token.setFees(seed % 7 == 0 ? 1 : 0, seed % 11 == 0 ? 1 : 0);
        if ((seed >> 8) % 8 == 0) token.setRefused(person(1 + (seed >> 16) % (PEOPLE - 1)));
        else token.setRefused(address(1));
        bytes memory data = abi.encodeCall(escrow.withdraw, (person(seed), 1));
        if ((seed >> 32) % 3 == 0) data = abi.encodeCall(escrow.deposit, (7));
        if ((seed >> 32) % 3 == 1 && _kept.length != 0) {
            data = abi.encodeCall(escrow.close, (_kept[index % _kept.length].task));
        }
        token.setCall(address(escrow), data);
    }

    function deposit(uint256 who, uint256 forWhom, uint256 amount) external {
        amount = between(amount, 0, 1e7);
        vm.prank(person(who));
        escrow.depositFor(person(forWhom), uint128(amount));
        inMicro += amount;
    }

    function withdraw(uint256 who, uint256 to, uint256 amount) external {
        uint256 free = escrow.freeMicroOf(person(who));
        amount = between(amount, 0, who % 8 == 0 ? free + 1 : free / 8);
        vm.prank(person(who));
        escrow.withdraw(person(to), uint128(amount));
        outMicro += amount;
    }

    function open(uint256 seed) external {
        if (_kept.length == MAX_TASKS) return;
        seed = uint256(keccak256(abi.encode(seed))); // forge likes small numbers, whose upper bits say nothing
        uint256 number = _kept.length;
        TaskTypes.Task memory task = _task(seed, uint8(1 + number % 3), number);
        task.priceMicro = uint64(between(seed >> 200, 1, uint256(escrow.freeMicroOf(task.requester)) / 2 + 2));
        vm.prank(task.requester);
        escrow.openTask(task);
        _kept.push();
        Kept storage entry = _kept[number];
        entry.task = task;
        (entry.number, entry.meter) = (number, seed % METERS);
    }

    function reopen(uint256 index) external {
        Kept storage entry = _kept[index % _kept.length];
        vm.prank(entry.task.requester);
        escrow.openTask(entry.task);
        ++violations; // an id opened twice
    }

    function payReleased(uint256 seed, uint256 amount) external {
        uint256 index = _pick(seed, TaskTypes.RELEASE);
        Kept storage entry = _kept[index];
        uint64 amountMicro = _amount(index, amount);
        bytes32 id = escrow.taskIdOf(entry.task);
        uint256 key = seed % 7 == 0 ? NODE_KEYS + entry.number : PAY_KEYS + entry.number;
        escrow.payReleased(entry.task, amountMicro, 0, _sign(key, _payment(id, amountMicro, 0)));
        _notePaid(index, amountMicro, TaskTypes.RELEASE, seed % 7 == 0);
    }

    function payCompleted(uint256 seed, uint256 amount) external {
        uint256 index = _pick(seed, TaskTypes.COMPLETION);
        Kept storage entry = _kept[index];
        uint64 amountMicro = _amount(index, amount);
        bytes32 id = escrow.taskIdOf(entry.task);
        bytes32 completion = _completion(id, amountMicro, 0);
        bool forged = seed % 7 == 0;
        bytes memory word = _sign(seed % 14 == 0 ? PAY_KEYS + entry.number : NODE_KEYS + entry.number, completion);
        bytes32 accepted = seed % 14 == 7 ? bytes32(seed) : moneyDigest(address(escrow), completion);
        escrow.payCompleted(
            entry.task, amountMicro, 0, word, _sign(PAY_KEYS + entry.number, _payment(id, amountMicro, accepted))
        );
        _notePaid(index, amountMicro, TaskTypes.COMPLETION, forged);
    }

    /// @notice Any two records of any meter, mostly the task's own; by the node's key or a thief's.
    function payDelivered(uint256 seed, uint256 first, uint256 last, uint256 amount) external {
        _deliver(_pick(seed, TaskTypes.ENERGY), seed, first, last, amount);
    }

    /// @notice An honest meter, node and requester: the newest stretch, measured now.
    function serve(uint256 seed, uint256 amount) external {
        for (uint256 i; i < _kept.length; ++i) {
            uint256 index = (seed % _kept.length + i) % _kept.length;
            if (_kept[index].task.proof != TaskTypes.ENERGY || stateOf(index).closed) continue;
            // of the numbers that spoil something below, 842 has only 2 for a divisor
            return _deliver(index, 842, 1 + amount % 3, 1, (amount >> 8) * 4 + 2);
        }
    }

    function _deliver(uint256 index, uint256 seed, uint256 first, uint256 last, uint256 amount) private {
        Kept storage entry = _kept[index];
        if (seed % 2 == 0) _measure(entry.meter, between(amount >> 8, 1, 400)); // stands only if the payment goes through
        uint256 meter = seed % 8 == 0 ? (entry.meter + 1) % METERS : entry.meter;
        EvidenceTypes.Record[] storage records = _records[meter];
        last = records.length - 1 - (last % 4 == 0 ? between(last, 0, records.length - 1) : 0);
        first = seed % 5 == 1 ? between(first, 0, records.length - 1) : last - between(first, 0, last < 3 ? last : 3);
        bool thief = seed % 7 == 0;
        EnergyProof.Stretch memory stretch;
        stretch.start = _reading(records[first], meter);
        stretch.end = _reading(records[last], meter);
        stretch.voucherSignature = _voucher(entry.task, thief ? 9 : METER_KEYS + entry.meter);
        uint64 amountMicro = _energyAmount(index, records[first], records[last], amount);
        bytes32 result = keccak256(abi.encodePacked(_hash(records[first]), _hash(records[last])));
        bytes32 id = escrow.taskIdOf(entry.task);
        uint256 key = seed % 5 == 0 ? PAY_KEYS + entry.number : NODE_KEYS + entry.number;
        escrow.payDelivered(entry.task, amountMicro, _sign(key, _completion(id, amountMicro, result)), stretch);
        bool forged = thief || seed % 5 == 0 || meter != entry.meter || first >= last || _outside(index, first, last);
        _notePaid(index, amountMicro, TaskTypes.ENERGY, forged);
    }

    function requestClose(uint256 index, uint256 who) external {
        Kept storage entry = _kept[index % _kept.length];
        address sender = who % 3 == 0 ? person(who >> 8) : entry.task.requester;
        uint40 before = stateOf(index % _kept.length).endsAtS;
        vm.prank(sender);
        escrow.requestClose(entry.task);
        if (sender != entry.task.requester || stateOf(index % _kept.length).endsAtS >= before) ++violations;
    }

    function close(uint256 index, uint256 who) external {
        Kept storage entry = _kept[index % _kept.length];
        address sender = who % 16 == 0 ? entry.task.node : person(who >> 8);
        uint256 dueAtS = uint256(stateOf(index % _kept.length).endsAtS) + entry.task.proofGraceS;
        vm.prank(sender);
        escrow.close(entry.task);
        ++closes;
        if (entry.closed || (sender != entry.task.node && block.timestamp < dueAtS)) ++violations;
        entry.closed = true;
    }

    function guard(uint256 seed) external {
        vm.prank(GUARDIAN);
        seed % 8 == 0 ? escrow.stopNewBusiness() : escrow.resumeNewBusiness();
    }

    // ------------------------------------------------------------------ inside

    function _task(uint256 seed, uint8 proof, uint256 number) private view returns (TaskTypes.Task memory task) {
        bool energy = proof == TaskTypes.ENERGY;
        task.requester = person(seed);
        task.node = person(seed >> 8);
        task.refundTo = person(seed >> 16);
        task.requesterKey = vm.addr(PAY_KEYS + number);
        if (proof != TaskTypes.RELEASE) task.nodeKey = vm.addr(NODE_KEYS + number);
        task.deadlineS = uint64(block.timestamp + between(seed >> 24, 1, 6 hours));
        task.proofGraceS = uint32(between(seed >> 64, 0, 1 hours));
        task.proof = proof;
        if (energy) {
            task.device = bytes32(1 + seed % METERS);
            task.channel = 1;
            task.meterKey = vm.addr(METER_KEYS + seed % METERS);
            task.energyMilliwattHours = uint64(between(seed >> 96, 1, 1200));
            if (seed % 5 == 0) task.startFromS = uint64(block.timestamp + between(seed >> 128, 0, 5 minutes));
        }
        task.salt = bytes32(number);
    }

    function _measure(uint256 meter, uint256 energy) private {
        EvidenceTypes.Record memory record;
        uint256 count = _records[meter].length;
        if (count != 0) record.importMilliwattHours = _records[meter][count - 1].importMilliwattHours;
        record.device = bytes32(1 + meter);
        record.channel = 1;
        record.sequence = uint64(count);
        record.endS = uint64(block.timestamp);
        record.importMilliwattHours += uint64(energy);
        _records[meter].push(record);
    }

    function _reading(EvidenceTypes.Record memory record, uint256 meter)
        private
        pure
        returns (EnergyProof.Reading memory reading)
    {
        reading.record = record;
        EvidenceTypes.Frame memory frame = reading.frame;
        frame.device = record.device;
        (frame.firstSequence, frame.count) = (record.sequence, 1);
        frame.recordsRoot = _hash(record);
        bytes32 structHash = keccak256(abi.encode(EvidenceTypes.FRAME_TYPEHASH, frame));
        reading.signature = _signRaw(METER_KEYS + meter, _evidence(structHash));
    }

    function _voucher(TaskTypes.Task memory task, uint256 key) private pure returns (bytes memory) {
        bytes32 structHash = keccak256(
            abi.encode(EvidenceTypes.CHARGE_KEY_VOUCHER_TYPEHASH, task.device, task.channel, task.nodeKey, uint64(0))
        );
        return _signRaw(key, _evidence(structHash));
    }

    /// @dev Whether a record lies outside what the task pays for, in design words, not the contract's.
    function _outside(uint256 index, uint256 first, uint256 last) private view returns (bool) {
        Kept storage entry = _kept[index];
        TaskEscrow.State memory state = stateOf(index);
        uint256 startS = _records[entry.meter][first].endS;
        return startS + 120 < state.openedAtS || startS < entry.task.startFromS
            || _records[entry.meter][last].endS > state.endsAtS;
    }

    /// @dev Mostly a little more than was paid, now and then anything up to just above the price.
    function _amount(uint256 index, uint256 seed) private view returns (uint64) {
        (uint256 price, uint256 paid) = (_kept[index].task.priceMicro, stateOf(index).paidMicro);
        if (seed % 8 == 0) return uint64(between(seed, 0, price + 2));
        return uint64(paid + between(seed, 0, (price - paid) / 8 + 1));
    }

    /// @dev Mostly what the registers are worth and one more or less.
    function _energyAmount(
        uint256 index,
        EvidenceTypes.Record memory start,
        EvidenceTypes.Record memory end,
        uint256 seed
    ) private view returns (uint64) {
        if (seed % 4 == 0 || end.importMilliwattHours < start.importMilliwattHours) return _amount(index, seed);
        TaskTypes.Task memory task = _kept[index].task;
        uint256 from = escrow.soldThrough(task.device, task.channel, task.meterKey, 0);
        if (from < start.importMilliwattHours) from = start.importMilliwattHours;
        if (from > end.importMilliwattHours) return 1;
        uint256 energy = end.importMilliwattHours - from + stateOf(index).soldMilliwattHours;
        uint256 worth = energy * task.priceMicro / task.energyMilliwattHours;
        worth = worth > task.priceMicro ? task.priceMicro : worth;
        return uint64(worth + seed % 2);
    }

    /// @dev A task, seven times of eight one of the proof asked for, if there is any.
    function _pick(uint256 seed, uint8 proof) private view returns (uint256 index) {
        for (uint256 i; i < _kept.length; ++i) {
            index = (seed + i) % _kept.length;
            if (seed % 8 == 0 || _kept[index].task.proof == proof) return index;
        }
    }

    /// @dev A payment went through: it must have been allowed.
    function _notePaid(uint256 index, uint64 amountMicro, uint8 proof, bool forged) private {
        Kept storage entry = _kept[index];
        TaskEscrow.State memory state = stateOf(index);
        ++payments[proof];
        if (forged || entry.closed || entry.task.proof != proof) ++violations;
        if (amountMicro <= entry.paidMicro || state.paidMicro != amountMicro) ++violations;
        entry.paidMicro = amountMicro;
    }

    /// @notice Takes over what a call from inside a transfer closed.
    function notice() public {
        for (uint256 i; i < _kept.length; ++i) {
            _kept[i].closed = stateOf(i).closed;
        }
    }

    function _hash(EvidenceTypes.Record memory record) private pure returns (bytes32) {
        return keccak256(abi.encode(EvidenceTypes.RECORD_TYPEHASH, record));
    }

    function _payment(bytes32 id, uint64 amountMicro, bytes32 frame) private pure returns (bytes32) {
        return keccak256(abi.encode(MoneyTypes.PAYMENT_TYPEHASH, id, amountMicro, frame));
    }

    function _completion(bytes32 id, uint64 amountMicro, bytes32 result) private pure returns (bytes32) {
        return keccak256(abi.encode(TaskTypes.COMPLETION_TYPEHASH, id, amountMicro, result));
    }

    function _sign(uint256 key, bytes32 structHash) private view returns (bytes memory) {
        return _signRaw(key, moneyDigest(address(escrow), structHash));
    }

    function _signRaw(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _evidence(bytes32 structHash) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", EvidenceTypes.DOMAIN_SEPARATOR, structHash));
    }
}
