"""Internal: the scan of a model's neurons, and sets chosen from it."""
