"""The Wattproof service: takes evidence, prices it, keeps the books, anchors, settles and commands supply.

It promises: nothing is answered before it is durable; nothing counted twice; no money moves in the books before the chain says so
finally. It does not promise that a meter measured rightly, nor that a chain makes blocks.
"""
