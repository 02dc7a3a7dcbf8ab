"""The service: ingest, ledger, anchoring, settlement, supply control, console."""
