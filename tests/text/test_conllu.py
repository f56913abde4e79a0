"""CoNLL-U: the text is rebuilt as written, with a tag for every word, and every malformed line is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from negspace.errors import TextError
from negspace.text.conllu import read_conllu

GOLD = """\
# newdoc id = one
# sent_id = 1
# text = I don't, she does.
1\tI\tI\tPRON\t_\t_\t4\tnsubj\t_\t_
2-3\tdon't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No
2\tdo\tdo\tAUX\t_\t_\t4\taux\t_\t_
3\tn't\tnot\tPART\t_\t_\t4\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\t_\t_\t_\t_\t0:root\t_
4\t,\t,\tPUNCT\t_\t_\t0\troot\t_\tFoo=Bar|SpaceAfter=No
5\tshe\tshe\tPRON\t_\t_\t6\tnsubj\t_\tSpaceAfter=Yes
6\tdoes\tdo\tVERB\t_\t_\t4\tconj:and\t_\tSpaceAfter=No
7\t.\t.\tPUNCT\t_\t_\t6\tpunct\t_\t_

# newpar
1\tOui\t_\tINTJ\t_\t_\t0\troot\t_\t_

# newdoc
1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_
1\tde\tde\tADP\t_\t_\t2\tcase\t_\t_
2\tle\tle\tDET\t_\t_\t3\tdet\t_\t_
3\tcafé\tcafé\tNOUN\t_\t_\t0\troot\t_\tSpaceAfter=No

1\tNon\t_\tINTJ\t_\t_\t0\troot\t_\t_
"""


def written(tmp_path: Path, content: str, name: str = "gold.conllu") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_text_words_and_tags(tmp_path, line_end):
    made = read_conllu(written(tmp_path, GOLD.replace("\n", line_end)))
    text = made.text.text
    # No space after the comma and between the last two sentences: the file says so.
    assert text == "I don't,she does.\nOui\n\ndu caféNon"
    forms = [text[a:b] for a, b in zip(made.start, made.end, strict=True)]
    assert forms == ["I", "do", "n't", ",", "she", "does", ".", "Oui", "du", "café", "Non"]
    upos = ["PRON", "AUX", "PART", "PUNCT", "PRON", "VERB", "PUNCT", "INTJ", "DET", "NOUN", "INTJ"]
    assert made.upos.tolist() == upos
    assert made.dep.tolist()[:8] == ["nsubj", "aux", "advmod", "root", "nsubj", "conj:and", "punct", "root"]
    assert made.dep[8] == "det"  # "de" hangs on "le", which hangs on a word outside of "du"
    assert made.sentence.tolist() == [0] * 7 + [1, 2, 2, 3]
    assert made.document.tolist() == [0] * 8 + [1] * 3
    assert (made.text.documents, made.text.role, made.tagger) == (2, "perplexity", "gold")
    assert made.notes == ("1 words within contractions have no characters of their own and so no tokens",)


def test_files_of_a_folder_are_documents_of_their_own(tmp_path):
    body = GOLD[GOLD.index("1\tOui") : GOLD.index("# newdoc\n1-2")]
    for name in ("b.conllu", "a.conllu"):
        written(tmp_path, body.replace("Oui", name[0]), name)
    written(tmp_path, "no tags", "readme.txt")
    made = read_conllu(tmp_path, role="statistics")
    assert (made.text.text, made.text.documents, made.text.role) == ("a\n\nb", 2, "statistics")
    assert made.text.name == "a.conllu, b.conllu"
    written(tmp_path, body, "._a.conllu")
    assert read_conllu(tmp_path).text.text == "a\n\nb"
    assert read_conllu([tmp_path / "a.conllu", tmp_path / "b.conllu"]).hash == made.hash


def test_the_hash_is_of_the_content(tmp_path):
    made = read_conllu(written(tmp_path, GOLD))
    assert read_conllu(written(tmp_path, GOLD, "renamed.conllu")).hash == made.hash
    for before, after in (("AUX", "VERB"), ("conj:and", "conj"), ("Oui", "Ouf"), ("# newpar\n", "")):
        assert read_conllu(written(tmp_path, GOLD.replace(before, after))).hash != made.hash


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("\tPRON\t_\t_\t4", "\tPRON\t_\t4", "line 4: 9 columns instead of 10"),
        ("1\tI\t", "x\tI\t", "line 4: 'x' where a word's number"),
        ("5\tshe", "6\tshe", "line 10: word 6 after word 4"),
        ("2-3\tdon't", "3-2\tdon't", "line 5: word 3 after word 1"),
        ("2-3\tdon't", "2-2\tdon't", "line 5: the range 2-2"),
        ("2-3\tdon't", "2-9\tdon't", "line 12: a sentence of 7 words with a range up to 9"),
        ("\tPRON\t_\t_\t6", "\t_\t_\t_\t6", "line 10: the word 'she' without a part of speech"),
        ("\tnsubj\t_\tSpaceAfter=Yes", "\t_\t_\tSpaceAfter=Yes", "line 10: the word 'she' without a label"),
        ("\t_\t_\t6\tnsubj", "\t_\t_\t?\tnsubj", "line 10: '?' where the number of the head belongs"),
        ("\t_\t_\t6\tnsubj", "\t_\t_\t" + "9" * 5000 + "\tnsubj", "999' where the number of the head belongs"),
        ("5\tshe", "9" * 5000 + "\tshe", "999' where a word's number"),
        ("2-3\tdon't", "2-" + "9" * 5000 + "\tdon't", "999' where a word's number"),
        ("5\tshe", "5\t ", "line 10: a word without a form"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, before, after, found):
    assert before in GOLD
    path = written(tmp_path, GOLD.replace(before, after, 1))
    with pytest.raises(TextError, match=re.escape(found)) as caught:
        read_conllu(path)
    assert str(path) in caught.value.asked


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(TextError, match="No such file"):
        read_conllu(tmp_path / "absent.conllu")
    with pytest.raises(TextError, match=r"no \.conllu file in"):
        read_conllu(tmp_path)
    for name in ("a.conllu", "a.conllu.gz"):
        (tmp_path / name).touch()
    with pytest.raises(TextError, match=r"a\.conllu and a\.conllu\.gz, by their names the same twice"):
        read_conllu(tmp_path)
    latin, empty = tmp_path / "latin.conllu", written(tmp_path, "# text = nothing\n\n")
    latin.write_bytes(b"# caf\xe9")
    with pytest.raises(TextError, match="not UTF-8: byte 0xe9 at offset 5"):
        read_conllu(latin)
    with pytest.raises(TextError, match="no word"):
        read_conllu(empty)


@pytest.mark.shared
def test_every_sentence_of_a_treebank_is_rebuilt_as_its_comment_says(shared_data):
    path = shared_data / "ud_english" / "en_ewt-ud-dev.conllu"
    made = read_conllu(path)
    comments = re.findall(r"^# text = (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert made.sentence[-1] + 1 == len(comments) == 2001
    for number, comment in enumerate(comments):
        mine = made.sentence == number
        assert made.text.text[made.start[mine][0] : made.end[mine][-1]] == comment
    assert len(made) == 25147  # words of the treebank, as its own statistics count them
    assert not made.notes
