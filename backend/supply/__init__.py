"""Power on and off: grants, numbered commands, and the streams that take them to the agents.

Guaranteed: a command is in the database before it is sent, numbered, and sent again until a *measured* confirmation answers; what is
ordered by hand keeps its reason; nothing but a session reconnects.
"""
