"""A small grammar of English and the minimal pairs that it makes: a lexicon, balanced designs, and paradigms."""

from tools.reference.grammar import paradigms as _paradigms  # noqa: F401  (fills the registry)
from tools.reference.grammar.files import TaggedPair, read, write
from tools.reference.grammar.pairs import PARADIGMS, Paradigm, generate

__all__ = ["PARADIGMS", "Paradigm", "TaggedPair", "generate", "read", "write"]
