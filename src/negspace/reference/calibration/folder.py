"""Calibration models on disk, as transformers and `negspace.load` take them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from negspace.files import make_folder, write_whole
from negspace.reference.calibration.lexicon import Lexicon
from negspace.reference.calibration.models import MODELS, Name, build

VERSION = 1
"""Raise it whenever the same seed comes to give another model."""
_ABOUT = "calibration.json"


@dataclass(frozen=True)
class Made:
    """A calibration model on disk."""

    folder: Path
    """The model's folder."""
    planted: tuple[tuple[int, ...], ...]
    """Indices of the planted neurons, layer by layer."""


def make(name: Name, folder: Path, lexicon: Lexicon, seed: int = 0) -> Made:
    """Build a model into a folder, unless it is there already.

    Args:
        name: one of MODELS.
        folder: the model's own folder; made if need be.
        lexicon: vocabulary and facts.
        seed: of the model's random weights.

    Raises:
        RecordError: the folder or a file cannot be written.
    """
    wanted = {"model": name, "about": MODELS[name].about, "version": VERSION, "seed": seed, "facts": lexicon.seed}
    about = folder / _ABOUT
    try:
        found = json.loads(about.read_bytes())
        planted = tuple(tuple(row) for row in found.pop("planted"))
        if found == wanted:
            return Made(folder, planted)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none, or not whole: it is built anew
    made = build(name, lexicon, seed)
    make_folder(folder)
    about.unlink(missing_ok=True)
    state = {key: value.contiguous() for key, value in made.module.state_dict().items()}
    write_whole(folder / "model.safetensors", save(state, metadata={"format": "pt"}))
    config = made.module.config.to_dict() | {"architectures": [type(made.module).__name__]}
    write_whole(folder / "config.json", (json.dumps(config, indent=1) + "\n").encode())
    made.tokenizer.save_pretrained(folder)
    # Written last: a folder that has it is whole.
    write_whole(about, (json.dumps({**wanted, "planted": made.planted}, indent=1) + "\n").encode())
    return Made(folder, made.planted)
