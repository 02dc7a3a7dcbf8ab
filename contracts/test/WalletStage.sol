// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {DeviceWallet} from "../src/DeviceWallet.sol";
import {DeviceWalletFactory} from "../src/DeviceWalletFactory.sol";
import {EnergyEscrow} from "../src/EnergyEscrow.sol";
import {MoneyTypes} from "../src/MoneyTypes.sol";
import {ProviderBook} from "../src/ProviderBook.sol";
import {SettlementToken} from "../src/SettlementToken.sol";
import {TaskEscrow} from "../src/TaskEscrow.sol";
import {TaskTypes} from "../src/TaskTypes.sol";
import {WalletTypes} from "../src/WalletTypes.sol";
import {TrickyToken} from "./doubles/TrickyToken.sol";
import {Deployed} from "./Deployed.sol";

/// @title Two wallets of one owner on the shipped contracts, over a token that can misbehave; terms, tasks and signatures
/// for them, right and wrong. Wallet 0 lists its providers, wallet 1 trusts the book.
abstract contract WalletStage is Deployed {
    uint256 internal constant OWNER_KEY = 100;
    uint256 internal constant PAY_KEYS = 200; // and some above
    address internal constant RECEIVER = address(0x4ec);
    uint64 internal constant LATE = type(uint64).max;

    TrickyToken public immutable token;
    EnergyEscrow public immutable escrow;
    TaskEscrow public immutable taskEscrow;
    ProviderBook public immutable book;
    DeviceWallet[2] public wallets;
    WalletTypes.Policy[2] internal policies;
    mapping(address payKey => uint256) internal payKeyOf;

    constructor() {
        vm.warp(START_S);
        token = new TrickyToken(6);
        escrow = deployEscrow(SettlementToken(address(token)));
        taskEscrow = TaskEscrow(
            vm.deployCode("../chain/artifacts/TaskEscrow.json", abi.encode(address(token), GUARDIAN))
        );
        book = ProviderBook(vm.deployCode("../chain/artifacts/ProviderBook.json", abi.encode(address(this))));
        address implementation = vm.deployCode(
            "../chain/artifacts/DeviceWallet.json", abi.encode(address(escrow), address(taskEscrow), address(book))
        );
        DeviceWalletFactory factory = DeviceWalletFactory(
            vm.deployCode("../chain/artifacts/DeviceWalletFactory.json", abi.encode(implementation))
        );
        token.approve(address(escrow), type(uint256).max);
        book.admit(provider(2));
        for (uint256 w; w < 2; ++w) {
            wallets[w] = DeviceWallet(factory.create(bytes32(w + 1), vm.addr(OWNER_KEY)));
        }
    }

    function provider(uint256 index) public pure returns (address) {
        return address(uint160(0x900 + index % 4));
    }

    /// @dev Whether what `wrong` asks for is what an honest pay key would send.
    function honest(uint256 wrong) internal pure returns (bool) {
        return wrong % 8 < 5;
    }

    /// @dev 5: another key signs. 6: signed for the other wallet.
    function signFor(uint256 w, uint256 wrong, bytes32 structHash) internal view returns (bytes memory) {
        uint256 key = wrong % 8 == 5 ? OWNER_KEY : payKeyOf[policies[w].payKey];
        return signed(key, moneyDigest(address(wallets[wrong % 8 == 6 ? 1 - w : w]), structHash));
    }

    /// @dev 7: a wider policy than the owner's.
    function policyFor(uint256 w, uint256 wrong) internal view returns (WalletTypes.Policy memory policy) {
        policy = policies[w];
        if (wrong % 8 == 7) policy.maxDayMicro += 1;
    }

    function newPolicy(uint256 w, uint256 seed)
        internal
        returns (WalletTypes.Policy memory policy, bytes memory call_)
    {
        uint256 key = PAY_KEYS + (seed >> 8) % 3;
        policy.payKey = vm.addr(key);
        payKeyOf[policy.payKey] = key;
        policy.providers = new address[](w == 0 ? 2 : 0);
        if (w == 0) (policy.providers[0], policy.providers[1]) = (provider(0), provider(1));
        policy.maxMicroPerKwh = uint64(between(seed >> 16, 100, 200));
        policy.maxMicroPerHour = uint64(between(seed >> 32, 100, 200));
        policy.maxFlatMicro = uint64(between(seed >> 48, 100, 200));
        policy.maxSessionMicro = uint64(between(seed >> 64, 1, 1e7));
        policy.maxDayMicro = uint64(between(seed >> 96, 1, 4e7));
        policy.expiresAtS = uint64(block.timestamp + between(seed >> 128, 0, 10 days));
        call_ = abi.encodeCall(DeviceWallet.setPolicy, (policy));
    }

    /// @dev Mostly terms the policy allows; `seed` now and then names another payee, key or refund, or a higher ceiling.
    function makeTerms(uint256 w, uint256 seed, uint256 wrong, uint256 salt)
        internal
        view
        returns (MoneyTypes.Terms memory terms)
    {
        terms.payer = address(wallets[wrong % 64 == 32 ? 1 - w : w]);
        terms.payee = provider((seed >> 8) % 8 < 6 ? (w == 0 ? seed >> 16 & 1 : 2) : seed >> 16);
        terms.refundTo = (seed >> 24) % 16 == 0 ? RECEIVER : address(wallets[w]);
        terms.signer = (seed >> 32) % 16 == 0 ? vm.addr(PAY_KEYS) : policies[w].payKey;
        terms.maxMicroPerKwh = uint64(between(seed >> 40, 0, 110));
        terms.maxMicroPerHour = uint64(between(seed >> 56, 0, 110));
        terms.maxFlatMicro = uint64(between(seed >> 72, 0, 110));
        terms.ratedWatts = 1000;
        terms.latestEndS = uint64(block.timestamp + between(seed >> 88, 1, 4 days));
        terms.closeDelayS = uint32(between(seed >> 104, 0, 1 hours));
        terms.salt = bytes32(salt);
    }

    function makeTask(uint256 w, uint256 seed, uint64 price, uint256 salt)
        internal
        view
        returns (TaskTypes.Task memory task)
    {
        task.requester = address(wallets[w]);
        task.node = provider((seed >> 8) % 8 < 6 ? (w == 0 ? seed >> 16 & 1 : 2) : seed >> 16);
        task.refundTo = (seed >> 24) % 16 == 0 ? RECEIVER : address(wallets[w]);
        task.requesterKey = policies[w].payKey;
        task.priceMicro = price;
        task.deadlineS = uint64(block.timestamp + between(seed >> 88, 1, 4 days));
        task.proof = TaskTypes.RELEASE;
        task.salt = bytes32(salt);
    }

    function termsFit(uint256 w, MoneyTypes.Terms memory terms) internal view returns (bool) {
        return terms.payer == address(wallets[w]) && terms.refundTo == address(wallets[w])
            && terms.signer == policies[w].payKey && terms.maxMicroPerKwh <= policies[w].maxMicroPerKwh
            && terms.maxMicroPerHour <= policies[w].maxMicroPerHour && terms.maxFlatMicro <= policies[w].maxFlatMicro;
    }

    function providerFits(uint256 w, address payee) internal view returns (bool) {
        return w == 0 ? payee == provider(0) || payee == provider(1) : book.isRegistered(payee);
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }
}
