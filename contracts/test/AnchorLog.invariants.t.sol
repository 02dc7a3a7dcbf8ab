// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {AnchorLog} from "../src/AnchorLog.sol";
import {EvidenceTypes} from "../src/EvidenceTypes.sol";
import {Deployed} from "./Deployed.sol";

/// @title Anchorers, and meters whose frames anyone sends, on right and wrong heads in any order.
contract AnchorHandler is Deployed {
    uint256 private constant ANCHORERS = 4;

    AnchorLog public immutable log;
    uint256 public links;
    uint256 public violations;
    mapping(address anchorer => bytes32) public headOf; // as recomputed here, link by link
    mapping(address anchorer => mapping(bytes32 head => bool)) private _succeeded;
    bytes32[] private _old; // heads that stood once

    constructor() {
        vm.warp(START_S);
        log = deployAnchors();
        _old.push(0);
    }

    function anchorer(uint256 seed) public pure returns (address) {
        return vm.addr(1 + seed % ANCHORERS);
    }

    function wait_(uint256 seconds_) external {
        vm.warp(block.timestamp + between(seconds_, 0, 600));
    }

    function anchor(uint256 who, bytes32 root, uint256 oldHead, bool current) external {
        address sender = anchorer(who);
        bytes32 head = current ? log.heads(sender) : _old[oldHead % _old.length];
        vm.prank(sender);
        log.anchor(head, root);
        _note(sender, head, root);
    }

    function anchorFrame(uint256 who, EvidenceTypes.Frame calldata frame) external {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version)"), keccak256("Wattproof Evidence"), keccak256("1")
            )
        );
        bytes32 structHash = keccak256(abi.encode(EvidenceTypes.FRAME_TYPEHASH, frame));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", domain, structHash));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(1 + who % ANCHORERS, digest);
        log.anchorFrame(frame, abi.encodePacked(r, s, v));
        _note(anchorer(who), headOf[anchorer(who)], digest);
    }

    function _note(address who, bytes32 head, bytes32 root) private {
        if (_succeeded[who][head]) ++violations;
        _succeeded[who][head] = true;
        headOf[who] = keccak256(abi.encodePacked(head, root, uint64(block.timestamp)));
        _old.push(headOf[who]);
        ++links;
    }
}

/// @title What holds of the log after any calls by anyone.
contract AnchorLogInvariants is Deployed {
    AnchorHandler private _handler;

    function setUp() external {
        _handler = new AnchorHandler();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    function invariant_a_head_has_one_successor() external view {
        same(_handler.violations(), 0, "heads with two successors");
    }

    function invariant_heads_are_the_links_recomputed() external view {
        for (uint256 i; i < 4; ++i) {
            address who = _handler.anchorer(i);
            same(_handler.log().heads(who), _handler.headOf(who), "head");
        }
    }
}
