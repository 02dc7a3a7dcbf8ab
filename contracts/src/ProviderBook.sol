// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";

/// @title Who sells power here, and which offers they stand by.
/// @notice A registrar admits providers (by the account that is paid); a provider publishes its offers by their hash. The
/// offers themselves are served elsewhere. Nothing here moves money, and a running session does not look here.
contract ProviderBook is AccessControl {
    bytes32 public constant REGISTRAR_ROLE = keccak256("REGISTRAR_ROLE");

    /// @notice An offer's hash published by one provider. `validUntilS` zero: never published.
    struct Offer {
        uint64 validFromS; // UTC seconds
        uint64 validUntilS; // UTC seconds; at this second it no longer stands
        bool withdrawn; // for ever
    }

    mapping(address provider => bool) public isRegistered;
    /// @notice By provider and hash, so that nobody can take another's hash first.
    mapping(address provider => mapping(bytes32 offer => Offer)) public offers;

    event ProviderAdmitted(address indexed provider);
    event ProviderDismissed(address indexed provider);
    event OfferPublished(address indexed provider, bytes32 indexed offer, uint64 validFromS, uint64 validUntilS);
    event OfferWithdrawn(address indexed provider, bytes32 indexed offer);

    error ProviderZero();
    error ProviderKnown(address provider);
    error ProviderUnknown(address provider);
    error ValidityRefused(uint64 validFromS, uint64 validUntilS, uint256 nowS);
    error OfferKnown(address provider, bytes32 offer);
    error OfferUnknown(address provider, bytes32 offer);
    error OfferAlreadyWithdrawn(address provider, bytes32 offer);

    /// @param admin Grants and revokes the registrar's role, and holds it at first.
    constructor(address admin) {
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

    /// @notice Takes a provider off the book: no offer of it stands, and no wallet that trusts the book opens with it.
    function dismiss(address provider) external onlyRole(REGISTRAR_ROLE) {
        if (!isRegistered[provider]) revert ProviderUnknown(provider);
        isRegistered[provider] = false;
        emit ProviderDismissed(provider);
    }

    /// @notice Publishes an offer of the caller, once.
    /// @param offer The offer's hash.
    function publish(bytes32 offer, uint64 validFromS, uint64 validUntilS) external {
        if (!isRegistered[msg.sender]) revert ProviderUnknown(msg.sender);
        if (validUntilS <= validFromS || validUntilS <= block.timestamp) {
            revert ValidityRefused(validFromS, validUntilS, block.timestamp);
        }
        if (offers[msg.sender][offer].validUntilS != 0) revert OfferKnown(msg.sender, offer);
        offers[msg.sender][offer] = Offer(validFromS, validUntilS, false);
        emit OfferPublished(msg.sender, offer, validFromS, validUntilS);
    }

    /// @notice Takes an offer of the caller back, for ever. Also by a provider that was dismissed.
    function withdraw(bytes32 offer) external {
        Offer storage found = offers[msg.sender][offer];
        if (found.validUntilS == 0) revert OfferUnknown(msg.sender, offer);
        if (found.withdrawn) revert OfferAlreadyWithdrawn(msg.sender, offer);
        found.withdrawn = true;
        emit OfferWithdrawn(msg.sender, offer);
    }

    /// @return Whether a registered provider stands by this offer now.
    function stands(address provider, bytes32 offer) external view returns (bool) {
        Offer storage found = offers[provider][offer];
        return isRegistered[provider] && !found.withdrawn && found.validFromS <= block.timestamp
            && block.timestamp < found.validUntilS;
    }
}
