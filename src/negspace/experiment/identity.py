"""Internal: what every result on a model depends on: its state, its tokenizer, the software; is it still the same?"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from negspace.errors import ModelError
from negspace.models.identity import Identity
from negspace.models.model import Model

_PLACES = ("name_or_path", "is_local", "local_files_only", "tokenizer_file", "tokenizer_path")
"""Settings of a slow tokenizer that say where it was found; so do the names of its own vocabulary files."""
_PROBE = "Ab cd ÉÅ  e\u0301 12,5\n\tß"
"""Text that comes out otherwise where case, accents or spaces are changed, or tokens put around it."""


def identity(model: Model, found: Identity | None = None) -> dict[str, Any]:
    """Return what every result on a model depends on: current state, tokenizer, dtype, kind of device, software.

    Args:
        model: the model.
        found: what `Model.identify` has just said of it.

    Raises:
        ModelError: as `Model.identify`.
    """
    return {
        "fingerprint": (found or model.identify()).fingerprint,
        "tokenizer": tokenizer_hash(model.tokenizer),
        "dtype": model.source.dtype,
        "device": model.device.type,
        "torch": model.source.torch,
        "transformers": model.source.transformers,
    }


def tokenizer_hash(tokenizer: Any) -> str:
    """sha256 (hex) of what decides how text becomes tokens: vocabulary, merges, normalisation, special tokens.

    The same tokenizer in another folder has the same.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = json.loads(backend.to_str())
        # What the last call happened to pad or truncate is state, not identity.
        content.pop("padding", None)
        content.pop("truncation", None)
    else:
        content = _slow(tokenizer)
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    text = json.dumps([content, special], sort_keys=True, ensure_ascii=True, default=repr)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _slow(tokenizer: Any) -> dict[str, Any]:
    """Return all that decides the tokens of a tokenizer in Python: its class, vocabulary, files and settings, and how
    it encodes a probe, which shows what was set on it after it was made."""
    files = {}
    with TemporaryDirectory() as folder:
        with contextlib.suppress(NotImplementedError):  # some have none
            tokenizer.save_vocabulary(folder)
        for path in Path(folder).iterdir():
            files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    places = {*_PLACES, *tokenizer.vocab_files_names}
    return {
        "class": type(tokenizer).__name__,
        "vocabulary": tokenizer.get_vocab(),
        "files": files,
        "settings": {name: value for name, value in tokenizer.init_kwargs.items() if name not in places},
        "probe": list(tokenizer(_PROBE)["input_ids"]),
    }


def check_identity(model: Model, asked: Mapping[str, Any] | None, what: str) -> None:
    """Refuse a model that is not the one asked for.

    Args:
        asked: its identity; None: any.
        what: what it is needed for.

    Raises:
        ModelError: it is another.
    """
    found = identity(model)
    if asked is not None and dict(asked) != found:
        differ = [name for name, value in found.items() if asked.get(name) != value]
        raise ModelError(
            what,
            f"another model than the one that the study was planned with (its {', '.join(differ)} differ): the "
            "module was changed since, or another worker holds other files under this name",
            "undo the change (an adapter switched on or off, edited weights), or run the study again from its "
            "start: records that fit are used, the rest is computed",
        )
