// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title Who sells power here, and which offers they stand by.
/// @notice A registrar admits providers (by the account that is paid); anyone relays an offer that its provider signed, kept
/// by its hash. The document itself is served elsewhere. Nothing here moves money, and a running session does not look here.
contract ProviderBook is AccessControl, EIP712 {
    bytes32 public constant REGISTRAR_ROLE = keccak256("REGISTRAR_ROLE");
    bytes32 private constant OFFER_TYPEHASH = keccak256(
        "Offer(address provider,bytes32 documentHash,uint64 number,uint64 validFromS,uint64 validUntilS)"
    );

    /// @notice What a provider signs; its hash is the digest of it.
    struct Offer {
        address provider; // who is paid
        bytes32 documentHash;
        uint64 number; // rises with every offer; of two that overlap at a point, the higher counts
        uint64 validFromS; // UTC seconds
        uint64 validUntilS; // UTC seconds; at this second it no longer stands
    }

    /// @notice What stays of an offer. `provider` zero: never published.
    struct Published {
        address provider;
        uint64 validFromS;
        uint64 validUntilS;
        uint64 withdrawnAtS; // UTC seconds; zero: not withdrawn
    }

    bytes32 private constant WITHDRAW_OFFER_TYPEHASH = keccak256("WithdrawOffer(bytes32 offerHash)");

    mapping(address provider => bool) public isRegistered;
    mapping(address provider => uint64) public lastNumberOf; // of the latest offer published
    mapping(bytes32 offerHash => Published) public offerOf;

    event ProviderAdmitted(address indexed provider);
    event ProviderDismissed(address indexed provider);
    event OfferPublished(
        address indexed provider, bytes32 indexed offerHash, uint64 number, uint64 validFromS, uint64 validUntilS
    );
    event OfferWithdrawn(address indexed provider, bytes32 indexed offerHash);

    error ProviderZero();
    error ProviderKnown(address provider);
    error ProviderUnknown(address provider);
    error ValidityRefused(uint64 validFromS, uint64 validUntilS, uint256 nowS);
    error NumberMustRise(address provider, uint64 number, uint64 standing);
    error OfferUnknown(bytes32 offerHash);
    error NotOfferOf(address sender, bytes32 offerHash);
    error OfferAlreadyWithdrawn(bytes32 offerHash);
    error SignatureRefused(address account, bytes32 digest);

    /// @param admin Grants and revokes the registrar's role, and holds it at first.
    constructor(address admin) EIP712("Wattproof Money", "1") {
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(REGISTRAR_ROLE, admin);
    }

    /// @notice Admits a provider: the account that sessions pay.
    function admit(address provider) external onlyRole(REGISTRAR_ROLE) {
        if (provider == address(0)) revert ProviderZero();
        if (isRegistered[provider]) revert ProviderKnown(provider);
        isRegistered[provider] = true;
        emit ProviderAdmitted(provider);
    }

    /// @notice Takes a provider off the book: wallets that trust the book open nothing new with it.
    function dismiss(address provider) external onlyRole(REGISTRAR_ROLE) {
        if (!isRegistered[provider]) revert ProviderUnknown(provider);
        isRegistered[provider] = false;
        emit ProviderDismissed(provider);
    }

    /// @notice Publishes an offer on its provider's signature (EOA or ERC-1271), whoever sends it. Once: its number rises.
    function publish(Offer calldata offer, bytes calldata signature) external {
        if (!isRegistered[offer.provider]) revert ProviderUnknown(offer.provider);
        if (offer.validUntilS <= offer.validFromS || offer.validUntilS <= block.timestamp) {
            revert ValidityRefused(offer.validFromS, offer.validUntilS, block.timestamp);
        }
        uint64 lastNumber = lastNumberOf[offer.provider];
        if (offer.number <= lastNumber) revert NumberMustRise(offer.provider, offer.number, lastNumber);
        lastNumberOf[offer.provider] = offer.number;
        bytes32 offerHash = _hashTypedDataV4(keccak256(abi.encode(OFFER_TYPEHASH, offer)));
        if (!SignatureChecker.isValidSignatureNow(offer.provider, offerHash, signature)) {
            revert SignatureRefused(offer.provider, offerHash);
        }
        offerOf[offerHash] = Published(offer.provider, offer.validFromS, offer.validUntilS, 0);
        emit OfferPublished(offer.provider, offerHash, offer.number, offer.validFromS, offer.validUntilS);
    }

    /// @notice Takes an offer of the caller back, for ever. Also by a provider that was dismissed.
    function withdraw(bytes32 offerHash) external {
        address provider = offerOf[offerHash].provider;
        if (provider != msg.sender) revert NotOfferOf(msg.sender, offerHash);
        _withdraw(offerHash, provider);
    }

    /// @notice Takes an offer back on its provider's signed `WithdrawOffer`, whoever sends it.
    function withdrawBySignature(bytes32 offerHash, bytes calldata signature) external {
        address provider = offerOf[offerHash].provider;
        if (provider == address(0)) revert OfferUnknown(offerHash);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(WITHDRAW_OFFER_TYPEHASH, offerHash)));
        if (!SignatureChecker.isValidSignatureNow(provider, digest, signature)) {
            revert SignatureRefused(provider, digest);
        }
        _withdraw(offerHash, provider);
    }

    function _withdraw(bytes32 offerHash, address provider) private {
        if (offerOf[offerHash].withdrawnAtS != 0) revert OfferAlreadyWithdrawn(offerHash);
        offerOf[offerHash].withdrawnAtS = uint64(block.timestamp);
        emit OfferWithdrawn(provider, offerHash);
    }
}
