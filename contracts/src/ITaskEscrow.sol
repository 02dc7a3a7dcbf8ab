// SPDX-License-Identifier: Apache-2.0
pragma solidity =0.8.30;

/// @title What a wallet needs of the escrow for tasks. Its other calls are not the wallet's business.
/// @notice A task opens once, for ever (ids are tombstones), and what is returned goes to the requester's free balance here.
interface ITaskEscrow {
    /// @notice Opens a task and locks `lockMicro` of the caller's free balance here. Reverts unless the caller is the requester
    /// that the terms name, or if the task was ever opened before.
    /// @param terms The task's terms, ABI-encoded: the wallet does not look into them.
    /// @return task The task's id: a digest of the terms that binds chain and escrow.
    /// @return node Who is paid on proof.
    function openAsRequester(bytes calldata terms, uint64 lockMicro) external returns (bytes32 task, address node);

    /// @notice Moves tokens of the caller into the caller's free balance.
    function deposit(uint128 amountMicro) external;

    /// @notice Pays the caller's free balance out to `to`.
    function withdraw(address to, uint128 amountMicro) external;

    /// @return Micro-units of the account that are in no task.
    function freeMicroOf(address account) external view returns (uint128);
}
