// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {EnergyEscrow} from "../src/EnergyEscrow.sol";
import {MoneyTypes} from "../src/MoneyTypes.sol";
import {SessionView} from "../src/Session.sol";
import {SettlementToken} from "../src/SettlementToken.sol";
import {Deployed} from "./Deployed.sol";

/// @title People who use the escrow in any order, with values near every bound, and a note of what went in and out.
/// @notice Six people play every part. A claim that was paid is checked here, against bounds computed anew.
contract EscrowHandler is Deployed {
    struct Kept {
        MoneyTypes.Terms terms;
        uint256 signerKey;
        uint64 claimedMicro; // when last seen
        uint64 returnedMicro; // to refundTo, when it was closed
        bool closed;
    }

    uint256 private constant PEOPLE = 6;
    uint256 private constant MAX_SESSIONS = 12;

    SettlementToken public immutable token;
    EnergyEscrow public immutable escrow;
    uint256 public inMicro; // all deposits
    uint256 public outMicro; // all withdrawals
    uint256 public paidClaims; // so that runs that get nowhere are noticed
    uint256 public meteredClaims;
    uint256 public closes;
    uint256 public violations; // claims paid beyond a bound
    Kept[] private _kept;
    uint256 private _receipts;

    constructor() {
        vm.warp(START_S);
        token = deployToken(type(uint128).max);
        escrow = deployEscrow(token);
        for (uint256 i; i < PEOPLE; ++i) {
            vm.prank(person(i));
            token.approve(address(escrow), type(uint256).max);
        }
    }

    // ------------------------------------------------------------------ what invariants read

    function person(uint256 seed) public pure returns (address) {
        return vm.addr(1 + seed % PEOPLE);
    }

    function sessionCount() external view returns (uint256) {
        return _kept.length;
    }

    function kept(uint256 index) external view returns (Kept memory) {
        return _kept[index];
    }

    function stateOf(uint256 index) public view returns (SessionView memory) {
        return escrow.sessionOf(_kept[index].terms);
    }

    function freeMicro() external view returns (uint256 sum) {
        for (uint256 i; i < PEOPLE; ++i) {
            sum += escrow.freeMicroOf(person(i));
        }
    }

    // ------------------------------------------------------------------ what happens

    function wait_(uint256 seconds_, uint256 blocks) external {
        vm.warp(block.timestamp + between(seconds_, 1, 2 hours));
        vm.roll(block.number + between(blocks, 1, 20));
    }

    function deposit(uint256 who, uint256 forWhom, uint256 amount) external {
        amount = between(amount, 0, 1e9);
        vm.prank(MINTER);
        token.mint(keccak256(abi.encode(++_receipts)), person(who), uint128(amount));
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

    function open(uint256 seed, bool metered, uint256 lock) external {
        if (_kept.length == MAX_SESSIONS) return;
        uint256 signerKey = 1000 + _kept.length;
        MoneyTypes.Terms memory terms = MoneyTypes.Terms({
            payer: person(seed),
            payee: person(seed >> 8),
            refundTo: person(seed >> 16),
            pointCommitment: bytes32(seed),
            metered: metered,
            signer: vm.addr(signerKey),
            tariffHash: 0,
            agreementHash: 0,
            maxMicroPerKwh: uint64(between(seed >> 24, 0, 1e6)),
            maxMicroPerHour: uint64(between(seed >> 56, 0, 1e6)),
            maxFlatMicro: uint64(between(seed >> 88, 0, 1e6)),
            ratedWatts: uint32(between(seed >> 120, 0, 50_000)),
            latestEndS: uint64(block.timestamp + between(seed >> 136, 1, 4 hours)),
            stopGraceS: uint32(between(seed >> 152, 0, 1200)),
            closeDelayS: uint32(between(seed >> 168, 1200, 2 hours)),
            closeDelayBlocks: uint32(between(seed >> 184, 0, 40)),
            salt: bytes32(_kept.length)
        });
        // read before the prank, which holds for one call
        lock = between(lock, 1, uint256(escrow.freeMicroOf(terms.payer)) / 2 + 2);
        vm.prank(terms.payer);
        escrow.openAsPayer(terms, uint64(lock));
        _kept.push();
        Kept storage entry = _kept[_kept.length - 1];
        entry.terms = terms;
        entry.signerKey = signerKey;
    }

    function topUp(uint256 index, uint256 more) external {
        Kept storage entry = _kept[index % _kept.length];
        uint64 lockMicro = stateOf(index % _kept.length).lockMicro;
        more = between(more, 0, uint256(escrow.freeMicroOf(entry.terms.payer)) / 2 + 1);
        vm.prank(entry.terms.payer);
        escrow.topUpAsPayer(entry.terms, uint64(lockMicro + more));
    }

    function claimPaid(uint256 seed, uint256 amount) external {
        uint256 index = _pick(seed, false);
        bool forged = seed % 7 == 0;
        Kept storage entry = _kept[index];
        SessionView memory state = stateOf(index);
        MoneyTypes.PaidClaim[] memory rows = new MoneyTypes.PaidClaim[](1);
        rows[0].payment.session = escrow.sessionIdOf(entry.terms);
        rows[0].payment.amountMicro = _amount(state, amount);
        rows[0].signer = entry.terms.signer;
        bytes32 structHash =
            keccak256(abi.encode(MoneyTypes.PAYMENT_TYPEHASH, rows[0].payment.session, rows[0].payment.amountMicro, 0));
        (rows[0].v, rows[0].r, rows[0].s) = vm.sign(forged ? 7 : entry.signerKey, moneyDigest(address(escrow), structHash));
        escrow.claimPaid(entry.terms.payee, rows);
        if (_noteClaim(entry, state, stateOf(index), rows[0].payment.amountMicro)) {
            ++paidClaims;
            if (forged || entry.terms.metered) ++violations;
        }
    }

    function claimMetered(uint256 seed, uint256 amount, uint256 energy, uint256 elapsed) external {
        uint256 index = _pick(seed, true);
        bool forged = seed % 7 == 0;
        Kept storage entry = _kept[index];
        SessionView memory state = stateOf(index);
        MoneyTypes.MeteredClaim[] memory rows = new MoneyTypes.MeteredClaim[](1);
        (uint256 mostS, uint256 mostEnergy) = _most(entry.terms, state);
        MoneyTypes.MeteredCharge memory charge = rows[0].charge;
        charge.session = escrow.sessionIdOf(entry.terms);
        charge.elapsedS = uint64(between(elapsed, 0, mostS + 1));
        charge.energyMilliwattHours = uint64(between(energy, 0, mostEnergy + 1));
        charge.amountMicro =
            amount % 3 == 0 ? uint64(between(amount, 0, _mostMicro(entry.terms, charge) + 1)) : _amount(state, amount);
        rows[0].signer = entry.terms.signer;
        rows[0].limits = _limits(entry.terms);
        (rows[0].v, rows[0].r, rows[0].s) = vm.sign(forged ? 7 : entry.signerKey, moneyDigest(address(escrow), _hash(charge)));
        escrow.claimMetered(entry.terms.payee, rows);
        if (_noteClaim(entry, state, stateOf(index), charge.amountMicro)) {
            ++meteredClaims;
            if (
                forged || !entry.terms.metered || charge.elapsedS > mostS || charge.energyMilliwattHours > mostEnergy
                    || charge.amountMicro > _mostMicro(entry.terms, charge)
            ) ++violations;
        }
    }

    function requestClose(uint256 index, uint256 who) external {
        Kept storage entry = _kept[index % _kept.length];
        vm.prank(who % 2 == 0 ? entry.terms.payer : person(who));
        escrow.requestClose(entry.terms);
    }

    function close(uint256 index, uint256 who) external {
        Kept storage entry = _kept[index % _kept.length];
        address sender = who % 4 == 0 ? entry.terms.payee : person(who);
        SessionView memory state = stateOf(index % _kept.length);
        vm.prank(sender);
        escrow.close(entry.terms);
        ++closes;
        entry.closed = true;
        entry.returnedMicro = state.lockMicro - state.claimedMicro;
        bool due = state.closeRequestedAtS != 0 && block.timestamp >= state.closeRequestedAtS + entry.terms.closeDelayS
            && block.number >= state.closeRequestedBlock + entry.terms.closeDelayBlocks;
        if (sender != entry.terms.payee && !due) ++violations;
    }

    function creditNote(uint256 index, uint256 amount) external {
        Kept storage entry = _kept[index % _kept.length];
        amount = between(amount, 0, uint256(escrow.freeMicroOf(entry.terms.payee)) + 1);
        vm.prank(entry.terms.payee);
        escrow.creditNote(entry.terms, uint64(amount));
    }

    function reopen(uint256 index) external {
        Kept storage entry = _kept[index % _kept.length];
        vm.prank(entry.terms.payer);
        escrow.openAsPayer(entry.terms, 1);
        ++violations; // an id opened twice
    }

    function guard(uint256 seed) external {
        vm.prank(GUARDIAN);
        seed % 8 == 0 ? escrow.stopNewBusiness() : escrow.resumeNewBusiness();
    }

    // ------------------------------------------------------------------ inside

    /// @dev Mostly a little more than was claimed, now and then anything up to just above the lock.
    function _amount(SessionView memory state, uint256 seed) private pure returns (uint64) {
        uint256 rest = state.lockMicro - state.claimedMicro;
        if (seed % 8 == 0) return uint64(between(seed, 0, uint256(state.lockMicro) + 2));
        return uint64(state.claimedMicro + between(seed, 0, rest / 16 + 1));
    }

    /// @dev A session, seven times of eight one of the mode asked for, if there is any.
    function _pick(uint256 seed, bool metered) private view returns (uint256 index) {
        for (uint256 i; i < _kept.length; ++i) {
            index = (seed + i) % _kept.length;
            if (seed % 8 == 0 || _kept[index].terms.metered == metered) return index;
        }
    }

    /// @dev Whether the claim was paid; then it was the difference, for an open session, above what was claimed.
    function _noteClaim(Kept storage entry, SessionView memory before, SessionView memory after_, uint64 amountMicro)
        private
        returns (bool)
    {
        if (after_.claimedMicro == before.claimedMicro) return false;
        if (before.closed || amountMicro <= before.claimedMicro || after_.claimedMicro != amountMicro) ++violations;
        entry.claimedMicro = after_.claimedMicro;
        return true;
    }

    /// @dev The bounds of design.md §6 in their own words, not in the contract's.
    function _most(MoneyTypes.Terms memory terms, SessionView memory state)
        private
        view
        returns (uint256 mostS, uint256 mostEnergy)
    {
        uint256 endS = block.timestamp;
        if (endS > terms.latestEndS) endS = terms.latestEndS;
        if (state.closeRequestedAtS != 0 && endS > state.closeRequestedAtS + terms.stopGraceS) {
            endS = state.closeRequestedAtS + terms.stopGraceS;
        }
        mostS = endS - state.openedAtS;
        mostEnergy = mostS * terms.ratedWatts * 1000 / 3600;
    }

    function _mostMicro(MoneyTypes.Terms memory terms, MoneyTypes.MeteredCharge memory charge)
        private
        pure
        returns (uint256)
    {
        return uint256(charge.energyMilliwattHours) * terms.maxMicroPerKwh / 1_000_000
            + uint256(charge.elapsedS) * terms.maxMicroPerHour / 3600 + terms.maxFlatMicro;
    }

    function _limits(MoneyTypes.Terms memory terms) private pure returns (MoneyTypes.Limits memory) {
        return MoneyTypes.Limits({
            maxMicroPerKwh: terms.maxMicroPerKwh,
            maxMicroPerHour: terms.maxMicroPerHour,
            maxFlatMicro: terms.maxFlatMicro,
            ratedWatts: terms.ratedWatts,
            latestEndS: terms.latestEndS,
            stopGraceS: terms.stopGraceS
        });
    }

    function _hash(MoneyTypes.MeteredCharge memory charge) private pure returns (bytes32) {
        return keccak256(abi.encode(MoneyTypes.METERED_CHARGE_TYPEHASH, charge));
    }
}
