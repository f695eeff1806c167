"""What `benchmarks/flips.py` changes, and what reads it."""
