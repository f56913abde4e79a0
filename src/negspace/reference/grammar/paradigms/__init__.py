"""All paradigms. Importing this package fills the registry `negspace.reference.grammar.pairs.PARADIGMS`."""

from negspace.reference.grammar.paradigms import (
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
