"""Numbers that the paper reports for its models: set beside a run's own where the run asks the same of the same model.

A run may read another text or other tasks than the paper: each label says what its number is of.

Source: Kong, Ning, Adler and Shavit, "Negative Pre-activations Differentiate Syntax", ICLR 2026 (arXiv 2509.24198).
"""

from __future__ import annotations

from dataclasses import dataclass

from negspace.experiment.run import Run
from negspace.figures.figure import Reference

SOURCE = "Kong et al. 2026"


@dataclass(frozen=True)
class Published:
    """The paper's published figures for one of its models."""

    doubling: float | None = None
    """Percentage of neurons whose negatives, set to zero, double WikiText-2 perplexity."""
    about: bool = False
    """True if it says "about" of that."""
    matching: float | None = None
    """Percentage of low-WD neurons that reach the perplexity of the top 1%."""
    first_layers: float | None = None
    """Points of error that the first four layers alone add on NPI licensing (TSE)."""


MODELS = {
    "llama-3.1-8b": Published(2.0, False, 35.0, 20.0),
    "mistral-7b-v0.3": Published(2.0, False, 50.0),
    "qwen3-8b": Published(5.0, True, 20.0),
}
"""Name, in small letters and without its owner -> what is reported of it."""
TASKS = (4.0, 11.0)
"""Points of error that the top 1% and its matched control add on eight non-grammatical benchmarks, about, over these
models."""
EMERGENCE = 25_000
"""Training step of Pythia by which the cohort's WD has risen."""


def published(run: Run, by: str | None = None) -> Published | None:
    """Return the paper's figures for this run's model, if the run ranks and intervenes as the paper does.

    Args:
        run: the run.
        by: statistic that ranks an analysis's neurons; None: the study's.
    """
    return MODELS.get(_model(run)) if _comparable(run, by) else None


def doubling(run: Run) -> tuple[Reference, ...]:
    """Line at the share of neurons that doubles perplexity, on an axis of percentages."""
    found = published(run)
    if found is None or found.doubling is None:
        return ()
    about = "about " if found.about else ""
    return (Reference(found.doubling, "x", f"{SOURCE}, WikiText-2: doubles at {about}{found.doubling:g}%", paper=True),)


def matching(run: Run, share: float) -> tuple[Reference, ...]:
    """Line at the share of low-WD neurons that matches the top 1%, on an axis of percentages."""
    found = published(run)
    if found is None or found.matching is None or share != 0.01:
        return ()
    return (Reference(found.matching, "x", f"{SOURCE}, WikiText-2: {found.matching:g}%", paper=True),)


def tasks(run: Run, share: float) -> tuple[Reference, ...]:
    """Lines at the changes of accuracy on tasks outside grammar, in points."""
    if published(run) is None or share != 0.01:
        return ()
    top, control = TASKS
    return (
        Reference(-top, "x", f"{SOURCE}, its 8 tasks: top about -{top:g}", paper=True),
        Reference(-control, "x", f"matched about -{control:g}", paper=True),
    )


def first_layers(run: Run, share: float, by: str) -> tuple[Reference, ...]:
    """Line at the change of accuracy on NPI licensing under the first four layers alone, in points."""
    found = published(run, by)
    if found is None or found.first_layers is None or share != 0.01:
        return ()
    said = f"{SOURCE}: first four layers, about -{found.first_layers:g}"
    return (Reference(-found.first_layers, "y", said, paper=True),)


def emergence(run: Run) -> tuple[Reference, ...]:
    """Line at the step by which the cohort has emerged in Pythia."""
    if not _model(run).startswith("pythia") or not _comparable(run):
        return ()
    return (Reference(float(EMERGENCE), "x", f"{SOURCE}: risen within {EMERGENCE:,} steps", paper=True),)


def _model(run: Run) -> str:
    return str(run.manifest["model"]["name"]).rstrip("/").rsplit("/", 1)[-1].lower()


def _comparable(run: Run, by: str | None = None) -> bool:
    study = run.study
    whole = study.get("layers") is None
    return whole and (by or study.get("by")) == "wd" and study.get("mode") is None and study.get("zero") == "negative"
