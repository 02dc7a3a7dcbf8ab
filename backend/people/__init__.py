"""What a person should know: alarms, and how they get to people.

Guaranteed: one open alarm for each kind and place, raised in the transaction that found the fault; told until taken, for a day.
"""
