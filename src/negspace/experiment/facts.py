"""Facts of a model and its data: what a planner must know to plan cells, without holding either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from negspace.models.model import ModelSource
from negspace.neurons.layout import Layout


@dataclass(frozen=True)
class TaskFacts:
    """The driver's knowledge of the tasks."""

    source: str
    """Folder of local files, or "hub"."""
    hash: str
    """sha256 (hex) of every request."""
    items: int
    """Items of all tasks."""
    harness: str
    """Version of lm-evaluation-harness."""
    appended: tuple[int, ...] = ()
    """Tokens that the tokenizer puts after a text by itself, which are cut off."""


@dataclass(frozen=True)
class Facts:
    """The driver's knowledge of model and data, enough to plan cells without loading either."""

    source: ModelSource
    """Origin of the model."""
    identity: Mapping[str, Any]
    """Everything that results depend on: weights, tokenizer, dtype, kind of device, software."""
    behaviour: tuple[float, ...]
    """The model's logits on fixed tokens, the proof of its fingerprint."""
    layout: Layout
    """The model's sites."""
    rectifies: bool
    """True if every activation is flat below zero, as ReLU is, so that zeroing negatives changes nothing."""
    statistics: tuple[str, str]
    """Name and hash of the text for statistics."""
    specials: bool
    """Whether special tokens are written out in that text (`specials_written`)."""
    perplexity: tuple[str, str]
    """Name of the text for perplexity, and hash of the windows' tokens."""
    read: tuple[str, int]
    """Hash of that text itself, whatever the tokenizer, and tokens of a window."""
    tokens: Mapping[str, float]
    """"scan", "examples", "perplexity", each kind of pairs, "tasks" -> tokens that the model reads for it: of pairs
    those that are left when what sentences begin with in common is read once, of tasks an estimate from some of their
    requests."""
    pairs: Mapping[str, tuple[str, str, int]]
    """Kind of pairs -> their name, hash and number."""
    tasks: TaskFacts | None
    """The tasks, if the study has any."""
    notes: tuple[str, ...]
    """Notes on choices made for the user."""
    paired: Mapping[str, int] = field(default_factory=dict)
    """Kind of pairs -> how many are two sentences each, and not predictions of a suite of SyntaxGym."""
    groups: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Kind of pairs -> numbers of their paradigms and phenomena, the units of tests."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """Kind of work -> what a token of it costs, in tokens of a pass with logits, where that is known to differ."""
    shortfalls: tuple[str, ...] = ()
    """Scores on which no change can be judged for want of units, and what to add; a sentence each."""

    def __str__(self) -> str:
        """The model and the data in a sentence, as what was read shows them."""
        parts = [
            f"{self.source.name}: {self.layout.neurons:,} neurons",
            f"statistics on {self.tokens['scan']:,.0f} tokens of {self.statistics[0]}",
            f"perplexity on {self.tokens['perplexity']:,.0f} of {self.perplexity[0]}",
        ]
        for kind, (name, _, pairs) in self.pairs.items():
            paradigms, phenomena = self.groups[kind]
            parts.append(f"pairs in {name}: {pairs:,} (paradigms: {paradigms:,}, phenomena: {phenomena:,})")
        if self.tasks is not None:
            parts.append(f"items of tasks: {self.tasks.items:,}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Survey:
    """All that a driver must know of a study's model and data."""

    facts: Facts
    """Input that every analysis needs."""
    read: Mapping[str, Mapping[str, Any]]
    """Analysis -> what its `read` returned."""
