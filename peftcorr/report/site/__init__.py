"""The leaderboard as a folder of pages that opens from disk: to sort, filter and search, with a page for each run."""
