"""Adapters of PEFT: finding the base that they were trained on, putting them on it, and taking wrapped models apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel
from transformers.utils.hub import cached_file

from negspace.errors import ModelError
from negspace.memory import is_out_of_memory, shortage
from negspace.models import probe
from negspace.models.quiet import quiet

CONFIG = "adapter_config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


class AdapterSource(BaseModel):
    """An adapter that was put on a model."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Folder, or name on the hub."""
    kind: str
    """PEFT's type: "LORA", "IA3", ..."""
    commit: str | None = None
    """Commit on the hub; None for a folder."""


class Adapter:
    """An adapter in a folder on this machine.

    Args:
        name: folder or hub name, as it was asked for.
        folder: where its files lie.

    Raises:
        ModelError: a configuration that cannot be read, or a kind of adapter that is no part of the layers.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        try:
            held = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            self.kind = str(held["peft_type"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                asked=f"the adapter {name}",
                found=f"no {CONFIG} with a peft_type that can be read ({type(error).__name__}: {error})",
                todo="name the folder or repository that PEFT's save_pretrained wrote",
            ) from error
        self.base: str | None = held.get("base_model_name_or_path") or None
        self.base_revision: str | None = held.get("revision") or None

    @property
    def source(self) -> AdapterSource:
        """The adapter's entry in a record."""
        parts = self.folder.parts
        commit = parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else None
        return AdapterSource(name=self.name, kind=self.kind, commit=commit)

    @property
    def has_tokenizer(self) -> bool:
        """True if a tokenizer was saved beside it."""
        return any((self.folder / name).is_file() for name in _TOKENIZER)

    def base_in(self, asked: str) -> str:
        """The model that it says it was trained on: a folder, relative ones beside its own as well, or a hub name.

        Raises:
            ModelError: it names none, or a folder that is not there.
        """
        todo = f"give the base yourself: load(BASE, adapter={self.name!r}), or --model BASE --adapter {self.name}"
        if self.base is None:
            raise ModelError(asked, f"an adapter whose {CONFIG} names no base", todo)
        for folder in (Path(self.base).expanduser(), self.folder / self.base):
            if folder.is_dir():
                return str(folder)
        if self.base.startswith((".", "/", "~", "\\")) or self.base.count("/") > 1:
            raise ModelError(asked, f"an adapter of {self.base} (in its {CONFIG}), which is not a folder here", todo)
        return self.base


def in_folder(name: str) -> Adapter | None:
    """The adapter in a local folder; None for a folder without one.

    Raises:
        ModelError: the folder holds a model as well, so that it cannot be told which is meant.
    """
    folder = Path(name).expanduser()
    if not (folder / CONFIG).is_file():
        return None
    held = [weights for weights in _WEIGHTS if (folder / weights).is_file()]
    if held:
        raise ModelError(
            asked=f"the model in {name}",
            found=f"a folder of two: a model ({held[0]}) and an adapter ({CONFIG})",
            todo="move the adapter's files into a folder of their own; to have both, give it with adapter= (--adapter)",
        )
    return Adapter(name, folder)


def in_repository(name: str, revision: str | None) -> Adapter | None:
    """The adapter in a repository on the hub; None where there is none, or the hub is out of reach."""
    try:
        file = cached_file(name, CONFIG, revision=revision)
        for weights in ("adapter_model.safetensors", "adapter_model.bin"):
            held = cached_file(name, weights, revision=revision, _raise_exceptions_for_missing_entries=False)
            if held is not None:
                break
        for extra in (*_TOKENIZER, "special_tokens_map.json", "vocab.json", "merges.txt", "tokenizer.model"):
            cached_file(name, extra, revision=revision, _raise_exceptions_for_missing_entries=False)
    except Exception:
        return None
    return Adapter(name, Path(file).parent) if file is not None else None


def find(name: str) -> Adapter:
    """The adapter of a name that is said to be one.

    Raises:
        ModelError: there is none.
    """
    found = in_folder(name) if Path(name).expanduser().is_dir() else in_repository(name, None)
    if found is None:
        raise ModelError(
            asked=f"the adapter {name}",
            found="a folder without an adapter"
            if Path(name).expanduser().is_dir()
            else "no such folder, nor an adapter of this name on the hub",
            todo=f"name what PEFT's save_pretrained wrote: {CONFIG} and adapter_model.safetensors",
        )
    return found


def attach(module: PreTrainedModel, adapters: Sequence[Adapter]) -> PreTrainedModel:
    """Put adapters on a model, all at once active; the model then holds them in its layers.

    Raises:
        ModelError: peft is missing; an adapter does not fit; several that cannot act together; or one that acts outside
            of the layers.
    """
    asked = f"{' and '.join(adapter.name for adapter in adapters)} on {type(module).__name__}"
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ModelError(asked, "an adapter, and no package to read it", "pip install 'negspace[peft]'") from error
    kinds = sorted({adapter.kind for adapter in adapters})
    if len(kinds) > 1:
        raise ModelError(
            asked, f"adapters of several kinds: {', '.join(kinds)}", "merge one into the base first (merge_and_unload)"
        )
    try:
        with quiet():
            wrapped: Any = PeftModel.from_pretrained(module, str(adapters[0].folder))
            names = ["default", *(f"adapter_{number}" for number in range(2, len(adapters) + 1))]
            for name, adapter_folder in zip(names[1:], adapters[1:], strict=True):
                wrapped.load_adapter(str(adapter_folder.folder), adapter_name=name)
            if len(names) > 1:
                wrapped.base_model.set_adapter(names)
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(asked, *shortage(error)) from error
        raise ModelError(
            asked,
            f"{type(error).__name__}: {' '.join(str(error).split())[:600]}",
            "use the base that the adapter was trained on, as it was then (the size of its vocabulary included)",
        ) from error
    return taken_out(asked, wrapped.eval())


def is_wrapped(module: Any) -> bool:
    """Return True if a module is one of PEFT's wrappers around a model."""
    return hasattr(module, "get_base_model") and hasattr(module, "peft_config")


def taken_out(asked: str, wrapped: Any) -> PreTrainedModel:
    """The model inside PEFT's wrapper, which holds the adapters in its layers.

    Raises:
        ModelError: an adapter acts outside of the layers (virtual tokens, a router): its model inside is another one.
    """
    for name, config in wrapped.peft_config.items():
        if getattr(config, "is_prompt_learning", False):
            raise ModelError(
                asked,
                f"{name!r}, an adapter that puts virtual tokens before the text ({_kind(config)}): positions and "
                "context are then not those of the text",
                "use an adapter of weights (LoRA, IA3, ...)",
            )
        if getattr(config, "alora_invocation_tokens", None):
            raise ModelError(
                asked,
                f"{name!r}, an activated LoRA, which acts only after its invocation tokens",
                "merge it into the base (merge_and_unload) if it is to act everywhere",
            )
    inside = wrapped.get_base_model()
    if not isinstance(inside, PreTrainedModel):
        raise ModelError(
            asked,
            f"PEFT around a {type(inside).__name__}, which is not a transformers model",
            "wrap one of transformers",
        )
    # One that drops values, so that no two passes agree, is refused by whoever takes it.
    if (
        not inside.training
        and not probe.dropping_parts(inside)
        and not torch.equal(_logits(asked, wrapped, inside), probe.run(inside))
    ):
        raise ModelError(
            asked,
            f"an adapter of kind {_kind(wrapped.active_peft_config)} that acts outside of the layers: PEFT's "
            "model gives other logits than the model inside it",
            "merge it into the base (merge_and_unload), or use an adapter of weights (LoRA, IA3, ...)",
        )
    return inside


def _logits(asked: str, wrapped: Any, inside: Any) -> torch.Tensor:
    ids = probe.sequence(inside)
    try:
        with torch.no_grad():
            return wrapped(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(asked, *shortage(error)) from error
        raise ModelError(
            asked,
            f"PEFT's model does not run on text alone ({type(error).__name__}: {error})",
            "merge the adapter into the base (merge_and_unload), or use an adapter of weights (LoRA, IA3, ...)",
        ) from error


def _kind(config: Any) -> str:
    return str(getattr(config.peft_type, "value", config.peft_type))
