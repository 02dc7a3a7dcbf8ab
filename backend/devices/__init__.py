"""Which devices and points there are, under which policy and tariff, and how an agent proves that it speaks for one.

Guaranteed: a point's policy and tariff are whole and valid before they are stored; an agent's hello is signed by the device's meter key,
fresh, and good once. Queries about devices and points are here and nowhere else.
"""
