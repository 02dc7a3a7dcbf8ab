// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {MoneyTypes} from "./MoneyTypes.sol";
import {Session} from "./Session.sol";

/// @notice Why a row of a batch was not paid.
enum Refusal {
    None,
    UnknownSession, // never opened, or the row names another payee, signer or limits than the terms
    SessionClosed,
    NothingNew, // value: amount; bound: claimed so far
    AboveLock, // value: amount; bound: lock
    ElapsedBeyondTime, // value: elapsed seconds; bound: seconds that passed on the chain
    EnergyBeyondRating, // value: milliwatt-hours; bound: rated power over those seconds
    AmountBeyondCeilings, // value: amount; bound: what the ceilings allow
    SignatureRefused
}

/// @title What a claim must satisfy, apart from its signature. Value and bound say by how much a row missed.
library ClaimRules {
    uint256 private constant MILLIWATT_HOURS_PER_KWH = 1_000_000;
    uint256 private constant SECONDS_PER_HOUR = 3600;

    /// @notice Holds for both kinds of claim: an open session, and claimed < amount <= lock.
    function checkAmount(Session session, uint256 amountMicro)
        internal
        pure
        returns (Refusal, uint256 value, uint256 bound)
    {
        if (session.openedAtS() == 0) return (Refusal.UnknownSession, 0, 0);
        if (session.closed()) return (Refusal.SessionClosed, 0, 0);
        if (amountMicro <= session.claimedMicro()) return (Refusal.NothingNew, amountMicro, session.claimedMicro());
        if (amountMicro > session.lockMicro()) return (Refusal.AboveLock, amountMicro, session.lockMicro());
        return (Refusal.None, 0, 0);
    }

    /// @notice Holds for metered claims too: time, energy and amount within what chain time, rating and ceilings allow.
    /// @dev Nothing here can overflow: every factor is below 2^64, so every product is below 2^129.
    function checkMetered(
        Session session,
        uint256 amountMicro,
        MoneyTypes.MeteredCharge calldata charge,
        MoneyTypes.Limits calldata limits
    ) internal view returns (Refusal, uint256 value, uint256 bound) {
        unchecked {
            uint256 elapsedS = charge.elapsedS;
            uint256 mostS = meteredSeconds(session, limits.latestEndS, limits.stopGraceS);
            if (elapsedS > mostS) return (Refusal.ElapsedBeyondTime, elapsedS, mostS);

            uint256 energy = charge.energyMilliwattHours;
            uint256 mostEnergy = uint256(limits.ratedWatts) * mostS * 1000 / SECONDS_PER_HOUR;
            if (energy > mostEnergy) return (Refusal.EnergyBeyondRating, energy, mostEnergy);

            // Each product rounded down: the tariff rounds every line down, so no honest bill is above their sum.
            uint256 mostMicro = uint256(limits.maxMicroPerKwh) * energy / MILLIWATT_HOURS_PER_KWH
                + uint256(limits.maxMicroPerHour) * elapsedS / SECONDS_PER_HOUR + limits.maxFlatMicro;
            if (amountMicro > mostMicro) return (Refusal.AmountBeyondCeilings, amountMicro, mostMicro);
            return (Refusal.None, 0, 0);
        }
    }

    /// @return The seconds a session can have metered by now: from its opening to the first of now, its latest end,
    /// and its request to close plus the grace for stopping.
    /// @dev No underflow: a session is opened before its latest end, and not after now or its request to close.
    function meteredSeconds(Session session, uint256 latestEndS, uint256 stopGraceS)
        internal
        view
        returns (uint256)
    {
        unchecked {
            uint256 endS = block.timestamp < latestEndS ? block.timestamp : latestEndS;
            if (session.closeRequestedAtS() != 0) {
                uint256 stopS = session.closeRequestedAtS() + stopGraceS;
                if (stopS < endS) endS = stopS;
            }
            return endS - session.openedAtS();
        }
    }
}
