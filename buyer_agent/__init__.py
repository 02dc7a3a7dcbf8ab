"""The buyer's agent: buys electricity for a device within its owner's limits, and pays for what it can see to be right.

It sees the seller's signed frames and offers, never more, and needs neither a chain connection nor gas (docs/buyer.md).
"""
