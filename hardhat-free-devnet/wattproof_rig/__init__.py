"""The bench rig: one electrical circuit of a meter, a relay and a load on real pseudo-terminals.

It is a thing to be measured, not a mock: the programs under test open its two serial lines as they would open real ones,
and what they read follows from one circuit whose energy is integrated exactly. Imports nothing of ours, so that it cannot
share a mistake with what it tests.
"""
