"""The code that makes the bundled reference material: models, minimal pairs, tasks and tagger."""
