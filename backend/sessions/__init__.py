"""A session from its quote to its end: what payers sign, the states it may take, and what must happen though nobody calls.

Guaranteed: a payer signs exactly what is stored; only steps of the table in `states` are taken, each written down with its reason; a
session ends by a named cause. Whoever changes one holds its device's row.
"""
