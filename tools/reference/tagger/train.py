"""Train the tagger on a treebank of Universal Dependencies."""

from __future__ import annotations

import importlib.metadata
import json
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from negspace.errors import TaggerError, TextError
from negspace.text.conllu import GoldSentence, read_sentences
from tools.reference.tagger.recipe import TaggerRecipe

SCORES_FILE = "scores.json"
SPLITS = ("train", "dev", "test")


def treebank(folder: Path) -> dict[str, Path]:
    """The files of a treebank by split: its names end in train.conllu, dev.conllu and test.conllu.

    Raises:
        TextError: a split is not there, or twice.
    """
    found = {split: sorted(folder.glob(f"*{split}.conllu")) for split in SPLITS}
    for split, paths in found.items():
        if len(paths) != 1:
            raise TextError(
                f"the {split} set of the treebank in {folder}",
                f"{len(paths)} files that end in {split}.conllu",
                "name the folder of one treebank of Universal Dependencies",
            )
    return {split: paths[0] for split, paths in found.items()}


def train(
    recipe: TaggerRecipe, folder: Path, out: Path, *, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Train a tagger; the pipeline lies in `out` afterwards, with its scores in `scores.json`.

    The parameters are averaged over the steps, as is usual for such parsers; those of the last step are kept, so that
    the development set has no part in the result.

    Args:
        recipe: shape and training.
        folder: folder of the treebank.
        out: folder of the pipeline; must not exist.
        say: called with a line of progress after each epoch.

    Returns:
        The scores, as written.

    Raises:
        TaggerError: spaCy is not installed, or `out` exists.
        TextError: the treebank cannot be read.
    """
    if out.exists():
        raise TaggerError(f"a tagger in {out}", "something is there already", "name a new folder")
    try:
        import spacy
        from spacy.training import Example
        from thinc.api import Adam
    except ImportError as error:
        raise TaggerError("to train a tagger", f"{error}", "install spaCy: pip install 'negspace[pos]'") from error
    paths = treebank(folder)
    sets = {split: list(_texts(path, recipe.sentences)) for split, path in paths.items()}
    with _seeded(recipe.seed):
        nlp = spacy.blank("en")
        for name, config in recipe.components():
            nlp.add_pipe(name, config=config)
        gold = {split: [_document(nlp, text) for text in texts] for split, texts in sets.items()}

        def examples(split: str) -> list[Any]:
            # The pipeline's own words: what it will meet in running text.
            return [Example(nlp.make_doc(document.text), document) for document in gold[split]]

        training = examples("train")
        nlp.initialize(lambda: training)
        batches = sum(1 for _ in _batches(training, recipe.words))
        steps = recipe.epochs * batches
        optimiser = Adam(recipe.learning_rate, beta1=0.9, beta2=0.999, L2=0.01, grad_clip=1.0, use_averages=True)
        done, began = 0, time.perf_counter()
        for epoch in range(1, recipe.epochs + 1):
            random.shuffle(training)
            losses: dict[str, float] = {}
            for batch in _batches(training, recipe.words):
                done += 1
                optimiser.learn_rate = recipe.learning_rate * _shape(done / steps)
                nlp.update(batch, drop=recipe.dropout, sgd=optimiser, losses=losses)
            with nlp.use_params(optimiser.averages):
                scores = nlp.evaluate(examples("dev"))
            say(
                f"epoch {epoch}, {time.perf_counter() - began:.0f} s: UPOS {scores['pos_acc']:.4f}"
                f" UAS {scores['dep_uas']:.4f} LAS {scores['dep_las']:.4f}"
            )
        nlp.meta["name"] = "negspace_tagger"
        nlp.meta["version"] = "1"
        nlp.meta["description"] = "Small tagger and parser of negspace, trained on UD English EWT"
        nlp.meta["license"] = "CC BY-SA 4.0"
        with nlp.use_params(optimiser.averages):
            nlp.to_disk(out)
    _tidy(out)
    scores = evaluate(out, paths["test"], recipe.sentences)
    report = {
        "recipe": recipe.model_dump(mode="json"),
        "files": {split: path.name for split, path in paths.items()},
        "words": {split: sum(len(document) for document in gold[split]) for split in SPLITS},
        "spacy": importlib.metadata.version("spacy"),
        "test": scores,
    }
    (out / SCORES_FILE).write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return report


def evaluate(pipeline: Path, test: Path, sentences: int) -> dict[str, dict[str, float]]:
    """spaCy's own scores of a pipeline on a CoNLL-U file, on words as the pipeline finds them and as the file has them.

    Returns:
        "own words" and "gold words" -> UPOS accuracy, UAS and LAS (without punctuation, as spaCy counts), sentence F1.
    """
    import spacy
    from spacy.tokens import Doc
    from spacy.training import Example

    nlp = spacy.load(pipeline)
    gold = [_document(nlp, text) for text in _texts(test, sentences)]
    guessed = {
        "own words": [nlp.make_doc(document.text) for document in gold],
        "gold words": [
            Doc(nlp.vocab, [token.text for token in document], [bool(token.whitespace_) for token in document])
            for document in gold
        ],
    }
    names = {"upos": "pos_acc", "uas": "dep_uas", "las": "dep_las", "sentences_f1": "sents_f"}
    scores = {}
    for kind, documents in guessed.items():
        measured = nlp.evaluate([Example(mine, its) for mine, its in zip(documents, gold, strict=True)])
        scores[kind] = {name: round(float(measured[key]), 5) for name, key in names.items()}
    return scores


def _texts(path: Path, most: int) -> Iterator[list[GoldSentence]]:
    """Runs of at most `most` consecutive sentences of one document."""
    text: list[GoldSentence] = []
    for sentence in read_sentences(path):
        if text and (sentence.newdoc or len(text) == most):
            yield text
            text = []
        text.append(sentence)
    if text:
        yield text


def _document(nlp: Any, sentences: list[GoldSentence]) -> Any:
    """spaCy's gold document: words as written, so that contractions whose words are no parts of them stay whole."""
    from spacy.tokens import Doc

    words, spaces, upos, heads, deps, starts = [], [], [], [], [], []
    for sentence in sentences:
        first = len(words)
        for unit in sentence.units:
            mine = sentence.words[unit.first : unit.stop]
            if "".join(word.form for word in mine) != unit.form:
                raise TextError(
                    f"to train on the contraction {unit.form!r}",
                    f"its words {', '.join(word.form for word in mine)} are no parts of it",
                    "use a treebank whose words are all parts of the text, as the English ones'",
                )
            for word in mine:
                starts.append(len(words) == first)
                heads.append(first + word.head - 1 if word.head else len(words))
                words.append(word.form)
                spaces.append(False)
                upos.append(word.upos)
                deps.append("ROOT" if word.head == 0 else word.dep)
            spaces[-1] = unit.space
        spaces[-1] = True  # what stands between sentences, be it nothing or a line end, is learnt as a space
    return Doc(nlp.vocab, words=words, spaces=spaces, pos=upos, heads=heads, deps=deps, sent_starts=starts)


def _batches(examples: list[Any], words: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    size = 0
    for example in examples:
        batch.append(example)
        size += len(example.reference)
        if size >= words:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _shape(part: float) -> float:
    """The learning rate at a part of the training, as a share of its peak."""
    return min(part / 0.05, (1 - part) / 0.95)


def _tidy(out: Path) -> None:
    """Drop what the pipeline has no use for: empty vectors, caches, and the words of the treebank, seen or not.

    spaCy writes every string that it ever met; needed are those of the components and their labels alone.
    """
    import spacy

    labels = {label for names in spacy.load(out).pipe_labels.values() for label in names}
    labels |= {part for label in labels for part in label.replace("|", "=").split("=")}
    known = {*spacy.blank("en").vocab.strings, *labels} - {""}
    for path in out.glob("vocab/*"):
        if path.name != "lookups.bin":
            path.unlink() if path.is_file() else shutil.rmtree(path)
    (out / "vocab" / "strings.json").write_text(json.dumps(sorted(known), indent=0) + "\n", encoding="utf-8")
    meta = json.loads((out / "meta.json").read_text(encoding="utf-8"))
    meta["spacy_version"] = ">=3.8.0,<3.9.0"
    (out / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """spaCy and thinc draw from the global generators; what these were is put back afterwards."""
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
