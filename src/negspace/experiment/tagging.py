"""A text with its words tagged, by gold or by a pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from negspace.errors import TaggerError
from negspace.text.conllu import read_conllu
from negspace.text.content import is_conllu
from negspace.text.source import Source, Text, read_text
from negspace.text.tagged import Tagged, tag_text


def lacks_tagger(own: str | None, study: Any) -> str | None:
    """What is missing to tag an analysis's own text, or else the study's; None where nothing is. A file with gold tags
    needs no pipeline."""
    if is_conllu(own or study.perplexity_text or study.text) or find_spec("spacy") is not None:
        return None
    return "spaCy to tag the text (pip install 'negspace[pos]', or give a .conllu file with gold tags)"


def tagged_text(text: Source | Text | Tagged, tagger: Any = None, reach: Callable[[Text], int] | None = None) -> Tagged:
    """A text with its words tagged: gold where it has gold tags, otherwise by the pipeline.

    Args:
        text: as `read_text` takes it (the role is that of perplexity); a path that ends in .conllu; or tagged words.
        tagger: name, path or spaCy pipeline; None or "gold" where the text has gold tags, None for the bundled one.
        reach: how many characters of the text will be asked for: a pipeline tags the paragraphs that begin within them.
            None: all.

    Raises:
        TextError: no text, or malformed gold tags.
        TaggerError: the tagger is missing or of no use, or one is named for a text that has gold tags.
    """
    gold = isinstance(text, Tagged) or (isinstance(text, str | os.PathLike) and is_conllu(text))
    if gold and tagger not in (None, "gold"):
        raise TaggerError(
            f"to tag {text.text.name if isinstance(text, Tagged) else text} with {tagger}",
            "a text that has gold tags",
            "leave the tagger out, or give the plain text",
        )
    if isinstance(text, Tagged):
        return text
    if gold:
        return read_conllu(text)  # type: ignore[arg-type]
    if tagger is None:
        from negspace.reference import tagger_path

        tagger = tagger_path()
    elif tagger == "gold":
        raise TaggerError("gold tags", "a text without any", "give a file that ends in .conllu")
    stream = read_text(text, role="perplexity")
    return tag_text(stream, tagger, None if reach is None else reach(stream))
