"""Passages: windows spread over a text, with the words and tags of their tokens, in which neurons are watched."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from pydantic import Field

from negspace.errors import StudyError
from negspace.experiment.config import Settings
from negspace.experiment.tagging import tagged_text
from negspace.models.model import Model
from negspace.runs.cell import Cell, digest
from negspace.runs.engine import Step
from negspace.text.alignment import align, token_offsets
from negspace.text.content import is_conllu
from negspace.text.names import partial_tokens, pieces, token_names
from negspace.text.source import Source, Text, read_text
from negspace.text.tagged import Tagged, tag_text
from negspace.text.windows import Bos, Windows, doubled, make_windows

if TYPE_CHECKING:
    from negspace.experiment.lab import Lab
    from negspace.experiment.workbench import Workbench

VERSION = 1
"""Version of what a cell of passages holds; raise it whenever the same spec comes to give another result."""
WINDOW = 256
"""Tokens of a passage, where model and text allow: many short ones make more independent units than few long ones."""
KIND = "passages"
_FAR = 5000
"""Characters within which the end of a paragraph is looked for."""


class PassageSettings(Settings):
    """Text and passages to read."""

    text: str | None = None
    """Text in which neurons are observed, as `text` of a study, or a CoNLL-U file with gold tags. Default: the study's
    text for perplexity."""
    tagger: str | None = None
    """Name or path of the spaCy pipeline that tags the text. Default: the bundled one, or the text's gold tags."""
    tokens: int = Field(16384, ge=64)
    """Number of tokens to read, in whole passages spread evenly over the text; all if it has fewer."""
    window: int | None = Field(None, ge=2)
    """Tokens per passage. Default: 256, or fewer for a short context or text."""


@dataclass(frozen=True, eq=False)
class Passages:
    """Windows spread over a text, and what is known of their tokens."""

    windows: Windows
    """The passages; they do not overlap."""
    tokens: pd.DataFrame
    """One row per token of the passages, in their order; columns as in `COLUMNS`."""
    tagger: str
    """Whose tags these are: "gold", or name and version of the pipeline."""

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of the tokens and all that is known of them."""
        return digest({name: self.tokens[name].tolist() for name in self.tokens.columns})

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the reader; one sentence each."""
        return self.windows.notes


COLUMNS = {
    "window": "number of the passage, from 0",
    "place": "place of the token in it, from 0",
    "at": "number of the passage among all windows of the text",
    "token": "id of the token",
    "name": "what the token is called; see `token_names`",
    "text": "what it adds to the passage: its name, but for a part of a character the whole of it, or nothing if the "
    "token before it has that already",
    "special": "whether it is BOS, EOS, padding or another special token, which is run but not counted",
    "frequency": "how often the token occurs in all windows of the text",
    "upos": 'part of speech of its word, "" without one',
    "dep": 'dependency label of its word, "" without one',
}
"""Column of the tokens -> meaning."""


def make_passages(
    model: Model,
    text: Source | Text | Tagged = "wikitext-2",
    *,
    tagger: Any = None,
    tokens: int = 16384,
    window: int | None = None,
    bos: Bos = "auto",
) -> Passages:
    """Cut a text into windows, take some that are spread evenly over it, and tag their words.

    Windows do not overlap, so that no token is read twice. Only the paragraphs that the passages touch are tagged.

    Args:
        model: the model, for its tokenizer and context.
        text: as for `parts_of_speech`: anything that `read_text` takes, or gold tags.
        tagger: name, path or spaCy pipeline; None: the bundled one.
        tokens: how many to read, in whole windows.
        window: tokens of a window; None: 256, or fewer where context or text are short.
        bos: "auto": windows are slices of the text as the tokenizer encodes it; "always": BOS before each.

    Raises:
        TextError: no text, less than one window of it, malformed gold tags, or a slow tokenizer.
        TaggerError: the tagger is missing or of no use.
    """
    gold = tagged_text(text, tagger) if _is_gold(text, tagger) else None
    stream = gold.text if gold else read_text(text, role="perplexity")  # type: ignore[arg-type]
    cut = _cut(stream, model, window, bos)
    count = min(len(cut), -(-tokens // cut.window))
    chosen = np.arange(count) * len(cut) // count
    tagged = gold or _tag(stream, cut, chosen, model, tagger)
    aligned = align(tagged, cut, model.tokenizer)
    ids, size = cut.tokens[chosen], int(cut.tokens.max()) + 1
    frequency = np.bincount(cut.tokens[~cut.special], minlength=size)
    names, partial = token_names(model.tokenizer, np.unique(ids)), partial_tokens(model.tokenizer, np.unique(ids))
    spot, place = np.indices(ids.shape)
    frame = pd.DataFrame(
        {
            "window": spot.ravel(),
            "place": place.ravel(),
            "at": chosen[spot.ravel()],
            "token": ids.ravel(),
            "name": [names[int(token)] for token in ids.ravel()],
            "text": pieces(stream.text, ids, aligned.start[chosen], aligned.end[chosen], names, partial),
            "special": cut.special[chosen].ravel(),
            "frequency": frequency[ids.ravel()],
            "upos": aligned.upos[chosen].ravel(),
            "dep": aligned.dep[chosen].ravel(),
        }
    )
    part = replace(cut, tokens=ids, special=cut.special[chosen])
    return Passages(part, frame, tagged.tagger)


def passages_of(bench: Workbench, settings: PassageSettings, planned: str | None = None) -> Passages:
    """The passages that settings name on a workbench's model and text; made once for each.

    Args:
        planned: hash of those that the study was planned with.

    Raises:
        StudyError: these are others.
    """
    made = _MADE.setdefault(bench, {})
    text = settings.text or bench.study.perplexity_text or bench.study.text
    key = (text, settings.tagger, settings.tokens, settings.window, bench.study.bos)
    if key not in made:
        made[key] = make_passages(
            bench.model,
            text,
            tagger=settings.tagger,
            tokens=settings.tokens,
            window=settings.window,
            bos=bench.study.bos,
        )
    if planned is not None and made[key].hash != planned:
        raise StudyError(
            f"to compute a study's cells on passages of {made[key].windows.text_name}",
            "other passages or tags than it was planned with: a file was changed since, or a worker has another tagger",
            "run the study again from its start: records that fit are used, the rest is computed",
        )
    return made[key]


def read_facts(bench: Workbench, settings: PassageSettings) -> dict[str, Any]:
    """Return the facts of passages that an analysis plans with: hash, shape and names (JSON values)."""
    made = passages_of(bench, settings)
    return {
        "hash": made.hash,
        "text": made.windows.text_name,
        "tagger": made.tagger,
        "windows": len(made.windows),
        "window": made.windows.window,
        "tokens": int((~made.windows.special).sum()),
        "notes": list(made.notes),
    }


def passages_cell(lab: Lab, facts: Mapping[str, Any], settings: PassageSettings) -> Cell:
    """The cell whose record holds the passages' tokens; analyses that read the same ones share it."""
    return lab.cell(KIND, VERSION, {"passages": facts["hash"]}, "passages", 0.0, settings=passage_settings(settings))


def compute_passages(bench: Workbench, cell: Cell, _: Step) -> tuple[Mapping[str, Any], pd.DataFrame]:
    """Handler of cells of passages."""
    made = passages_of(bench, cell.inputs["settings"], cell.spec["passages"])
    return {"windows": len(made.windows), "window": made.windows.window, "tagger": made.tagger}, made.tokens


def passage_settings(settings: PassageSettings) -> PassageSettings:
    """The part of an analysis's settings that decides its passages."""
    return PassageSettings(**{name: getattr(settings, name) for name in PassageSettings.model_fields})


_MADE: WeakKeyDictionary[Workbench, dict[tuple[Any, ...], Passages]] = WeakKeyDictionary()


def _is_gold(text: Any, tagger: Any) -> bool:
    return isinstance(text, Tagged) or (isinstance(text, str | os.PathLike) and is_conllu(text)) or tagger == "gold"


def _cut(text: Text, model: Model, window: int | None, bos: Bos) -> Windows:
    cut = make_windows(text, model.tokenizer, window=window, bos=bos, context=model.context)
    if window is None and cut.window > WINDOW:
        cut = make_windows(text, model.tokenizer, window=WINDOW, bos=bos, context=model.context)
    return cut


def _tag(text: Text, cut: Windows, chosen: np.ndarray, model: Model, tagger: Any) -> Tagged:
    """Words of the paragraphs that the chosen windows touch, tagged as one text in which they stand apart."""
    lead = int(cut.bos == "always")
    ids, start, end = token_offsets(text.text, model.tokenizer, special=not lead)
    skip = doubled(ids, text, model.tokenizer, cut.bos)
    content = cut.window - lead
    spans: list[list[int]] = []
    for window in chosen.tolist():
        first = window * cut.stride + skip
        some = slice(first, first + content)
        begin, stop = _widened(text.text, int(start[some].min()), int(end[some].max()))
        if spans and begin <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], stop)
        else:
            spans.append([begin, stop])
    gap = "\n\n"
    joined = replace(text, text=gap.join(text.text[begin:stop] for begin, stop in spans))
    words = tagged_text(joined, tagger) if tagger is None else tag_text(joined, tagger)
    offsets = np.cumsum([0, *(stop - begin + len(gap) for begin, stop in spans)])
    span = np.searchsorted(offsets, words.start, side="right") - 1
    shift = np.array([begin for begin, _ in spans])[span] - offsets[span]
    return replace(words, text=text, start=words.start + shift, end=words.end + shift)


def _widened(text: str, begin: int, stop: int) -> tuple[int, int]:
    """A span of a text widened to whole paragraphs, or where these are long, to whole lines or words."""
    before, after = text[max(0, begin - _FAR) : begin], text[stop : stop + _FAR]
    for mark in (r"\n[^\S\n]*\n", r"\n", r"\s"):
        starts = [found.end() for found in re.finditer(mark, before)]
        if starts or begin <= _FAR:
            begin -= len(before) - (starts[-1] if starts else 0)
            break
    for mark in (r"\n[^\S\n]*\n", r"\n", r"\s"):
        found = re.search(mark, after)
        if found or len(after) < _FAR:
            stop += found.start() if found else len(after)
            break
    return begin, stop
