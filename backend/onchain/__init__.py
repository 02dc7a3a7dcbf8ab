"""Between the database and the chain: what we want to happen there, and what happened there.

Guaranteed: signed bytes are saved before they are broadcast; an intent is settled once, when its block is final; events are applied once,
in the chain's order, at finality, in one transaction with how far was read.
"""
