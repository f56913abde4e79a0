"""Loading a tokenizer, without what transformers keeps of it twice."""

from __future__ import annotations

from pathlib import Path
from types import FunctionType
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

_BUILT_FROM = ("_vocab", "_merges")
_METHODS = (FunctionType, property, classmethod, staticmethod)


def load_tokenizer(where: str | Path, **options: Any) -> Any:
    """transformers' tokenizer, of a folder or a hub repository.

    Its class may leave the vocabulary and the merges that it built the tokenizer from as Python objects beside it: of
    Gemma 3's 262,144 words 150 MB, which nothing reads again.
    """
    tokenizer = AutoTokenizer.from_pretrained(where, **options)
    if _only_builds(type(tokenizer)):
        for name in _BUILT_FROM:
            vars(tokenizer).pop(name, None)
    return tokenizer


def _only_builds(kind: type) -> bool:
    """Return True if a class adds nothing to the general fast tokenizer but how it is built: no method reads later what
    its constructor left."""
    if not issubclass(kind, PreTrainedTokenizerFast):
        return False
    own = kind.__mro__[: kind.__mro__.index(PreTrainedTokenizerFast)]
    methods = {name for part in own for name, value in vars(part).items() if isinstance(value, _METHODS)}
    return methods <= {"__init__"}
