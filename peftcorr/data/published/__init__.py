"""Published datasets: where they come from, how they are unpacked, and whether they are whole."""
