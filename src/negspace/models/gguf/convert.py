"""A GGUF file made into a folder. transformers dequantises; what it makes is proved against the file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from negspace.errors import ModelError
from negspace.memory import is_out_of_memory, shortage
from negspace.models.gguf import hyperparameters, tokenizer
from negspace.models.gguf.header import Header, read_header

VERSION = 1
"""Of what is made of a file; raise it whenever the same file comes to give other weights or another tokenizer."""
_NOT_LANGUAGE = {
    "clip": "the vision part of a model (mmproj)",
    "mmproj": "the vision part of a model (mmproj)",
    "adapter": "an adapter (LoRA)",
    "vocab": "a vocabulary without weights",
    "imatrix": "an importance matrix",
}
"""Architecture or type of a file that holds no whole model -> what it holds."""
_EMBEDDING = ("bert", "embedding", "t5encoder")
"""Parts of architectures' names that only make embeddings of text."""


def require_package() -> None:
    """Make sure that what reads GGUF files is installed.

    Raises:
        ModelError: it is not.
    """
    lacking = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if lacking:
        raise ModelError(
            "a model in a GGUF file",
            f"no package {' and no package '.join(lacking)}",
            "install what reads such files: pip install 'negspace[gguf]'",
        )


def check(path: Path) -> Header:
    """The header of a file that holds a language model which transformers can convert, as far as the header tells.

    Raises:
        ModelError: it is another kind of file or of model.
    """
    header = read_header(path)
    asked = f"the language model in {path}"
    kind, architecture = header.metadata.get("general.type", "model"), header.architecture
    if what := _NOT_LANGUAGE.get(architecture) or _NOT_LANGUAGE.get(str(kind)):
        raise ModelError(asked, what, "name the file of the language model itself")
    parts = header.whole("split.count", 1)
    if parts > 1:
        raise ModelError(
            asked,
            f"part {header.whole('split.no', 0) + 1} of a file that was split in {parts}",
            "join the parts with llama.cpp (llama-gguf-split --merge FIRST OUT) and name the file that it writes",
        )
    pools = header.whole(f"{architecture}.pooling_type", 0)
    if any(part in architecture for part in _EMBEDDING) or pools or header.own("attention.causal", True) is False:
        raise ModelError(
            asked,
            f"a model that makes embeddings of texts ({architecture})",
            "name a model that predicts the next token",
        )
    if not isinstance(header.metadata.get("tokenizer.ggml.tokens"), list):
        raise ModelError(asked, "a file without a vocabulary", "get a file with the model's tokenizer in it")
    return header


def convert(
    header: Header, dtype: torch.dtype, folder: Path, writing: Callable[[], AbstractContextManager[object]]
) -> tuple[str, ...]:
    """Write a file's model and tokenizer into a folder, as their `save_pretrained` does.

    Args:
        header: of the file.
        dtype: of the weights.
        folder: to write to; on an error it may hold parts.
        writing: opens a context around all that is written, and nothing else: what fails in it is the folder's fault,
            not the file's.

    Returns:
        What was put right of what transformers made of the file, a sentence each.

    Raises:
        ModelError: transformers cannot convert the file, or makes something else of it than it says; or memory is
            short. What the file system says against writing is left to `writing`.
        OSError: the file cannot be read any more.
    """
    where = {"pretrained_model_name_or_path": str(header.path.parent), "gguf_file": header.path.name}
    config = _ask(header, "configuration", lambda: AutoConfig.from_pretrained(**where))
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"the language model in {header.path}",
            f"a model of type {config.model_type!r}, which transformers has no causal language model for",
            "name a decoder-only language model",
        )
    mended = _prove(header, "configuration", lambda: hyperparameters.prove(config, header))
    # In a function of its own: a large vocabulary takes as much memory as a small model.
    mended += _write_tokenizer(header, where, folder, writing)
    module, report = _ask(
        header,
        "weights",
        lambda: AutoModelForCausalLM.from_pretrained(
            **where,
            config=config,
            dtype=dtype,
            output_loading_info=True,
            # Where transformers could leave the weights in blocks, which no analysis could read.
            quantization_config=transformers.GgufConfig(dequantize=True),
        ),
    )
    for key, what in (("missing_keys", "not in the file"), ("mismatched_keys", "of another shape")):
        if names := sorted(k if isinstance(k, str) else k[0] for k in report.get(key) or ()):
            raise ModelError(
                f"the weights of {header.path}",
                f"{len(names)} weights {what}: {', '.join(names[:4])}{' ...' * (len(names) > 4)}",
                "get the file again, or use the model's own repository (safetensors)",
            )
    _prove(header, "weights", lambda: hyperparameters.check_weights(module, header))
    # What was quantised is so no more, and neither the folder nor the fingerprint must say it.
    module.hf_quantizer = None
    if hasattr(module.config, "quantization_config"):
        del module.config.quantization_config
    # In parts, since a part is in memory a second time while it is written.
    with writing():
        module.save_pretrained(folder, max_shard_size="1GB")
    return mended


def _write_tokenizer(
    header: Header, where: dict[str, str], folder: Path, writing: Callable[[], AbstractContextManager[object]]
) -> tuple[str, ...]:
    """The tokenizer's part of `convert`."""
    own = _ask(header, "tokenizer", lambda: AutoTokenizer.from_pretrained(**where))
    mended = _prove(header, "tokenizer", lambda: tokenizer.prove(own, header))
    with writing():
        own.save_pretrained(folder)
    # Some classes build themselves anew from the vocabulary; what they build is the one that is used, and proved.
    again = _ask(header, "tokenizer", lambda: AutoTokenizer.from_pretrained(folder))
    same = _prove(header, "tokenizer", lambda: again.backend_tokenizer.to_str() == own.backend_tokenizer.to_str())
    if not same and (lost := _prove(header, "tokenizer", lambda: tokenizer.prove(again, header))):
        raise ModelError(
            f"the tokenizer of {header.path}",
            f"a {type(again).__name__} that does not keep this when it is saved: {'; '.join(lost)}",
            "use the model's own repository (safetensors with its tokenizer)",
        )
    return mended


def _prove(header: Header, what: str, compare: Any) -> Any:
    """Compare a part of the model with the file; whatever keeps that from an answer becomes a ModelError."""
    asked = f"the {what} of {header.path}"
    try:
        return compare()
    except (ModelError, OSError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(asked, *shortage(error)) from error
        raise ModelError(
            asked,
            f"a description in the file with which transformers' {what} cannot be compared ({type(error).__name__}: "
            f"{_line(error)})",
            "get the file again, or use the model's own repository (safetensors with its tokenizer)",
        ) from error


def _ask(header: Header, what: str, get: Any) -> Any:
    """Get a part of the model from transformers; whatever it says against the file becomes a ModelError."""
    from negspace.models.gguf.lean import reading

    try:
        with reading(header):
            return get()
    except Exception as error:
        asked = f"the {what} of {header.path}"
        if is_out_of_memory(error):
            raise ModelError(asked, *shortage(error)) from error
        if isinstance(error, OSError) and error.strerror:  # transformers raises its own without
            where = f" ({error.filename})" if error.filename else ""
            raise ModelError(asked, f"{error.strerror}{where}", "check the path and its permissions") from error
        raise ModelError(
            asked,
            f"a file of the architecture {header.architecture!r}, which transformers {transformers.__version__} cannot "
            f"convert ({type(error).__name__}: {_line(error)})",
            "use the model's own repository (safetensors) instead of its conversion to GGUF"
            + (", or update transformers" if what != "tokenizer" else ""),
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
