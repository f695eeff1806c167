"""Reports: the leaderboard as Markdown, figures and a table for the terminal, all from the records."""
