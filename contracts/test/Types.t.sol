// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {ClaimRules, Refusal} from "../src/ClaimRules.sol";
import {MoneyTypes} from "../src/MoneyTypes.sol";
import {Session, SessionView, Sessions} from "../src/Session.sol";
import {Cheats} from "./Cheats.sol";

/// @title Opens the libraries' inside to calls.
contract Inside {
    using MoneyTypes for MoneyTypes.Terms;

    function hashTerms(MoneyTypes.Terms calldata terms) external pure returns (bytes32) {
        return terms.hashTerms();
    }

    function hashPayment(MoneyTypes.Payment calldata payment) external pure returns (bytes32) {
        return MoneyTypes.hashPayment(payment);
    }

    function hashMeteredCharge(MoneyTypes.MeteredCharge calldata charge) external pure returns (bytes32) {
        return MoneyTypes.hashMeteredCharge(charge);
    }

    function limitsOf(MoneyTypes.Terms calldata terms) external pure returns (MoneyTypes.Limits memory) {
        return terms.limitsOf();
    }

    function meteredKey(bytes32 session, address payee, address signer, MoneyTypes.Limits calldata limits)
        external
        pure
        returns (bytes32)
    {
        return MoneyTypes.meteredKey(session, payee, signer, limits);
    }

    function checkMetered(
        Session session,
        uint256 amountMicro,
        MoneyTypes.MeteredCharge calldata charge,
        MoneyTypes.Limits calldata limits
    ) external view returns (Refusal, uint256, uint256) {
        return ClaimRules.checkMetered(session, amountMicro, charge, limits);
    }
}

/// @title The hashes that copy calldata are the plain ones, the packed session is what was put in, the bounds are tight.
contract TypesTest is Cheats {
    Inside private _inside;

    function setUp() external {
        _inside = new Inside();
        vm.warp(1_900_000_000);
    }

    function testFuzz_hashes_are_those_of_abi_encode(
        MoneyTypes.Terms calldata terms,
        MoneyTypes.Payment calldata payment,
        MoneyTypes.MeteredCharge calldata charge
    ) external view {
        same(_inside.hashTerms(terms), keccak256(abi.encode(MoneyTypes.TERMS_TYPEHASH, terms)), "terms");
        same(_inside.hashPayment(payment), keccak256(abi.encode(MoneyTypes.PAYMENT_TYPEHASH, payment)), "payment");
        same(
            _inside.hashMeteredCharge(charge),
            keccak256(abi.encode(MoneyTypes.METERED_CHARGE_TYPEHASH, charge)),
            "metered charge"
        );
    }

    function testFuzz_keys_are_those_of_abi_encode(bytes32 session, MoneyTypes.Terms calldata terms) external view {
        MoneyTypes.Limits memory limits = _inside.limitsOf(terms);
        same(limits.maxMicroPerKwh, terms.maxMicroPerKwh, "maxMicroPerKwh");
        same(limits.maxMicroPerHour, terms.maxMicroPerHour, "maxMicroPerHour");
        same(limits.maxFlatMicro, terms.maxFlatMicro, "maxFlatMicro");
        same(limits.ratedWatts, terms.ratedWatts, "ratedWatts");
        same(limits.latestEndS, terms.latestEndS, "latestEndS");
        same(limits.stopGraceS, terms.stopGraceS, "stopGraceS");
        same(
            _inside.meteredKey(session, terms.payee, terms.signer, limits),
            keccak256(abi.encode(session, terms.payee, terms.signer, limits)),
            "metered key"
        );
        same(
            MoneyTypes.paidKey(session, terms.payee, terms.signer),
            keccak256(abi.encode(session, terms.payee, terms.signer)),
            "paid key"
        );
    }

    function testFuzz_a_session_keeps_every_member(
        uint64 lock,
        uint64 lock2,
        uint64 claimed,
        uint64 claimed2,
        uint40 openedAtS,
        uint40 requestedAtS,
        uint40 requestedBlock
    ) external {
        vm.warp(openedAtS);
        Session session = Sessions.create(lock).withClaimed(claimed);
        _check(session, lock, claimed, openedAtS, 0, 0, false);
        session = session.withLock(lock2);
        _check(session, lock2, claimed, openedAtS, 0, 0, false);
        vm.warp(requestedAtS);
        vm.roll(requestedBlock);
        session = session.withCloseRequest();
        _check(session, lock2, claimed, openedAtS, requestedAtS, requestedBlock, false);
        session = session.withClaimed(claimed2);
        _check(session, lock2, claimed2, openedAtS, requestedAtS, requestedBlock, false);
        session = session.asClosed();
        _check(session, lock2, claimed2, openedAtS, requestedAtS, requestedBlock, true);
    }

    /// @notice At each bound a charge passes, one above it does not; whatever the terms.
    function testFuzz_bounds_are_tight(MoneyTypes.Limits memory limits, uint256 openedAgoS, uint256 seed) external {
        uint256 nowS = block.timestamp;
        openedAgoS = between(openedAgoS, 0, 62 days);
        limits.latestEndS = uint64(between(limits.latestEndS, nowS - openedAgoS + 1, nowS - openedAgoS + 62 days));
        vm.warp(nowS - openedAgoS);
        Session session = Sessions.create(type(uint64).max);
        vm.warp(nowS);
        uint256 mostS = (limits.latestEndS < nowS ? limits.latestEndS : nowS) - (nowS - openedAgoS);
        uint256 mostEnergy = limits.ratedWatts * mostS * 1000 / 3600;
        MoneyTypes.MeteredCharge memory charge;
        charge.elapsedS = uint64(between(seed, 0, mostS));
        charge.energyMilliwattHours = uint64(between(seed >> 64, 0, mostEnergy));
        uint256 most = uint256(limits.maxMicroPerKwh) * charge.energyMilliwattHours / 1_000_000
            + uint256(limits.maxMicroPerHour) * charge.elapsedS / 3600 + limits.maxFlatMicro;

        _refused(session, most, charge, limits, Refusal.None);
        _refused(session, most + 1, charge, limits, Refusal.AmountBeyondCeilings);
        (uint64 elapsedS, uint64 energy) = (charge.elapsedS, charge.energyMilliwattHours);
        charge.elapsedS = uint64(mostS);
        _refused(session, 0, charge, limits, Refusal.None);
        charge.elapsedS = uint64(mostS + 1);
        _refused(session, 0, charge, limits, Refusal.ElapsedBeyondTime);
        charge.elapsedS = elapsedS;
        charge.energyMilliwattHours = uint64(mostEnergy);
        _refused(session, 0, charge, limits, Refusal.None);
        charge.energyMilliwattHours = uint64(mostEnergy + 1);
        _refused(session, 0, charge, limits, Refusal.EnergyBeyondRating);
        charge.energyMilliwattHours = energy;
    }

    function _refused(
        Session session,
        uint256 amountMicro,
        MoneyTypes.MeteredCharge memory charge,
        MoneyTypes.Limits memory limits,
        Refusal wanted
    ) private view {
        (Refusal refusal,,) = _inside.checkMetered(session, amountMicro, charge, limits);
        same(uint256(refusal), uint256(wanted), "refusal");
    }

    function _check(
        Session session,
        uint64 lock,
        uint64 claimed,
        uint40 openedAtS,
        uint40 requestedAtS,
        uint40 requestedBlock,
        bool closed
    ) private pure {
        SessionView memory got = session.expand();
        same(got.lockMicro, lock, "lock");
        same(got.claimedMicro, claimed, "claimed");
        same(got.openedAtS, openedAtS, "opened");
        same(got.closeRequestedAtS, requestedAtS, "requested");
        same(got.closeRequestedBlock, requestedBlock, "requested block");
        holds(got.closed == closed, "closed");
    }
}
