"""Features: one forward an image, and the frozen blocks' output kept."""
