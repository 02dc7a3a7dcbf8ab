"""Payers that are accounts with code: device wallets with a policy, and any other that answers ERC-1271.

The contract is the guard. What is checked here first spares gas and says why: each refusal has the contract's own name for it.
"""
