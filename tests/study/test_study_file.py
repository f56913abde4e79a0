"""Study files: what they hold as it is given, and what is wrong with a file that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from negspace.errors import StudyError
from negspace.experiment.config import configure
from negspace.study.study_file import read_study


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("model: m\nshares: [0.01, 0.2]\n")
    assert configure(read_study(path)).shares == (0.01, 0.2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: [", "invalid YAML in line"),
        (b"- model", "a list instead of fields"),
        (b"", "a NoneType instead of fields"),
        (b"1: 2", "instead of fields"),
        (b"\xff\xfe\xff", "not UTF-8"),
        (b"!!python/object/apply:os.system ['true']", "invalid YAML"),
        (b"model: m\nlimit: 2\nlimit: 3\n", "invalid YAML in line 3: 'limit' is given twice"),
        (b"model: m\nanalyses:\n  dose: {points: 3, points: 4}\n", "'points' is given twice"),
        (b"model: {{ NAME }}\n", "invalid YAML in line 1: found unhashable key"),
        (b"model: {[a]: 1}\n", "invalid YAML in line 1: found unhashable key"),
        (b"model: m\nrevision: 2024-13-01\n", "invalid YAML: month must be in"),
        (b"model: !!bool maybe\n", "invalid YAML: 'maybe'"),
        (b"model: !!timestamp today\n", "invalid YAML"),
        (b"model: !!map [a]\n", "invalid YAML"),
        (b"seed: " + b"9" * 5000, "invalid YAML: Exceeds the limit"),
        (b"model: " + b"[" * 5000, "invalid YAML: maximum recursion depth"),
        (b"model: m\0", "invalid YAML: unacceptable character"),
    ],
)
def test_files_that_are_no_study(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=message):
        read_study(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="No such file"):
        read_study(tmp_path / "absent.yaml")
