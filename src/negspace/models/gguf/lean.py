"""Stand-ins for what transformers takes from the gguf package, with the same results at less cost.

`gguf.GGUFReader` keeps every string of a vocabulary as several arrays, half a gigabyte and ten seconds for 262,144
tokens, and transformers makes three; here the header is read once, and transformers gets what it asks for in the form
that it expects. `gguf.dequantize` holds a tensor twice, in small pieces that are not given back to the system.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from negspace.models.gguf.header import Header

_BOOL, _INTEGER, _STRING, _ARRAY, _FLOAT = 7, 11, 8, 9, 12
_PLAIN = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I8": "i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
"""Kinds of storage that are numbers by themselves -> numpy's name of them; all others are blocks of bytes."""
_AT_ONCE = 1 << 22
"""Values that are dequantised at a time."""
_TURN = threading.Lock()


@contextmanager
def reading(header: Header) -> Iterator[None]:
    """While open, whoever makes a `gguf.GGUFReader` gets this file's header and tensors. One thread at a time."""
    with _TURN:
        held = gguf.GGUFReader, gguf.dequantize
        by_parts = lambda data, kind: _by_parts(held[1], data, kind)  # noqa: E731
        gguf.GGUFReader, gguf.dequantize = (lambda *_, **__: _reader(header)), by_parts  # type: ignore[assignment, misc]
        try:
            yield
        finally:
            gguf.GGUFReader, gguf.dequantize = held  # type: ignore[misc]


def _by_parts(dequantize: Any, data: NDArray[Any], kind: gguf.GGMLQuantizationType) -> NDArray[np.float32]:
    """Values of a tensor, some rows at a time."""
    if kind.name in _PLAIN or not data.size:
        return dequantize(data, kind)
    shape = gguf.quant_shape_from_byte_shape(data.shape, kind)
    rows, values = data.reshape(-1, data.shape[-1]), np.empty((int(np.prod(shape[:-1])), shape[-1]), np.float32)
    step = max(1, _AT_ONCE // shape[-1])
    for begin in range(0, len(rows), step):
        values[begin : begin + step] = dequantize(rows[begin : begin + step], kind)
    return values.reshape(shape)


def _reader(header: Header) -> Any:
    content = np.memmap(header.path, mode="r", dtype=np.uint8)
    tensors = []
    for tensor in header.tensors:
        kind = gguf.GGMLQuantizationType[tensor.kind]
        data = content[tensor.begin : tensor.end]
        if tensor.kind in _PLAIN:
            data = data.view(_PLAIN[tensor.kind]).reshape(tensor.shape)
        else:
            data = data.reshape(gguf.quant_shape_to_byte_shape(tensor.shape, kind))
        tensors.append(SimpleNamespace(name=tensor.name, data=data, tensor_type=kind))
    return SimpleNamespace(fields={key: _field(value) for key, value in header.metadata.items()}, tensors=tensors)


def _field(value: Any) -> Any:
    """A value with its type, as parts and the numbers of those that are the value."""
    if isinstance(value, list | np.ndarray):
        inner = [_part(element) for element in (value if isinstance(value, np.ndarray) else value[:1])]
        # Of texts only the first: their number counts here, and the vocabulary is read by the tokenizer's own code.
        data = list(range(len(inner))) if isinstance(value, np.ndarray) else [0] * len(value)
        return SimpleNamespace(
            types=[_ARRAY, inner[0][0] if inner else _INTEGER], parts=[p for _, p in inner], data=data
        )
    kind, part = _part(value)
    return SimpleNamespace(types=[kind], parts=[part], data=[0])


def _part(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool | np.bool_):
        return _BOOL, [value]
    if isinstance(value, str):
        return _STRING, value.encode()
    return (_INTEGER if isinstance(value, int | np.integer) else _FLOAT), [value]
