"""The program beside the meter: read, sign, keep, send, price, switch."""
