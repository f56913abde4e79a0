"""Tokenizers built in memory, one for each habit that tokenizers have with special tokens."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = [
    *("the", "a", "dog", "dogs", "cat", "cats", "bird", "barks", "bark", "sleeps", "sleep", "sees", "see", "that"),
    *("who", "no", "most", "all", "ever", "have", "has", "been", "happy", "sad", "quickly", "today", "and", "or"),
    *("he", "she", "himself", "herself", ".", ",", "The", "A", "No"),
]
"""A vocabulary large enough for a few paradigms; ids follow the order, after the special tokens."""


def word_tokenizer(
    *,
    before: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
    bos: str | None = None,
    eos: str | None = None,
    pad: str | None = None,
    words: list[str] | None = None,
    context: int = 16,
) -> PreTrainedTokenizerFast:
    """One token a word; `before` and `after` are put around a text by the tokenizer itself."""
    special = list(dict.fromkeys(["<unk>", *before, *after, *(token for token in (bos, eos, pad) if token)]))
    vocabulary = {word: index for index, word in enumerate([*special, *(words or WORDS)])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if before or after:
        core.post_processor = processors.TemplateProcessing(
            single=[*before, "$A", *after], special_tokens=[(token, vocabulary[token]) for token in (*before, *after)]
        )
    named = {"bos_token": bos, "eos_token": eos, "pad_token": pad}
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        additional_special_tokens=[token for token in (*before, *after) if token not in named.values()],
        model_max_length=context,
        **{name: token for name, token in named.items() if token},
    )


def plain() -> PreTrainedTokenizerFast:
    """Adds nothing; BOS and EOS are one token, as in GPT-2 and Pythia."""
    return word_tokenizer(bos="<end>", eos="<end>")


def with_bos() -> PreTrainedTokenizerFast:
    """Puts BOS before a text, as Llama's does."""
    return word_tokenizer(before=("<s>",), bos="<s>", eos="</s>")


def with_both() -> PreTrainedTokenizerFast:
    """BOS before and EOS after a text, as T5's relatives do."""
    return word_tokenizer(before=("<s>",), after=("</s>",), bos="<s>", eos="</s>")


def with_two() -> PreTrainedTokenizerFast:
    """Two tokens before a text, as GLM's does, and no BOS by name."""
    return word_tokenizer(before=("[gMASK]", "<sop>"), eos="<end>")


def without_bos() -> PreTrainedTokenizerFast:
    """EOS only, as in Qwen."""
    return word_tokenizer(eos="<end>", pad="<end>")


def bare() -> PreTrainedTokenizerFast:
    """No BOS, no EOS, no padding."""
    return word_tokenizer()
