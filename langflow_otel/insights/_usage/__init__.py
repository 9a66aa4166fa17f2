"""Tokens, cost and resources, by flow, user and attribute."""
