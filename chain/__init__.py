"""Artifacts, JSON-RPC client, event reader and the chain half of the outbox: the only room that imports web3."""
