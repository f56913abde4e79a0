"""Make the reference material anew: python -m tools.reference train | measure | card | bundle | pairs | tasks ..."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from negspace.errors import ModelError, NegspaceError, RecordError, TaggerError
from tools.reference.recipe import RECIPES, Recipe

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _recipe(name: str | None, path: Path | None, changes: dict[str, object]) -> Recipe:
    if name is not None and path is not None:
        raise ModelError("a recipe to train by", "a name and a file", "give --name or --recipe, not both")
    if name is not None and name not in RECIPES:
        raise ModelError(f"the recipe {name!r}", "there is none of that name", f"name one of {', '.join(RECIPES)}")
    try:
        start = RECIPES[name or "gelu"]
        if path is not None:
            start = Recipe.model_validate_json(path.read_text(encoding="utf-8"))
        return Recipe.model_validate({**start.model_dump(), **changes})
    except OSError as error:
        raise ModelError(f"the recipe in {path}", f"{error.strerror}", "name a recipe.json") from error
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ModelError("a recipe to train by", found, "correct these fields") from error


@app.command()
def train(
    corpus: Annotated[Path, typer.Option(help="Folder with the recipe's source files.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run that was killed goes on from it.")],
    name: Annotated[
        str | None, typer.Option(help=f"Recipe of a bundled model: {', '.join(RECIPES)}; gelu if none.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="A recipe.json instead of a bundled model's.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of a tokenizer to use; trained on the corpus if none.")
    ] = None,
    family: Annotated[
        Literal["gpt_neox", "llama", "opt"] | None, typer.Option(help="GELU, gated SiLU or ReLU.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the initial weights and the order of the rows.")] = None,
    snapshots: Annotated[int | None, typer.Option(help="Log-spaced checkpoints to keep.")] = None,
) -> None:
    """Train a reference model; the finished model lies in OUT/model, its checkpoints in OUT/step<N>."""
    from tools.reference.train import train as run

    changes = {"family": family, "steps": steps, "seed": seed, "snapshots": snapshots}
    chosen = _recipe(name, recipe, {field: value for field, value in changes.items() if value is not None})
    absent = [source.file for source in chosen.sources if not (corpus / source.file).is_file()]
    if absent:
        raise ModelError(
            f"training on the texts in {corpus}",
            f"not there: {', '.join(absent)}",
            "put them there, or name a recipe with other sources: --recipe recipe.json",
        )
    if tokenizer is not None and not (tokenizer / "tokenizer.json").is_file():
        raise ModelError(f"the tokenizer in {tokenizer}", "no tokenizer.json", "name the folder of a model")
    try:
        typer.echo(run(chosen, corpus, out, tokenizer))
    except ValueError as error:
        raise ModelError(
            f"a training run in {out}", str(error), "name a new folder, or the run's own recipe and tokenizer"
        ) from error


@app.command()
def pairs(
    out: Annotated[Path, typer.Option(help="Folder for one JSONL file per paradigm.")],
    seed: Annotated[int, typer.Option(help="Of the lexical choices.")] = 0,
    per_paradigm: Annotated[int, typer.Option(help="Pairs a paradigm, a multiple of 4.")] = 200,
) -> None:
    """Write the minimal pairs; with the defaults, those that the package bundles."""
    from tools.reference.grammar import write

    paths = write(out, seed, per_paradigm)
    typer.echo(f"{len(paths)} paradigms of {per_paradigm} pairs in {out}")


@app.command()
def tasks(
    out: Annotated[Path, typer.Option(help="Folder for one YAML and one JSONL file per task.")],
    seed: Annotated[int, typer.Option(help="Of the lexical choices.")] = 0,
    per_task: Annotated[int, typer.Option(help="Items a task, or a few more: groups stay whole.")] = 300,
) -> None:
    """Write the tasks outside grammar; with the defaults, those that the package bundles."""
    from tools.reference.abilities import write

    paths = write(out, seed, per_task)
    typer.echo(f"{len(paths)} tasks of {per_task} items in {out}")


_Pairs = Annotated[list[Path] | None, typer.Option(help="File or folder of minimal pairs; may be repeated.")]
_Text = Annotated[list[Path] | None, typer.Option(help="Text for perplexity; may be repeated.")]
_Limit = Annotated[int | None, typer.Option(help="Only so many pairs of each paradigm, and items of each task.")]
_Beside = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILE", help="Scores of another model, shown beside for scale; may be repeated."),
]


@app.command()
def measure(
    model: Annotated[Path, typer.Option(help="Folder of the model.")],
    out: Annotated[Path, typer.Option(help="JSON file for the scores.")],
    pairs: _Pairs = None,
    text: _Text = None,
    limit: _Limit = None,
    bundled: Annotated[bool, typer.Option(help="Also the bundled pairs, tasks and held-out text.")] = True,
) -> None:
    """Measure a model on minimal pairs, tasks and texts, for its card or beside another's."""
    from tools.reference.measure import measure as run

    typer.echo(run(model, pairs or [], text or [], out, limit, bundled=bundled))


@app.command()
def card(
    run: Annotated[Path, typer.Option(help="Folder of a finished training run.")],
    out: Annotated[Path, typer.Option(help="File for the model card (Markdown).")],
    scores: Annotated[Path | None, typer.Option(help="JSON file of measured scores.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; the run folder's name if none.")] = None,
    beside: _Beside = None,
) -> None:
    """Render the model card of a training run from the files that the run and the measurements left."""
    from tools.reference.card import write

    typer.echo(write(run, out, scores, name, _named(beside)))


@app.command()
def bundle(
    run: Annotated[Path, typer.Option(help="Folder of a finished training run.")],
    out: Annotated[Path, typer.Option(help="Folder for the model, or for a series of checkpoints.")],
    pairs: _Pairs = None,
    text: _Text = None,
    limit: _Limit = None,
    scores: Annotated[Path | None, typer.Option(help="Scores measured before; measured now if none.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; the folder's name if none.")] = None,
    beside: _Beside = None,
) -> None:
    """Measure a trained model and lay it out as package data: weights, tokenizer, recipe, curve, scores and card."""
    from tools.reference.bundle import bundle as lay_out
    from tools.reference.card import render

    others = _named(beside)
    render(run, scores, name, others)  # whatever is wrong shows before the long measurement
    if scores is None:
        from tools.reference.measure import measure as run_all

        scores = run_all(run / "model", pairs or [], text or [], run / "scores.json", limit)
    typer.echo(lay_out(run, out, scores, name, others))


def _named(given: list[str] | None) -> dict[str, Path]:
    """Name -> file, from NAME=FILE."""
    out: dict[str, Path] = {}
    for one in given or []:
        name, equals, path = one.partition("=")
        if not name or not equals or not path or name in out:
            raise RecordError(
                f"scores of another model: {one!r}", "no new NAME=FILE", "write --beside NAME=scores.json"
            )
        out[name] = Path(path)
    return out


@app.command()
def tagger(
    ud: Annotated[Path, typer.Option(help="Folder of a treebank: files that end in train, dev and test.conllu.")],
    out: Annotated[Path, typer.Option(help="Folder for the spaCy pipeline; must not exist.")],
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the initial weights and the order of the texts.")] = None,
) -> None:
    """Train the tagger on a treebank of Universal Dependencies, and write its card."""
    from tools.reference.tagger.card import write as write_card
    from tools.reference.tagger.recipe import TaggerRecipe
    from tools.reference.tagger.train import train as run

    changes = {name: value for name, value in {"epochs": epochs, "seed": seed}.items() if value is not None}
    try:
        chosen = TaggerRecipe.model_validate(changes)
    except ValidationError as error:
        first = error.errors()[0]
        raise TaggerError("a recipe to train by", f"{first['loc'][0]}: {first['msg']}", "correct it") from error
    run(chosen, ud, out, say=typer.echo)
    typer.echo(write_card(out))


def main() -> None:
    """Run the command line; errors that the user can mend go to stderr, with exit status 2."""
    try:
        app()
    except NegspaceError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
