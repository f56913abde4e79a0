"""Card of the bundled tagger, rendered from the scores that its training left."""

from __future__ import annotations

import json
from pathlib import Path

from negspace.errors import TaggerError
from negspace.files import write_whole
from tools.reference.tagger.recipe import TaggerRecipe
from tools.reference.tagger.train import SCORES_FILE

CARD_FILE = "README.md"
_ROWS = {"own words": "words as the pipeline finds them", "gold words": "words as the treebank has them"}


def render(folder: Path) -> str:
    """The card of a trained tagger, in Markdown.

    Raises:
        TaggerError: the folder has no scores of a training run.
    """
    try:
        report = json.loads((folder / SCORES_FILE).read_text(encoding="utf-8"))
        recipe = TaggerRecipe.model_validate(report["recipe"])
        rows = [
            (name, *(report["test"][name][key] for key in ("upos", "uas", "las", "sentences_f1"))) for name in _ROWS
        ]
        words, files, version = report["words"], report["files"], report["spacy"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TaggerError(
            f"the card of the tagger in {folder}",
            f"no scores of a training run in it ({type(error).__name__}: {error})",
            "name a folder that `python -m tools.reference tagger` wrote",
        ) from error
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != CARD_FILE)
    scores = "\n".join(
        f"| {_ROWS[name]} | {upos:.1%} | {uas:.1%} | {las:.1%} | {sentences:.1%} |"
        for name, upos, uas, las, sentences in rows
    )
    return f"""\
---
language: en
license: cc-by-sa-4.0
library_name: spacy
pipeline_tag: token-classification
---

# The tagger of negspace

A small spaCy pipeline for English: universal parts of speech (UPOS) and dependencies of Universal Dependencies. It is
what negspace tags a text with when no other pipeline is named.

## Measured quality

spaCy's own evaluation on {files["test"]} ({words["test"]:,} words), which had no part in training:

| words | UPOS | UAS | LAS | sentences, F1 |
| --- | --- | --- | --- | --- |
{scores}

UAS and LAS leave punctuation out, as spaCy counts. The texts of the test have up to {recipe.sentences} sentences; where
sentences end the pipeline finds out. Labels are those of the treebank, subtypes included ("nmod:poss").

## Training

Trained on {files["train"]} ({words["train"]:,} words) with spaCy {version}: {recipe.epochs} epochs in batches of
{recipe.words:,} words, Adam with a peak learning rate of {recipe.learning_rate:g} and averaged parameters, dropout
{recipe.dropout:g}, seed {recipe.seed}. The parameters after the last step are kept; {files["dev"]} only showed the
progress. Hash embeddings of normal form, prefix, suffix and shape (rows {", ".join(f"{n:,}" for n in recipe.rows)};
width {recipe.width}), {recipe.depth} convolutions, a morphologizer and a transition-based parser (hidden width
{recipe.hidden}). {size / 1e6:.1f} MB on disk.

Repeat it in a checkout of negspace, given the folder DIR of the treebank:

    python -m tools.reference tagger --ud DIR --out OUT

## Limits

The treebank is of web text: reviews, mail, newsgroups, weblogs, answers. Larger pipelines tag better; where a finding
hangs on single labels, check it with one of them or with gold tags.

## Licence

Trained on the Universal Dependencies English Web Treebank (UD English EWT), which is licensed under CC BY-SA 4.0
(https://universaldependencies.org/treebanks/en_ewt). The pipeline is released under the same licence.
"""


def write(folder: Path) -> Path:
    """Render the card of a trained tagger into its folder.

    Raises:
        TaggerError: the folder has no scores of a training run.
        RecordError: the card cannot be written.
    """
    return write_whole(folder / CARD_FILE, render(folder).encode("utf-8"))
