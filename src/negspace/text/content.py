"""The characters of a file: unpacked, decoded, with LF for line ends; what is no text is refused for what it is."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from negspace.errors import NegspaceError


@dataclass(frozen=True)
class Request:
    """A request to a reader, and the kind of error that reports its failure."""

    asked: str
    """The request, in the user's words."""
    error: type[NegspaceError]
    """The error to raise."""

    def refusal(self, found: str, todo: str) -> NegspaceError:
        """The error to raise: what was found instead, and what to do."""
        return self.error(printable(self.asked), printable(found), todo)


def printable(name: str) -> str:
    """A name that UTF-8 can hold: a byte of a file's name that is no UTF-8 is written out. Different names stay so."""
    return name.encode("utf-8", "backslashreplace").decode()


def _zstandard(data: bytes) -> bytes:
    import pyarrow

    with pyarrow.input_stream(pyarrow.BufferReader(data), compression="zstd") as stream:
        return stream.read()


PLAIN = (".raw", ".text", ".tokens", ".txt")
"""Endings of files of plain text, before that of a compression."""
_PACKED: Mapping[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"BZh": ("bzip2", bz2.decompress),
    b"\xfd7zXZ\x00": ("xz", lzma.decompress),
    b"\x28\xb5\x2f\xfd": ("Zstandard", _zstandard),
}
"""First bytes of a compressed file -> its format, and what unpacks it."""
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
"""Endings of the names of compressed files."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BINARY = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive (.docx, .xlsx, .epub and .npz are such)",
    b"\xd0\xcf\x11\xe0": "a file of an old Microsoft Office (.doc, .xls)",
    b"{\\rtf": "a document in RTF",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
}
"""First bytes -> a format that is not plain text."""
_MARKUP = re.compile(r"\s*<(!doctype|html|\?xml)\b", re.IGNORECASE)
_LINE_ENDS = re.compile("\r\n?")


def suffix_of(path: Path) -> str:
    """The ending of a file's name, lower case, without that of a compression: ".jsonl" of "c4.jsonl.gz"."""
    return unpacked(path).suffix.lower()


def unpacked(path: Path) -> Path:
    """A path without the ending of a compression: "c4.jsonl" of "c4.jsonl.gz"."""
    while path.suffix.lower() in PACKED_SUFFIXES:
        path = path.with_suffix("")
    return path


def is_conllu(path: str | os.PathLike[str]) -> bool:
    """Return True if a path names a CoNLL-U file."""
    return suffix_of(Path(path)) == ".conllu"


def read_bytes(path: Path, request: Request) -> bytes:
    """Content of a file; one compressed by gzip, bzip2, xz or Zstandard is unpacked, whatever its name."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise request.refusal(error.strerror or str(error), "check the path and its permissions") from error
    for magic, (name, unpack) in _PACKED.items():
        if data.startswith(magic):
            try:
                return unpack(data)
            # Each of the libraries has errors of its own for a damaged file.
            except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
                raise request.refusal(f"a damaged {name} file ({error})", "fetch or make the file again") from error
    return data


def read_content(path: Path, request: Request) -> str:
    """The characters of a text file in UTF-8; see `read_bytes` and `decode`."""
    return decode(read_bytes(path, request), request)


def decode(data: bytes, request: Request) -> str:
    """The characters of UTF-8, without a byte order mark, every line end as LF.

    Refused are other encodings, formats that are not plain text (by their first bytes), HTML and XML, and NUL.
    """
    for magic, name in _BINARY.items():
        if data.startswith(magic):
            raise request.refusal(f"{name}, which is not plain text", "save its text as UTF-8 in a .txt file")
    if data[257:262] == b"ustar":
        raise request.refusal("a tar archive", "unpack it, and give the folder or a file of it")
    if data.startswith(_UTF_16):
        raise request.refusal("UTF-16, by its byte order mark", "convert the file to UTF-8")
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        found = f"not UTF-8: byte 0x{error.object[error.start]:02x} at offset {error.start} (line {line})"
        raise request.refusal(found, "convert the file to UTF-8") from error
    if (at := text.find("\0")) >= 0:
        found = f"a NUL character in line {text.count(chr(10), 0, at) + 1}: a binary file, or UTF-16"
        raise request.refusal(found, "give plain text in UTF-8")
    if _MARKUP.match(text):
        raise request.refusal("HTML or XML, whose tags would be read as text", "give its text without the tags")
    return _LINE_ENDS.sub("\n", text) if "\r" in text else text


def clean(text: str, what: str, request: Request) -> str:
    """A string that is text as a file would give it: no byte order mark, LF for line ends.

    Args:
        what: which string, for the error: "item 3".

    Refused are half surrogates and NUL.
    """
    text = text.removeprefix("\ufeff")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise request.refusal(
                f"{what} holds half of a surrogate pair at character {error.start}, which is not valid Unicode",
                "decode the text anew, with errors='replace' if need be",
            ) from error
    if (at := text.find("\0")) >= 0:
        raise request.refusal(f"{what} holds a NUL character, at character {at}", "take it out")
    return _LINE_ENDS.sub("\n", text) if "\r" in text else text
