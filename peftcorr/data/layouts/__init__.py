"""Readers: one file a published layout of annotation."""
