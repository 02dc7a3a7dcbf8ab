"""Money: what use costs, the books, the signed amounts, claim and payout, and the comparison of all of it.

Guaranteed: integers only; double entry, where one cause moves money once however often it is applied; a session is closed only when its
last claimable charge is claimed; every difference between books, chain and registers has a name, a place and an alarm.
"""
