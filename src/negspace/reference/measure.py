"""How good a reference model is: the scores that its card shows, measured by the project's own scorers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from negspace.files import write_whole
from negspace.models.load import load
from negspace.models.model import Model
from negspace.reference.card import Score, Scores
from negspace.score.pairs import minimal_pairs
from negspace.score.perplexity import perplexity
from negspace.significance import accuracy_interval, perplexity_interval
from negspace.text.pairs import read_pairs

_NAMES = {"blimp": "minimal pairs right (BLiMP format)", "tse": "minimal pairs right (TSE format)"}


def measure(
    model: str | Path, pairs: Sequence[Path], texts: Sequence[Path], out: Path, limit: int | None = None
) -> Path:
    """Score a model on sets of minimal pairs and on texts, and write the scores for its card.

    Args:
        model: folder of the model.
        pairs: files or folders of minimal pairs, each a set of its own. Scored with a prefix token ("lm-eval"), since
            the reference models were trained with one before every document.
        texts: texts for perplexity, whole, in windows of the model's context.
        out: JSON file of the scores, in the form that `card.write` reads.
        limit: only so many pairs of each paradigm.
    """
    loaded = load(str(model))
    scores = [_pairs(loaded, path, limit) for path in pairs] + [_text(loaded, path) for path in texts]
    return write_whole(out, (Scores(scores=tuple(scores)).model_dump_json(indent=1) + "\n").encode())


def _pairs(model: Model, path: Path, limit: int | None) -> Score:
    made = read_pairs(path, limit=limit)
    scored = minimal_pairs(model, made, protocol="lm-eval")
    counted = scored.items[scored.items["outcome"] != "identical"]
    interval = accuracy_interval(counted["outcome"] == "right", counted["paradigm"])
    return Score(
        measure=_NAMES[made.kind],
        value=round(scored.accuracy, 4),
        low=round(interval.low, 4),
        high=round(interval.high, 4),
        chance=0.5,
        data=f"{path.name}: {len(made):,} pairs, {len(made.paradigms)} paradigms",
        how=f"prefix token, {scored.score} of log-probabilities",
    )


def _text(model: Model, path: Path) -> Score:
    made = perplexity(model, str(path))
    interval = perplexity_interval(made.nll)
    return Score(
        measure="perplexity per token",
        value=round(made.value, 3),
        low=round(interval.low, 3),
        high=round(interval.high, 3),
        data=f"{made.text}: {made.tokens:,} predicted tokens",
        how=f"{made.windows:,} windows of {made.window}",
    )
