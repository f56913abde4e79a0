"""The characters of a file: compressions, encodings, line ends, and what is no plain text."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from negspace.errors import TextError
from negspace.text.content import Request, clean, decode, read_content, suffix_of

REQUEST = Request("the text", TextError)
TEXT = "Où est le chat ?\nIl dort.\n" * 50


def zstandard(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.output_stream(out, compression="zstd") as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()


PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard}


@pytest.mark.parametrize("suffix", PACK)
def test_a_compressed_file_is_unpacked_whatever_its_name(tmp_path, suffix):
    packed = PACK[suffix](TEXT.encode())
    for name in (f"a.txt{suffix}", "a.txt"):
        (tmp_path / name).write_bytes(packed)
        assert read_content(tmp_path / name, REQUEST) == TEXT
    # Two streams one after the other, as parallel compressors write them.
    (tmp_path / "a.txt").write_bytes(packed + packed)
    assert read_content(tmp_path / "a.txt", REQUEST) == TEXT * 2
    (tmp_path / "a.txt").write_bytes(packed[:-7])
    with pytest.raises(TextError, match=r"a damaged .* file"):
        read_content(tmp_path / "a.txt", REQUEST)
    if suffix == ".zst":  # written here without a checksum, so that not all damage can be seen
        return
    packed = PACK[suffix]("".join(map(str, range(2000))).encode())
    for place in (0.1, 0.3, 0.6):
        at = int(place * len(packed))
        (tmp_path / "a.txt").write_bytes(
            packed[:at] + bytes(255 - byte for byte in packed[at : at + 8]) + packed[at + 8 :]
        )
        with pytest.raises(TextError, match=r"a damaged .* file"):
            read_content(tmp_path / "a.txt", REQUEST)


def test_the_ending_of_a_name_is_that_before_the_compression():
    endings = {
        "a.TXT": ".txt",
        "c4.en.jsonl.gz": ".jsonl",
        "a.zst": "",
        "a": "",
        "a.b.csv.zst": ".csv",
        "b.gz.txt": ".txt",
    }
    assert {name: suffix_of(Path("x.y") / name) for name in endings} == endings


def test_line_ends_and_byte_order_marks_are_the_same_in_files_and_in_strings():
    for text in ("one\r\ntwo\rthree\r\r\nfour\n", "\ufeffone\ntwo\nthree\n\nfour\n"):
        assert decode(text.encode(), REQUEST) == clean(text, "it", REQUEST) == "one\ntwo\nthree\n\nfour\n"
    assert decode(b"", REQUEST) == clean("", "it", REQUEST) == ""
    # Other separators are characters of the text.
    assert decode("a\u2028b\x0bc\x85".encode(), REQUEST) == "a\u2028b\x0bc\x85"


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "<w>text</w>")
    return out.getvalue()


def _tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "found", "todo"),
    [
        (b"%PDF-1.7\nendobj", "a PDF", "as UTF-8 in a .txt file"),
        (_zip(), "a zip archive (.docx", "as UTF-8 in a .txt file"),
        (_tar(), "a tar archive", "unpack it"),
        (b"{\\rtf1 text}", "RTF", "as UTF-8"),
        (b"\x80\x04\x95", "a pickle", "as UTF-8"),
        ("text".encode("utf-16"), "UTF-16, by its byte order mark", "convert the file to UTF-8"),
        ("text".encode("utf-16-le"), "a NUL character in line 1: a binary file, or UTF-16", "plain text in UTF-8"),
        (b"one\ntwo\0three", "a NUL character in line 2", "plain text in UTF-8"),
        ("one\ndéjà".encode("latin-1"), "not UTF-8: byte 0xe9 at offset 5 (line 2)", "convert the file"),
        (b"\n <!DOCTYPE html><html>text</html>", "HTML or XML", "without the tags"),
        (b"<?xml version='1.0'?><a>text</a>", "HTML or XML", "without the tags"),
    ],
)
def test_what_is_no_plain_text_is_named(data, found, todo):
    with pytest.raises(TextError) as caught:
        decode(data, REQUEST)
    assert caught.value.asked == "the text"
    assert found in caught.value.found
    assert todo in caught.value.todo


@pytest.mark.parametrize(
    ("text", "found"),
    [("a \ud800", "half of a surrogate pair at character 2"), ("a\0b", "a NUL character, at character 1")],
)
def test_strings_that_are_no_text_are_refused(text, found):
    with pytest.raises(TextError, match=found) as caught:
        clean(text, "item 4", REQUEST)
    assert "item 4 holds" in caught.value.found
