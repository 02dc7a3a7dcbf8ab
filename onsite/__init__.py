"""What the programs that run on a device share: key files, a synced log, settings, calls to a service that may be away.

Imports `protocol` at most. The meter agent and the buyer's agent stand on it and never on each other.
"""
