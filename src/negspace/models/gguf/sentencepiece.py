"""SentencePiece's encoding by scores, as llama.cpp does it: what a tokenizer with merges must agree with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6
_MARK = "▁"


class SentencePiece:
    """Encodes text by joining, again and again, the two neighbours whose union has the highest score.

    Made for short texts: it looks at all neighbours in every step. (llama.cpp, llama-vocab.cpp: llm_tokenizer_spm.)

    Args:
        tokens: the vocabulary; a space is spelled "▁".
        scores: one a token.
        types: GGUF's type of each token.
        prefix_space: whether a space is put before every text.
        unknown: index of the token for what cannot be encoded.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        scores: Sequence[float],
        types: Sequence[int],
        prefix_space: bool,
        unknown: int | None,
    ) -> None:
        self._index = {token: index for index, token in enumerate(tokens)}
        self._scores = scores
        self._bytes = {int(t[3:5], 16): i for i, t in enumerate(tokens) if types[i] == _BYTE and len(t) == 6}
        self._prefix = prefix_space
        self._unknown = unknown
        whole = [
            token for token, kind in zip(tokens, types, strict=True) if kind in (_CONTROL, _USER_DEFINED) and token
        ]
        self._whole = sorted(whole, key=len, reverse=True)

    def encode(self, text: str) -> list[int]:
        """Indices of the tokens of a text, without those at its beginning and end."""
        found: list[int] = []
        first = True
        for part, whole in self._parts(text):
            if whole:
                found.append(self._index[part])
            else:
                found += self._join((" " if self._prefix and first else "") + part)
            first = False
        return found

    def _parts(self, text: str) -> Iterator[tuple[str, bool]]:
        """Cut out the tokens that are matched whole, the longest first."""
        parts = [(text, False)]
        for token in self._whole:
            if token not in text:
                continue
            cut: list[tuple[str, bool]] = []
            for part, whole in parts:
                if whole or token not in part:
                    cut.append((part, whole))
                    continue
                for number, piece in enumerate(part.split(token)):
                    cut += [(token, True)] * (number > 0) + [(piece, False)] * bool(piece)
            parts = cut
        yield from parts

    def _join(self, text: str) -> list[int]:
        pieces = list(text.replace(" ", _MARK))
        while True:
            unions = (self._index.get(a + b) for a, b in pairwise(pieces))
            best = max(
                ((self._scores[union], -at) for at, union in enumerate(unions) if union is not None), default=None
            )
            if best is None:
                break
            at = -best[1]
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        return [index for piece in pieces for index in self._of(piece)]

    def _of(self, piece: str) -> list[int]:
        if (index := self._index.get(piece)) is not None:
            return [index]
        if self._bytes:
            return [self._bytes[byte] for byte in piece.encode()]
        return [] if self._unknown is None else [self._unknown]
