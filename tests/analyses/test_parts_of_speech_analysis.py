"""Parts of speech as an analysis: figures of the plain call, controls beside the top set, every kind of tokenizer."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from negspace.analyses.parts_of_speech.analysis import PartsOfSpeechAnalysis
from negspace.analyses.parts_of_speech.cells import aligned_words
from negspace.analyses.parts_of_speech.columns import SCAFFOLD
from negspace.analyses.parts_of_speech.excess import parts_of_speech
from negspace.analyses.parts_of_speech.figures import figures
from negspace.analyses.parts_of_speech.words import _tags
from negspace.errors import TaggerError, TextError
from negspace.experiment.config import Study, configure
from negspace.experiment.tagging import tagged_text
from negspace.models.load import load, wrap
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan
from negspace.significance import Nesting, compare_with_sets
from negspace.study.reading import read_run
from negspace.study.registry import sections
from negspace.study.run import run_study, workbench
from negspace.study.tables import Tables
from negspace.text.alignment import align
from negspace.text.conllu import read_conllu
from zoo import build

PATTERNS = (
    (("The", "DET", "det"), ("cat", "NOUN", "nsubj"), ("did", "AUX", "aux"), ("see", "VERB", "root")),
    (("Dogs", "NOUN", "nsubj"), ("does", "AUX", "aux"), ("n't", "PART", "advmod"), ("bark", "VERB", "root")),
    (("Naïve", "ADJ", "amod"), ("birds", "NOUN", "nsubj"), ("sing", "VERB", "root"), ("loudly", "ADV", "advmod")),
)
"""Sentences: word, part of speech, label. "doesn't" is one stretch of characters."""


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = []
    for number in range(150):
        words = [*PATTERNS[number * number % 7 % 3], (".", "PUNCT", "punct")]
        for at, (form, upos, label) in enumerate(words, 1):
            together = form == "does" or at == 4
            head = 0 if label == "root" else 4 if words[3][2] == "root" else 3
            misc = "SpaceAfter=No" if together else "_"
            lines.append(f"{at}\t{form}\t_\t{upos}\t_\t_\t{head}\t{label}\t_\t{misc}")
        lines.append("")
    path = tmp_path_factory.mktemp("treebank") / "tiny.conllu"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _study(fields: dict[str, Any], *, ablation: bool = False, **settings: Any) -> Study:
    analyses = {"ablation": {}} if ablation else {}
    kept = {**fields, "blimp": [], "tse": [], "shares": [0.3], "window": 32}
    return configure({**kept, "analyses": {**analyses, "parts_of_speech": settings}})


@pytest.fixture(scope="module")
def made(tiny_fields, gold, tmp_path_factory) -> tuple[Path, Tables]:
    folder = tmp_path_factory.mktemp("runs") / "tags"
    # By this statistic a bottom set of the tiny model has the top set's perplexity.
    fields = {**tiny_fields, "by": "negative_share", "tolerance": 0.005, "evaluations": 30}
    return folder, run_study(_study(fields, ablation=True, text=str(gold)), folder)


def test_documented_tables(made):
    _, tables = made
    for name, columns in ((name, table.names) for name, table in PartsOfSpeechAnalysis.schema.items()):
        assert list(tables[name].columns) == list(columns)
        assert len(tables[name])
    assert tables["parts_of_speech"]["role"].drop_duplicates().tolist() == ["top", "random", "matched"]
    assert tables["parts_of_speech_contrasts"]["role"].drop_duplicates().tolist() == ["random", "matched"]


def test_the_claim_is_named_alike_for_every_model(made):
    _, tables = made
    of = [claim.of for claim in tables.claims() if claim.key == "tags"]
    compared = ("", ", against random sets", ", against the matched set")
    assert of == [f"words of the text{what}, by negative_share" for what in compared]


def test_what_two_sets_were_matched_on_is_not_tested(made):
    contrasts = made[1]["contrasts"]  # of perplexity alone
    assert "matched" in set(contrasts["set"])
    assert "matched" not in set(contrasts["against"])


def test_a_set_that_is_only_nearest_is_no_control(made, tiny_fields, gold, tmp_path):
    study = _study({**tiny_fields, "tolerance": 1e-9, "evaluations": 3}, text=str(gold))
    tables = run_study(study, tmp_path / "nearest")
    shown = tables["parts_of_speech"]
    assert shown["role"].drop_duplicates().tolist() == ["top", "random", "nearest"]
    assert ", nearest to top" in shown["condition"].iloc[-1]
    assert set(tables["parts_of_speech_contrasts"]["role"]) == {"random"}
    assert not tables["parts_of_speech_scaffold"]["role"].str.contains("matched|top against nearest").any()
    assert not any("nearest" in sentence for sentence in tables.sentences("parts_of_speech"))
    assert [claim.of for claim in tables.claims() if claim.key == "tags"][1:] == [
        "words of the text, against random sets"
    ]


def test_figures_are_those_of_the_plain_call(made, tiny_fields, gold):
    folder, tables = made
    table, columns = (
        tables["parts_of_speech"],
        ["kind", "tag", "tokens", "windows", "baseline", "excess", "low", "p_holm"],
    )
    model, scan = load(tiny_fields["model"]), Scan.load(folder / "scan.parquet")
    options = {"window": 32, "draws": 200}
    top = parts_of_speech(model, scan.top(0.3, by="negative_share"), gold, **options).table[columns]
    same = partial(pd.testing.assert_frame_equal, check_dtype=False)
    same(table.loc[table["role"] == "top", columns].reset_index(drop=True), top)
    matched = NeuronSet.load(next((folder / "neurons").glob("bottom-*.json")))
    bottom = parts_of_speech(model, matched, gold, **options).table[columns]
    same(table.loc[table["role"] == "matched", columns].reset_index(drop=True), bottom)
    each = [
        parts_of_speech(
            model, scan.random(seed=seed, like=scan.top(0.3, by="negative_share")), gold, **options
        ).table.set_index(["kind", "tag"])["excess"]
        for seed in range(5)
    ]
    random = table[table["role"] == "random"].set_index(["kind", "tag"])
    assert (random["sets"] == 5).all()
    assert np.allclose(random["excess"], sum(one.loc[random.index] for one in each) / 5)


def test_contrasts_are_differences_of_excesses(made):
    from statsmodels.stats.multitest import multipletests

    _, tables = made
    table = tables["parts_of_speech"].set_index(["role", "kind", "tag"])["excess"]
    contrasts = tables["parts_of_speech_contrasts"]
    for _, row in contrasts.iterrows():
        assert row["top"] == table["top", row["kind"], row["tag"]]
        assert row["reference"] == table[row["role"], row["kind"], row["tag"]]
        if row["reason"]:
            assert row["role"] == "random"
            assert row[["contrast", "low", "high", "p"]].isna().all()
            continue
        assert row["contrast"] == pytest.approx(row["top"] - row["reference"])
        assert row["low"] <= row["contrast"] <= row["high"]
    for _, part in contrasts.groupby(["role", "kind"]):
        known = part["p"].notna()
        assert np.allclose(part.loc[known, "p_holm"], multipletests(part.loc[known, "p"], method="holm")[1])


def test_random_sets_are_a_sample(made):
    """The contrast with them is that of the rule, on the tokens of the tag, windows being the units."""
    folder, tables = made
    manifest = json.loads((folder / "run.json").read_text())["analyses"]["parts_of_speech"]
    items = {
        one["name"]: pd.read_parquet(folder / "cells" / f"{one['cells']['surprisal']}.parquet")
        for one in manifest["conditions"]
    }
    plain, top = items["plain model"], items["top 30%"]
    sets = np.stack([frame["nll"] for name, frame in items.items() if name.startswith("random")])
    here = ((plain["word"] >= 0) & (plain["upos"] == "NOUN")).to_numpy()
    nesting = Nesting.tokens(plain["window"].to_numpy()[here])
    found = compare_with_sets(-top["nll"].to_numpy()[here], -sets[:, here], nesting, scale="nats")
    contrasts = tables["parts_of_speech_contrasts"].set_index(["role", "kind", "tag"])
    row = contrasts.loc[("random", "upos", "NOUN")]
    assert row["reason"] == found.reason
    assert row["contrast"] == pytest.approx(-found.estimate, nan_ok=True)
    assert (row["low"], row["high"]) == pytest.approx((-found.high, -found.low), nan_ok=True)


def test_intervals_of_random_sets_are_said_to_be_of_those_drawn(made):
    folder, _ = made
    told = (folder / "tables" / "COLUMNS.md").read_text()
    assert "interval and p hold for the sets that were ablated, not for other random sets" in told
    assert "top against random: a prediction interval for a further random set" in told
    for figure in figures(read_run(folder)):
        assert "The intervals of random sets hold for the sets drawn, not for others." in figure.caption


def test_scaffolding_against_the_rest(made):
    folder, tables = made
    table = tables["parts_of_speech_scaffold"].set_index("role")
    assert table.index.tolist() == ["top", "random", "matched", "top against random", "top against matched"]
    by_tag = tables["parts_of_speech"].query("role == 'top' and kind == 'upos'")
    here = by_tag["tag"].isin(SCAFFOLD)
    assert here.sum() == 4
    means = [np.average(part["excess"], weights=part["tokens"].astype(float)) for part in (by_tag[here], by_tag[~here])]
    row = table.loc["top"]
    assert [row["scaffold"], row["rest"]] == pytest.approx(means)
    assert row["difference"] == pytest.approx(means[0] - means[1])
    assert row["tokens"] == by_tag.loc[here, "tokens"].sum()
    against = table.loc["top against matched", "difference"]
    assert against == pytest.approx(row["difference"] - table.loc["matched", "difference"])
    # The interval is that of a bootstrap of the difference itself.
    manifest = json.loads((folder / "run.json").read_text())["analyses"]["parts_of_speech"]
    before, after = (
        pd.read_parquet(folder / "cells" / f"{one['cells']['surprisal']}.parquet") for one in manifest["conditions"][:2]
    )
    excess = (after["nll"] - before["nll"]).to_numpy()
    scaffold, others = (
        before["upos"].isin(SCAFFOLD).to_numpy(),
        (~before["upos"].isin(SCAFFOLD) & (before["word"] >= 0)),
    )
    window = before["window"].to_numpy()
    sums = np.array(
        [
            [excess[mask & (window == w)].sum() for mask in (scaffold, others.to_numpy())]
            + [(mask & (window == w)).sum() for mask in (scaffold, others.to_numpy())]
            for w in range(window.max() + 1)
        ]
    )
    drawn = sums[np.random.default_rng(0).integers(len(sums), size=(4000, len(sums)))].sum(axis=1)
    spread = np.quantile(drawn[:, 0] / drawn[:, 2] - drawn[:, 1] / drawn[:, 3], [0.025, 0.975])
    assert row["high"] - row["low"] == pytest.approx(spread[1] - spread[0], rel=0.15)


def test_nothing_is_computed_twice(made, monkeypatch):
    folder, tables = made
    from negspace.experiment import workbench

    log = [json.loads(line) for line in (folder / "run.log.jsonl").read_text().splitlines()]
    kinds = [entry["kind"] for entry in log if entry["event"] == "computed"]
    assert len({entry["key"] for entry in log if entry["event"] == "computed"}) == len(kinds)
    assert kinds.count("surprisal") == 8  # plain, top, five random, matched
    monkeypatch.setattr(workbench.Workbench, "compute", lambda *_: pytest.fail("computed again"))
    study = configure(json.loads((folder / "run.json").read_text())["study"])
    again = run_study(study, folder)
    for name in PartsOfSpeechAnalysis.schema:
        pd.testing.assert_frame_equal(again[name], tables[name])


def test_sentences(made):
    _, tables = made
    said = tables.sentences("parts_of_speech")
    assert said[0].startswith("Parts of speech, top 30%: ")
    assert sum(sentence.startswith("Against ") for sentence in said) == 2
    assert sum(sentence.startswith("Scaffolding ") for sentence in said) == 3
    words = ("undecided", "surprisal changes", "surprisal differs", "on scaffolding", "cannot be judged")
    assert all(any(word in sentence for word in words) for sentence in said)


def test_tags_that_no_test_could_find_are_not_undecided():
    tags = {"tag": [f"T{k}" for k in range(16)], "windows": 8, "p": 2**-7, "low": 0.1, "high": 0.2, "excess": 0.15}
    rows = pd.DataFrame(tags).assign(p_holm=16 * 2**-7, role="top")
    few = "cannot be judged (8 windows; sign flips over windows need 10 for 16 parts of speech)"
    assert _tags(rows, "excess", 0.05) == few
    sure = rows.assign(windows=12, p=2**-11, p_holm=16 * 2**-11)
    assert _tags(sure, "excess", 0.05).startswith("surprisal changes (nats): T0 +0.1500, T1 +0.1500, ")
    against = sure.rename(columns={"excess": "contrast"})
    assert _tags(against, "contrast", 0.05).startswith("surprisal differs (nats): T0 +0.1500, ")
    assert "cannot be judged (4 windows" in _tags(rows.assign(windows=4, p=np.nan, p_holm=np.nan), "excess", 0.05)
    # Random sets are judged by t, and each tag by itself.
    some = rows.assign(role="random", p_holm=0.3, reason=["few sets"] * 11 + [""] * 5)
    told = "undecided, no part of speech of 5 is shown to differ; 11 of 16 cannot be judged"
    assert _tags(some, "excess", 0.05) == told
    assert _tags(some.assign(reason="few sets"), "excess", 0.05) == "cannot be judged (few sets)"


def test_scaffolding_that_no_test_could_find_is_not_undecided(tiny_fields, gold, tmp_path):
    """Of two tests, each needs half the level: 2 * 2 / 2^6 is above it, and no effect could be shown."""
    study = _study({**tiny_fields, "random": 2}, text=str(gold), windows=6, matched=False)
    tables = run_study(study, tmp_path / "run")
    table = tables["parts_of_speech_scaffold"].set_index("role")
    few = "6 windows; sign flips over windows need 7 for 2 comparisons"
    assert table["reason"].to_dict() == {"top": few, "random": few, "top against random": table["reason"].iloc[2]}
    claim = next(claim for claim in tables.claims() if claim.key == "tags")
    assert (claim.answer, claim.reason) == ("cannot be judged", few)
    assert any(f"cannot be judged ({few})" in sentence for sentence in tables.sentences("parts_of_speech"))


def _byte_bpe(texts: list[str]) -> Tokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False))
    return core


def _unigram(texts: list[str]) -> Tokenizer:
    core = Tokenizer(models.Unigram())
    core.normalizer = normalizers.NFKC()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.train_from_iterator(
        texts, trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    )
    return core


def _wordpiece(texts: list[str]) -> Tokenizer:
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)  # strips accents: offsets must survive it
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=60, special_tokens=["[UNK]"], show_progress=False)
    )
    return core


def _metaspace_bpe(texts: list[str]) -> Tokenizer:
    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{n:02X}>" for n in range(256)]
    core.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=285, special_tokens=["<unk>", *bytes_], show_progress=False)
    )
    return core


@pytest.mark.parametrize("kind", [_byte_bpe, _unigram, _wordpiece, _metaspace_bpe])
def test_every_fast_tokenizer(kind, gold, tiny_fields, tmp_path):
    """The tags are those of a plain loop over characters, whatever the tokenizer does to spaces and accents."""
    words = read_conllu(gold)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=kind([words.text.text]))
    model = wrap(build("gpt_neox", scale=3.0, vocab_size=len(tokenizer)), tokenizer)
    fields = {**tiny_fields, "model": kind.__name__, "text": str(tmp_path / "text.txt"), "random": 1}
    Path(fields["text"]).write_text(words.text.text, encoding="utf-8")
    run_study(_study(fields, text=str(gold), matched=False), tmp_path / "run", model=model)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    cell = manifest["analyses"]["parts_of_speech"]["conditions"][1]["cells"]["surprisal"]
    items = pd.read_parquet(tmp_path / "run" / "cells" / f"{cell}.parquet")

    tag_at = [""] * len(words.text.text)
    for start, end, tag in zip(words.start, words.end, words.upos, strict=True):
        tag_at[start:end] = [tag] * (end - start)
    offsets = tokenizer(words.text.text, return_offsets_mapping=True).offset_mapping
    wanted = []
    for window in range(items["window"].max() + 1):
        for start, end in offsets[32 * window + 1 : 32 * window + 32]:
            tags = [tag for tag in tag_at[start:end] if tag]
            wanted.append(max(tags, key=tags.count) if tags else "")
    assert items["upos"].tolist() == wanted
    assert set(wanted) >= {"DET", "NOUN", "AUX", "PART", "VERB", "ADJ", "ADV", "PUNCT"}


def test_slow_tokenizers_and_bad_taggers_are_refused_before_any_work(gold, tiny_fields, tmp_path):
    with pytest.raises(TaggerError, match="a text that has gold tags"):
        run_study(_study(tiny_fields, text=str(gold), tagger="en_core_web_sm"), tmp_path / "run")
    with pytest.raises(TaggerError):
        run_study(_study(tiny_fields, tagger="no_such_pipeline"), tmp_path / "run")
    with pytest.raises(TextError):
        run_study(_study(tiny_fields, text=str(tmp_path / "nowhere.conllu")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_bundled_tagger_tags_the_studys_own_text(tiny_fields, tmp_path):
    tables = run_study(_study({**tiny_fields, "random": 0, "perplexity_windows": 8}, matched=False), tmp_path / "run")
    table = tables["parts_of_speech"]
    assert set(table["role"]) == {"top"}
    assert table.query("kind == 'all'")["tokens"].sum() == 8 * 31
    assert tables["parts_of_speech_contrasts"].empty
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())["analyses"]["parts_of_speech"]
    assert manifest["tagger"].startswith("en_")


def test_words_beyond_the_windows_are_not_tagged_and_the_others_are_as_ever(tiny_fields, tmp_path):
    words = Path(tiny_fields["text"]).read_text().split()
    paragraphs = tmp_path / "paragraphs.txt"
    paragraphs.write_text("\n\n".join(" ".join(words[at : at + 20]) for at in range(0, len(words), 20)))
    study = _study({**tiny_fields, "text": str(paragraphs), "perplexity_windows": 8}, matched=False)
    bench = workbench(study)
    aligned = aligned_words(bench, sections(study)["parts_of_speech"])
    whole = align(tagged_text(study.text), aligned.windows, bench.model.tokenizer)
    assert 8 < len(aligned.tagged) < len(whole.tagged)
    assert (aligned.upos == whole.upos).all()
    assert (aligned.dep == whole.dep).all()
    assert (aligned.start == whole.start).all()


def test_a_text_without_scaffolding_gives_the_reason(made, tiny_fields, gold, tmp_path):
    treebank = tmp_path / "content.conllu"
    treebank.write_text(re.sub(r"\t(DET|AUX|PART|PUNCT)\t", r"\tNOUN\t", gold.read_text("utf-8")), "utf-8")
    alone = _study(tiny_fields, text=str(treebank), random=False, matched=False)
    tables = run_study(alone, tmp_path / "run")
    (row,) = tables["parts_of_speech_scaffold"].to_dict("records")
    assert row["reason"].startswith("no word of DET, PUNCT, AUX, PART; use a tagger")
    (claim,) = (claim for claim in tables.claims() if claim.key == "tags")
    assert claim.answer == "cannot be judged"
