"""Excess surprisal by tag: figures as in a plain loop, false alarms within the level, records that are reused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from statsmodels.stats.multitest import multipletests

from negspace.analyses.parts_of_speech import cells
from negspace.analyses.parts_of_speech.columns import EXCESS
from negspace.analyses.parts_of_speech.excess import parts_of_speech
from negspace.analyses.parts_of_speech.tables import excess_by_tag
from negspace.errors import InterventionError, RecordError, SelectionError, StudyError, TaggerError
from negspace.experiment.tagging import tagged_text
from negspace.intervention import intervene
from negspace.models.load import load
from negspace.models.model import Model
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import scan
from negspace.runs.store import MANIFEST_FORMAT
from negspace.study.reading import read_run
from negspace.text.tagged import Tagged

FAST = {"window": 32, "draws": 200}


@pytest.fixture(scope="module")
def model(tiny_model_path: Path) -> Model:
    return load(str(tiny_model_path))


@pytest.fixture(scope="module")
def neurons(model: Model) -> NeuronSet:
    return NeuronSet.from_indices(model, {0: range(0, 64, 3), 1: range(0, 64, 3)})


@pytest.fixture(scope="module")
def gold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A treebank of 120 sentences in three patterns."""
    patterns = [
        [
            ("The", "DET", 2, "det"),
            ("cat", "NOUN", 3, "nsubj"),
            ("sees", "VERB", 0, "root"),
            ("dogs", "NOUN", 3, "obj"),
        ],
        [
            ("No", "DET", 2, "det"),
            ("dog", "NOUN", 4, "nsubj"),
            ("ever", "ADV", 4, "advmod"),
            ("barks", "VERB", 0, "root"),
        ],
        [
            ("Cats", "NOUN", 2, "nsubj"),
            ("see", "VERB", 0, "root"),
            ("the", "DET", 4, "det"),
            ("bird", "NOUN", 2, "obj"),
        ],
    ]
    lines = []
    for number in range(120):
        words = patterns[number * number % 7 % 3]
        for at, (form, upos, head, dep) in enumerate(words, 1):
            lines.append(f"{at}\t{form}\t_\t{upos}\t_\t_\t{head}\t{dep}\t_\t" + ("SpaceAfter=No" if at == 4 else "_"))
        lines += ["5\t.\t.\tPUNCT\t_\t_\t2\tpunct\t_\t_", ""]
    path = tmp_path_factory.mktemp("treebank") / "tiny.conllu"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def made(model, neurons, gold):
    return parts_of_speech(model, neurons, str(gold), **FAST)


def test_figures_equal_a_plain_loop(model, neurons, gold, made):
    """Each window alone through the module; each token's tag by the offsets of a call of its own."""
    words = tagged_text(str(gold))
    encoding = model.tokenizer(words.text.text, return_offsets_mapping=True)
    upos_at = np.full(len(words.text.text), "", object)
    for start, end, tag in zip(words.start, words.end, words.upos, strict=True):
        upos_at[start:end] = tag
    rows = []
    for window in range(len(encoding.input_ids) // 32):
        ids = torch.tensor([encoding.input_ids[32 * window : 32 * window + 32]])
        both = []
        for ablated in (False, True):
            with torch.no_grad():
                if ablated:
                    with intervene(model, neurons, "negative"):
                        logits = model.module(ids).logits
                else:
                    logits = model.module(ids).logits
            both.append(-logits[0, :-1].double().log_softmax(-1)[range(31), ids[0, 1:]].numpy())
        for at in range(31):
            start, end = encoding.offset_mapping[32 * window + at + 1]
            tags = [tag for tag in upos_at[start:end] if tag]
            rows.append((window, max(tags, key=tags.count) if tags else "", both[0][at], both[1][at]))
    plain = pd.DataFrame(rows, columns=["window", "upos", "baseline", "ablated"])
    assert made.items["upos"].tolist() == plain["upos"].tolist()
    assert np.allclose(made.items[["baseline", "ablated"]], plain[["baseline", "ablated"]], atol=1e-5)

    table = made.table[made.table["kind"] == "upos"].set_index("tag")
    assert set(table.index) == {"DET", "NOUN", "VERB", "ADV", "PUNCT"}
    for tag, part in plain[plain["upos"] != ""].groupby("upos"):
        assert table.loc[tag, "tokens"] == len(part)
        assert table.loc[tag, "windows"] == part["window"].nunique()
        assert table.loc[tag, "baseline"] == pytest.approx(part["baseline"].mean(), abs=1e-5)
        assert table.loc[tag, "excess"] == pytest.approx((part["ablated"] - part["baseline"]).mean(), abs=1e-5)


def test_the_table(made):
    table = made.table
    assert list(table.columns) == EXCESS.names
    assert table["kind"].drop_duplicates().tolist() == ["all", "upos", "dep"]
    assert set(table[table["kind"] == "dep"]["tag"]) == {"det", "nsubj", "root", "obj", "advmod", "punct"}
    for kind, part in table.groupby("kind"):
        assert part["excess"].is_monotonic_decreasing
        assert np.allclose(part["p_holm"], multipletests(part["p"], method="holm")[1]), kind
        assert ((part["low"] <= part["excess"]) & (part["excess"] <= part["high"])).all()
    with_word = table[table["tag"] == "with a word"].iloc[0]
    for kind in ("upos", "dep"):
        assert table.loc[table["kind"] == kind, "tokens"].sum() == with_word["tokens"]
    assert np.abs(table["excess"]).max() > 0.01  # the ablation does something
    assert table["p"].notna().all()


def test_the_empty_set_changes_nothing(model, gold):
    made = parts_of_speech(model, NeuronSet.from_indices(model, {}), str(gold), **FAST)
    assert (made.table["excess"] == 0).all()
    assert (made.table["p"] == 1).all()


def synthetic(effect: float, windows: int = 30, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Items in which the surprisal of nouns rises by `effect`; all tokens of a window share much of their noise."""
    rng = np.random.default_rng(seed)
    tags = np.tile(["NOUN", "VERB", "DET", "", "ADP"], 8)
    window = np.repeat(np.arange(windows), tags.size)
    upos = np.tile(tags, windows)
    items = pd.DataFrame(
        {
            "window": window,
            "position": np.tile(np.arange(tags.size) + 1, windows),
            "start": 0,
            "end": 1,
            "word": np.where(upos == "", -1, 7),
            "upos": upos,
            "dep": np.where(upos == "", "", "dep"),
            "nll": rng.exponential(3, window.size),
        }
    )
    noise = np.repeat(rng.normal(0, 0.2, windows), tags.size) + rng.normal(0, 0.3, window.size)
    return items, items.assign(nll=items["nll"] + noise + effect * (upos == "NOUN"))


def test_a_planted_effect_is_found_and_no_other():
    table = excess_by_tag(*synthetic(0.5), draws=300)
    upos = table[table["kind"] == "upos"].set_index("tag")
    assert upos.loc["NOUN", "p_holm"] < 0.01
    assert upos.loc["NOUN", "low"] > 0.3
    assert (upos.loc[["VERB", "DET", "ADP"], "p_holm"] > 0.05).all()
    assert table[table["kind"] == "all"]["tag"].tolist() == ["with a word", "without a word"]


def test_false_alarms_stay_within_the_level():
    """Under no effect, some tag of a table is called significant in at most 5% of tables, but for chance."""
    alarms = 0
    for seed in range(120):
        table = excess_by_tag(*synthetic(0.0, windows=9, seed=seed), draws=100)
        alarms += (table.loc[table["kind"] == "upos", "p_holm"] <= 0.05).any()
    assert alarms <= 12  # P[Binomial(120, 0.05) > 12] = 0.8%


def test_a_rare_tag_costs_the_others_nothing():
    before, after = synthetic(0.5)
    rare = {"upos": "X", "dep": "rare"}
    place = before.index[(before["window"] < 3) & (before["upos"] == "")][:3]
    for name, value in rare.items():
        for items in (before, after):
            items.loc[place, name] = value
            items.loc[place, "word"] = 1
    table = excess_by_tag(before, after, draws=100).set_index(["kind", "tag"])
    row = table.loc[("upos", "X")]
    assert row["tokens"] == 3
    assert np.isnan(row["p"])
    assert np.isnan(row["p_holm"])
    assert table.loc[("upos", "NOUN"), "p_holm"] == pytest.approx(4 * table.loc[("upos", "NOUN"), "p"])


def test_items_of_other_tokens_are_refused():
    before, after = synthetic(0.0)
    with pytest.raises(StudyError, match="items of different tokens"):
        excess_by_tag(before, after.iloc[:-1])


def test_a_run_folder_is_gone_on_with(model, neurons, gold, made, tmp_path, monkeypatch):
    out = tmp_path / "run"
    steps: list[tuple[int, int, str]] = []
    first = parts_of_speech(model, neurons, gold, out=out, progress=lambda *step: steps.append(step), **FAST)
    assert first.table.equals(made.table)
    assert steps
    assert len(list((out / "cells").glob("*.parquet"))) == 2
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and "log" not in path.name}
    manifest = json.loads((out / "run.json").read_text())
    assert manifest["study"]["study"] == "parts_of_speech"
    assert manifest["tags"]["tagger"] == "gold"
    written = pd.read_parquet(out / "tables" / "parts_of_speech.parquet")
    assert written.equals(made.table)
    assert all(f"`{column}`" in (out / "tables" / "COLUMNS.md").read_text() for column in written.columns)

    with pytest.raises(RecordError) as refused:
        read_run(out)
    assert refused.value.found == "a folder that the Python function parts_of_speech made, with one table and no study"
    assert str(out / "tables" / "parts_of_speech.csv") in refused.value.todo

    monkeypatch.setattr(cells, "surprisal", lambda *_, **__: pytest.fail("computed again"))
    again = parts_of_speech(model, neurons, gold, out=out, **FAST)
    assert again.table.equals(made.table)
    for path, before in files.items():
        assert path.read_bytes() == before


def test_another_ablation_is_another_record(model, neurons, gold, tmp_path):
    out = tmp_path / "run"
    measured = scan(model, ["the cat sees the dogs . " * 60], window=32, md_pairs=0)
    parts_of_speech(model, neurons, gold, out=out, **FAST)
    for more, change in enumerate(({"zero": "positive"}, {"mode": "mean", "scan": measured}), 3):
        parts_of_speech(model, neurons, gold, out=out, **change, **FAST)
        assert len(list((out / "cells").glob("*.parquet"))) == more  # the baseline is shared


def test_the_folder_of_another_study(model, neurons, gold, tmp_path):
    (tmp_path / "cells").mkdir()
    manifest = {"format": MANIFEST_FORMAT, "study": {"analyses": {"ablation": {}}}}  # as `run_study` writes it
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(StudyError, match="a run of the study 'ablation'"):
        parts_of_speech(model, neurons, gold, out=tmp_path, **FAST)


def test_progress_and_notes_without_a_folder(model, neurons, gold):
    steps, notes = [], []
    made = parts_of_speech(
        model, neurons, gold, draws=100, progress=lambda *step: steps.append(step), note=notes.append
    )
    assert steps[-1][0] == steps[-1][1]
    assert {what for *_, what in steps} == {"baseline", "ablated"}
    assert notes == list(made.notes)
    assert "windows of 128 tokens, the model's context" in notes


def test_what_cannot_be(model, neurons, gold, tmp_path):
    with pytest.raises(InterventionError, match="no scan, hence no means"):
        parts_of_speech(model, neurons, gold, mode="mean")
    with pytest.raises(InterventionError, match="both of the two"):
        parts_of_speech(model, neurons, gold, zero="negative", mode="sign_flip")
    with pytest.raises(TaggerError, match="a text that has gold tags"):
        parts_of_speech(model, neurons, gold, tagger="en_core_web_sm")
    with pytest.raises(TaggerError, match="a text without any"):
        parts_of_speech(model, neurons, ["The cat."], tagger="gold")
    other = NeuronSet({"elsewhere": np.array([1])}, Layout.from_rows([("elsewhere", 0, 0, 8)]), "other")
    with pytest.raises(SelectionError):
        parts_of_speech(model, other, gold)


def test_tagged_words_are_taken_as_they_are(model, neurons, gold, made):
    words = tagged_text(gold)
    assert isinstance(words, Tagged)
    assert parts_of_speech(model, neurons, words, **FAST).table.equals(made.table)


def test_saved_tables_read_in_one_line(made, tmp_path):
    path = made.save(tmp_path / "pos.parquet")
    assert pd.read_parquet(path).equals(made.table)
