"""Pickles of plain data come out as Python writes them; any other pickle is refused and runs nothing."""

from __future__ import annotations

import os
import pickle
import pickletools
import random
import struct
from collections import OrderedDict
from pathlib import Path

import pytest

from negspace.errors import PairsError
from negspace.text import pickles
from negspace.text.pickles import load_plain

PLAIN = {
    "sing_MS_MV": [("the author laughs", "the author laugh"), ("naïve café ☕", "𝔘nicode")],
    "three": [["a", "b", "c"], (), ("only",), ("a", "b", "c", "d", "e")],
    7: [0, 1, 255, 256, 65_536, -1, 2**31, -(2**40), 2**2100, {}, {"nested": [[], ()]}],
    "long": ["x" * 70_000],
    ("a", 1): [],
}


def write(folder: Path, data: bytes) -> Path:
    path = folder / "some.pickle"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_out_as_it_went_in(tmp_path, protocol):
    data = pickle.dumps(PLAIN, protocol=protocol)
    assert load_plain(write(tmp_path, data)) == PLAIN
    optimised = pickletools.optimize(data)
    assert load_plain(write(tmp_path, optimised)) == PLAIN


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_many_objects_share_and_memoise_as_in_pickle(tmp_path, protocol):
    draw = random.Random(0)
    words = [f"word{number}" for number in range(300)]
    data = {f"case {number}": [(draw.choice(words), draw.choice(words)) for _ in range(40)] for number in range(20)}
    assert load_plain(write(tmp_path, pickle.dumps(data, protocol=protocol))) == data


def test_strings_of_python_2(tmp_path):
    # As Python 2 wrote them: str as bytes, by protocol 0 as a quoted line, by protocol 1 and 2 with a length.
    zero = b"(dp0\nS'past'\np1\n(lp2\n(S'no \\'x\\''\np3\nS'most x'\np4\ntp5\nas."
    assert load_plain(write(tmp_path, zero)) == {"past": [("no 'x'", "most x")]}
    two = b"\x80\x02}q\x00U\x05caf\xc3\xa9q\x01]q\x02T\x02\x00\x00\x00abq\x03as."
    assert load_plain(write(tmp_path, two)) == {"café": ["ab"]}


class Evil:
    """Creates a file when unpickled by Python."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_named_and_does_nothing(tmp_path, protocol):
    target = tmp_path / "pwned"
    data = pickle.dumps({"case": [Evil(target)]}, protocol=protocol)
    with pytest.raises(PairsError) as caught:
        load_plain(write(tmp_path, data))
    assert not target.exists()
    assert f"'{os.mkdir.__module__}.mkdir'" in caught.value.found
    assert "at byte" in caught.value.found
    assert "do not load this file" in caught.value.todo
    pickle.loads(data)  # the attack is a real one: Python's own reader falls for it
    assert target.exists()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"cos\nsystem\n(S'touch x'\ntR.", "'os.system' (instruction GLOBAL) at byte 0"),
        (b"(S'touch x'\nios\nsystem\n.", "'os.system' (instruction INST) at byte 12"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "'os.system' (instruction STACK_GLOBAL) at byte 14"),
        (b"\x80\x04\x8c\x02os\x94h\x00)\x93.", "instruction STACK_GLOBAL"),
        (b"}R.", "instruction REDUCE at byte 1"),
        (b"}}b.", "instruction BUILD at byte 2"),
        (b"(}o.", "instruction OBJ at byte 2"),
        (b"})\x81.", "instruction NEWOBJ at byte 2"),
        (b"})}\x92.", "instruction NEWOBJ_EX at byte 3"),
        (b"\x82\x01.", "instruction EXT1 at byte 0"),
        (b"\x83\x01\x00.", "instruction EXT2 at byte 0"),
        (b"\x84\x01\x00\x00\x00.", "instruction EXT4 at byte 0"),
        (b"P1\n.", "instruction PERSID at byte 0"),
        (b"}Q.", "instruction BINPERSID at byte 1"),
        (b"\x80\x05\x97.", "instruction NEXT_BUFFER at byte 2"),
        (b"}\x98.", "instruction READONLY_BUFFER at byte 1"),
        (b"\x8f.", "instruction EMPTY_SET at byte 0"),
        (b"(\x91.", "instruction FROZENSET at byte 1"),
        (b"N.", "instruction NONE at byte 0"),
        (b"G\x00\x00\x00\x00\x00\x00\x00\x00.", "instruction BINFLOAT at byte 0"),
        (b"C\x01a.", "instruction SHORT_BINBYTES at byte 0"),
        (b"}2.", "instruction DUP at byte 1"),
    ],
)
def test_every_other_instruction_is_refused_by_name(tmp_path, data, named):
    with pytest.raises(PairsError) as caught:
        load_plain(write(tmp_path, data))
    assert named in caught.value.found


def test_only_listed_instructions_are_known():
    """Whatever Python adds to the format is refused until someone lists it here."""
    known = {"STOP", "MARK", "TUPLE", "LIST", "DICT", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "MEMOIZE"}
    known |= pickles._SKIPPED | pickles._TEXTS | pickles._BYTES | pickles._NUMBERS | set(pickles._EMPTY)
    known |= set(pickles._SHORT_TUPLES) | pickles._PUTS | pickles._GETS
    for opcode in pickletools.opcodes:
        if opcode.name in known:
            assert opcode.name not in ("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "PERSID")
            continue
        machine = pickles._Machine("x")
        machine.stack = [{}, ()]
        with pytest.raises(PairsError, match=opcode.name):
            machine._step(opcode.name, None, 0)
    assert known <= {opcode.name for opcode in pickletools.opcodes}


def test_subclasses_are_no_plain_data(tmp_path):
    with pytest.raises(PairsError, match=r"collections\.OrderedDict"):
        load_plain(write(tmp_path, pickle.dumps(OrderedDict(a=1))))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        b"}",
        b".",
        b"(.",
        b"}}.",
        b"}. and more",
        b"u.",
        b"(u.",
        b"](u.",
        b"}(]]u.",
        b"}(U\x01au.",
        b"a.",
        b"}]a.",
        b"\x86.",
        b"(\x85.",
        b"h\x00.",
        b"q\x00.",
        b"X\xff\xff\xff\x7fabc.",
        b"X\x02\x00\x00\x00\xff\xff.",
        b"U\x01\xff.",
        b"I12x\n.",
        b"\x80\x09}.",
        b"I" + b"9" * 5000 + b"\n.",
        # A key of thousands of tuples, one in another.
        b"})" + b"\x85" * 5000 + b"]s.",
        pickle.dumps(PLAIN, 2)[:-9],
    ],
)
def test_damage_is_one_clear_error(tmp_path, data):
    with pytest.raises(PairsError) as caught:
        load_plain(write(tmp_path, data))
    assert "not a readable pickle" in caught.value.found or "instruction" in caught.value.found
    assert str(tmp_path / "some.pickle") in caught.value.asked


def test_random_damage_never_escapes(tmp_path):
    draw = random.Random(1)
    whole = pickle.dumps({"case": [("the dog barks", "the dog bark")] * 3}, 2)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path = write(tmp_path, bytes(data))
        try:
            load_plain(path)
        except PairsError as error:
            assert error.found  # noqa: PT017


def test_size_and_absence(tmp_path, monkeypatch):
    path = write(tmp_path, pickle.dumps(PLAIN))
    monkeypatch.setattr(pickles, "MOST_BYTES", 1000)
    with pytest.raises(PairsError, match="at most 1,000 bytes"):
        load_plain(path)
    with pytest.raises(PairsError, match="No such file"):
        load_plain(tmp_path / "absent.pickle")


def test_a_length_that_the_file_does_not_hold_takes_no_memory(tmp_path):
    data = b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"short."
    with pytest.raises(PairsError, match="not a readable pickle"):
        load_plain(write(tmp_path, data))


@pytest.mark.shared
def test_official_templates_equal_what_pickle_reads(shared_data):
    for path in sorted((shared_data / "tse_pickle").glob("*.pickle")):
        assert load_plain(path) == pickle.loads(path.read_bytes())  # known files
