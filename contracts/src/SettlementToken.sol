// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title Money a payment provider holds, as a token: one micro-unit here for one micro-unit there.
/// @notice Minted only against a provider's receipt, each used once, and never more a UTC day than a cap that another
/// key sets; burned on payout. Total supply = minted - paid out, to be compared with the provider's float.
contract SettlementToken is ERC20, ERC20Permit {
    /// @notice What was minted on one UTC day, in one slot.
    struct Day {
        uint64 number; // days since 1970-01-01
        uint128 mintedMicro;
    }

    address public minter; // the payment service: mints
    address public capKeeper; // another key: limits what a stolen minter can do
    uint128 public dailyCapMicro;
    Day public lastDay;
    mapping(bytes32 receiptId => bool) public receiptUsed;

    event Minted(bytes32 indexed receiptId, address indexed to, uint128 amountMicro);
    event PaidOut(bytes32 indexed payoutId, address indexed from, uint128 amountMicro);
    event DailyCapChanged(uint128 oldCapMicro, uint128 newCapMicro);
    event MinterHandedOver(address indexed oldMinter, address indexed newMinter);
    event CapKeeperHandedOver(address indexed oldCapKeeper, address indexed newCapKeeper);

    error NotMinter(address sender, address minter);
    error NotCapKeeper(address sender, address capKeeper);
    error KeysMustDiffer(address minter, address capKeeper);
    error ReceiptUsed(bytes32 receiptId);
    error DailyCapReached(uint256 wouldBeMicro, uint128 capMicro);

    constructor(
        string memory name_,
        string memory symbol_,
        address minter_,
        address capKeeper_,
        uint128 dailyCapMicro_
    ) ERC20(name_, symbol_) ERC20Permit(name_) {
        _requireTwoKeys(minter_, capKeeper_);
        minter = minter_;
        capKeeper = capKeeper_;
        dailyCapMicro = dailyCapMicro_;
    }

    /// @return 6: every amount is in micro-units.
    function decimals() public pure override returns (uint8) {
        return 6;
    }

    /// @notice Mints against one receipt of the payment provider.
    /// @param receiptId Hash of the provider's receipt; used once, for ever.
    function mint(bytes32 receiptId, address to, uint128 amountMicro) external {
        if (msg.sender != minter) revert NotMinter(msg.sender, minter);
        if (receiptUsed[receiptId]) revert ReceiptUsed(receiptId);
        receiptUsed[receiptId] = true;

        uint64 today = uint64(block.timestamp / 1 days);
        uint256 mintedMicro = uint256(lastDay.number == today ? lastDay.mintedMicro : 0) + amountMicro;
        if (mintedMicro > dailyCapMicro) revert DailyCapReached(mintedMicro, dailyCapMicro);
        lastDay = Day({number: today, mintedMicro: uint128(mintedMicro)});

        _mint(to, amountMicro);
        emit Minted(receiptId, to, amountMicro);
    }

    /// @notice Burns tokens of the caller, for whom the provider pays the same amount out.
    /// @param payoutId Hash of the payout order; it names the other half in the provider's books.
    function payOut(bytes32 payoutId, uint128 amountMicro) external {
        _burn(msg.sender, amountMicro);
        emit PaidOut(payoutId, msg.sender, amountMicro);
    }

    /// @notice Sets how much may be minted in one UTC day; zero stops minting.
    function setDailyCap(uint128 newCapMicro) external {
        if (msg.sender != capKeeper) revert NotCapKeeper(msg.sender, capKeeper);
        emit DailyCapChanged(dailyCapMicro, newCapMicro);
        dailyCapMicro = newCapMicro;
    }

    /// @notice Moves the minter's role to another key. Only the minter may, and never to the cap keeper.
    function handOverMinter(address newMinter) external {
        if (msg.sender != minter) revert NotMinter(msg.sender, minter);
        _requireTwoKeys(newMinter, capKeeper);
        emit MinterHandedOver(minter, newMinter);
        minter = newMinter;
    }

    /// @notice Moves the cap keeper's role to another key. Only the cap keeper may, and never to the minter.
    function handOverCapKeeper(address newCapKeeper) external {
        if (msg.sender != capKeeper) revert NotCapKeeper(msg.sender, capKeeper);
        _requireTwoKeys(minter, newCapKeeper);
        emit CapKeeperHandedOver(capKeeper, newCapKeeper);
        capKeeper = newCapKeeper;
    }

    function _requireTwoKeys(address minter_, address capKeeper_) private pure {
        if (minter_ == capKeeper_) revert KeysMustDiffer(minter_, capKeeper_);
    }
}
