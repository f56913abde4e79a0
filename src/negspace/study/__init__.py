"""A study: its analyses chosen, planned, run into a folder, and read from it again."""
