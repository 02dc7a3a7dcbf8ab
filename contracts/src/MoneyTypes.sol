// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

/// @title The messages that move money, and their EIP-712 struct hashes.
/// @notice Amounts are micro-units of the settlement token (6 decimals), energy is milliwatt-hours, time is UTC seconds.
library MoneyTypes {
    /// @notice What payer and payee agreed. A session's id is the money-domain digest of its terms.
    struct Terms {
        address payer; // whose free balance is locked
        address payee; // who is credited by claims
        address refundTo; // whose free balance gets what was not used
        bytes32 pointCommitment; // keccak(device, channel, meterKey, salt)
        bool metered; // false: signer is the payer's pay key; true: the agent's charge key
        address signer; // who signs amounts
        bytes32 tariffHash;
        bytes32 agreementHash;
        uint64 maxMicroPerKwh; // ceiling, tax included
        uint64 maxMicroPerHour; // ceiling, tax included
        uint64 maxFlatMicro; // ceiling of all flat amounts, minimum price and tax included
        uint32 ratedWatts; // most the connection can deliver
        uint64 latestEndS; // metered time ends here at the latest
        uint32 stopGraceS; // metered time allowed after a request to close
        uint32 closeDelayS; // seconds between request and close
        uint32 closeDelayBlocks; // blocks between request and close
        bytes32 salt;
    }

    /// @notice The terms a metered claim is checked against.
    struct Limits {
        uint64 maxMicroPerKwh;
        uint64 maxMicroPerHour;
        uint64 maxFlatMicro;
        uint32 ratedWatts;
        uint64 latestEndS;
        uint32 stopGraceS;
    }

    /// @notice The pay key's word.
    struct Payment {
        bytes32 session;
        uint64 amountMicro; // cumulative
        bytes32 frame; // the measurement the signer consented to; not checked here
    }

    /// @notice The charge key's word; all quantities since the session opened.
    struct MeteredCharge {
        bytes32 session;
        uint64 amountMicro; // cumulative
        uint64 energyMilliwattHours; // cumulative
        uint64 elapsedS; // cumulative
        bytes32 frame; // the measurement the amount was computed from; not checked here
    }

    /// @notice One row of a batch: a payment with what the terms say about it, and the signature.
    struct PaidClaim {
        Payment payment;
        address signer; // as in the terms
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    /// @notice One row of a batch: a metered charge with what the terms say about it, and the signature.
    struct MeteredClaim {
        MeteredCharge charge;
        address signer; // as in the terms
        Limits limits; // as in the terms
        uint8 v;
        bytes32 r;
        bytes32 s;
    }

    bytes32 internal constant TERMS_TYPEHASH = keccak256(
        "Terms(address payer,address payee,address refundTo,bytes32 pointCommitment,bool metered,address signer,bytes32 tariffHash,bytes32 agreementHash,uint64 maxMicroPerKwh,uint64 maxMicroPerHour,uint64 maxFlatMicro,uint32 ratedWatts,uint64 latestEndS,uint32 stopGraceS,uint32 closeDelayS,uint32 closeDelayBlocks,bytes32 salt)"
    );
    bytes32 internal constant OPEN_TYPEHASH = keccak256("Open(bytes32 session,uint64 lockMicro,uint64 deadlineS)");
    bytes32 internal constant TOP_UP_TYPEHASH =
        keccak256("TopUp(bytes32 session,uint64 totalLockMicro,uint64 deadlineS)");
    bytes32 internal constant PAYMENT_TYPEHASH = keccak256("Payment(bytes32 session,uint64 amountMicro,bytes32 frame)");
    bytes32 internal constant METERED_CHARGE_TYPEHASH = keccak256(
        "MeteredCharge(bytes32 session,uint64 amountMicro,uint64 energyMilliwattHours,uint64 elapsedS,bytes32 frame)"
    );
    bytes32 internal constant REQUEST_CLOSE_TYPEHASH = keccak256("RequestClose(bytes32 session,uint64 deadlineS)");
    bytes32 internal constant WITHDRAW_TYPEHASH =
        keccak256("Withdraw(address account,address to,uint128 amountMicro,uint256 nonce,uint64 deadlineS)");

    // The three hashes below stand on hot paths and copy their words from calldata whole. Solidity checks the range of a
    // member when it is read: all that decides a claim is read; of the rest of the terms, a member out of its range
    // only makes another id, which nobody else's signature names.

    function hashTerms(Terms calldata terms) internal pure returns (bytes32 hash) {
        bytes32 typeHash = TERMS_TYPEHASH;
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, typeHash)
            calldatacopy(add(start, 32), terms, 544) // 17 words
            hash := keccak256(start, 576)
        }
    }

    function hashPayment(Payment calldata payment) internal pure returns (bytes32 hash) {
        bytes32 typeHash = PAYMENT_TYPEHASH;
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, typeHash)
            calldatacopy(add(start, 32), payment, 96) // 3 words
            hash := keccak256(start, 128)
        }
    }

    function hashMeteredCharge(MeteredCharge calldata charge) internal pure returns (bytes32 hash) {
        bytes32 typeHash = METERED_CHARGE_TYPEHASH;
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, typeHash)
            calldatacopy(add(start, 32), charge, 160) // 5 words
            hash := keccak256(start, 192)
        }
    }

    // The storage key of a session is its id together with every term a claim is checked against. The id binds all the
    // terms already; folding these few in again lets a claim bring them as calldata, at 16 gas a byte, instead of
    // reading them from three slots at 2,100 each. A row that names a wrong payee, signer or limit finds an empty slot,
    // and so does a payment-mode session taken for a metered one or the reverse: their keys differ in length.

    function paidKey(bytes32 session, address payee, address signer) internal pure returns (bytes32 key) {
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, session)
            mstore(add(start, 32), payee)
            mstore(add(start, 64), signer)
            key := keccak256(start, 96)
        }
    }

    function meteredKey(bytes32 session, address payee, address signer, Limits calldata limits)
        internal
        pure
        returns (bytes32 key)
    {
        assembly ("memory-safe") {
            let start := mload(0x40)
            mstore(start, session)
            mstore(add(start, 32), payee)
            mstore(add(start, 64), signer)
            calldatacopy(add(start, 96), limits, 192) // 6 words
            key := keccak256(start, 288)
        }
    }

    function limitsOf(Terms calldata terms) internal pure returns (Limits calldata limits) {
        assembly ("memory-safe") {
            limits := add(terms, 256) // members 8 to 13 of the terms are the limits, in order
        }
    }

    function hashOpen(bytes32 session, uint64 lockMicro, uint64 deadlineS) internal pure returns (bytes32) {
        return keccak256(abi.encode(OPEN_TYPEHASH, session, lockMicro, deadlineS));
    }

    function hashTopUp(bytes32 session, uint64 totalLockMicro, uint64 deadlineS) internal pure returns (bytes32) {
        return keccak256(abi.encode(TOP_UP_TYPEHASH, session, totalLockMicro, deadlineS));
    }

    function hashRequestClose(bytes32 session, uint64 deadlineS) internal pure returns (bytes32) {
        return keccak256(abi.encode(REQUEST_CLOSE_TYPEHASH, session, deadlineS));
    }

    function hashWithdraw(address account, address to, uint128 amountMicro, uint256 nonce, uint64 deadlineS)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(WITHDRAW_TYPEHASH, account, to, amountMicro, nonce, deadlineS));
    }
}
