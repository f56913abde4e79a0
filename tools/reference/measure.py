"""How good a reference model is: the scores that its card shows, measured by the project's own scorers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from negspace.files import write_whole
from negspace.models.load import load
from negspace.models.model import Model
from negspace.reference import pairs_path, tasks_path, text_path
from negspace.score.pairs import minimal_pairs
from negspace.score.perplexity import perplexity
from negspace.score.taskfiles import known_tasks
from negspace.score.tasks import read_tasks, tasks
from negspace.significance import Nesting, describe
from negspace.text.pairs import read_pairs
from negspace.text.source import read_text
from negspace.text.windows import make_windows
from tools.reference.card import Score, Scores

_NAMES = {"blimp": "minimal pairs right (BLiMP format)", "tse": "minimal pairs right (TSE format)"}


def measure(
    model: str | Path,
    pairs: Sequence[Path],
    texts: Sequence[Path],
    out: Path,
    limit: int | None = None,
    *,
    bundled: bool = True,
) -> Path:
    """Score a model on sets of minimal pairs, on texts and on tasks, and write the scores for its card.

    Args:
        model: folder of the model.
        pairs: files or folders of minimal pairs, each a set of its own. Scored with a prefix token ("lm-eval"), since
            the reference models were trained with one before every document.
        texts: texts for perplexity, whole, in windows of the model's context.
        out: JSON file of the scores, in the form that `card.write` reads.
        limit: only so many pairs of each paradigm, and items of each task.
        bundled: also the bundled minimal pairs, tasks and held-out text, after those given.
    """
    loaded = load(model)
    mine = ([pairs_path()], [text_path()], [tasks_path()]) if bundled else ([], [], [])
    scores = [_pairs(loaded, path, limit) for path in (*pairs, *mine[0])]
    scores += [score for folder in mine[2] for score in _tasks(loaded, folder, limit)]
    scores += [score for path in (*texts, *mine[1]) for score in _text(loaded, path)]
    return write_whole(out, (Scores(scores=tuple(scores)).model_dump_json(indent=1) + "\n").encode())


def _pairs(model: Model, path: Path, limit: int | None) -> Score:
    made = read_pairs(path, limit=limit)
    scored = minimal_pairs(model, made, protocol="lm-eval")
    counted = scored.items[scored.items["outcome"] != "identical"]
    nesting = Nesting.pairs(counted["paradigm"].to_numpy(object), counted["phenomenon"].to_numpy(object))
    interval = describe((counted["outcome"] == "right").to_numpy(float), nesting, outcomes=True)
    return Score(
        measure=_NAMES[made.kind],
        value=round(scored.accuracy, 4),
        low=round(interval.low, 4),
        high=round(interval.high, 4),
        chance=0.5,
        data=f"{path.name}: {len(made):,} pairs, {len(made.paradigms)} paradigms",
        how=f"prefix token, {scored.score} of log-probabilities",
    )


def _tasks(model: Model, folder: Path, limit: int | None) -> list[Score]:
    """One score a task, with an interval over its items."""
    made = tasks(model, read_tasks(known_tasks(folder), folder=folder, limit=limit))
    scores = []
    for row in made.by_task.to_dict("records"):
        own = made.items[made.items["task"] == row["task"]]
        nesting = Nesting.tasks(own["task"].to_numpy(object))
        interval = describe((own["outcome"] == "right").to_numpy(float), nesting, outcomes=True)
        scores.append(
            Score(
                measure=f"items right ({row['metric']})",
                value=round(float(row["value"]), 4),
                low=round(interval.low, 4),
                high=round(interval.high, 4),
                chance=round(float(row["chance"]), 4),
                data=f"{row['task']}: {row['n']:,} items",
                how=f"lm-evaluation-harness {made.harness}, no examples",
            )
        )
    return scores


def _text(model: Model, path: Path) -> list[Score]:
    """Perplexity a token, and the same loss in bits a byte, by which models of other tokenizers can be compared."""
    windows = make_windows(read_text(str(path), role="perplexity"), model.tokenizer, context=model.context)
    made = perplexity(model, windows)
    interval = describe(made.nll, Nesting.windows(len(made.nll)))
    # What a window predicts is its text without that of its first token.
    ends = ((model.tokenizer.decode(row.tolist()), model.tokenizer.decode(row[:1].tolist())) for row in windows.tokens)
    size = sum(len(whole.encode()) - len(first.encode()) for whole, first in ends)
    bits = [math.log2(value) * made.tokens / size for value in (made.value, *np.exp([interval.low, interval.high]))]
    data = f"{made.text}: {made.tokens:,} predicted tokens"
    how = f"{made.windows:,} windows of {made.window}"
    return [
        Score(
            measure="perplexity per token",
            value=round(made.value, 3),
            low=round(math.exp(interval.low), 3),
            high=round(math.exp(interval.high), 3),
            data=data,
            how=how,
        ),
        Score(
            measure="bits per byte",
            value=round(bits[0], 4),
            low=round(bits[1], 4),
            high=round(bits[2], 4),
            data=data,
            how=how,
        ),
    ]
