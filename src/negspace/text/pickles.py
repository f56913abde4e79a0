"""Pickles of plain data, read without unpickling: a small stack machine that knows no instruction that could act.

Python's own `pickle.load` runs whatever a file tells it to. Here `pickletools.genops` splits the file into
instructions, and only those that build strings, integers, lists, tuples and dicts are carried out; any other ends the
reading.
"""

from __future__ import annotations

import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from negspace.errors import PairsError

MOST_BYTES = 1 << 28
"""Largest file that is read: 256 MiB, some fifty times the largest of the official templates."""


class _Mark:
    """The stack's marker: where the items of a list, tuple or dict begin."""


_MARK = _Mark()

_SKIPPED = {"PROTO", "FRAME"}
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_BYTES = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}


def load_plain(path: str | os.PathLike[str]) -> Any:
    """Read a pickle (protocols 0 to 5) that holds strings, integers, lists, tuples and dicts and nothing else.

    Keys are strings, integers or tuples of these. Strings of Python 2 (bytes there) are read as UTF-8. Nothing is
    imported, called or constructed by name.

    Raises:
        PairsError: an instruction or a class that is not plain data (named, with its offset), a damaged file, bytes
            after the end, or more than 256 MiB.
    """
    asked = f"plain data from the pickle {path}"
    try:
        size = Path(path).stat().st_size
        if size > MOST_BYTES:
            raise PairsError(asked, f"{size:,} bytes", f"give a file of at most {MOST_BYTES:,} bytes, or JSONL")
        data = Path(path).read_bytes()
    except OSError as error:
        raise PairsError(asked, f"{error.strerror}", "check the path and its permissions") from error
    return _Machine(asked).run(data)


class _Mismatch(Exception):
    """The instructions do not fit together."""


class _Machine:
    """One reading: a stack, a memo, and the few instructions on them."""

    def __init__(self, asked: str) -> None:
        self.asked = asked
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        offset = 0
        try:
            for opcode, argument, position in pickletools.genops(data):
                offset = position or 0
                if opcode.name == "STOP":
                    return self._result(offset, len(data))
                self._step(opcode.name, argument, offset)
        # genops reports damage as ValueError in most cases, and as these in some.
        except (_Mismatch, ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
            raise self._damaged(offset, str(error)) from error
        raise self._damaged(offset, "no end")

    def _result(self, offset: int, size: int) -> Any:
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise _Mismatch(f"{len(self.stack)} objects at the end instead of one")
        if offset + 1 != size:
            raise _Mismatch(f"{size - offset - 1} bytes after the end")
        return self.stack[0]

    def _step(self, name: str, argument: Any, offset: int) -> None:
        stack = self.stack
        if name in _SKIPPED:
            if name == "PROTO" and argument > pickle.HIGHEST_PROTOCOL:
                raise _Mismatch(f"protocol {argument}, which does not exist")
            return
        if name in _TEXTS:
            stack.append(argument)
        elif name in _BYTES:
            # pickletools shows these bytes as Latin-1 (STRING: as ASCII).
            stack.append(argument.encode("latin-1").decode("utf-8"))
        elif name in _NUMBERS:
            stack.append(int(argument))
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _SHORT_TUPLES:
            stack.append(tuple(reversed([self._pop() for _ in range(_SHORT_TUPLES[name])])))
        elif name == "TUPLE":
            stack.append(tuple(self._pop_to_mark()))
        elif name == "LIST":
            stack.append(self._pop_to_mark())
        elif name == "DICT":
            items = self._pop_to_mark()
            stack.append({})
            self._set(items)
        elif name in ("APPEND", "APPENDS"):
            items = [self._pop()] if name == "APPEND" else self._pop_to_mark()
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            self._set([self._pop(), self._pop()][::-1] if name == "SETITEM" else self._pop_to_mark())
        elif name in _PUTS:
            self.memo[argument] = self._top(object)
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self._top(object)
        elif name in _GETS:
            stack.append(self.memo[argument])
        else:
            raise self._forbidden(name, argument, offset)

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise _Mismatch("an object is missing on the stack")
        return self.stack.pop()

    def _pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while self.stack and self.stack[-1] is not _MARK:
            items.append(self.stack.pop())
        if not self.stack:
            raise _Mismatch("a mark is missing on the stack")
        self.stack.pop()
        return items[::-1]

    def _top(self, kind: type) -> Any:
        if not self.stack or self.stack[-1] is _MARK or not isinstance(self.stack[-1], kind):
            raise _Mismatch(f"a {kind.__name__} is missing on the stack")
        return self.stack[-1]

    def _set(self, items: list[Any]) -> None:
        target = self._top(dict)
        if len(items) % 2:
            raise _Mismatch("a key without a value")
        # Tuples within tuples would be hashed as deep as the file likes.
        for key in items[::2]:
            if not all(isinstance(part, str | int) for part in (key if isinstance(key, tuple) else (key,))):
                raise _Mismatch("a key other than a string, an integer or a tuple of these")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _forbidden(self, name: str, argument: Any, offset: int) -> PairsError:
        named = ""
        if name in ("GLOBAL", "INST"):
            named = str(argument).replace(" ", ".", 1)
        elif name == "STACK_GLOBAL" and all(isinstance(item, str) for item in self.stack[-2:]):
            named = ".".join(self.stack[-2:])
        what = f"the class or function {named!r} (instruction {name})" if named else f"the instruction {name}"
        return PairsError(
            self.asked,
            f"{what} at byte {offset}; unpickling it could run any program",
            "do not load this file; get the official template again, or its pairs as JSONL",
        )

    def _damaged(self, offset: int, why: str) -> PairsError:
        return PairsError(
            self.asked, f"not a readable pickle: {why} (at byte {offset})", "get the file again, or its pairs as JSONL"
        )
