"""Proof that a tokenizer which transformers built from a GGUF file is the one that the file describes.

Vocabulary, merges, special tokens and the policy on them are compared with the file's, and so are encodings: with those
of an encoder of our own where the file gives scores instead of merges. A pre-tokeniser of the wrong kind is replaced;
any other difference is an error.
"""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Regex, decoders, normalizers, pre_tokenizers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from negspace.errors import ModelError
from negspace.models.gguf.header import Header
from negspace.models.gguf.sentencepiece import SentencePiece

_CONTROL = 3
"""GGUF's type of tokens that stand for no text."""
_SPECIAL = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_CASED = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    "llama3": _WORDS + r"\p{N}{1,3}" + _REST,
    "qwen2": _WORDS + r"\p{N}" + _REST,
    "qwen35": (_WORDS + r"\p{N}" + _REST).replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"\s\p{L}", r"\s\p{L}\p{M}"),
    "tekken": f"{_BEFORE}{_UPPER}*{_LOWER}+|{_BEFORE}{_UPPER}+{_LOWER}*|" + r"\p{N}" + _CASED,
    "gpt4o": f"{_BEFORE}{_UPPER}*{_LOWER}+{_ENDING}|{_BEFORE}{_UPPER}+{_LOWER}*{_ENDING}|" + r"\p{N}{1,3}" + _CASED,
}
"""Family of pre-tokenisers -> the expression that its pieces match, as the models' own tokenizers have it."""
_KINDS = {
    "gpt2": "gpt-2 phi-2 gpt2 mpt olmo jais trillion granite-docling exaone4 gigachat roberta-bpe",
    "digits": "smollm starcoder refact command-r codeshell exaone minerva-7b",
    "llama3": "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano dbrx smaug-bpe",
    "qwen2": "qwen2 stablelm2 hunyuan deepseek-r1-qwen kormo f2llmv2 megrez grok-2",
    "qwen35": "qwen35",
    "tekken": "tekken",
    "gpt4o": "gpt-4o llama4 kanana2 talkie minimax-m2",
}
_FAMILIES = {kind: family for family, kinds in _KINDS.items() for kind in kinds.split()}
"""`tokenizer.ggml.pre` -> family; llama.cpp's table (llama-vocab.cpp), as far as its entries are exact."""
_WHOLE = frozenset(_KINDS["llama3"].split()) - {"dbrx", "smaug-bpe"} | {"tekken"}
"""Kinds under which a piece that is a token stays whole, and a BOS is added unless the file says no."""

_SPELLING = bytes_to_unicode()
"""Byte -> the character that a byte-level vocabulary spells it as."""
_ALPHABET = frozenset(_SPELLING.values())

_TEXTS = (
    "The cats are on the mat, aren't they?",
    " leading and  double  spaces   inside, trailing ",
    "In 1998 there were 12,345.67 of them  2 by  2\n 3",
    "\n\n = A title = \n\n\tindented\ttabs \r\n windows\r\n\r\nlines",
    "I'm, you're, WE'LL, don't DON'T 'quoted' “so” — he said…",
    "def f(x):\n    return x**2  # comment\n\n\nclass A: pass",
    "naïve café, Straße, Ελληνικά, русский язык, עברית, العربية, हिन्दी, ไทย, 日本語テスト, 한국어",
    "🙂 👩‍👩‍👧 ½ ² Ⅷ ٣ ﬁ \u00a0 \u2003 \u200b",
    "xYz123abcDEF_ghi-jkl/mno.pqr@stu#vwx%yz&*()[]{}<>|\\^~`+=;:!?$",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0000000000000000",
    "supercalifragilisticexpialidocious antidisestablishmentarianism Donaudampfschifffahrt",
)
"""Texts on which encodings are proved, besides some made of the vocabulary."""


def prove(tokenizer: Any, header: Header) -> tuple[str, ...]:
    """Compare a tokenizer with the file, and put right what can be put right exactly.

    Args:
        tokenizer: as transformers built it from the file; changed in place.
        header: of the file.

    Returns:
        What was put right, a sentence each.

    Raises:
        ModelError: it is another tokenizer than the file's, or one whose pre-tokeniser cannot be built exactly.
    """
    file = _File(header)
    mended = _mend_pieces(tokenizer, file) if file.kind == "gpt2" else _mend_spaces(tokenizer, file)
    mended += _mend_policy(tokenizer, file)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    _check_vocabulary(tokenizer, file)
    if file.merges is not None:
        built = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
        if built != file.merges:
            raise _differs(file, f"{len(built):,} merges, not the {len(file.merges):,} of the file")
    _check_special(tokenizer, file)
    _check_encodings(tokenizer, file)
    return tuple(mended)


class _File:
    """The tokenizer's description in a GGUF file."""

    def __init__(self, header: Header) -> None:
        said = {
            key.removeprefix("tokenizer.ggml."): value
            for key, value in header.metadata.items()
            if key.startswith("tokenizer.ggml.")
        }
        self.path = header.path
        self.architecture = header.architecture
        self.kind: str = said["model"]
        self.pre: str | None = said.get("pre")
        self.tokens: list[str] = said["tokens"]
        self.types: list[int] = [int(kind) for kind in said.get("token_type", ())] or [1] * len(self.tokens)
        self.merges: list[str] | None = said.get("merges")
        self.scores = said.get("scores")
        whole = self.kind == "gpt2" and self.pre in _WHOLE
        self.bos = bool(said.get("add_bos_token", self.kind == "llama" or whole)) and self.kind != "gemma4"
        self.eos = bool(said.get("add_eos_token", False))
        self.prefix_space = bool(said.get("add_space_prefix", self.kind == "llama"))
        self.ids = {name: said[key] for name, key in _SPECIAL.items() if key in said}

    def spelled(self, index: int) -> str:
        """A token as transformers spells it."""
        token = self.tokens[index]
        if self.kind == "gpt2":
            return token if set(token) <= _ALPHABET else "".join(_SPELLING[byte] for byte in token.encode())
        return "▁" * len(token) if token and not token.strip(" ") else token


def _mend_pieces(tokenizer: Any, file: _File) -> list[str]:
    """Cut text into pieces as the kind that the file names does."""
    kind = file.pre
    if kind is None and file.architecture == "gpt2":
        kind = "gpt-2"
    if kind not in _FAMILIES:
        raise ModelError(
            f"the tokenizer of {file.path}",
            f"the pre-tokeniser {kind!r}, which cannot be built exactly"
            if kind
            else "a file that does not name its pre-tokeniser, as old converters left it out",
            "use the model's own repository (safetensors with its tokenizer), or load it with transformers and pass "
            "model and tokenizer to negspace.wrap",
        )
    family, backend, mended = _FAMILIES[kind], tokenizer.backend_tokenizer, []
    before = json.loads(backend.to_str())["pre_tokenizer"]
    wanted = _pieces(family)
    if before != json.loads(wanted.__getstate__()):
        backend.pre_tokenizer = wanted
        mended.append(f"pre-tokeniser {kind}, for which transformers took another")
    if (whole := kind in _WHOLE) != bool(backend.model.ignore_merges):
        backend.model.ignore_merges = whole
        mended.append(f"pieces that are tokens {'stay whole' if whole else 'are merged'} ({kind})")
    return mended


def _pieces(family: str) -> Any:
    if family == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if family == "digits":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    split = pre_tokenizers.Split(Regex(_SPLITS[family]), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _mend_spaces(tokenizer: Any, file: _File) -> list[str]:
    """Put one space before a text, even if it begins with one, or none, as SentencePiece does."""
    if file.kind != "llama" or file.architecture.startswith("gemma"):  # Gemma's pieces are cut in a way of their own
        return []
    backend = tokenizer.backend_tokenizer
    before, after = ([normalizers.Prepend("▁")], [decoders.Strip(" ", left=1)]) if file.prefix_space else ([], [])
    wanted = normalizers.Sequence([*before, normalizers.Replace(" ", "▁")])
    held = json.loads(backend.to_str())
    if held["pre_tokenizer"] is None and held["normalizer"] == json.loads(wanted.__getstate__()):
        return []
    backend.normalizer, backend.pre_tokenizer = wanted, None
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *after])
    return [f"{'one' if before else 'no'} space is put before a text, also if it begins with one"]


def _mend_policy(tokenizer: Any, file: _File) -> list[str]:
    """Add the special tokens that the file wants at a text's beginning and end, and no others."""
    mended = []
    for name, wanted in (("bos", file.bos), ("eos", file.eos)):
        if wanted and getattr(tokenizer, f"{name}_token_id") is None:
            raise _differs(file, f"no {name.upper()} token, which the file wants added to every text")
        if _adds(tokenizer, name) != wanted:
            setattr(tokenizer, f"add_{name}_token", wanted)
            tokenizer.update_post_processor()
            mended.append(f"{name.upper()} {'is' if wanted else 'is not'} added to texts, as the file says")
    return mended


def _adds(tokenizer: Any, name: str) -> bool:
    ids = tokenizer("a").input_ids
    own = getattr(tokenizer, f"{name}_token_id")
    return bool(ids) and own is not None and ids[0 if name == "bos" else -1] == own


def _check_vocabulary(tokenizer: Any, file: _File) -> None:
    if len(tokenizer) != len(file.tokens):
        raise _differs(file, f"{len(tokenizer):,} tokens, not the {len(file.tokens):,} of the file")
    built = tokenizer.convert_ids_to_tokens(list(range(len(file.tokens))))
    for index, token in enumerate(built):
        if token not in (file.tokens[index], file.spelled(index)):
            raise _differs(file, f"the token {token!r} at {index}, where the file has {file.tokens[index]!r}")
    added = tokenizer.added_tokens_decoder
    for index, kind in enumerate(file.types):
        special = index in added and added[index].special
        if kind == _CONTROL and file.spelled(index) == file.tokens[index] and not special:
            raise _differs(file, f"{built[index]!r} as a piece of text, where the file has a control token")


def _check_special(tokenizer: Any, file: _File) -> None:
    for name, index in file.ids.items():
        if (own := getattr(tokenizer, f"{name}_token_id")) != index:
            raise _differs(file, f"{name.upper()} {own}, where the file says {index}")
    for name, wanted in (("bos", file.bos), ("eos", file.eos)):
        if _adds(tokenizer, name) != wanted:
            added = "is not" if wanted else "is"
            raise _differs(file, f"{name.upper()}, which {added} added to texts, against what the file says")


def _check_encodings(tokenizer: Any, file: _File) -> None:
    """Encode varied texts: they come back as they were, and for a vocabulary with scores the tokens are the file's."""
    ordinary = [index for index, kind in enumerate(file.types) if kind == 1]
    drawn = [tokenizer.decode([index]) for index in ordinary[:: max(1, len(ordinary) // 400)]]
    drawn = [text for text in drawn if text and "\ufffd" not in text]
    groups = ["".join(drawn[k::40]) for k in range(40)] + [" ".join(drawn[k::40]) for k in range(40)]
    texts = [text for text in (*_TEXTS, *groups) if text]
    reference = None
    if file.kind == "llama" and file.scores is not None:
        reference = SentencePiece(file.tokens, file.scores.tolist(), file.types, file.prefix_space, file.ids.get("unk"))
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        if reference is not None and ids != (own := reference.encode(text)):
            where = next((k for k, pair in enumerate(zip(ids, own, strict=False)) if pair[0] != pair[1]), 0)
            built, said = (tokenizer.convert_ids_to_tokens(these[where : where + 4]) for these in (ids, own))
            raise _differs(file, f"{built} in a text, where the scores of the file give {said}")
        back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        if tokenizer.unk_token_id not in ids and back != text and back != f" {text}":
            raise _differs(file, f"{back[:60]!r} for the text {text[:60]!r}, encoded and decoded")


def _differs(file: _File, found: str) -> ModelError:
    return ModelError(
        f"the tokenizer of {file.path}, as transformers builds it",
        found,
        "use the model's own repository (safetensors with its tokenizer), or another conversion of it to GGUF",
    )
