"""Tests, intervals and models that more than one analysis uses."""
