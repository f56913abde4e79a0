"""Every command and every Python example in the documentation runs, small, page by page, in one folder of material.

The pages name files (`blimp/`, `mine.csv`, `model.gguf`, ...). A folder holds small ones under the same names, and the
commands run in it. `STANDS_FOR` says what replaces a name that is not a file, `SIZES` and `SETTINGS` are appended to
every study, and `NOT_RUN` lists what is not run, with the reason.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import warnings
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import peft
import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

import ggufs
import negspace as ns
from negspace.cli import app
from test_docs import ROOT, commands

STANDS_FOR: Mapping[str, str] = {
    "RUN [RUN ...]": "RUN",
    "EleutherAI/pythia-160m": "MODEL",
    "EleutherAI/pythia-$size": "MODEL",
    "meta-llama/Llama-3.1-8B": "MODEL",
    "mistralai/Mistral-7B-v0.3": "MODEL",
    "Qwen/Qwen3-8B": "MODEL",
    "facebook/opt-6.7b": "MODEL",
    "runs/pythia-$size": "runs/pythia-1.4b",
    "gemma-3-270m-q4_k_m.gguf": "MODEL",
    "RussianNLP/rublimp": "mine.csv",
    "train.ru.txt": "story.txt",
    "valid.ru.txt": "story.txt",
    **{
        f"{name}.tagger=ru_core_news_sm": f"{name}.tagger={ns.reference.tagger_path()}"
        for name in ("parts_of_speech", "atlas", "differentiation")
    },
    "training.revisions=[step*]": "training.revisions=checkpoints/",
    "--text wikitext-2": "--text wikitext2/",
    "--tasks arc_easy --tasks piqa --tasks sciq": "--tasks tasks/",
    "--tasks arc_easy --tasks piqa": "--tasks tasks/",
    "--layer 3": "--layer 1",
    "--device cuda": "--device cpu",
}
"""Words of a command -> what stands for them here: no hub, no GPU, and a model of two layers."""

NOT_RUN: Mapping[str, str] = {
    "--engine ray": "starts a cluster; tests/runs/test_ray_cluster.py runs studies on one",
    "demo --bundled": "minutes of work; tests/cli/test_cli.py runs it on small material",
    "--only dissociation": "random weights are at chance, so there is no dissociation to draw; tests/report draws one",
    "calibrate": "minutes of work; tests/cli/test_calibrate.py runs it on small material",
}
"""Part of a command -> why it is not run here."""

SIZES = shlex.split(
    "--window 64 --windows 4 --perplexity-window 32 --perplexity-windows 8 --limit 2 --md-pairs 16 --evaluations 2 "
    "--random 1 --random-perplexity 1 --draws 100"
)
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "controls": ("residual_windows=2", "evaluations=2", "noop=false"),
    "parts_of_speech": ("windows=4", f"tagger={ns.reference.tagger_path()}"),
    "dose": ("points=2", "interventions=[zero_negative, sign_flip, negative_mean]"),
    "rankings": ("by=[wd, skewness]",),
    "layers": ("groups=2",),
    "training": (),
    "differentiation": ("tokens=512", "window=64", "pairs=4", "random=1", "per_layer=2"),
    "atlas": ("tokens=512", "window=64", "neurons=2", "permutations=99", "pairs=2", "ablate_alone=1"),
}
"""Analysis -> its settings here."""

WHOLE = "run MODEL --text wikitext2/ --blimp blimp/ --tasks tasks/ --budget 3h --out RUN"
"""The study of all analyses that is run whole, the README's; of others, `ablation` alone is."""


def documented() -> Iterator[tuple[str, str]]:
    """Page and command, each command once for each page, in order."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = [("README.md", line) for line in re.findall(r"^    negspace (.+?)(?:\s+#.*)?$", readme, re.MULTILINE)]
    yield from dict.fromkeys([*((page, " ".join(words)) for page, words in commands()), *shown])


def here(command: str) -> list[str]:
    """A command of a page as it runs here."""
    for words, instead in STANDS_FOR.items():
        command = re.sub(rf"(?<!\S){re.escape(words)}(?!\S)", lambda _, instead=instead: instead, command)
    words = shlex.split(command)
    if words[0] == "scan":
        return [*words, *SIZES[:4]]
    if words[0] != "run":
        return words
    # Sizes here take the place of those in the command.
    sized = [at for at, word in enumerate(words) if word in SIZES and word.startswith("--")]
    words = [word for at, word in enumerate(words) if at not in sized and at - 1 not in sized]
    asked = [after for before, after in pairwise(words) if before == "--analysis"]
    if not asked and "study.yaml" not in words and "quick" not in words and command != WHOLE:
        changed = [after.partition(".")[0] for before, after in pairwise(words) if before == "--set"]
        for name in [name for name in SETTINGS if name in changed] or ["ablation"]:
            words += ["--analysis", name]
    studied = SETTINGS if command == WHOLE else asked
    smaller = [f"{name}.{setting}" for name in studied for setting in SETTINGS.get(name, ())]
    named = {setting.partition("=")[0] for setting in smaller}
    # A setting may be given once: the command's own gives way.
    own = [at for at, word in enumerate(words) if at and words[at - 1] == "--set" and word.partition("=")[0] in named]
    words = [word for at, word in enumerate(words) if at not in own and at + 1 not in own]
    words += [part for setting in smaller for part in ("--set", setting)]
    if "study.yaml" not in words and not any("text" in word for word in words):
        words += ["--text", "story.txt"]  # else WikiText-2, from the hub
    return [*words, *SIZES]


@pytest.fixture(scope="module")
def material(
    tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Small files under the names that the documentation uses."""
    folder = tmp_path_factory.mktemp("documented")
    shutil.copytree(tiny_model_path, folder / "MODEL")
    for step in ("step1", "step2"):
        shutil.copytree(tiny_model_path, folder / "checkpoints" / step)
    earlier = AutoModelForCausalLM.from_pretrained(tiny_model_path, dtype=torch.float32)
    with torch.no_grad():
        for parameter in earlier.parameters():
            parameter.mul_(1.05)
    earlier.save_pretrained(folder / "checkpoints" / "step1")
    for number in (1, 2):
        shutil.copytree(folder / "checkpoints" / "step1", folder / f"OTHER{number}")
        with torch.no_grad():
            next(earlier.parameters()).mul_(1.05)
        earlier.save_pretrained(folder / f"OTHER{number}")
    own = peft.LoraConfig(r=2, target_modules=["query_key_value"], task_type="CAUSAL_LM", init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for a name that is going
        adapted = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_path), own)
    adapted.save_pretrained(folder / "adapter")
    ggufs.write(folder / "model.gguf")
    for name in ("story.txt", "corpus.de.txt", "wikitext2/wiki.train.raw", "wikitext2/wiki.valid.raw"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(tiny_text_path, folder / name)
    words = tiny_text_path.read_text(encoding="utf-8").split()
    for name in ("stories.txt", "code.txt"):  # other texts than the first
        (folder / name).write_text(" ".join(sorted(words, key=len) if name == "code.txt" else reversed(words)))
    for kind in ("blimp", "tse"):
        shutil.copytree(tiny_pairs_path / kind, folder / kind)
    shutil.copytree(ns.reference.tasks_path(), folder / "tasks")
    nouns, verbs = ("cat", "dog", "bird", "king"), ("see", "bark")
    rows = [(f"The {noun}s {verb}.", f"The {noun}s {verb}s.", verb) for verb in verbs for noun in nouns]
    pd.DataFrame(rows, columns=["good", "bad", "phenomenon"]).to_csv(folder / "mine.csv", index=False)
    pd.DataFrame(rows, columns=["right", "wrong", "topic"]).to_csv(folder / "other.csv", index=False)
    (folder / "study.yaml").write_text("model: MODEL\ntext: story.txt\nblimp: blimp/\nanalyses: [ablation]\n")
    return folder


@pytest.fixture
def call(material: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command in the folder, offline, and fails with what it printed."""
    monkeypatch.chdir(material)
    monkeypatch.setenv("NEGSPACE_CACHE", str(material / "cache"))

    def called(words: list[str]) -> str:
        monkeypatch.setattr("sys.argv", ["negspace", *words])
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, f"negspace {shlex.join(words)}\n{result.output}"
        return result.output

    return called


def prepare(words: list[str], call: Any) -> None:
    """Let the run folders that a command reads exist, and let the one that it writes hold what is recorded already."""
    main = ["run", "MODEL", "--text", "story.txt", "--blimp", "blimp/", "--analysis", "ablation", "--share", "0.1"]
    if not Path("RUN").exists():
        call([*main, "--out", "RUN", *SIZES])
    folders = [word for word in words if re.fullmatch(r"(runs/|RUN|demo$)\S*", word)]
    for number, name in enumerate(folders):
        if Path(name).exists():
            continue
        if number and words[0] == "compare":
            call([*(word.replace("MODEL", f"OTHER{number}") for word in main), "--out", name, *SIZES])
        else:
            shutil.copytree("RUN", name)


PAGES = sorted({page for page, _ in documented()})


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page: str, call: Any) -> None:
    for command in (command for of, command in documented() if of == page):
        if any(part in command for part in NOT_RUN):
            continue
        words = here(command)
        prepare(words, call)
        assert call(words).strip() or words[0] == "figures", command
        if "--out" in words and "--dry-run" not in words:
            assert os.path.exists(words[words.index("--out") + 1]), command


IN_PYTHON: Mapping[str, str] = {
    '"EleutherAI/pythia-1.4b")': '"MODEL")',
    '"EleutherAI/pythia-160m")': '"MODEL")',
    '"wikitext-2"': '"story.txt"',
    '"path/to/blimp"': '"blimp/"',
    '"gpt2"': '"MODEL"',
}
"""Words of a Python example -> what stands for them here."""
PYTHON_NOT_RUN: Mapping[str, str] = {
    "interop.md": "tests/interop/test_docs_interop.py runs it",
    "adding_an_analysis.md": "tests/study/test_added_analysis.py runs it as a package",
    "ns.transformer_lens_hooks": "its objects are those of interop.md",
    "push_to_hub": "tests/neurons/test_sharing.py runs it against a server",
}
"""Part of a page's name or of an example -> why it is not run here."""


def examples() -> list[tuple[str, list[str]]]:
    """Page and its Python examples, those that are run."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = []
    for page in pages:
        blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        run = [block for block in blocks if not any(part in page.name or part in block for part in PYTHON_NOT_RUN)]
        if run:
            found.append((page.relative_to(ROOT).as_posix(), run))
    return found


@pytest.mark.parametrize(("page", "blocks"), examples(), ids=[page for page, _ in examples()])
def test_the_python_of_a_page_runs(page: str, blocks: list[str], call: Any) -> None:
    prepare([], call)
    shutil.copy("RUN/scan.parquet", "scan.parquet")
    names: dict[str, Any] = {}
    for block in blocks:
        for words, instead in IN_PYTHON.items():
            block = block.replace(words, instead)
        exec(compile(block, page, "exec"), names)


def test_what_is_not_run_is_documented_and_what_is_replaced_as_well() -> None:
    text = "\n".join(command for _, command in documented())
    assert [part for part in NOT_RUN if part not in text] == []
    assert [words for words in STANDS_FOR if words not in text] == []
