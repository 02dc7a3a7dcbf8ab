"""The bench rig: one circuit of a meter, a relay and a load on real pseudo-terminals."""
