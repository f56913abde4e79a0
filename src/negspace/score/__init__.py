"""Internal: perplexity, minimal pairs and tasks, each item's score by itself."""
