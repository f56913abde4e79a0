"""Internal: the report and the figures as files, the tables of the terminal."""
