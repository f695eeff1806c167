"""Training and evaluation; Accelerate is used here and in the pipeline alone."""
