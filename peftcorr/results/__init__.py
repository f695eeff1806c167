"""What a run leaves behind: its record, its predictions, and where they lie."""
