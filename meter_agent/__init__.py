"""The meter agent: runs beside the meter. Reads, signs, keeps, sends, prices, and switches the supply.

Start with `agent.py` (the measuring loop); `docs/life-of-a-kilowatt-hour.md` walks the path. Imports `protocol` only.
"""
