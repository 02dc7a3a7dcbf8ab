"""A development chain embedded in Python: eth-tester behind JSON-RPC over HTTP."""
