"""What meters said: frames and their records, taken, judged, anchored, and handed out as proof.

Guaranteed: bytes are kept as received, in a chain without holes, before the answer leaves; the same twice changes nothing; what contradicts
is refused *and kept as proof*; what is implausible is never billed; frames are anchored in epochs, one after the other.
"""
