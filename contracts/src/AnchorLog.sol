// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EvidenceTypes} from "./EvidenceTypes.sol";
import {HashChain} from "./HashChain.sol";

/// @title One hash chain for each anchorer: proof that a root existed when its block was made.
/// @notice A head has one successor. The log has no owner, no roles and no state but the heads; it holds no reading.
contract AnchorLog {
    /// @notice The head of each anchorer's chain; zero before its first anchor.
    mapping(address anchorer => bytes32 head) public heads;

    /// @notice `head` is the new head: keccak(old head, root, block time in UTC seconds as uint64).
    event Anchored(address indexed anchorer, bytes32 root, bytes32 head);

    /// @notice The caller built on another head than the one that stands: its chain has moved.
    error HeadMoved(bytes32 given, bytes32 standing);

    /// @notice Extends the caller's own chain by an epoch root.
    /// @param head The head this link extends. A transaction made for an older head cannot apply.
    /// @param root Root of the epoch tree (leaves: frame digests, sorted).
    function anchor(bytes32 head, bytes32 root) external {
        bytes32 standing = heads[msg.sender];
        if (head != standing) revert HeadMoved(head, standing);
        _extend(msg.sender, head, root);
    }

    /// @notice Anchors one frame on the chain of the meter key that signed it. Open to anyone, so nobody can silence
    /// a meter, and it touches no other head. A frame sent twice makes two links, both true.
    /// @param signature 65 bytes r, s, v by the meter key; low s only.
    function anchorFrame(EvidenceTypes.Frame calldata frame, bytes calldata signature) external {
        bytes32 digest = EvidenceTypes.digest(frame);
        address meterKey = ECDSA.recover(digest, signature);
        _extend(meterKey, heads[meterKey], digest);
    }

    function _extend(address anchorer, bytes32 head, bytes32 root) private {
        bytes32 next = HashChain.extend(head, root);
        heads[anchorer] = next;
        emit Anchored(anchorer, root, next);
    }
}
