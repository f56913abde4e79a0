"""Local files of benchmark items: which file is a task's, what is adapted, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negspace.errors import TasksError
from negspace.score.taskfiles import find_file, known_tasks, read_rows


def _write(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_files_go_by_task_or_data_set(tmp_path: Path) -> None:
    assert find_file("piqa", tmp_path) is None
    for name in (
        "piqa_plain_text.jsonl",
        "piqa_plain_text.test.jsonl",
        "piqa_plain_text.validation.jsonl",
        "piqa.jsonl",
    ):
        (tmp_path / name).touch()
        assert find_file("piqa", tmp_path) == tmp_path / name  # each goes before those made so far
    (tmp_path / "mytask.validation.jsonl").touch()
    assert find_file("mytask", tmp_path) is not None
    assert known_tasks(tmp_path) == ["piqa"]
    assert find_file("piqa", tmp_path, "train") is None


def test_rows_get_the_fields_that_the_harness_reads(tmp_path: Path) -> None:
    _write(tmp_path / "boolq.jsonl", {"passage": "p", "question": "q", "answer": True})
    assert read_rows("boolq", tmp_path)[0]["label"] == 1
    _write(tmp_path / "boolq.jsonl", {"passage": "p", "question": "q", "label": 0})
    assert read_rows("boolq", tmp_path) == [{"passage": "p", "question": "q", "label": 0}]
    _write(tmp_path / "lambada_openai.jsonl", {"context": "the cat sees a", "continuation": "dog"})
    assert read_rows("lambada_openai", tmp_path)[0]["text"] == "the cat sees a dog"
    # U+2028 is a line's end to str.splitlines, but not to JSON Lines.
    (tmp_path / "own.jsonl").write_text('\ufeff{"a": "x\u2028y"}\r\n\n{"a": 2}', encoding="utf-8")
    assert read_rows("own", tmp_path) == [{"a": "x\u2028y"}, {"a": 2}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"goal": 1}\n', "line 1 has no sol1, sol2, label; it has goal\nto do: give the fields of the data set"),
        (b"{}\n", "it has no fields"),
        (b"[1]\n", "line 1 is a list\nto do: write one JSON object per line"),
        (b"\n{\n", r"line 2 is not JSON \("),
        (b"\n \n", "no items in it\nto do: give a file with one JSON object per line"),
        (b"\xff", "not UTF-8: byte 0xff at offset 0(.|\n)*to do: convert the file to UTF-8"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "piqa.jsonl").write_bytes(content)
    with pytest.raises(TasksError, match=message):
        read_rows("piqa", tmp_path)


def test_an_answer_of_another_type_is_a_missing_field(tmp_path: Path) -> None:
    _write(tmp_path / "boolq.jsonl", {"passage": "p", "question": "q", "answer": "perhaps"})
    with pytest.raises(TasksError, match="line 1 has no label; it has passage, question, answer"):
        read_rows("boolq", tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "sciq.jsonl").touch()
    with pytest.raises(TasksError, match=r"no file piqa.validation.jsonl or piqa_plain_text.validation.jsonl") as found:
        read_rows("piqa", tmp_path)
    assert found.value.todo == "add it, or name other tasks (there: sciq)"
    with pytest.raises(TasksError, match="found: no such folder"):
        read_rows("piqa", tmp_path / "nowhere")
