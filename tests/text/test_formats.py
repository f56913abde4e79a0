"""Tables in files: what each format gives, and what is refused instead of being read as something else."""

from __future__ import annotations

import gzip
import json

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from negspace.errors import TextError
from negspace.text.content import Request
from negspace.text.formats import is_saved_dataset, is_table, load_saved_dataset, read_table
from negspace.text.table import from_python

REQUEST = Request("the table", TextError)
ROWS = [{"id": 7, "text": 'He said "no",\nand left; é.'}, {"id": 8, "text": "Two\ttabs."}, {"id": 9, "text": ""}]
FRAME = pd.DataFrame(ROWS)


def _stream(path) -> None:
    table = pa.Table.from_pandas(FRAME)
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)


WRITE = {
    "a.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "a.json": lambda path: path.write_text(json.dumps(ROWS, indent=1)),
    "lines.json": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "columns.json": lambda path: path.write_text(json.dumps(FRAME.to_dict("list"))),
    "pandas.json": lambda path: FRAME.to_json(path),
    "a.csv": lambda path: FRAME.to_csv(path, index=False),
    "index.csv": lambda path: FRAME.to_csv(path),
    "excel.csv": lambda path: FRAME.to_csv(path, index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n"),
    "tabs.csv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "a.tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "a.parquet": lambda path: FRAME.to_parquet(path),
    "a.feather": lambda path: pyarrow.feather.write_feather(FRAME, path),
    "stream.arrow": _stream,
}


@pytest.mark.parametrize("name", WRITE)
def test_every_format_gives_the_same_texts(tmp_path, name):
    path = tmp_path / name
    WRITE[name](path)
    assert is_table(path)
    table = read_table(path, REQUEST)
    assert table.text_column(REQUEST) == "text"
    assert table.texts("text", REQUEST) == [row["text"] for row in ROWS]
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_table(packed, REQUEST).texts("text", REQUEST) == [row["text"] for row in ROWS]


def test_formats_that_say_so_themselves_need_no_name(tmp_path):
    FRAME.to_parquet(tmp_path / "train-00000")
    pyarrow.feather.write_feather(FRAME, tmp_path / "data.bin")
    (tmp_path / "a.txt").write_text("text")
    for name in ("train-00000", "data.bin"):
        assert is_table(tmp_path / name)
        assert read_table(tmp_path / name, REQUEST).rows == 3
    assert not is_table(tmp_path / "a.txt")


def test_rows_know_their_lines(tmp_path):
    (tmp_path / "a.csv").write_text('text,n\n"one\ntwo",1\n\nthree,2\n')
    table = read_table(tmp_path / "a.csv", REQUEST)
    assert [table.where(row) for row in range(2)] == ["line 2", "line 5"]
    assert table.texts("text", REQUEST) == ["one\ntwo", "three"]
    (tmp_path / "a.jsonl").write_bytes('\ufeff{"text": "x\u2028y"}\r\n\n{"a": 2}'.encode())
    table = read_table(tmp_path / "a.jsonl", REQUEST)
    assert (table.where(1), table.rows) == ("line 3", 2)
    with pytest.raises(TextError, match="line 3 has no 'text'"):
        table.texts("text", REQUEST)


def test_the_column_of_the_text_is_chosen_or_asked_for(tmp_path):
    def chosen(**columns) -> str:
        table = from_python(pd.DataFrame(columns), REQUEST)
        return table.text_column(REQUEST)

    assert chosen(n=[1], tale=["a"]) == "tale"
    assert chosen(title=["a"], content=["b"]) == "content"
    # A file without types has strings only: numbers are told by their looks.
    (tmp_path / "a.csv").write_text("id,tale\n1,once\n2.5,twice\n")
    assert read_table(tmp_path / "a.csv", REQUEST).text_column(REQUEST) == "tale"
    for columns, found in (
        ({"a": ["x"], "b": ["y"]}, "several columns of text: a, b"),
        ({"text": ["x"], "content": ["y"]}, "several columns of text: text, content"),
        ({"n": [1], "text": [{"en": "x"}]}, "no column of strings; its columns are n, text"),
    ):
        with pytest.raises(TextError) as caught:
            chosen(**columns)
        assert found in caught.value.found
    table = from_python(pd.DataFrame({"a": ["x", None, "z"]}), REQUEST)
    with pytest.raises(TextError, match="row 1 has no 'a'"):
        table.texts("a", REQUEST)
    with pytest.raises(TextError, match="no column 'b'; there are a"):
        table.texts("b", REQUEST)


def test_saved_datasets(tmp_path):
    made = datasets.Dataset.from_list(ROWS)
    made.select([2, 0]).save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=made, test=made).save_to_disk(tmp_path / "splits")
    assert is_saved_dataset(tmp_path / "one")
    assert is_saved_dataset(tmp_path / "splits")
    assert not is_saved_dataset(tmp_path)
    table = from_python(load_saved_dataset(tmp_path / "one", REQUEST), REQUEST)
    assert table.texts("text", REQUEST) == ["", ROWS[0]["text"]]
    assert sorted(load_saved_dataset(tmp_path / "splits", REQUEST)) == ["test", "train"]
    (tmp_path / "one" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(TextError, match=r"a folder of datasets.save_to_disk that cannot be read"):
        load_saved_dataset(tmp_path / "one", REQUEST)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.jsonl", '{"text": "a"}\n{oops\n', "line 2: not JSON"),
        ("a.jsonl", "[1]\n", "line 1: a JSON list instead of an object"),
        ("a.jsonl", "[" * 100_000, "line 1: JSON nested too deeply"),
        ("a.jsonl", '{"a": 1}\n{"text": "a", "text": "b"}\n', "line 2: the key 'text' twice in one object"),
        ("a.json", '[{"text": "a", "text": "b"}]', "the key 'text' twice in one object"),
        ("a.jsonl", " \n\n", "an empty file"),
        ("a.json", '{"version": "1.1", "data": [{"text": "a"}]}', "one JSON object with version, data instead of rows"),
        ("a.json", '{"text": "a"}', "one JSON object with text instead of rows"),
        ("a.json", "3", "a JSON int instead of rows"),
        ("a.json", "[1, 2]", "item 0: a JSON int instead of an object"),
        ("a.json", "{", "not JSON"),
        ("a.json", "", "an empty file"),
        ("a.csv", "text,label\n", "column names (text, label) and no rows"),
        ("a.csv", "", "an empty file"),
        (
            "a.csv",
            "text,label\nOnce upon, a time,1\n",
            "line 2: 3 fields apart by commas, where the first line names 2",
        ),
        ("a.csv", "text,label\nOnce\n", "line 2: 1 fields apart by commas"),
        (
            "a.csv",
            "Once there was a dog.,1\nIt barked.,2\n",
            "'Once there was a dog.' in the first line, where the names",
        ),
        ("a.csv", "text,text\na,b\n", "two columns named 'text'"),
        ("a.csv", 'text,label\n"Once,1\nTwice,2\n', "unexpected end of data (fields apart by commas)"),
        ("a.tsv", 'text\tlabel\n"No" he said.\t1\n', "line 2: "),
        ("a.csv", "a;b|c\nx;y|z\n", "no commas in the first line, but semicolons, bars"),
        ("a.parquet", "PAR1 no", "not a Parquet file, or a damaged one"),
        ("a.arrow", "ARROW1 no", "not an Arrow file, or a damaged one"),
        ("b.arrow", "no", "not an Arrow file, or a damaged one"),
    ],
)
def test_malformed_tables_are_refused(tmp_path, name, content, found):
    (tmp_path / name).write_text(content)
    with pytest.raises(TextError) as caught:
        read_table(tmp_path / name, REQUEST)
    assert found in caught.value.found
    assert caught.value.todo


def test_objects_in_memory(tmp_path):
    made = datasets.Dataset.from_list(ROWS)
    for source in (FRAME, made, pa.Table.from_pandas(FRAME), made.select([0, 1, 2])):
        assert from_python(source, REQUEST).texts("text", REQUEST) == [row["text"] for row in ROWS]
    assert from_python(["a"], REQUEST) is None
    assert from_python(FRAME["text"], REQUEST) is None
    with pytest.raises(TextError, match="an IterableDataset, which may have no end"):
        from_python(made.to_iterable_dataset(), REQUEST)
    for twice in (pd.DataFrame([["a", "b"]], columns=["x", "x"]), pa.table([["a"], ["b"]], names=["x", "x"])):
        with pytest.raises(TextError, match="two columns named 'x'"):
            from_python(twice, REQUEST)


def test_two_columns_of_one_name_in_a_file_are_no_damage(tmp_path):
    twice = pa.table([["a"], ["b"]], names=["text", "text"])
    pyarrow.parquet.write_table(twice, tmp_path / "a.parquet")
    with pa.ipc.new_stream(tmp_path / "a.arrow", twice.schema) as stream:
        stream.write_table(twice)
    for name in ("a.parquet", "a.arrow"):
        with pytest.raises(TextError) as caught:
            read_table(tmp_path / name, REQUEST)
        assert caught.value.found == "two columns named 'text'"


def cells(tmp_path, content: str, name: str = "a.csv") -> dict[str, list[str]]:
    (tmp_path / name).write_text(content)
    table = read_table(tmp_path / name, REQUEST)
    return {column: table.texts(column, REQUEST) for column in table.columns}


@pytest.mark.parametrize(("name", "apart"), [("a.csv", ","), ("a.tsv", "\t"), ("a.csv", ";")])
def test_spaces_after_delimiters_do_not_make_quotes_part_of_a_cell(tmp_path, name, apart):
    content = 'good, bad, n\n"It barks, ""often"".", "It bark, ""often"".", 1\n  "a", "b\nc",2\n'
    made = cells(tmp_path, content.replace(", ", f"{apart} ").replace(",2", f"{apart}2"), name)
    assert made == {
        "good": [f'It barks{apart} "often".', "a"],
        "bad": [f'It bark{apart} "often".', "b\nc"],
        "n": ["1", "2"],
    }


def test_spaces_that_belong_to_a_cell_stay(tmp_path):
    assert cells(tmp_path, "text,n\n  Once, 1\n")["text"] == ["  Once"]
    quoted = cells(tmp_path, 'text,other\n" ""No"", ""he"" said", x\n"a, ""b""",y\n')
    assert quoted == {"text": [' "No", "he" said', 'a, "b"'], "other": [" x", "y"]}
    with pytest.raises(TextError, match="line 2: "):
        cells(tmp_path, 'n,text\n1, "No" he said.\n')


def test_columns_that_map_an_index_are_joined_by_it(tmp_path):
    made = cells(tmp_path, '{"good": {"0": "a", "1": "b"}, "bad": {"1": "y", "0": "x"}}', "a.json")
    assert made == {"good": ["a", "b"], "bad": ["x", "y"]}
    for other, found in (
        ('{"1": "y", "2": "z"}', "columns of different rows: only one of 'good' and 'bad' has the row '0'"),
        ('["x", "y"]', "one JSON object with good, bad instead of rows"),
    ):
        with pytest.raises(TextError) as caught:
            cells(tmp_path, f'{{"good": {{"0": "a", "1": "b"}}, "bad": {other}}}', "a.json")
        assert caught.value.found == found
