"""Payment providers: what we want of one (`rail`), one that is built (`stripe`), accounts and signatures.

Guaranteed: every call ends within its time-out with an answer, `RailAway` or `RailRefused`; secrets come from 0600 files and leave in
headers only. Knows no table and no chain.
"""
