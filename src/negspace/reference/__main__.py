"""Make the reference material anew: `python -m negspace.reference train | pairs | tagger | measure | card`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from negspace.errors import ModelError, NegspaceError, TaggerError
from negspace.reference.recipe import Recipe

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _recipe(path: Path | None, changes: dict[str, object]) -> Recipe:
    try:
        start = Recipe.model_validate_json(path.read_text(encoding="utf-8")) if path else Recipe.model_validate({})
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
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe.json to start from; the default recipe if none.")
    ] = None,
    family: Annotated[
        Literal["gpt_neox", "llama", "opt"] | None, typer.Option(help="GELU, gated SiLU or ReLU.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the initial weights and the order of the rows.")] = None,
    snapshots: Annotated[int, typer.Option(help="Log-spaced checkpoints to keep.")] = 0,
) -> None:
    """Train a reference model; the finished model lies in OUT/model."""
    from negspace.reference.train import train as run

    changes = {"family": family, "steps": steps, "seed": seed}
    chosen = _recipe(recipe, {name: value for name, value in changes.items() if value is not None})
    absent = [source.file for source in chosen.sources if not (corpus / source.file).is_file()]
    if absent:
        raise ModelError(
            f"training on the texts in {corpus}",
            f"not there: {', '.join(absent)}",
            "put them there, or name a recipe with other sources: --recipe recipe.json",
        )
    try:
        typer.echo(run(chosen, corpus, out, snapshots=snapshots))
    except ValueError as error:
        raise ModelError(
            f"a training run in {out}", str(error), "name a new folder, or the run's own recipe"
        ) from error


@app.command()
def pairs(
    out: Annotated[Path, typer.Option(help="Folder for one JSONL file a paradigm.")],
    seed: Annotated[int, typer.Option(help="Of the lexical choices.")] = 0,
    per_paradigm: Annotated[int, typer.Option(help="Pairs a paradigm, a multiple of 4.")] = 200,
) -> None:
    """Write the minimal pairs; with the defaults, those that the package bundles."""
    from negspace.reference.grammar import write

    paths = write(out, seed, per_paradigm)
    typer.echo(f"{len(paths)} paradigms of {per_paradigm} pairs in {out}")


@app.command()
def measure(
    model: Annotated[Path, typer.Option(help="Folder of the model.")],
    out: Annotated[Path, typer.Option(help="JSON file for the scores.")],
    pairs: Annotated[list[Path] | None, typer.Option(help="File or folder of minimal pairs; may be repeated.")] = None,
    text: Annotated[list[Path] | None, typer.Option(help="Text for perplexity; may be repeated.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only so many pairs of each paradigm.")] = None,
) -> None:
    """Measure a model on minimal pairs and texts, for its card."""
    from negspace.reference.measure import measure as run

    typer.echo(run(model, pairs or [], text or [], out, limit))


@app.command()
def card(
    run: Annotated[Path, typer.Option(help="Folder of a finished training run.")],
    out: Annotated[Path, typer.Option(help="File for the model card (Markdown).")],
    scores: Annotated[Path | None, typer.Option(help="JSON file of measured scores.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model; the run folder's name if none.")] = None,
) -> None:
    """Render the model card of a training run from the files that the run and the measurements left."""
    from negspace.reference.card import write

    typer.echo(write(run, out, scores, name))


@app.command()
def tagger(
    ud: Annotated[Path, typer.Option(help="Folder of a treebank: files that end in train, dev and test.conllu.")],
    out: Annotated[Path, typer.Option(help="Folder for the spaCy pipeline; must not exist.")],
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the initial weights and the order of the texts.")] = None,
) -> None:
    """Train the tagger on a treebank of Universal Dependencies, and write its card."""
    from negspace.reference.tagger.card import write as write_card
    from negspace.reference.tagger.recipe import TaggerRecipe
    from negspace.reference.tagger.train import train as run

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
