"""Internal: the analyses of a study chosen, planned, run into a folder, and read from it again."""
