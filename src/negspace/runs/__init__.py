"""Internal: cells, their records on disk, and the engine that computes what is missing."""
