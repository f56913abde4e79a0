"""Rows of minimal pairs from tables, lines and pickles: which column or line is the grammatical sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from negspace.text.content import Request, clean, printable
from negspace.text.table import MISSING, Table
from negspace.wording import listed

Kind = Literal["blimp", "tse", "pairs"]

ROLES = ("good", "bad", "paradigm", "phenomenon", "language")
"""Roles of the columns of minimal pairs."""
MULTIBLIMP = frozenset({"sen", "wrong_sen"})
"""Columns that tell MultiBLiMP."""
_BOTH = (
    ("sentence_good", "sentence_bad"),
    ("good_sentence", "bad_sentence"),
    ("sen", "wrong_sen"),
    ("source_sentence", "target_sentence"),
    ("good", "bad"),
    ("grammatical", "ungrammatical"),
    ("acceptable", "unacceptable"),
)
"""Columns of the grammatical and the ungrammatical sentence: of BLiMP, TSE and SLING; JBLiMP; MultiBLiMP; RuBLiMP; and
what others call them."""
_RUBLIMP = ("phenomenon", "PID", "source_word")
"""Columns that tell RuBLiMP, whose source is grammatical, from corpora of corrections, whose source is not."""
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "paradigm": ("UID", "PID", "paradigm"),
    "phenomenon": ("linguistics_term", "phenomenon"),
    "language": ("language", "lang"),
}
_PHENOMENA = {"s-selection": "argument_structure"}
"""BLiMP's files name 13 values of `linguistics_term`; the published twelve phenomena count s-selection (the two
animate_subject paradigms) as argument structure."""
_FORMATS = (
    "say which columns they are: --pair-columns good=COLUMN,bad=COLUMN, in Python columns={...}; known by name are "
    + ", ".join(" and ".join(pair) for pair in _BOTH)
    + " (with UID and linguistics_term in BLiMP, construction in TSE)"
)
_ZORRO = re.compile(
    "(agreement_determiner_noun|agreement_subject_verb|anaphor_agreement|argument_structure|binding|case|ellipsis"
    "|filler-gap|irregular|island-effects|local_attractor|npi_licensing|quantifiers)-.+"
)
"""Zorro's file names: phenomenon, then paradigm."""
_JUDGED = re.compile(r"(?P<judgement>True|False)\t(?P<sentence>.*)")
_APART = "@@@"


class Row(NamedTuple):
    """One pair as its file has it."""

    kind: Kind
    """"blimp", "tse", or "pairs" for all others."""
    paradigm: str
    """Its paradigm."""
    phenomenon: str
    """The phenomenon of the paradigm."""
    language: str
    """Its language, "" where none is named."""
    good: str
    """The grammatical sentence."""
    bad: str
    """The ungrammatical sentence."""


class Origin(NamedTuple):
    """Facts that a source gives about its pairs besides their own fields."""

    name: str
    """The file's name without its endings: the paradigm where no column names one."""
    language: str = ""
    """The language that the folder or the configuration is named after."""


def roles(table: Table, mapping: Mapping[str, str] | None, request: Request) -> tuple[Kind, dict[str, str]]:
    """The kind of a table's pairs, and role (of `ROLES`) -> column.

    Args:
        mapping: the same as the user gives it; roles that it leaves open are found by the names of the columns.
    """
    kind, columns = _given(table, mapping, request) if mapping else _recognised(table, request)
    for role in ("paradigm", "phenomenon", "language"):
        if role not in columns:
            named = [name for name in _GROUPS[role] if name in table.columns]
            columns |= {role: named[0]} if named else {}
    return kind, columns


def ungrouped(table: Table, columns: Mapping[str, str]) -> str:
    """Return a note if a table's pairs are one paradigm although a column could tell several apart; else ""."""
    if "paradigm" in columns or "phenomenon" in columns:
        return ""
    for name in (name for name in table.textual if name not in columns.values()):
        values = len(set(table.values(name)))
        if 1 < values <= table.rows / 2:
            return (
                f"{table.name}: all {table.rows:,} pairs are taken for one paradigm; to group them by the {values:,} "
                f"values of {name!r}: --pair-columns paradigm={name}"
            )
    return ""


def untrimmed(table: Table, columns: Mapping[str, str]) -> str:
    """Return a note if names of groups have white space at their ends, which `from_table` takes off; else ""."""
    groups = [table.values(column) for role, column in columns.items() if role not in ("good", "bad")]
    found = sorted({name for names in groups for name in names if isinstance(name, str) and name != name.strip()})
    if not found:
        return ""
    some = f"{len(found)} names of groups, such as {found[0]!r:.60}"
    return f"{table.name}: white space was stripped from the ends of {some}"


def from_table(table: Table, origin: Origin, kind: Kind, columns: Mapping[str, str], request: Request) -> Iterator[Row]:
    """The pairs of a table, by the roles of its columns."""
    values = {role: _strings_of(column, table, request) for role, column in columns.items()}
    for role in values.keys() - {"good", "bad"}:
        values[role] = [name.strip() for name in values[role]]
    good, bad = values["good"], values["bad"]
    if kind == "tse":
        families = {paradigm: family(paradigm) for paradigm in set(values["paradigm"])}
        for paradigm, *both in zip(values["paradigm"], good, bad, strict=True):
            yield Row(kind, paradigm, families[paradigm], "", *both)
        return
    languages = values.get("language", [origin.language] * table.rows)
    phenomena = values.get("phenomenon", values.get("paradigm", [origin.name] * table.rows))
    for language, phenomenon, paradigm, *both in zip(
        languages, phenomena, values.get("paradigm", phenomena), good, bad, strict=True
    ):
        if kind == "blimp":
            yield Row(kind, paradigm, _PHENOMENA.get(phenomenon, phenomenon), "", *both)
        else:
            yield Row(kind, f"{language} {paradigm}" if language else paradigm, phenomenon, language, *both)


def _given(table: Table, mapping: Mapping[str, str], request: Request) -> tuple[Kind, dict[str, str]]:
    columns = {role: str(column) for role, column in mapping.items()}
    if unknown := [role for role in columns if role not in ROLES]:
        raise request.refusal(f"columns for {listed(unknown)}", f"name columns for {', '.join(ROLES)}")
    if not columns.keys() & {"good", "bad"}:
        columns = _recognised(table, request)[1] | columns
    if lacking := [role for role in ("good", "bad") if role not in columns]:
        raise request.refusal(f"no column for the {lacking[0]} sentence", "name both: good=COLUMN,bad=COLUMN")
    if absent := [column for column in columns.values() if column not in table.columns]:
        raise request.refusal(f"no column {absent[0]!r}; there are {listed(table.columns)}", "name one of the columns")
    if columns["good"] == columns["bad"]:
        raise request.refusal(f"{columns['good']!r} for both sentences", "name two columns")
    return "pairs", columns


def _recognised(table: Table, request: Request) -> tuple[Kind, dict[str, str]]:
    """Return the roles that the names of the columns show."""
    names = table.columns
    both = [pair for pair in _BOTH if all(column in names for column in pair)]
    if len(both) > 1:
        raise request.refusal(f"sentences in {listed(' and '.join(pair) for pair in both)}", f"name two: {_FORMATS}")
    if both and both[0] != _BOTH[0]:
        good, bad = both[0]
        if good == "source_sentence" and not any(name in names for name in _RUBLIMP):
            raise request.refusal(
                "source_sentence and target_sentence, without RuBLiMP's other columns: which of them is grammatical is"
                " not said",
                "name the columns: good=source_sentence,bad=target_sentence, or the other way round",
            )
        return "pairs", {"good": good, "bad": bad}
    blimp = "UID" in names or "linguistics_term" in names
    needed = ["sentence_good", "sentence_bad", *(("UID", "linguistics_term") if blimp else ())]
    missing = [name for name in needed if name not in names]
    if missing and not (blimp or "construction" in names):
        missing = ["two columns of sentences that are known by name"]
    if missing:
        raise request.refusal(f"without {', '.join(missing)}; it has {listed(names)}", _FORMATS)
    columns = {"good": "sentence_good", "bad": "sentence_bad"}
    if blimp:
        return "blimp", columns
    if "construction" in names:
        return "tse", columns | {"paradigm": "construction"}
    return "pairs", columns


def _strings_of(column: str, table: Table, request: Request) -> Sequence[str]:
    """The strings of a column, each checked; one of another kind, or an empty one, is refused."""
    values = table.values(column)
    with suppress(TypeError):  # of a value that is no string
        # Printable ASCII needs no check or change. A file of pairs has little else, so one look at all of it is enough.
        whole = "".join(values)
        if whole.isascii() and whole.isprintable() and all(map(str.strip, values)):
            return values
    return [_string(value, column, table.where(row), request) for row, value in enumerate(values)]


def _string(value: Any, column: str, where: str, request: Request) -> str:
    if value is MISSING:
        raise request.refusal(f"{where}: without {column}", f"give {column} in every row")
    if not isinstance(value, str) or not value.strip():
        try:
            shown = json.dumps(value)[:60]
        except (TypeError, ValueError, RecursionError):  # bytes, an integer of thousands of digits, a nest of lists
            shown = f"of type {type(value).__name__}"
        raise request.refusal(f"{where}: {column} is {shown}", f"{column} must be a string that is not empty")
    return clean(value, f"{where}: {column}", request)


def family(construction: str) -> str:
    """Marvin and Linzen's three families; a construction of somebody else's is a family of its own."""
    if "npi" in construction:
        return "npi_licensing"
    if "reflexive" in construction:
        return "reflexives"
    agreement = ("simple_agrmt", "sent_comp", "vp_coord", "long_vp_coord", "prep_", "subj_rel", "obj_rel_")
    return "subject_verb_agreement" if construction.startswith(agreement) else construction


# -- lines ------------------------------------------------------------------------------------------------------------


def is_judged(content: str) -> bool:
    """Return True if a file has sentences after True or False, as in CLAMS, whose file names do not show it."""
    return _JUDGED.match(content.lstrip("\n")) is not None


def from_lines(content: str, origin: Origin, request: Request) -> Iterator[Row]:
    """The pairs of a file of plain lines: CLAMS, SLING or Zorro."""
    lines = [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]
    if not lines:
        return iter(())  # whoever asks refuses an empty file
    if _JUDGED.fullmatch(lines[0][1]):
        return _judged(lines, origin, request)
    if _APART in lines[0][1]:
        return _apart(lines, origin, request)
    if zorro := _ZORRO.fullmatch(origin.name):
        return _alternating(lines, origin.name, zorro[1], request)
    raise request.refusal(
        "lines of text, which do not say what is grammatical",
        "give True or False and a tab before each sentence, GOOD@@@BAD lines, or a table with named columns",
    )


def _judged(lines: Sequence[tuple[int, str]], origin: Origin, request: Request) -> Iterator[Row]:
    """CLAMS: a grammatical sentence after True, then one or more ungrammatical ones after False."""
    good, used = "", True
    for number, line in lines:
        match = _JUDGED.fullmatch(line)
        if match is None:
            raise request.refusal(f"line {number}: no True or False before a tab", "give each sentence its judgement")
        sentence = _string(match["sentence"], "the sentence", f"line {number}", request)
        if match["judgement"] == "True":
            if not used:
                raise request.refusal(f"line {number}: True after True", "give each True sentence a False one after it")
            good, used = sentence, False
            continue
        if not good:
            raise request.refusal(f"line {number}: False before any True", "put the True sentence of a pair first")
        used = True
        paradigm = f"{origin.language} {origin.name}" if origin.language else origin.name
        yield Row("pairs", paradigm, family(origin.name), origin.language, good, sentence)
    if not used:
        raise request.refusal(f"line {lines[-1][0]}: True at the end", "give each True sentence a False one after it")


def _apart(lines: Sequence[tuple[int, str]], origin: Origin, request: Request) -> Iterator[Row]:
    """SLING: the acceptable sentence, @@@, the unacceptable one."""
    for number, line in lines:
        both = line.split(_APART)
        if len(both) != 2:
            raise request.refusal(f"line {number}: {len(both) - 1} times {_APART}", f"give GOOD{_APART}BAD lines")
        good, bad = (_string(part, "a sentence", f"line {number}", request) for part in both)
        yield Row("pairs", origin.name, origin.name, "", good, bad)


def _alternating(lines: Sequence[tuple[int, str]], name: str, phenomenon: str, request: Request) -> Iterator[Row]:
    """Zorro: ungrammatical sentences on odd lines, the grammatical one of the pair on the next."""
    if len(lines) % 2:
        raise request.refusal(f"{len(lines)} lines, an odd number", "give two lines per pair, as Zorro does")
    for (_, bad), (_, good) in zip(lines[::2], lines[1::2], strict=True):
        yield Row("pairs", name, phenomenon, "", clean(good, "a line", request), clean(bad, "a line", request))


# -- TSE's pickles ----------------------------------------------------------------------------------------------------


def from_pickle(file: Path, load: Callable[[Path], Any], request: Request) -> Iterator[Row]:
    """The pairs of one of TSE's official templates; `load` reads plain data and runs nothing."""
    todo = "give an official template: a dict from case to a list of (good, bad) or (good, intrusive, bad)"
    content = load(file)
    if not isinstance(content, dict):
        raise request.refusal(f"a {type(content).__name__} instead of a dict", todo)
    # A pickle can name one list a million times over; honest ones spend more than a byte on a pair.
    if sum(len(rows) for rows in content.values() if isinstance(rows, list)) > file.stat().st_size:
        raise request.refusal("more pairs than bytes: the same list over and over", todo)
    name = printable(file.stem)
    for case, rows in content.items():
        if not isinstance(case, str):
            raise request.refusal(f"a case whose name is of type {type(case).__name__}", todo)
        if not isinstance(rows, list):
            raise request.refusal(f"case {case!r} holds a {type(rows).__name__} instead of a list", todo)
        for number, row in enumerate(rows):
            sound = isinstance(row, list | tuple) and len(row) in (2, 3) and all(isinstance(text, str) for text in row)
            if not sound or not all(text.strip() for text in row):
                raise request.refusal(f"item {number} of case {case!r} is not two or three sentences", todo)
            good, bad = (clean(text, f"item {number} of case {case!r}", request) for text in (row[0], row[-1]))
            yield Row("tse", name, family(name), "", good, bad)
