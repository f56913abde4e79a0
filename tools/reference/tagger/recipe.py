"""Everything that decides what the bundled tagger becomes, given the treebank."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class TaggerRecipe(BaseModel):
    """Shape, training and seed of the tagger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(96, ge=8)
    """Width of the vectors of words."""
    depth: int = Field(4, ge=1)
    """Convolutions over a word and its two neighbours, so that it sees as many words to either side."""
    rows: tuple[int, int, int, int] = (5000, 1000, 2500, 1000)
    """Rows of the hash tables for normal form, prefix, suffix and shape."""
    hidden: int = Field(64, ge=8)
    """Width of the parser's hidden layer."""
    epochs: int = Field(12, ge=1)
    """Passes over the training set."""
    words: int = Field(1200, ge=1)
    """Words of a batch."""
    sentences: int = Field(6, ge=1)
    """Most sentences of one training text; several, so that the parser learns where sentences end."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of values dropped in training."""
    learning_rate: float = Field(0.002, gt=0)
    """Peak of Adam's learning rate: reached after 5% of the steps, then falling linearly to zero."""
    seed: int = Field(0, ge=0)
    """Of the initial weights, the order of the texts and the dropout."""

    def components(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        """Name and configuration of spaCy's components, in their order."""
        listener = {
            "@architectures": "spacy.Tok2VecListener.v1",
            "width": self.width,
            "upstream": "*",
        }
        embed = {
            "@architectures": "spacy.MultiHashEmbed.v2",
            "width": self.width,
            "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
            "rows": list(self.rows),
            "include_static_vectors": False,
        }
        encode = {
            "@architectures": "spacy.MaxoutWindowEncoder.v2",
            "width": self.width,
            "depth": self.depth,
            "window_size": 1,
            "maxout_pieces": 3,
        }
        parser = {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "parser",
            "extra_state_tokens": False,
            "hidden_width": self.hidden,
            "maxout_pieces": 2,
            "use_upper": True,
            "tok2vec": listener,
        }
        return (
            ("tok2vec", {"model": {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}}),
            ("morphologizer", {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}}),
            ("parser", {"model": parser}),
        )
