// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

/// @notice The part of forge's cheat codes that these tests use; the address is forge's own.
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function warp(uint256 timeS) external;
    function roll(uint256 blockNumber) external;
    function chainId(uint256 id) external;
    function prank(address sender) external;
    function etch(address target, bytes calldata code) external;
    function deployCode(string calldata path, bytes calldata arguments) external returns (address);
    function expectRevert(bytes calldata data) external;
    function exists(string calldata path) external view returns (bool);
    function readFile(string calldata path) external view returns (string memory);
    function readLine(string calldata path) external view returns (string memory);
    function closeFile(string calldata path) external;
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
    function parseJsonString(string calldata json, string calldata key) external pure returns (string memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonBool(string calldata json, string calldata key) external pure returns (bool);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key) external pure returns (bytes32[] memory);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function toString(uint256 value) external pure returns (string memory);
}

/// @title What every test contract starts from.
abstract contract Cheats {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    error Differ(string what, uint256 got, uint256 wanted);
    error Fails(string what);

    function same(uint256 got, uint256 wanted, string memory what) internal pure {
        if (got != wanted) revert Differ(what, got, wanted);
    }

    function same(bytes32 got, bytes32 wanted, string memory what) internal pure {
        if (got != wanted) revert Differ(what, uint256(got), uint256(wanted));
    }

    function atLeast(uint256 got, uint256 wanted, string memory what) internal pure {
        if (got < wanted) revert Differ(what, got, wanted);
    }

    function holds(bool condition, string memory what) internal pure {
        if (!condition) revert Fails(what);
    }

    /// @notice A fuzzed value brought into a range, its ends included.
    function between(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + value % (most - least + 1);
    }

    /// @notice What is signed for a contract of the money domain at `place` (EIP-712), written out apart from the product's own code.
    function moneyDigest(address place, bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Wattproof Money"),
                keccak256("1"),
                block.chainid,
                place
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
