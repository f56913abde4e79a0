"""Training of a reference model: one loop that a killed run picks up where its last checkpoint stands."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from negspace.files import write_whole
from tools.reference.corpus import mixture, train_tokenizer
from tools.reference.recipe import Recipe


def _optimisers(model: PreTrainedModel, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings, norms and biases."""
    named = list(model.named_parameters())
    hidden = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    matrices = {id(p) for p in hidden}
    rest = [p for _, p in named if id(p) not in matrices]
    return [
        torch.optim.Muon(
            hidden, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(rest, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _loss(model: PreTrainedModel, batch: np.ndarray, bfloat16: bool) -> torch.Tensor:
    """Mean next-token loss (nats) of a uint16 batch [rows, context + 1]."""
    tokens = torch.from_numpy(batch.astype(np.int64))
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = model(input_ids=tokens[:, :-1]).logits
    return cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


@torch.no_grad()
def _held_out_loss(model: PreTrainedModel, rows: np.ndarray, bfloat16: bool, batch: int = 32) -> float:
    model.eval()
    parts = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    total = sum(_loss(model, part, bfloat16).item() * len(part) for part in parts)
    model.train()
    return total / len(rows)


def _write(state: dict, path: Path) -> None:
    """Save so that a kill leaves either the old checkpoint or the new one."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def train(
    recipe: Recipe,
    corpus: Path,
    out: Path,
    tokenizer: Path | None = None,
    save_every: int = 250,
    measure_every: int = 500,
) -> Path:
    """Train `recipe` on the text under `corpus`; the finished model and tokenizer are in `out/model` (float16).

    The recipe's snapshots are kept under `out/step<N>`, in the same form.

    Args:
        corpus: folder that holds the recipe's source files.
        out: folder of the run; a run killed anywhere goes on from `out/checkpoint.pt` when called again.
        tokenizer: folder of a tokenizer to train with, a bundled model's for example; one is trained on the corpus if
            None, and the same corpus gives the same one. A run that goes on keeps the tokenizer that it has.
        save_every: steps between checkpoints.
        measure_every: steps between measurements of the held-out loss, written to `out/curve.jsonl`; it is measured at
            every snapshot as well.

    Raises:
        ValueError: the folder holds a run of another recipe, or the tokenizer is of another size than the recipe's.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = out / "recipe.json"
    if written.exists():
        before = Recipe.model_validate_json(written.read_text())
        # The plateau of the schedule does not depend on the number of steps, so a run may be shortened or extended.
        free = {name: getattr(recipe, name) for name in ("steps", "decay", "snapshots")}
        if before.model_copy(update=free) != recipe:
            raise ValueError(f"{out} holds a run of another recipe; use a new folder")
    written.write_text(recipe.model_dump_json(indent=2))

    tokens = _tokenizer(recipe, corpus, out / "tokenizer", tokenizer)
    order, held = mixture(corpus, recipe, tokens)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = recipe.build()
    model.train()
    optimisers = _optimisers(model, recipe)
    checkpoint = out / "checkpoint.pt"
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        first = state["step"]

    kept = set(recipe.snapshot_steps())
    began, seen = time.monotonic(), 0
    for step in range(first, recipe.steps + 1):
        if step in kept and not (out / f"step{step}").exists():
            export(model, tokens, out / f"step{step}")
        if step % save_every == 0 and step > first:
            _write(
                {"model": model.state_dict(), "optimisers": [o.state_dict() for o in optimisers], "step": step},
                checkpoint,
            )
        if step % measure_every == 0 or step in kept or step == recipe.steps:
            entry = {
                "step": step,
                "tokens": step * recipe.batch * recipe.context,
                "held_out_loss": round(_held_out_loss(model, held, recipe.bfloat16), 4),
                "tokens_per_second": round(seen / (time.monotonic() - began)) if seen else None,
            }
            with (out / "curve.jsonl").open("a") as file:
                file.write(json.dumps(entry) + "\n")
        if step == recipe.steps:
            break
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step)
        index = np.arange(step * recipe.batch, (step + 1) * recipe.batch) % len(order)
        loss = _loss(model, order[index], recipe.bfloat16)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        seen += recipe.batch * recipe.context
    return export(model, tokens, out / "model")


def _tokenizer(recipe: Recipe, corpus: Path, folder: Path, given: Path | None) -> PreTrainedTokenizerFast:
    """The run's tokenizer in `folder`; where there is none yet, the one given, or one trained on the corpus."""
    if not (folder / "tokenizer.json").exists():
        if given is None:
            made = train_tokenizer(corpus, recipe.sources, recipe.vocab_size)
        else:
            made = PreTrainedTokenizerFast.from_pretrained(given)
            if len(made) != recipe.vocab_size:
                raise ValueError(f"{given} holds {len(made)} tokens, the recipe {recipe.vocab_size}")
        made.save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def export(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    """Write weights (float16 safetensors), configuration and tokenizer as a folder that transformers loads."""
    half = type(model)(model.config)
    half.load_state_dict(model.state_dict())
    half.half()
    half.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Without the indentation the file is a third as large, and every checkpoint holds one.
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    write_whole(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())
    return folder
