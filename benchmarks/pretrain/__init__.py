"""How the weights of the embedded backbone ``tiny`` were made, without labels; see benchmarks/pretrain_tiny.py."""
