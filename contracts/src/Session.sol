// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

/// @notice A session in one slot. From the lowest bit: lockMicro 64, claimedMicro 64, openedAtS 40,
/// closeRequestedAtS 40, closeRequestedBlock 40, closed 8. All zero: never opened.
/// @dev One word that is read once and written once: as a struct, a claim would cost 300 gas more.
type Session is uint256;

using Sessions for Session global;

/// @notice A session member by member, for readers.
struct SessionView {
    uint64 lockMicro; // reserved from the payer; only rises
    uint64 claimedMicro; // credited to the payee so far; never above the lock
    uint64 openedAtS; // UTC seconds; zero: never opened
    uint64 closeRequestedAtS; // UTC seconds; zero: not requested
    uint64 closeRequestedBlock;
    bool closed; // for ever: ids are tombstones
}

library Sessions {
    uint256 private constant CLAIMED = 64;
    uint256 private constant OPENED_AT = 128;
    uint256 private constant CLOSE_REQUESTED_AT = 168;
    uint256 private constant CLOSE_REQUESTED_BLOCK = 208;
    uint256 private constant CLOSED = 248;

    /// @return A session opened in this block.
    function create(uint64 lock) internal view returns (Session) {
        return Session.wrap(lock | block.timestamp << OPENED_AT);
    }

    function lockMicro(Session session) internal pure returns (uint64) {
        return uint64(Session.unwrap(session));
    }

    function claimedMicro(Session session) internal pure returns (uint64) {
        return uint64(Session.unwrap(session) >> CLAIMED);
    }

    function openedAtS(Session session) internal pure returns (uint256) {
        return uint40(Session.unwrap(session) >> OPENED_AT);
    }

    function closeRequestedAtS(Session session) internal pure returns (uint256) {
        return uint40(Session.unwrap(session) >> CLOSE_REQUESTED_AT);
    }

    function closeRequestedBlock(Session session) internal pure returns (uint256) {
        return uint40(Session.unwrap(session) >> CLOSE_REQUESTED_BLOCK);
    }

    function closed(Session session) internal pure returns (bool) {
        return Session.unwrap(session) >> CLOSED != 0;
    }

    function withLock(Session session, uint64 lock) internal pure returns (Session) {
        return Session.wrap(Session.unwrap(session) & ~uint256(type(uint64).max) | lock);
    }

    function withClaimed(Session session, uint64 claimed) internal pure returns (Session) {
        return Session.wrap(
            Session.unwrap(session) & ~(uint256(type(uint64).max) << CLAIMED) | uint256(claimed) << CLAIMED
        );
    }

    /// @return The session with its close requested in this block. It must not have been requested before.
    function withCloseRequest(Session session) internal view returns (Session) {
        return Session.wrap(
            Session.unwrap(session) | block.timestamp << CLOSE_REQUESTED_AT | block.number << CLOSE_REQUESTED_BLOCK
        );
    }

    function asClosed(Session session) internal pure returns (Session) {
        return Session.wrap(Session.unwrap(session) | 1 << CLOSED);
    }

    function expand(Session session) internal pure returns (SessionView memory) {
        return SessionView({
            lockMicro: lockMicro(session),
            claimedMicro: claimedMicro(session),
            openedAtS: uint64(openedAtS(session)),
            closeRequestedAtS: uint64(closeRequestedAtS(session)),
            closeRequestedBlock: uint64(closeRequestedBlock(session)),
            closed: closed(session)
        });
    }
}
