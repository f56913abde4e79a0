"""The bundled tagger: a small spaCy pipeline for English parts of speech and dependencies, and how it is trained."""
