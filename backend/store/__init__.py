"""What is kept on disk: the database and its schema, leases, things to remember by name, and key files.

Guaranteed: a commit that returned survives a power cut; one process at a time runs a loop, and what it does after it lost its lease is not
kept; keys are encrypted, mode 0600, one role each. This room knows no other room but the tables.
"""
