"""One file a subcommand: its options and what it prints; the work itself lies in the rooms below."""
