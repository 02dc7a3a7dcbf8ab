"""Checks evidence offline, trusting nobody."""
