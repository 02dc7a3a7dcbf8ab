"""What keeps a running house in order: backup, the way back from one, and rows that have served.

Guaranteed: a backup is whole though the service writes meanwhile; a restored one is marked as old, and nothing acts on it before chain and
agents have caught it up; only rows that nobody will ask for again are deleted.
"""
