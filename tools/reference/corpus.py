"""Training text of the reference models: tokenizer, rows of fixed length, and the order in which they are seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tools.reference.recipe import END_OF_TEXT, Recipe, Source


def documents(path: Path) -> Iterator[str]:
    """Documents of a text file in which blank lines stand between documents."""
    lines: list[str] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                lines.append(line)
            elif lines:
                yield "".join(lines)
                lines = []
    if lines:
        yield "".join(lines)


def train_tokenizer(folder: Path, sources: tuple[Source, ...], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over all sources, each document once. Token 0 is end-of-text, which serves as BOS, EOS and pad."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for source in sources for text in documents(folder / source.file)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, pad_token=END_OF_TEXT
    )


def rows(folder: Path, source: Source, tokenizer: PreTrainedTokenizerFast, length: int) -> np.ndarray:
    """Token rows of one source: documents joined by end-of-text, cut every `length` tokens, the rest dropped.

    Returns uint16 [rows, length].
    """
    stream: list[int] = []
    pieces: list[np.ndarray] = []
    for text in documents(folder / source.file):
        # A novel is one document; encoding it by lines keeps the tokenizer's working set small.
        stream.append(0)
        for encoding in tokenizer.backend_tokenizer.encode_batch(text.splitlines(keepends=True)):
            stream.extend(encoding.ids)
        if len(stream) > 1_000_000:
            pieces.append(np.array(stream, dtype=np.uint16))
            stream = []
    pieces.append(np.array(stream, dtype=np.uint16))
    tokens = np.concatenate(pieces)
    count = len(tokens) // length
    return tokens[: count * length].reshape(count, length)


def mixture(folder: Path, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> tuple[np.ndarray, np.ndarray]:
    """The training rows in the order in which they are drawn, and the held-out rows.

    Returns two uint16 arrays, [drawn rows, context + 1] and [held-out rows, context + 1].
    """
    generator = np.random.default_rng(recipe.seed)
    train: list[np.ndarray] = []
    held: list[np.ndarray] = []
    for source in recipe.sources:
        cut = rows(folder, source, tokenizer, recipe.context + 1)
        keep = len(cut) - max(1, int(recipe.held_out * len(cut)))
        held.append(cut[keep:])
        whole, part = divmod(source.repeats, 1)
        train.extend([cut[:keep]] * int(whole))
        train.append(cut[:keep][generator.permutation(keep)[: int(part * keep)]])
    pool = np.concatenate(train)
    return pool[generator.permutation(len(pool))], np.concatenate(held)
