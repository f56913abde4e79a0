"""Fixtures that several test files share: the development data, a real model, and tiny random ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

_SHARED = Path(os.environ.get("NEGSPACE_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Tiny models gain nothing from several threads, and lose much when the test workers share the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets (BLiMP, TSE, WikiText-2 ...) beside the checkout."""
    folder = _SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"no development data at {folder} (set NEGSPACE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def stories260k_path() -> Path:
    """Folder of a really trained Llama of 0.26M parameters (llama2.c's stories260K)."""
    folder = _SHARED / "models" / "stories260K"
    if not folder.is_dir():
        pytest.skip(f"no development model at {folder} (set NEGSPACE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def stories260k(stories260k_path: Path):
    """The same model, loaded."""
    from negspace.models.load import load

    return load(str(stories260k_path))


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random GPT-NeoX (2 layers, 64 neurons each, context 128) with a BPE of about 300 tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(
        ["The cat sees the dogs.", "The dogs see the cat.", "No dog has ever barked."] * 5, trainer
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.3,  # large enough for ablations to change the output
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPTNeoXForCausalLM(config)
    folder = tmp_path_factory.mktemp("tiny-neox")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_text_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of about 3,000 tokens for the tiny model."""
    words = ["cat", "dog", "dogs", "cats", "bird", "The", "the", "a", "sees", "see", "barks", "has", "ever", "no", "."]
    stream = (words[(7 * n + n * n // 5) % len(words)] for n in range(1500))
    path = tmp_path_factory.mktemp("tiny-text") / "text.txt"
    path.write_text(" ".join(stream))
    return path


@pytest.fixture(scope="session")
def tiny_pairs_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of BLiMP's format and one of TSE's: 4 paradigms in 2 phenomena, 2 constructions; 6 pairs each."""
    import json

    folder = tmp_path_factory.mktemp("tiny-pairs")
    nouns = ["cat", "dog", "bird", "child", "king", "queen"]
    for kind in ("blimp", "tse"):
        (folder / kind).mkdir()
    for number in range(4):
        rows = []
        for noun in nouns:
            good, bad = f"The {noun}s see the {number} dogs.", f"The {noun}s sees the {number} dogs."
            row = {"sentence_good": good, "sentence_bad": bad, "UID": f"paradigm_{number}"}
            rows.append({**row, "linguistics_term": ["agreement", "binding"][number % 2], "field": "syntax"})
        path = folder / "blimp" / f"paradigm_{number}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    for name in ("simple_agrmt", "prep_anim"):
        rows = [
            {"sentence_good": f"the {noun} has barked", "sentence_bad": f"the {noun} have barked", "construction": name}
            for noun in nouns
        ]
        (folder / "tse" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny_fields(tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path) -> dict[str, Any]:
    """Fields of a small study with everything in it."""
    return {
        "model": str(tiny_model_path),
        "text": str(tiny_text_path),
        "window": 64,
        "windows": 12,
        "blimp": [str(tiny_pairs_path / "blimp")],
        "tse": [str(tiny_pairs_path / "tse")],
        "shares": [0.1, 0.3],
        "md_pairs": 64,
        "random": 5,
        "random_perplexity": 19,
        "draws": 200,
        "limit": 4,
    }


@pytest.fixture(scope="session")
def tiny_study(tiny_fields: dict[str, Any]) -> Any:
    """The same, checked."""
    from negspace.experiment.config import configure

    return configure(tiny_fields)


@pytest.fixture(scope="session")
def tiny_run(tiny_study: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Run folder and tables."""
    from negspace.study.run import run_study

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return folder, run_study(tiny_study, folder)
