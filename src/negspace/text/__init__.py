"""Internal: running text, minimal pairs and tagged text, from wherever they are, and windows of text."""
