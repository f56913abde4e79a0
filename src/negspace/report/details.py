"""What a run knows of single neurons: distribution, tokens in context, pairs and tables, from the analyses' tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from negspace.report.run import Run


@dataclass
class Details:
    """Everything beyond the scan, by neuron."""

    pages: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Neuron's name -> histogram, texts, contexts, pairs, tables: whatever there is (JSON values)."""
    words: dict[str, str] = field(default_factory=dict)
    """Neuron's name -> words to find it by."""


def details(run: Run) -> Details:
    """What the run knows of single neurons."""
    return Details()
