"""Who may do what here: people and their programs, roles, log-ins, tokens, and the record of what was done.

Guaranteed: passwords are kept as Argon2id hashes, session cookies and API tokens only as SHA-256 digests; every account acts for one
operator at a time, and whatever is asked for is looked up among that operator's rows. Not guaranteed: anything against a person with
write access to the database or to the operator token's file (that file *is* the bootstrap administrator).
"""
