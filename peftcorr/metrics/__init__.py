"""Scores: PCK by every aggregate of the protocol."""
