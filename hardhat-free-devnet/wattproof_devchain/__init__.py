"""A development chain embedded in Python: py-evm behind JSON-RPC over HTTP on loopback.

One command, no Node, no Docker: `python -m wattproof_devchain --state DIR`. It is a real Ethereum (real transactions, real
EVM, real receipts and roots) with one block producer and no consensus, so *final* is the same as *latest* here.

Why py-evm directly and not through eth-tester's backend: eth-tester stamps blocks parent + 1 whatever the clock says, runs
transactions before their block's time is known, and finds transactions and logs by walking back from the head.
"""

CHAIN_ID = 31337
"""The chain id that anvil, Hardhat and we use for chains whose keys everybody knows."""
