"""What a run says while it works, and how numbers are written."""
