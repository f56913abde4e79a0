"""Training text: documents, the tokenizer, and rows in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tools.reference.corpus import documents, mixture, rows, train_tokenizer
from tools.reference.recipe import Recipe, Source

SOURCE = Source(file="a.txt", repeats=2.5, licence="own")
RECIPE = Recipe(vocab_size=280, context=7, sources=(SOURCE,), held_out=0.2)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("\n".join(f"Line {i} of it.\nMore of {i}.\n" for i in range(40)))
    return tmp_path


def test_blank_lines_stand_between_documents(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n\none\ntwo\n\n\nthree")
    assert list(documents(path)) == ["one\ntwo\n", "three"]


def test_the_tokenizer_keeps_every_byte_and_has_one_special_token(corpus: Path) -> None:
    tokenizer = train_tokenizer(corpus, (SOURCE,), 280)
    assert len(tokenizer) <= 280
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == 0
    text = "Ünseen – 中 \t words\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_rows_are_the_token_stream_cut_with_end_of_text_before_each_document(corpus: Path) -> None:
    tokenizer = train_tokenizer(corpus, (SOURCE,), 280)
    cut = rows(corpus, SOURCE, tokenizer, 8)
    stream = [token for text in documents(corpus / "a.txt") for token in [0, *tokenizer(text).input_ids]]
    assert cut.dtype == np.uint16
    assert cut.shape == (len(stream) // 8, 8)
    assert cut.flatten().tolist() == stream[: cut.size]


def test_the_mixture_draws_each_row_as_often_as_asked_and_no_held_out_row(corpus: Path) -> None:
    tokenizer = train_tokenizer(corpus, (SOURCE,), 280)
    cut = rows(corpus, SOURCE, tokenizer, 8)
    order, held = mixture(corpus, RECIPE, tokenizer)
    keep = len(cut) - int(0.2 * len(cut))
    assert (held == cut[keep:]).all()
    assert len(order) == 2 * keep + int(0.5 * keep)
    drawn, count = np.unique(order, axis=0, return_counts=True)
    known = {tuple(row) for row in cut[:keep]}
    assert {tuple(row) for row in drawn} <= known
    assert count.min() >= 2


def test_the_order_depends_on_the_seed_alone(corpus: Path) -> None:
    tokenizer = train_tokenizer(corpus, (SOURCE,), 280)
    first, _ = mixture(corpus, RECIPE, tokenizer)
    again, _ = mixture(corpus, RECIPE, tokenizer)
    other, _ = mixture(corpus, RECIPE.model_copy(update={"seed": 1}), tokenizer)
    assert (first == again).all()
    assert (first != other).any()
