"""Many runs: the product of every list, carried out here or by workers."""
