"""The header of a GGUF file: metadata, and a table of its tensors. Every number is read within the file's bounds."""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from negspace.errors import ModelError
from negspace.memory import is_out_of_memory, shortage

_FIXED = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
"""GGUF's number of a value type -> numpy's name of it."""
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class Tensor:
    """A tensor of a GGUF file."""

    name: str
    """Its name in the file, such as "blk.0.ffn_gate.weight"."""
    shape: tuple[int, ...]
    """As torch has it: the dimension whose neighbours lie side by side comes last."""
    kind: str
    """Storage type of its values: "F32", "Q4_K", ..."""
    begin: int
    """Its first byte in the file."""
    end: int
    """The byte after its last."""

    @property
    def size(self) -> int:
        """The number of values in the tensor."""
        return prod(self.shape)


@dataclass(frozen=True)
class Header:
    """The header of a GGUF file."""

    path: Path
    """The file."""
    metadata: dict[str, Any]
    """Key -> number, text, list of texts, or array of numbers."""
    tensors: tuple[Tensor, ...]
    """All tensors, in the order of the file."""

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture: "llama", "qwen2", "gemma3", ..."""
        return self.metadata["general.architecture"]

    @property
    def kinds(self) -> dict[str, int]:
        """Kind of storage -> number of tensors, the most frequent first."""
        return dict(sorted(Counter(t.kind for t in self.tensors).items(), key=lambda pair: (-pair[1], pair[0])))

    @property
    def quantisation(self) -> str:
        """The mixture that the file was made as ("Q4_K_M"); where it does not say, its most frequent kind."""
        from gguf import LlamaFileType

        number = self.metadata.get("general.file_type")
        try:
            return LlamaFileType(number).name.removeprefix("MOSTLY_").removeprefix("ALL_")
        except ValueError:
            return next(iter(self.kinds), "")

    def own(self, key: str, otherwise: Any = None) -> Any:
        """Value of a key of the architecture's: `own("block_count")` reads "llama.block_count" of a Llama."""
        return self.metadata.get(f"{self.architecture}.{key}", otherwise)

    def whole(self, key: str, otherwise: int) -> int:
        """The whole number under a key, from 0 on.

        Raises:
            ModelError: it is something else.
        """
        return _whole(self.path, self.metadata, key, otherwise)


def read_header(path: Path) -> Header:
    """Read the header of a GGUF file, and make sure that the file holds all tensors that it lists.

    Raises:
        ModelError: not a GGUF file, of another version or byte order, damaged, or cut short.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if size < 24:
                raise _other(path, f"a file of {size} bytes")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _read(path, content)
    except OSError as error:
        if is_out_of_memory(error):
            raise ModelError(f"the model in {path}", *shortage(error)) from error
        raise ModelError(
            f"the model in {path}", error.strerror or str(error), "check the path and its permissions"
        ) from error


def _read(path: Path, content: mmap.mmap) -> Header:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if content[:4] != b"GGUF":
        raise _other(path, f"a file that begins with {bytes(content[:8])!r}")
    at = _Reader(path, content)
    version = int(at.number("<u4"))
    if version not in (2, 3):
        swapped = version & 0xFFFF == 0
        raise ModelError(
            f"the GGUF file {path}",
            "numbers of a big-endian machine" if swapped else f"version {version} of the format",
            "convert the model for this kind of machine" if swapped else "get a file of version 2 or 3",
        )
    tensors, keys = int(at.number("<u8")), int(at.number("<u8"))
    metadata: dict[str, Any] = {}
    for _ in range(keys):
        key = at.text()
        metadata[key] = at.value(int(at.number("<u4")))
    table = []
    for _ in range(tensors):
        name = at.text()
        shape = tuple(int(n) for n in reversed(at.numbers("<u8", int(at.number("<u4")))))
        kind, offset = int(at.number("<u4")), int(at.number("<u8"))
        if kind not in GGMLQuantizationType._value2member_map_:
            raise ModelError(
                f"the tensor {name} of {path}",
                f"stored in a way (number {kind}) that the installed gguf package does not know",
                "update it (pip install -U gguf), or get the model in another quantisation",
            )
        table.append((name, shape, GGMLQuantizationType(kind), offset))
    if not isinstance(metadata.get("general.architecture"), str):
        raise ModelError(
            f"the GGUF file {path}", "a file that does not say its architecture", "get the file again, or another"
        )
    alignment = _whole(path, metadata, "general.alignment", 32, least=1)
    start = -(-at.position // alignment) * alignment
    found = []
    for name, shape, kind, offset in table:
        values, stored = GGML_QUANT_SIZES[kind]
        begin = start + offset
        found.append(Tensor(name, shape, kind.name, begin, begin + prod(shape) // values * stored))
    if found and (last := max(t.end for t in found)) > len(content):
        raise _short(path, f"{len(content):,} bytes of {last:,}")
    return Header(path=path, metadata=metadata, tensors=tuple(found))


class _Reader:
    """Takes one value after the other from the bytes of a file."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self._path = path
        self._content = content
        self.position = 4

    def number(self, kind: str) -> Any:
        """One number."""
        return self.numbers(kind, 1)[0]

    def numbers(self, kind: str, count: int) -> NDArray[Any]:
        """Several numbers, copied."""
        size = np.dtype(kind).itemsize * count
        return np.frombuffer(self._content[self._take(size) : self.position], dtype=kind)

    def text(self) -> str:
        """A text, which is its length and so many bytes."""
        begin = self._take(8)
        (size,) = struct.unpack_from("<Q", self._content, begin)
        begin = self._take(size)
        try:
            return self._content[begin : self.position].decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModelError(
                f"the GGUF file {self._path}", f"a text that is not UTF-8 at byte {begin:,}", "get the file again"
            ) from error

    def value(self, kind: int) -> Any:
        """A value of the metadata."""
        if kind in _FIXED:
            return self.number(_FIXED[kind]).item()
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, count = int(self.number("<u4")), int(self.number("<u8"))
            if inner in _FIXED:
                return self.numbers(_FIXED[inner], count)
            if inner in (_STRING, _ARRAY):
                return [self.value(inner) for _ in range(count)]
        raise ModelError(
            f"the GGUF file {self._path}", f"a value of an unknown type ({kind})", "the file is damaged: get it again"
        )

    def _take(self, size: int) -> int:
        """Go on by so many bytes; the position before."""
        begin = self.position
        if size > len(self._content) - begin:
            raise _short(self._path, f"{len(self._content):,} bytes, which end in the middle of its header")
        self.position = begin + size
        return begin


def _whole(path: Path, metadata: dict[str, Any], key: str, otherwise: int, least: int = 0) -> int:
    value = metadata.get(key, otherwise)
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise ModelError(
        f"{key} of the GGUF file {path}",
        f"{value!r:.80}, no whole number from {least} on",
        "the file is damaged: get it again",
    )


def _other(path: Path, found: str) -> ModelError:
    return ModelError(
        f"the GGUF file {path}",
        f"{found}, not a GGUF file",
        "name a GGUF file; a page or a pointer saved in its place (Git LFS) means that the download failed",
    )


def _short(path: Path, found: str) -> ModelError:
    return ModelError(f"the GGUF file {path}", f"a file cut short: {found}", "get the file again, whole")
