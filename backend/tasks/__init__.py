"""Tasks: small work between nodes, paid out of the task escrow. Every word is checked before it is relayed and kept as it came; the
contract decides. Nothing here can move money that nobody signed for, and what was not earned goes back after the deadline by itself.
"""
