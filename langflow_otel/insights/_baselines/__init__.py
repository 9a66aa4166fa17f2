"""Baselines: recorded, compared, and their history."""
