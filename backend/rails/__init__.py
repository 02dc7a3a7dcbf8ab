"""Rails: payment providers over which money comes in and goes back, and the fourth book (supply = the providers' float − what is pending).

Guaranteed: an event is a hint and the rail's own answer the truth; a charge is minted once, on a receipt id that the token takes once; what
goes back over a charge never exceeds what came in over it; every movement of a provider's balance is in the books once, with a name.
"""
