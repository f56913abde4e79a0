"""Model card of a reference model, rendered from what its training run and its measurements wrote down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import safe_open

from negspace.errors import RecordError
from negspace.files import write_whole
from tools.reference.attribution import credits
from tools.reference.recipe import Recipe

_MLP = {
    "gpt_neox": ("GPT-NeoX", "plain, GELU"),
    "llama": ("Llama", "gated, SiLU"),
    "opt": ("OPT", "plain, ReLU"),
}
_CURVE_ROWS = 12


class Point(BaseModel):
    """One line of a run's curve.jsonl."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    tokens: int
    """Training tokens seen up to this step."""
    held_out_loss: float
    """Nats a token."""


class Score(BaseModel):
    """One measured quality of the finished model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: str
    """What was measured, e.g. "BLiMP accuracy"."""
    value: float
    low: float | None = None
    """Ends of the 95% interval, where there is one."""
    high: float | None = None
    chance: float | None = None
    """What guessing gives, where that is defined."""
    data: str
    """The data: name, and how much of it."""
    how: str = ""
    """Protocol or setting."""


class Scores(BaseModel):
    """The file of measured qualities: {"scores": [...]}."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: tuple[Score, ...]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"a model card from {path.name}", f"{path}: {error.strerror}", "name the folder of a finished training run"
        ) from error


def read_recipe(run: Path) -> Recipe:
    """The recipe that a run was trained by.

    Raises:
        RecordError: it is missing or malformed.
    """
    path = run / "recipe.json"
    try:
        return Recipe.model_validate_json(_text(path))
    except ValidationError as error:
        raise RecordError("the recipe of a training run", f"{path}: {error}", "name the folder of a run") from error


def _curve(run: Path, recipe: Recipe) -> list[Point]:
    """Measured points in order of step; of a step measured twice (a resumed run) the later one."""
    path = run / "curve.jsonl"
    points: dict[int, Point] = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            point = Point.model_validate_json(line)
        except ValidationError as error:
            raise RecordError(f"line {number} of {path}", f"{line!r}", "repair or rerun the training run") from error
        points[point.step] = point
    if recipe.steps not in points:
        raise RecordError(
            f"a model card of {run}",
            f"training stands at step {max(points, default=0)} of {recipe.steps}",
            "let the run finish: the same train command goes on where it stopped",
        )
    return [points[step] for step in sorted(points) if step <= recipe.steps]


def _scores(path: Path) -> tuple[Score, ...]:
    try:
        return Scores.model_validate_json(_text(path)).scores
    except ValidationError as error:
        raise RecordError(
            f"measured scores from {path}",
            "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()),
            'write {"scores": [{"measure": ..., "value": ..., "data": ...}]}',
        ) from error


def _parameters(weights: Path) -> tuple[int, int]:
    """Number of stored parameters (tied embeddings once), and bytes of the file."""
    if not weights.is_file():
        raise RecordError(
            "the parameters of the trained model", f"no file {weights}", "name the folder of a finished training run"
        )
    with safe_open(weights, framework="numpy") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118  (not a dict)
    count = 0
    for shape in shapes:
        size = 1
        for side in shape:
            size *= side
        count += size
    return count, weights.stat().st_size


def _vocabulary(path: Path) -> int:
    return len(json.loads(_text(path))["model"]["vocab"])


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _quality(scores: tuple[Score, ...], beside: Mapping[str, tuple[Score, ...]]) -> str:
    """The table of measured qualities, with the values that other models have on the same data."""
    if not scores:
        return "None was measured for this card."
    others = [{_subject(score): f"{score.value:.4g}" for score in measured} for measured in beside.values()]
    rows = []
    for score in scores:
        interval = "" if score.low is None or score.high is None else f"{score.low:.4g} to {score.high:.4g}"
        chance = "" if score.chance is None else f"{score.chance:.4g}"
        values = (other.get(_subject(score), "") for other in others)
        rows.append((score.measure, f"{score.value:.4g}", interval, chance, *values, score.data, score.how))
    return _table(("measure", "value", "95% interval", "chance", *beside, "data", "how"), rows)


def _subject(score: Score) -> tuple[str, str]:
    """What a score is a score of, whatever the model: how many tokens a text has depends on the tokenizer."""
    return score.measure, score.data.split(":")[0]


def _thinned(curve: list[Point]) -> list[Point]:
    """At most a dozen points of the curve, first and last among them."""
    if len(curve) <= _CURVE_ROWS:
        return curve
    last = len(curve) - 1
    return [curve[round(i * last / (_CURVE_ROWS - 1))] for i in range(_CURVE_ROWS)]


def _kept(recipe: Recipe) -> str:
    """The steps whose checkpoints were kept, as a paragraph; nothing where there are none."""
    steps = ", ".join(f"{step:,}" for step in recipe.snapshot_steps())
    return f"Checkpoints were kept at the steps {steps}.\n\n" if steps else ""


def render(
    run: Path, scores: Path | None = None, name: str | None = None, beside: Mapping[str, Path] | None = None
) -> str:
    """The model card of a finished training run, in Markdown.

    Args:
        run: folder that `train` filled: recipe.json, curve.jsonl and model/.
        scores: JSON file of measured qualities (`Scores`); without it the card says that none were measured.
        name: name of the model; the folder's name if None.
        beside: name -> such a file of another model, whose values are shown beside, for scale.

    Raises:
        RecordError: the run is not finished, or one of the files is missing or malformed.
    """
    recipe = read_recipe(run)
    curve = _curve(run, recipe)
    parameters, size = _parameters(run / "model" / "model.safetensors")
    vocabulary = _vocabulary(run / "model" / "tokenizer.json")
    measured = _scores(scores) if scores else ()
    others = {label: _scores(path) for label, path in (beside or {}).items()}
    architecture, mlp = _MLP[recipe.family]
    plateau_end = round(recipe.steps * (1 - recipe.decay))

    licences = ", ".join(sorted({source.licence for source in recipe.sources}))
    return f"""\
---
language: en
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---

# {name or run.name}

A small language model of simple English, one of the reference models of negspace: made to try every analysis of the
package offline, and to compare models that differ only in their MLP.

## Model

{
        _table(
            ("property", "value"),
            [
                ("architecture", architecture),
                ("MLP", f"{mlp}, {recipe.mlp_width} neurons a layer"),
                ("layers", f"{recipe.layers}"),
                ("width", f"{recipe.width}"),
                ("attention heads", f"{recipe.heads}"),
                ("context", f"{recipe.context} tokens"),
                ("parameters", f"{parameters:,} (input and output embeddings shared)"),
                ("weights", f"float16 safetensors, {size / 1e6:.1f} MB"),
                ("tokenizer", f"byte-level BPE, {vocabulary:,} tokens; token 0 is end of text, BOS and padding in one"),
            ],
        )
    }

## Training data

{
        _table(
            ("source", "weight", "licence"),
            [(source.file, f"{source.repeats:g}", source.licence) for source in recipe.sources],
        )
    }

{
        _table(
            ("collection", "by", "licence, as it states"),
            list(credits(recipe.sources)),
        )
    }

Each source is running text, a paragraph a line, documents apart by a blank line. Its rows stand in the pool as often as
its weight says; training drew the shuffled pool from the start. The last {recipe.held_out:.1%} of every source was held
out. Nothing of these texts is part of the package.

## Training

{
        _table(
            ("property", "value"),
            [
                ("tokens seen", f"{curve[-1].tokens:,}"),
                ("steps", f"{recipe.steps:,} of {recipe.batch} rows of {recipe.context} tokens"),
                ("optimiser", "Muon for the hidden matrices, AdamW for embeddings, norms and biases"),
                ("peak learning rate", f"{recipe.learning_rate:g}"),
                (
                    "schedule",
                    f"{recipe.warmup} steps of warm-up, constant to step {plateau_end:,}, then linear to zero",
                ),
                ("weight decay", f"{recipe.weight_decay:g} (hidden matrices)"),
                ("largest gradient norm", f"{recipe.clip:g}"),
                (
                    "precision",
                    "bfloat16 autocast, float32 weights and optimiser" if recipe.bfloat16 else "float32",
                ),
                ("seed", f"{recipe.seed}"),
            ],
        )
    }

Loss on the held-out rows:

{
        _table(
            ("step", "tokens", "nats per token"),
            [(f"{point.step:,}", f"{point.tokens:,}", f"{point.held_out_loss:.3f}") for point in _thinned(curve)],
        )
    }

{_kept(recipe)}Repeat it in a checkout of negspace, given the same texts in DIR:

    python -m tools.reference train --recipe recipe.json --corpus DIR --out RUN

## Measured quality

{_quality(measured, others)}

Perplexities per token of models with other tokenizers cannot be compared; bits per byte can.

## Intended use and limits

For trying, testing and teaching the analysis of neurons and minimal pairs. It writes and reads simple stories; it knows
little of the world, follows no instructions, and repeats the attitudes of its sources, old novels among them. Findings
on a model of this size say little about large ones.

## Licence

The weights are released under Apache-2.0. The texts that they were trained on are under these licences: {licences}.
Their authors are named above; they have no part in this model and do not endorse it.
"""


def write(
    run: Path,
    out: Path,
    scores: Path | None = None,
    name: str | None = None,
    beside: Mapping[str, Path] | None = None,
) -> Path:
    """Render the card of a run (see `render`) into the file `out`, all or nothing.

    Raises:
        RecordError: as `render`, or `out` cannot be written.
    """
    return write_whole(out, render(run, scores, name, beside).encode())
