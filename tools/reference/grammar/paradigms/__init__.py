"""All paradigms. Importing this package fills the registry `tools.reference.grammar.pairs.PARADIGMS`."""

from tools.reference.grammar.paradigms import (
    agreement,
    anaphora,
    arguments,
    control,
    ellipsis,
    forms,
    gaps,
    islands,
    nouns,
    polarity,
    quantity,
    relatives,
)

__all__ = [
    "agreement",
    "anaphora",
    "arguments",
    "control",
    "ellipsis",
    "forms",
    "gaps",
    "islands",
    "nouns",
    "polarity",
    "quantity",
    "relatives",
]
