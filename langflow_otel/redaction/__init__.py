"""Secrets and personal data are taken out of text that is about to leave this process."""
