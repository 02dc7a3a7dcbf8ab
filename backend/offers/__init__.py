"""What is sold here: who may sell at a point, the offers they signed, and what the provider book says of them.

Guaranteed: an offer is kept only if a buyer's own check passes it; no quote is made under one that the chain does not have, that ended, was
withdrawn or replaced, or whose provider is off the book.
"""
